-- What a worker says on its hot path. Everything here is one round trip inside the pipeline of engine/exchange.py.

-- name: claim
-- Move up to $4 ready jobs of the given lanes (best first, each from its cursor's `above`) to running, leased to
-- worker $5; $6: commit without waiting for the disk. The version of a job that has expired is 0. The last row is for the claim cursor and always there: in `seq` the snapshot's xmin, in `id` this
-- transaction's xid (if it has one), in the last column the seconds this took. (A row of its own: in each job's row the
-- three would be computed, sent and read as many times as there are jobs.)
-- The lane rows are locked with SKIP LOCKED and deleted by ctid: two workers never wait for each other.
-- A worker that was declared dead has no row in `worker` any more and gets nothing.
WITH taken AS (
    DELETE FROM pgjobq.ready WHERE ctid = ANY (ARRAY(
        SELECT r.ctid
        FROM unnest($1::text[], $2::smallint[], $3::bigint[]) AS lane(queue, priority, above)
        CROSS JOIN LATERAL (
            SELECT ctid FROM pgjobq.ready r
            WHERE r.queue = lane.queue AND r.priority = lane.priority AND r.seq > lane.above
            ORDER BY r.seq LIMIT $4::int FOR UPDATE SKIP LOCKED) r
        LIMIT CASE WHEN EXISTS (SELECT FROM pgjobq.worker w WHERE w.id = $5::uuid) THEN $4::int ELSE 0 END))
    RETURNING seq, job, queue, priority, attempt, spared
), leased AS (
    INSERT INTO pgjobq.running (job, started_at, worker, attempt, spared)
    SELECT job, (SELECT pgjobq.clock()), $5::uuid, attempt + 1, spared FROM taken
)
(SELECT t.seq, j.id, t.queue, t.priority, t.attempt + 1, t.spared, j.max_attempts, j.task, j.args::text,
        j.ref, j.tags, j.headers::text, j.hooks,
        CASE WHEN j.expires_at <= (SELECT pgjobq.clock()) THEN 0::smallint ELSE j.version END, date_part('epoch', j.created_at)
 FROM taken t JOIN pgjobq.job j ON j.id = t.job
 ORDER BY t.priority, t.seq)
UNION ALL
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_current_xact_id_if_assigned()::text::bigint,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       date_part('epoch', clock_timestamp() - statement_timestamp())
WHERE NOT $6::boolean OR set_config('synchronous_commit', 'off', true) IS NOT NULL

-- name: adopt
-- The same for jobs that waited in `blocked` for a worker that knows their task, or were parked by somebody who did not
-- know yet that their task is no longer paused ($1: the tasks this worker knows; $2: its queues, NULL for all): taken straight to running, so that a worker without the task cannot take them again first.
WITH taken AS (
    DELETE FROM pgjobq.blocked WHERE ctid = ANY (ARRAY(
        SELECT b.ctid FROM pgjobq.blocked b
        WHERE b.waits_for = ANY (
              SELECT 'task:' || t FROM unnest($1::text[]) t
              UNION ALL
              SELECT 'paused:' || t FROM unnest($1::text[]) t
              WHERE NOT EXISTS (SELECT FROM pgjobq.paused p WHERE p.kind = 'task' AND p.name = t
                                AND (p.until IS NULL OR p.until > pgjobq.clock())))
          AND ($2::text[] IS NULL OR b.queue = ANY ($2::text[]))
          AND NOT EXISTS (SELECT FROM pgjobq.paused p WHERE p.kind = 'queue' AND p.name = b.queue
                          AND (p.until IS NULL OR p.until > pgjobq.clock()))
          AND EXISTS (SELECT FROM pgjobq.worker w WHERE w.id = $4::uuid)
        ORDER BY b.priority, b.job LIMIT $3::int FOR UPDATE SKIP LOCKED))
    RETURNING job, queue, priority, attempt, spared
), leased AS (
    INSERT INTO pgjobq.running (job, started_at, worker, attempt, spared)
    SELECT job, pgjobq.clock(), $4::uuid, attempt + 1, spared FROM taken
)
SELECT 0::bigint, j.id, t.queue, t.priority, t.attempt + 1, t.spared, j.max_attempts,
       j.task, j.args::text, j.ref, j.tags, j.headers::text, j.hooks,
       CASE WHEN j.expires_at <= pgjobq.clock() THEN 0::smallint ELSE j.version END, date_part('epoch', j.created_at)
FROM taken t JOIN pgjobq.job j ON j.id = t.job
ORDER BY t.priority, j.id

-- name: complete
-- Settle successes of worker $3: $1 jobs, $2 their attempts. Returns the jobs that were still held: an owner that lost
-- its lease finds none of its own and changes nothing (the fence). LATERAL with OFFSET 0 forces one probe per job: a
-- plan made when vacuum had just seen a tiny table would else walk over every dead entry of the index. Whether the end of
-- any job matters to somebody is asked once; if so, they are told together.
WITH held AS (
    DELETE FROM pgjobq.running WHERE ctid = ANY (ARRAY(
        SELECT r.ctid FROM unnest($1::bigint[], $2::int[]) AS x(job, attempt)
        CROSS JOIN LATERAL (
            SELECT ctid FROM pgjobq.running r
            WHERE r.job = x.job AND r.attempt = x.attempt AND r.worker = $3::uuid OFFSET 0) r))
    RETURNING job, started_at, attempt
), told AS MATERIALIZED (
    SELECT pgjobq.ended_many(ARRAY(SELECT job FROM held))
    WHERE (SELECT last_value > date_part('epoch', clock_timestamp()) * 1000 FROM pgjobq.watched_until)
)
INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome)
SELECT job, started_at, (SELECT pgjobq.clock()), $3::uuid, attempt, 's' FROM held
WHERE (SELECT count(*) FROM told) IS NOT NULL
RETURNING job

-- name: settle
-- Settle every other outcome of worker $2; $1 is an array of objects:
--   job, attempt           with the worker: the fence
--   fate                   's' succeeded, 'f' failed, 'c' cancelled, 'again' (ready or, with delay, scheduled), 'blocked'
--   delay                  seconds until it is due again
--   back                   attempts to take back (1: it was never started), spare: attempts not to count
--   waits_for, reason, result, kind, message, traceback
-- Returns (job, true) for what is settled now, (job, false) for what is still held but locked: its handler's own
-- transaction is completing it and has not ended. Neither: this worker lost the lease, or that transaction committed.
WITH asked AS (
    SELECT DISTINCT ON (job, attempt) * FROM jsonb_to_recordset($1::text::jsonb) AS x(
        job bigint, attempt int, fate text, delay float8, back int, spare int,
        waits_for text, reason text, result jsonb, kind text, message text, traceback text)
    ORDER BY job, attempt
), held AS (
    DELETE FROM pgjobq.running l USING (
        SELECT x.*, r.place FROM asked x CROSS JOIN LATERAL (
            SELECT r.ctid AS place FROM pgjobq.running r
            WHERE r.job = x.job AND r.attempt = x.attempt AND r.worker = $2::uuid FOR UPDATE OF r SKIP LOCKED) r) x
    WHERE l.ctid = x.place
    RETURNING l.job, l.started_at, l.worker, l.attempt, l.attempt - coalesce(x.back, 0) AS made,
              l.spared + coalesce(x.spare, 0) AS spared, x.fate, x.waits_for, x.reason, x.result,
              x.kind, x.message, x.traceback,
              CASE WHEN x.delay > 0 THEN pgjobq.clock() + make_interval(secs => x.delay) END AS due
), placed AS MATERIALIZED (
    SELECT h.job, h.made, h.spared, h.due, h.fate, h.waits_for, j.queue, j.priority,
           CASE WHEN j.gates IS NOT NULL THEN pgjobq.gate_ahead(j.gates, true) END AS ahead
    FROM held h JOIN pgjobq.job j ON j.id = h.job WHERE h.fate IN ('again', 'blocked')
), errors AS (
    INSERT INTO pgjobq.attempt_error (job, started_at, failed_at, worker, attempt, kind, message, traceback)
    SELECT job, started_at, pgjobq.clock(), worker, attempt, kind, message, coalesce(traceback, '') FROM held WHERE kind IS NOT NULL
), ends AS (
    INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome, reason, result)
    SELECT job, CASE WHEN made = attempt THEN started_at END, pgjobq.clock(), worker, made, fate::"char", reason, result
    FROM held
    WHERE CASE WHEN fate NOT IN ('s', 'f', 'c') THEN false
               WHEN (SELECT last_value > date_part('epoch', clock_timestamp()) * 1000 FROM pgjobq.watched_until)
               THEN pgjobq.ended(job, fate <> 's') ELSE true END
), later AS (
    INSERT INTO pgjobq.scheduled (job, run_at, priority, attempt, spared, queue, waits_for)
    SELECT job, due, priority, made, spared, queue, ahead FROM placed WHERE fate = 'again' AND due IS NOT NULL
), soon AS (
    INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
    SELECT nextval('pgjobq.job_id_seq'), job, priority, made, spared, queue
    FROM placed WHERE fate = 'again' AND due IS NULL AND ahead IS NULL
), parked AS (
    INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
    SELECT job, pgjobq.clock(), priority, made, spared, queue, CASE fate WHEN 'blocked' THEN waits_for ELSE ahead END
    FROM placed WHERE fate = 'blocked' OR (fate = 'again' AND due IS NULL AND ahead IS NOT NULL)
), woken AS MATERIALIZED (
    SELECT count(pgjobq.wake_at(due)) FROM (SELECT min(due) AS due FROM placed) p WHERE due IS NOT NULL
    UNION ALL
    SELECT count(pgjobq.wake(queue)) FROM (SELECT DISTINCT queue FROM placed WHERE fate = 'again' AND due IS NULL) q
)
SELECT h.job, true FROM held h WHERE (SELECT count(*) FROM woken) IS NOT NULL
UNION ALL
SELECT r.job, false FROM asked x
CROSS JOIN LATERAL (
    SELECT job FROM pgjobq.running r
    WHERE r.job = x.job AND r.attempt = x.attempt AND r.worker = $2::uuid OFFSET 0) r
WHERE NOT EXISTS (SELECT FROM held h WHERE h.job = r.job)

-- name: after
-- What follows from the outcomes of jobs with hooks ($1), in the same transaction: a statement of its own, because it has
-- to see where `complete` and `settle` put them.
SELECT pgjobq.after($1::bigint[])

-- name: lanes
-- Where a claim has to look, best first ($1: queues, NULL for all): not into queues that are paused.
SELECT DISTINCT queue, priority FROM pgjobq.lane l
WHERE ($1::text[] IS NULL OR queue = ANY ($1::text[]))
  AND NOT EXISTS (SELECT FROM pgjobq.paused p WHERE p.kind = 'queue' AND p.name = l.queue
                  AND (p.until IS NULL OR p.until > pgjobq.clock()))
ORDER BY priority, queue

-- name: paused_tasks
SELECT p.name FROM pgjobq.paused p WHERE p.kind = 'task' AND (p.until IS NULL OR p.until > pgjobq.clock())

-- name: cancel_requests
-- What worker $1 is to cancel of all that it runs.
SELECT c.job, c.reason FROM pgjobq.cancel_request c JOIN pgjobq.running r ON r.job = c.job WHERE r.worker = $1::uuid

-- name: doze
-- Say that somebody may be asleep for the next $1 milliseconds. Not transactional, hence seen at once by everybody.
SELECT setval('pgjobq.idle_until', (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1::bigint)
FROM pgjobq.idle_until
WHERE last_value < (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $1::bigint / 2

-- name: stray
-- Give back what worker $1 holds without knowing it (a claim whose answer never arrived): everything but the jobs in $2.
WITH held AS (
    DELETE FROM pgjobq.running r WHERE r.worker = $1::uuid AND NOT (r.job = ANY ($2::bigint[]))
    RETURNING r.job, r.attempt - 1 AS made, r.spared
), placed AS MATERIALIZED (
    SELECT h.job, h.made, h.spared, j.queue, j.priority, j.gates,
           CASE WHEN j.gates IS NOT NULL THEN pgjobq.gate_ahead(j.gates, true) END AS ahead
    FROM held h JOIN pgjobq.job j ON j.id = h.job
), soon AS (
    INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
    SELECT nextval('pgjobq.job_id_seq'), job, priority, made, spared, queue FROM placed WHERE ahead IS NULL
), waiting AS (
    INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
    SELECT job, pgjobq.clock(), priority, made, spared, queue, ahead FROM placed WHERE ahead IS NOT NULL
), looks AS (
    INSERT INTO pgjobq.gate_look (key)
    SELECT DISTINCT pgjobq.gate_line(g.gate) FROM placed p CROSS JOIN jsonb_array_elements(p.gates) AS g(gate)
)
SELECT job FROM placed
