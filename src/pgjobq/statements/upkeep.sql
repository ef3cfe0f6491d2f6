-- Chores any worker may do at any time: each takes a transaction-level lock so that one does it, and is harmless if
-- two did. No leader.

-- name: promote
-- Move up to $1 due jobs to ready. Returns how many.
WITH mine AS MATERIALIZED (
    SELECT pg_current_xact_id() WHERE pg_try_advisory_xact_lock(hashtextextended('pgjobq:promote', 0))
), due AS (
    DELETE FROM pgjobq.scheduled WHERE ctid = ANY (ARRAY(
        SELECT s.ctid FROM pgjobq.scheduled s
        WHERE s.run_at <= pgjobq.clock() AND EXISTS (SELECT FROM mine)
        ORDER BY s.run_at LIMIT $1::int FOR UPDATE SKIP LOCKED))
    RETURNING job, priority, attempt, spared, queue, run_at, waits_for
), moved AS (
    INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
    SELECT nextval('pgjobq.job_id_seq'), job, priority, attempt, spared, queue
    FROM (SELECT * FROM due WHERE waits_for IS NULL ORDER BY priority, run_at) d
), waiting AS (
    INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
    SELECT job, pgjobq.clock(), priority, attempt, spared, queue, waits_for FROM due WHERE waits_for IS NOT NULL
), looks AS (
    INSERT INTO pgjobq.gate_look (key) SELECT DISTINCT substr(waits_for, 6) FROM due WHERE starts_with(waits_for, 'gate:')
), told AS MATERIALIZED (
    SELECT count(pgjobq.open_lane(queue, priority)) FROM (SELECT DISTINCT queue, priority FROM due) q
    UNION ALL
    SELECT count(pgjobq.wake(queue)) FROM (SELECT DISTINCT queue FROM due) q
)
SELECT count(*) FROM due WHERE (SELECT count(*) FROM told) IS NOT NULL

-- name: anything_due
-- Or somebody should look at a gate, at a workflow, or whether an event has come.
(SELECT true FROM pgjobq.scheduled WHERE run_at <= pgjobq.clock() LIMIT 1) UNION ALL (SELECT true FROM pgjobq.gate_look WHERE at <= pgjobq.clock() LIMIT 1)
UNION ALL (SELECT true FROM pgjobq.look l WHERE l.at <= clock_timestamp() OR EXISTS (   -- or it will find one that has ended
    SELECT FROM pgjobq.pending p JOIN pgjobq.finished f ON f.job = p.on_job WHERE p.job = l.job) OR EXISTS (
    SELECT FROM pgjobq.pending p JOIN pgjobq.workflow w ON w.id = p.on_job WHERE p.job = l.job AND pgjobq.workflow_fate(w.id, p.needs) IS NOT NULL) LIMIT 1)
UNION ALL (SELECT true FROM pgjobq.event_look WHERE at <= pgjobq.clock() LIMIT 1) UNION ALL (SELECT true FROM pgjobq.emission LIMIT 1)
UNION ALL (SELECT true FROM pgjobq.workflow w WHERE w.ended_at IS NULL AND NOT w.open AND (
    w.next_job IS NULL OR EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = w.next_job)) LIMIT 1)
UNION ALL (SELECT true FROM pgjobq.workflow_look WHERE at <= clock_timestamp() OR news IS NOT NULL LIMIT 1)

-- name: look_at_gates
-- Let jobs through up to $1 gates at which somebody should look by now. Returns how many were asked for.
SELECT pgjobq.look_at_gates($1::int)

-- name: sweep_gates
-- Ask for a look at every gate where jobs wait.
SELECT pgjobq.sweep_gates()

-- name: forget_meters
-- Delete up to $1 meters of gates that say nothing any more.
SELECT pgjobq.forget_meters($1::int)

-- name: next_due
-- Seconds until the next job is due or a gate opens (NULL: none does), and until the next tick of a schedule (NULL: none); and note when we look
-- again: at the earlier one, after $1 seconds at the most.
WITH next AS MATERIALIZED (
    SELECT least((SELECT min(run_at) FROM pgjobq.scheduled) - pgjobq.clock(), (SELECT min(at) FROM pgjobq.event_look) - pgjobq.clock(),
                 -- One that is due and still there is being looked at by somebody else just now.
                 (SELECT greatest(l.at - pgjobq.clock(), interval '2 milliseconds') FROM pgjobq.gate_look l
                  WHERE l.at > pgjobq.clock() - interval '1 second' ORDER BY l.at LIMIT 1)) AS wait,
           (SELECT min(next_at) FROM pgjobq.schedule WHERE paused_at IS NULL AND retired_at IS NULL) - pgjobq.clock() AS tick
)
SELECT extract(epoch FROM next.wait)::float8,
       setval('pgjobq.next_look', ((extract(epoch FROM pgjobq.clock())
              + least($1::float8, greatest(coalesce(extract(epoch FROM least(next.wait, next.tick)), $1::float8), 0))) * 1000)::bigint),
       extract(epoch FROM next.tick)::float8
FROM next

-- name: declare_schedules
SELECT pgjobq.declare_schedules($1::text, $2::text::jsonb)::text

-- name: due_schedules
-- Up to $1 schedules whose next tick has come or which nobody has planned yet, but none of $2; with the time it is.
SELECT jsonb_build_object('name', s.name, 'revision', s.revision, 'next_at', s.next_at, 'since', s.since,
                          'now', pgjobq.clock(), 'definition', s.definition)::text
FROM pgjobq.schedule s
WHERE s.next_at <= pgjobq.clock() AND s.paused_at IS NULL AND s.retired_at IS NULL AND NOT s.name = ANY ($2::text[])
ORDER BY s.next_at LIMIT $1::int

-- name: tick
SELECT fired, fired_at::text, fired_job FROM pgjobq.tick($1::text::jsonb)

-- name: rescue
-- Take back what dead workers hold. $1: workers known to be dead, with $2 as the reason; NULL: those whose lease ran
-- out $4 seconds ago or earlier. Every start spends an attempt, so a job that kills its workers ends as failed; but a
-- job of a worker in $1 that is not in $3 (NULL: unknown, so all count) had not been started and gets its attempt back,
-- and those in $5 (NULL: none) are spared theirs: a shutdown, or a neighbour that had to be ended by force, is not the
-- job's fault. A row that is locked is being
-- settled or completed right now and is left alone; if it is still there later, its worker is in no list any more, and
-- it is taken back like any other without a worker.
WITH dead AS MATERIALIZED (
    SELECT w.id FROM pgjobq.worker w
    WHERE CASE WHEN $1::uuid[] IS NULL THEN w.expires_at < now() - make_interval(secs => $4::float8) ELSE w.id = ANY ($1::uuid[]) END
    FOR UPDATE SKIP LOCKED
), held AS (
    DELETE FROM pgjobq.running WHERE ctid = ANY (ARRAY(
        SELECT r.ctid FROM pgjobq.running r
        WHERE r.worker IN (SELECT id FROM dead) OR NOT EXISTS (SELECT FROM pgjobq.worker w WHERE w.id = r.worker)
        ORDER BY r.job FOR UPDATE SKIP LOCKED))
    RETURNING job, started_at, worker, attempt, spared,
              coalesce(worker = ANY ($1::uuid[]) AND NOT job = ANY ($3::bigint[]), false) AS unstarted
), counted AS MATERIALIZED (
    SELECT h.job, h.started_at, h.worker, h.attempt, h.spared + s.spare AS spared, h.unstarted,
           j.queue, j.priority, j.task, j.max_attempts, h.attempt - h.spared - s.spare AS spent,
           NOT h.unstarted AND h.attempt - h.spared - s.spare >= j.max_attempts AS over, j.gates,
           CASE WHEN j.gates IS NOT NULL THEN pgjobq.gate_ahead(j.gates, true) END AS ahead
    FROM held h JOIN pgjobq.job j ON j.id = h.job
    CROSS JOIN LATERAL (SELECT CASE WHEN NOT h.unstarted AND h.worker = ANY ($1::uuid[]) AND h.job = ANY ($5::bigint[]) THEN 1 ELSE 0 END AS spare) s
), errors AS (
    INSERT INTO pgjobq.attempt_error (job, started_at, failed_at, worker, attempt, kind, message)
    SELECT job, started_at, pgjobq.clock(), worker, attempt, 'WorkerDied', $2::text FROM counted WHERE NOT unstarted
), ends AS (
    INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome)
    SELECT job, started_at, pgjobq.clock(), worker, attempt, 'f' FROM counted
    WHERE CASE WHEN NOT over THEN false
               WHEN (SELECT last_value > date_part('epoch', clock_timestamp()) * 1000 FROM pgjobq.watched_until)
               THEN pgjobq.ended(job, true) ELSE true END
), later AS (
    INSERT INTO pgjobq.scheduled (job, run_at, priority, attempt, spared, queue, waits_for)
    SELECT job, pgjobq.clock() + make_interval(secs => least(2 ^ least(spent - 1, 10) - 1, 60)),
           priority, attempt, spared, queue, ahead
    FROM counted WHERE NOT unstarted AND NOT over AND spent > 1
), soon AS (
    INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
    SELECT nextval('pgjobq.job_id_seq'), job, priority, attempt - unstarted::int, spared, queue
    FROM counted WHERE (unstarted OR (NOT over AND spent <= 1)) AND ahead IS NULL
), waiting AS (
    INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
    SELECT job, pgjobq.clock(), priority, attempt - unstarted::int, spared, queue, ahead
    FROM counted WHERE (unstarted OR (NOT over AND spent <= 1)) AND ahead IS NOT NULL
), looks AS (
    INSERT INTO pgjobq.gate_look (key)
    SELECT DISTINCT pgjobq.gate_line(g.gate) FROM counted c CROSS JOIN jsonb_array_elements(c.gates) AS g(gate)
), gone AS (
    DELETE FROM pgjobq.worker w USING dead WHERE w.id = dead.id
), told AS MATERIALIZED (
    SELECT count(pgjobq.wake(queue)) FROM (SELECT DISTINCT queue FROM counted WHERE NOT over) q
    UNION ALL
    SELECT count(pgjobq.wake_at(pgjobq.clock())) FROM (SELECT FROM counted WHERE NOT over LIMIT 1) q
)
SELECT job, worker::text, task, attempt, max_attempts, over, unstarted
FROM counted WHERE (SELECT count(*) FROM told) IS NOT NULL

-- name: find_old
-- Where the old jobs stand: the numbers of stretches of 64 pages of `finished`, from up to $1 rows: succeeded jobs older
-- than $2 seconds (the BRIN index leads to them, as long as the table's pages have not been used again; then the whole
-- table may be read), failed ones older than $3 and cancelled ones older than $2 (NULL: kept for ever).
WITH mine AS MATERIALIZED (
    SELECT WHERE pg_try_advisory_xact_lock(hashtextextended('pgjobq:retain', 0))
)
SELECT DISTINCT (((f.place::text)::point)[0])::bigint / 64 AS stretch
FROM (
    (SELECT ctid AS place FROM pgjobq.finished
     WHERE outcome = 's' AND finished_at < pgjobq.clock() - make_interval(secs => $2::float8)
       AND EXISTS (SELECT FROM mine) LIMIT $1::int)
    UNION ALL
    (SELECT ctid FROM pgjobq.finished
     WHERE outcome <> 's' AND finished_at < pgjobq.clock() - make_interval(secs => least($2::float8, $3::float8))
       AND finished_at < pgjobq.clock() - make_interval(secs => CASE outcome WHEN 'f' THEN $3::float8 ELSE $2::float8 END)
       AND EXISTS (SELECT FROM mine) LIMIT $1::int)
) f
ORDER BY stretch

-- name: retain
-- Delete up to $1 finished jobs that stand from $4 to before $5 in their table: succeeded and cancelled ones older than
-- $2 seconds, failed ones older than $3 (NULL: kept for ever). Returns how many. By place, because a search for what is
-- old walks over everything deleted since the last vacuum, each time anew.
WITH mine AS MATERIALIZED (
    SELECT WHERE pg_try_advisory_xact_lock(hashtextextended('pgjobq:retain', 0))
), old AS (
    DELETE FROM pgjobq.finished WHERE ctid = ANY (ARRAY(
        SELECT f.ctid FROM pgjobq.finished f
        WHERE EXISTS (SELECT FROM mine)
          AND f.ctid >= $4::tid AND f.ctid < $5::tid
          AND NOT ((SELECT EXISTS (SELECT FROM pgjobq.member)) AND EXISTS (  -- kept until its workflow has ended
              SELECT FROM pgjobq.member m JOIN pgjobq.workflow w ON w.id = m.workflow
              WHERE m.job = f.job AND m.counted AND w.ended_at IS NULL))
          AND f.finished_at < pgjobq.clock() - make_interval(secs => CASE f.outcome WHEN 'f' THEN $3::float8 ELSE $2::float8 END)
        LIMIT $1::int FOR UPDATE SKIP LOCKED))
    RETURNING job, attempt > 1 OR outcome <> 's' AS may_have_errors
), errors AS (
    DELETE FROM pgjobq.attempt_error WHERE job = ANY (ARRAY(SELECT job FROM old WHERE may_have_errors))
), dependencies AS (
    DELETE FROM pgjobq.dependency
    WHERE job = ANY (ARRAY(SELECT job FROM old WHERE (SELECT EXISTS (SELECT FROM pgjobq.dependency))))
), members AS (
    DELETE FROM pgjobq.member
    WHERE job = ANY (ARRAY(SELECT job FROM old WHERE (SELECT EXISTS (SELECT FROM pgjobq.member))))
), steps AS (
    DELETE FROM pgjobq.step WHERE job = ANY (ARRAY(SELECT job FROM old WHERE (SELECT EXISTS (SELECT FROM pgjobq.step))))
), progress AS (
    DELETE FROM pgjobq.progress
    WHERE job = ANY (ARRAY(SELECT job FROM old WHERE (SELECT EXISTS (SELECT FROM pgjobq.progress))))
), checkpoints AS (
    DELETE FROM pgjobq.checkpoint
    WHERE job = ANY (ARRAY(SELECT job FROM old WHERE (SELECT EXISTS (SELECT FROM pgjobq.checkpoint))))
), facts AS (
    DELETE FROM pgjobq.job WHERE id = ANY (ARRAY(SELECT job FROM old))  -- sorted: half the cost of a join
), keys AS (
    DELETE FROM pgjobq.unique_key WHERE ctid = ANY (ARRAY(      -- never waiting: enqueuing takes keys in their order
        SELECT u.ctid FROM pgjobq.unique_key u
        WHERE u.job = ANY (ARRAY(SELECT job FROM old)) AND (u.until IS NULL OR u.until < pgjobq.clock())
        FOR UPDATE SKIP LOCKED))
)
SELECT count(*) FROM old

-- name: follow_orders
-- End the pauses whose time is over, and see after the jobs that were to be cancelled.
SELECT pgjobq.end_pauses(), pgjobq.follow_cancels()

-- name: expire
-- End up to $1 jobs that have expired. Returns at how many it looked.
SELECT pgjobq.expire($1::int)

-- name: follow_limits
-- See after the limits of waiting jobs: lanes that were opened while one was set, queues that are full no more.
SELECT pgjobq.follow_limits()

-- name: age
-- Let jobs rise that have waited long enough, up to $1 of each lane. Returns how many there were in the lane with the most.
SELECT pgjobq.age($1::int)

-- name: drop_keys
-- Delete up to $1 unique keys that were taken for a period, which is over, by jobs that are gone.
DELETE FROM pgjobq.unique_key WHERE ctid = ANY (ARRAY(
    SELECT u.ctid FROM pgjobq.unique_key u
    WHERE u.until < pgjobq.clock() AND NOT EXISTS (SELECT FROM pgjobq.job j WHERE j.id = u.job)
    LIMIT $1::int FOR UPDATE OF u SKIP LOCKED))

-- name: drop_workflows
-- Delete up to $1 workflows that ended $2 seconds ago or earlier and have no job any more.
DELETE FROM pgjobq.workflow WHERE id = ANY (ARRAY(
    SELECT w.id FROM pgjobq.workflow w
    WHERE w.ended_at < pgjobq.clock() - make_interval(secs => $2::float8)
      AND NOT EXISTS (SELECT FROM pgjobq.member m WHERE m.workflow = w.id)
    LIMIT $1::int FOR UPDATE OF w SKIP LOCKED))

-- name: tidy_lanes
-- Drop doubles among the lanes (two transactions may have opened the same one).
DELETE FROM pgjobq.lane a USING pgjobq.lane b
WHERE a.queue = b.queue AND a.priority = b.priority AND a.ctid > b.ctid
  AND pg_try_advisory_xact_lock(hashtextextended('pgjobq:lanes', 0))

-- name: find_lanes
-- A lane is only a hint: re-open any that has ready jobs but is not listed, by hopping through the index of `ready`.
WITH RECURSIVE hop AS (
    (SELECT queue, priority FROM pgjobq.ready ORDER BY queue, priority LIMIT 1)
    UNION ALL
    SELECT next.queue, next.priority FROM hop CROSS JOIN LATERAL (
        SELECT r.queue, r.priority FROM pgjobq.ready r WHERE (r.queue, r.priority) > (hop.queue, hop.priority)
        ORDER BY r.queue, r.priority LIMIT 1) next
)
SELECT count(pgjobq.open_lane(queue, priority)) FROM hop

-- name: vacuum
-- Outside a transaction. The launcher of autovacuum looks once a minute; under load these need it every second (8 ms).
VACUUM (TRUNCATE OFF, INDEX_CLEANUP ON, SKIP_LOCKED) pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked,
    pgjobq.gate_pass, pgjobq.gate_look, pgjobq.gate_meter, pgjobq.gate_share

-- name: vacuum_running
-- In between, while leases come and go by the ten thousand. Not `ready`: the index of a deep backlog would be read each time.
VACUUM (TRUNCATE OFF, INDEX_CLEANUP ON, SKIP_LOCKED) pgjobq.running

-- name: may_vacuum
-- VACUUM as anybody but the owner, or (from PostgreSQL 17 on) whoever was granted MAINTAIN, warns and does nothing.
SELECT pg_has_role(current_user, c.relowner, 'USAGE')
       OR CASE WHEN current_setting('server_version_num')::int >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END
FROM pg_class c WHERE c.oid = 'pgjobq.ready'::regclass

-- name: churned
-- Whether the churning tables have enough dead rows for a vacuum to pay (statistics arrive about once a second).
SELECT coalesce(sum(s.n_dead_tup), 0) > 500 FROM pg_stat_all_tables s
WHERE s.schemaname = 'pgjobq' AND s.relname IN ('ready', 'running', 'scheduled', 'blocked', 'gate_pass', 'gate_look', 'gate_meter', 'gate_share')

-- name: forget_awaited
-- Those who waited for the end of a job are gone, or have been told.
DELETE FROM pgjobq.awaited WHERE until < clock_timestamp()

-- name: release
-- Let up to $1 jobs go whose predecessors have ended as they need it, and cancel those for which that cannot be any more; let up
-- to $1 events happen, and have those jobs run that waited for one.
SELECT pgjobq.release($1::int) + pgjobq.deliver($1::int)

-- name: write_history
-- Count the minutes that are over. Seconds until there is another one.
SELECT pgjobq.write_history()

-- name: watch_dependencies
-- And events that are to be forgotten, or were overlooked.
SELECT pgjobq.watch_dependencies(), pgjobq.watch_workflows(), pgjobq.tend_events()

-- name: look_at_workflows
-- Look at the workflows at which somebody should, up to $1 notes. Returns how many these were.
SELECT pgjobq.look_at_workflows($1::int)

-- name: is_at_work
-- Whether the server process $1 is busy with a statement.
SELECT true FROM pg_stat_activity WHERE pid = $1::int AND state = 'active'
