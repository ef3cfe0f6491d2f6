-- What people look at: a dashboard's pages. Each statement is bounded whatever the tables hold: it reads an index from
-- where the page begins, counts up to a cap, and looks through so many candidates at a time and no more.

-- name: survey_counts
-- How many jobs stand where, each counted up to $1; `ended` is the planner's estimate for all that have ended.
SELECT json_build_object(
    'ready', (SELECT count(*) FROM (SELECT FROM pgjobq.ready LIMIT $1::text::int) x),
    'running', (SELECT count(*) FROM (SELECT FROM pgjobq.running LIMIT $1::text::int) x),
    'scheduled', (SELECT count(*) FROM (SELECT FROM pgjobq.scheduled LIMIT $1::text::int) x),
    'blocked', (SELECT count(*) FROM (SELECT FROM pgjobq.blocked LIMIT $1::text::int) x),
    'succeeded', (SELECT count(*) FROM (SELECT FROM pgjobq.finished WHERE outcome = 's' LIMIT $1::text::int) x),
    'failed', (SELECT count(*) FROM (SELECT FROM pgjobq.finished
                                     WHERE outcome = 'f' AND outcome <> 's' LIMIT $1::text::int) x),
    'cancelled', (SELECT count(*) FROM (SELECT FROM pgjobq.finished
                                        WHERE outcome = 'c' AND outcome <> 's' LIMIT $1::text::int) x),
    'ended', (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'pgjobq.finished'::regclass),
    'cap', $1::text::int)::text

-- name: survey_queues
-- Every queue that has jobs waiting, had some, or is named by a worker. Each count ends at $1. `oldest` is when the
-- first ready job was enqueued; jobs that became ready again do not tell since when they are (those that have
-- only risen by their age do).
WITH lanes AS (
    SELECT DISTINCT queue, priority FROM pgjobq.lane
), waiting AS (
    SELECT l.queue, least(sum(c.n), $1::text::int) AS ready, min(first.created_at) AS oldest
    FROM lanes l
    CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT FROM pgjobq.ready r
                                                   WHERE r.queue = l.queue AND r.priority = l.priority
                                                   LIMIT $1::text::int) x) c
    LEFT JOIN LATERAL (SELECT j.created_at FROM pgjobq.ready r JOIN pgjobq.job j ON j.id = r.job
                       WHERE r.queue = l.queue AND r.priority = l.priority AND (r.seq = r.job OR r.priority < j.priority)
                       ORDER BY r.seq LIMIT 1) first ON true
    GROUP BY l.queue
), later AS (
    SELECT queue, count(*) AS n FROM (SELECT queue FROM pgjobq.scheduled LIMIT $1::text::int) x GROUP BY queue
), held AS (
    SELECT queue, count(*) AS n FROM (SELECT queue FROM pgjobq.blocked LIMIT $1::text::int) x GROUP BY queue
), started AS (
    SELECT j.queue, count(*) AS n FROM pgjobq.running r JOIN pgjobq.job j ON j.id = r.job GROUP BY j.queue
), alive AS (
    SELECT queues FROM pgjobq.worker WHERE expires_at > pgjobq.clock()
), names AS (
    SELECT queue FROM lanes UNION SELECT queue FROM later UNION SELECT queue FROM held UNION SELECT queue FROM started
    UNION SELECT unnest(queues) FROM alive
)
SELECT json_build_object(
    'queue', n.queue, 'ready', coalesce(waiting.ready, 0), 'oldest', waiting.oldest,
    'running', coalesce(started.n, 0), 'scheduled', coalesce(later.n, 0), 'blocked', coalesce(held.n, 0),
    'workers', (SELECT count(*) FROM alive a WHERE a.queues = '{}' OR n.queue = ANY (a.queues)),
    'cap', $1::text::int)::text
FROM names n
LEFT JOIN waiting USING (queue) LEFT JOIN later USING (queue) LEFT JOIN held USING (queue) LEFT JOIN started USING (queue)
ORDER BY n.queue

-- name: survey_workers
-- The workers that are known, with the jobs each runs now (at most $1), longest first.
SELECT json_build_object(
    'id', w.id, 'host', w.host, 'pid', w.pid, 'app', w.app, 'version', w.version, 'concurrency', w.concurrency,
    'queues', w.queues, 'tasks', w.tasks, 'started_at', w.started_at, 'beat_at', w.beat_at,
    'alive', w.expires_at > pgjobq.clock(),
    'busy', (SELECT count(*) FROM pgjobq.running r WHERE r.worker = w.id),
    'running', coalesce((SELECT json_agg(x) FROM (
        SELECT r.job, j.task, j.queue, j.ref, r.attempt, r.started_at
        FROM pgjobq.running r JOIN pgjobq.job j ON j.id = r.job
        WHERE r.worker = w.id ORDER BY r.started_at LIMIT $1::text::int) x), '[]'))::text
FROM pgjobq.worker w ORDER BY w.app, w.host, w.pid

-- name: survey_gate_limits
SELECT json_build_object('key', g.key, 'concurrency', g.concurrency, 'rate', g.rate, 'quota', g.quota, 'weights', g.weights,
                         'set_at', g.set_at)::text FROM pgjobq.gate g ORDER BY g.key

-- name: survey_pulse
-- A text that changes when anything does that a page shows: what a live page waits for.
SELECT md5(concat_ws(' ',
    (SELECT max(id) FROM pgjobq.job),
    (SELECT count(*) FROM (SELECT FROM pgjobq.ready LIMIT 1000) x),
    (SELECT string_agg(concat_ws('/', job, attempt), ',' ORDER BY job)
     FROM (SELECT job, attempt FROM pgjobq.running ORDER BY job LIMIT 1000) x),
    (SELECT string_agg(concat_ws('/', job, attempt), ',' ORDER BY run_at, job)
     FROM (SELECT job, attempt, run_at FROM pgjobq.scheduled ORDER BY run_at, job LIMIT 100) x),
    (SELECT count(*) FROM (SELECT FROM pgjobq.blocked LIMIT 1000) x),
    (SELECT max(finished_at) FROM (SELECT finished_at FROM pgjobq.finished
                                   WHERE finished_at > pgjobq.clock() - interval '10 minutes') x),
    (SELECT count(*) FROM (SELECT FROM pgjobq.workflow WHERE ended_at IS NULL LIMIT 1000) x),
    (SELECT count(*) FROM pgjobq.worker WHERE expires_at > pgjobq.clock())))

-- name: fault_of
-- A failed job's latest error, as one row (task, kind, message); FAILED stands for its id.
SELECT j.task, coalesce(e.kind, '') AS kind, coalesce(e.message, f.reason, '') AS message
FROM pgjobq.finished f JOIN pgjobq.job j ON j.id = f.job
LEFT JOIN LATERAL (SELECT a.kind, a.message FROM pgjobq.attempt_error a
                   WHERE a.job = f.job ORDER BY a.attempt DESC, a.failed_at DESC LIMIT 1) e ON true
WHERE f.job = FAILED AND f.outcome = 'f'

-- name: fingerprint
-- Errors are the same when they differ in numbers, quoted texts and ids only.
substr(md5(concat_ws(' ', fault.task, fault.kind, regexp_replace(
    left(split_part(fault.message, E'\n', 1), 300),
    '"[^"]*"|''[^'']*''|[0-9a-f]{8}-[0-9a-f-]{20,}|\m0x[0-9a-f]+|\d+', '…', 'g'))), 1, 12)

-- name: survey_failures
-- The newest $1 failed jobs (of those before the key $2), grouped by what went wrong; the largest groups first. The last row
-- has no group: the key of the last job (NULL: there are no more) and how many there were. As in `look`, no more are looked at
-- after $3 seconds.
WITH latest AS MATERIALIZED (
    SELECT f.job, f.finished_at, row_number() OVER (ORDER BY f.finished_at DESC, f.job DESC) AS place FROM pgjobq.finished f
    WHERE f.outcome = 'f' AND f.outcome <> 's' AND (f.finished_at, f.job)
      < (coalesce(split_part($2::text, '|', 1)::timestamptz, 'infinity'), coalesce(split_part($2::text, '|', 2)::bigint, 9223372036854775807))
    ORDER BY f.finished_at DESC, f.job DESC LIMIT $1::text::int
), told AS MATERIALIZED (
    SELECT l.job, l.finished_at, l.place, fault.task, fault.kind, fault.message, FINGERPRINT AS fingerprint
    FROM (SELECT * FROM latest x
          WHERE x.place <= 50 OR clock_timestamp() < (SELECT statement_timestamp() + make_interval(secs => $3::text::float8))
          OFFSET 0) l
    CROSS JOIN LATERAL (FAULT_OF_L) fault
)
(SELECT json_build_object(
    'fingerprint', fingerprint, 'task', task, 'kind', kind, 'jobs', count(*),
    'message', (array_agg(message ORDER BY finished_at DESC))[1],
    'newest', (array_agg(job ORDER BY finished_at DESC))[1],
    'first_at', min(finished_at), 'last_at', max(finished_at))::text, NULL::text, NULL::text
 FROM told GROUP BY fingerprint, task, kind ORDER BY count(*) DESC, max(finished_at) DESC LIMIT 200)
UNION ALL
SELECT NULL, CASE WHEN (SELECT count(*) FROM latest) = $1::text::int OR (SELECT count(*) FROM told) < (SELECT count(*) FROM latest)
                  THEN (SELECT t.finished_at::text || '|' || t.job FROM told t ORDER BY t.place DESC LIMIT 1) END,
       (SELECT count(*)::text FROM told)

-- name: survey_between
-- From which id on jobs were enqueued at $1 or later, and before $2, roughly: halved until there is nothing between, since ids
-- grow with time. A statement that enqueues for minutes draws ids later than the time it began, which is what its jobs have: so
-- ten minutes are added on either side, and who asks looks at the times of what is between. Either may be NULL.
WITH RECURSIVE wanted AS (
    SELECT 0 AS edge, $1::text::timestamptz - interval '10 minutes' AS at
    UNION ALL SELECT 1, $2::text::timestamptz + interval '10 minutes'
), halves AS (                  -- what is up to `low` was enqueued before, what is from `high` on later
    SELECT w.edge, w.at, coalesce((SELECT min(id) FROM pgjobq.job), 1) - 1 AS low,
           coalesce((SELECT max(id) FROM pgjobq.job), 0) + 1 AS high
    FROM wanted w WHERE w.at IS NOT NULL
    UNION ALL
    SELECT h.edge, h.at, CASE WHEN m.created_at < h.at THEN m.id ELSE h.low END,
           CASE WHEN m.created_at < h.at THEN h.high ELSE h.low + (h.high - h.low + 1) / 2 END
    FROM halves h
    LEFT JOIN LATERAL (SELECT j.id, j.created_at FROM pgjobq.job j
                       WHERE j.id >= h.low + (h.high - h.low + 1) / 2 AND j.id < h.high ORDER BY j.id LIMIT 1) m ON true
    WHERE h.high - h.low > 1
)
SELECT coalesce((SELECT min(high) FROM halves WHERE edge = 0), 0)::text,
       coalesce((SELECT min(high) FROM halves WHERE edge = 1), 9223372036854775807)::text

-- name: look
-- A page of jobs: up to $2 candidates from SOURCE, in its order, those that pass every filter given, the first $10 of
-- them. The last row has no job: the key of the last candidate that was looked at (NULL: there are no more) and how many were,
-- so that a search goes on there. After $18 seconds no more are looked at, but for the first 50: one that has to be read from
-- the disk takes a hundred times as long.
-- SHOWN: what is told of each. $3 queue, $4 task, $5 ref, $6 tag, $7 text in ref, arguments or errors, $8 the arguments by task
-- that are not searched (NULL: search neither arguments nor errors), $9 fingerprint of the error, $11 workflow, $12 what the
-- arguments contain, $13 the worker that runs it or ran it last, $14 and $15 enqueued from when until when, $16 and $17 from
-- which id until which that may be. STATE: the condition on the state, where SOURCE has jobs of any.
WITH source AS MATERIALIZED (
    SOURCE
), looked AS MATERIALIZED (
    -- OFFSET 0: one probe for each candidate. The planner's own choice for a common queue is to read all of `job`.
    SELECT s.job, s.key, s.place, coalesce(j.passes, false) AS passes
    FROM (SELECT * FROM source x
          WHERE x.place <= 50 OR clock_timestamp() < (SELECT statement_timestamp() + make_interval(secs => $18::text::float8))
          OFFSET 0) s
    LEFT JOIN LATERAL (
        SELECT j.id >= $16::text::bigint AND j.id < $17::text::bigint
           AND ($3::text IS NULL OR j.queue = $3::text)
           AND ($4::text IS NULL OR j.task = $4::text)
           AND ($5::text IS NULL OR j.ref = $5::text)
           AND ($6::text IS NULL OR $6::text = ANY (j.tags))
           AND ($7::text IS NULL
               OR position(lower($7::text) IN lower(j.ref)) > 0
               OR $8::text IS NOT NULL AND (
                   CASE jsonb_typeof($8::text::jsonb -> j.task)
                       WHEN 'null' THEN false
                       WHEN 'array' THEN position(lower($7::text) IN lower(
                           (j.args - ARRAY(SELECT jsonb_array_elements_text($8::text::jsonb -> j.task)))::text)) > 0
                       ELSE position(lower($7::text) IN lower(j.args::text)) > 0 END
                   OR (SELECT true FROM pgjobq.attempt_error e WHERE e.job = j.id
                       AND position(lower($7::text) IN lower(e.kind || ': ' || e.message)) > 0 LIMIT 1)))
           AND ($9::text IS NULL OR $9::text = (SELECT FINGERPRINT FROM (FAULT_OF_S) fault))
           AND ($12::text IS NULL OR CASE jsonb_typeof($8::text::jsonb -> j.task)
                   WHEN 'null' THEN false
                   WHEN 'array' THEN (j.args - ARRAY(SELECT jsonb_array_elements_text($8::text::jsonb -> j.task))) @> $12::text::jsonb
                   ELSE j.args @> $12::text::jsonb END)
           AND ($13::text IS NULL OR (SELECT true FROM pgjobq.running r WHERE r.job = j.id AND r.worker = $13::text::uuid LIMIT 1)
               OR (SELECT true FROM pgjobq.finished f WHERE f.job = j.id AND f.worker = $13::text::uuid LIMIT 1))
           AND ($14::text IS NULL OR j.created_at >= $14::text::timestamptz)
           AND ($15::text IS NULL OR j.created_at < $15::text::timestamptz)
           AND ($11::text IS NULL OR (SELECT true FROM pgjobq.member w WHERE w.job = j.id AND w.workflow = $11::text::bigint LIMIT 1))
           AND STATE AS passes
        FROM pgjobq.job j WHERE j.id = s.job OFFSET 0) j ON true
), matched AS MATERIALIZED (
    SELECT l.job, l.key, l.place FROM looked l WHERE l.passes ORDER BY l.place LIMIT $10::text::int
), listed AS (
    SELECT SHOWN AS job, m.key, m.place FROM matched m
    UNION ALL
    SELECT NULL, CASE WHEN (SELECT count(*) FROM source) = $2::text::int OR (SELECT count(*) FROM looked) < (SELECT count(*) FROM source)
                      THEN (SELECT l.key FROM looked l ORDER BY l.place DESC LIMIT 1) END, (SELECT count(*) FROM looked)
)
SELECT l.job, l.key, l.place::text FROM listed l ORDER BY l.job IS NULL, l.place

-- name: shown_whole
(SELECT to_jsonb(v)::text FROM pgjobq.jobs v WHERE v.id = m.job)

-- name: shown_id
m.job::text

-- name: state_any
true

-- name: state_succeeded
-- Here and below, LIMIT 1 and no EXISTS: that would be turned into a hash of the whole table.
(SELECT true FROM pgjobq.finished f WHERE f.job = j.id AND f.outcome = 's' LIMIT 1)

-- name: state_failed
(SELECT true FROM pgjobq.finished f WHERE f.job = j.id AND f.outcome = 'f' LIMIT 1)

-- name: state_cancelled
(SELECT true FROM pgjobq.finished f WHERE f.job = j.id AND f.outcome = 'c' LIMIT 1)

-- name: state_running
(SELECT true FROM pgjobq.running x WHERE x.job = j.id LIMIT 1)

-- name: state_scheduled
(SELECT true FROM pgjobq.scheduled x WHERE x.job = j.id LIMIT 1)

-- name: state_blocked
(SELECT true FROM pgjobq.blocked x WHERE x.job = j.id LIMIT 1)

-- name: state_ready
coalesce((SELECT true FROM pgjobq.ready x WHERE x.queue = j.queue AND x.priority = j.priority AND x.seq = j.id LIMIT 1),
         (SELECT true FROM pgjobq.ready x WHERE x.job = j.id AND x.seq <> x.job LIMIT 1), false)

-- name: source_any
-- Here and below, coalesce() and no `$1 IS NULL OR`: a plan that is kept would read an index from its end to where it begins.
SELECT j.id AS job, j.id::text AS key, row_number() OVER (ORDER BY j.id DESC) AS place FROM pgjobq.job j
WHERE j.id < coalesce($1::text::bigint, 9223372036854775807) AND j.id >= $16::text::bigint AND j.id < $17::text::bigint
ORDER BY j.id DESC LIMIT $2::text::int

-- name: source_ref
SELECT j.id AS job, j.id::text AS key, row_number() OVER (ORDER BY j.id DESC) AS place FROM pgjobq.job j
WHERE j.ref = $5::text AND j.id < coalesce($1::text::bigint, 9223372036854775807)
  AND j.id >= $16::text::bigint AND j.id < $17::text::bigint ORDER BY j.id DESC LIMIT $2::text::int

-- name: source_workflow
SELECT w.job, w.job::text AS key, row_number() OVER (ORDER BY w.job DESC) AS place FROM pgjobq.member w
WHERE w.workflow = $11::text::bigint AND w.job < coalesce($1::text::bigint, 9223372036854775807)
  AND w.job >= $16::text::bigint AND w.job < $17::text::bigint ORDER BY w.job DESC LIMIT $2::text::int

-- name: source_ready
-- The last to become ready first. Each lane is read from its end: the table has no index across lanes. A job's number is its id
-- or one drawn later.
SELECT x.job, x.seq::text AS key, row_number() OVER (ORDER BY x.seq DESC) AS place
FROM (SELECT DISTINCT queue, priority FROM pgjobq.lane WHERE $3::text IS NULL OR queue = $3::text) l
CROSS JOIN LATERAL (SELECT r.job, r.seq FROM pgjobq.ready r WHERE r.queue = l.queue AND r.priority = l.priority
                    AND r.seq < coalesce($1::text::bigint, 9223372036854775807) AND r.seq >= $16::text::bigint
                    ORDER BY r.seq DESC LIMIT $2::text::int) x
ORDER BY x.seq DESC LIMIT $2::text::int

-- name: source_running
SELECT r.job, r.job::text AS key, row_number() OVER (ORDER BY r.job DESC) AS place FROM pgjobq.running r
WHERE r.job < coalesce($1::text::bigint, 9223372036854775807) AND r.job >= $16::text::bigint AND r.job < $17::text::bigint
ORDER BY r.job DESC LIMIT $2::text::int

-- name: source_blocked
SELECT b.job, b.job::text AS key, row_number() OVER (ORDER BY b.job DESC) AS place FROM pgjobq.blocked b
WHERE b.job < coalesce($1::text::bigint, 9223372036854775807) AND b.job >= $16::text::bigint AND b.job < $17::text::bigint
ORDER BY b.job DESC LIMIT $2::text::int

-- name: source_scheduled
-- The next that is due first.
SELECT s.job, s.run_at::text || '|' || s.job AS key, row_number() OVER (ORDER BY s.run_at, s.job) AS place
FROM pgjobq.scheduled s
WHERE (s.run_at, s.job)
      > (coalesce(split_part($1::text, '|', 1)::timestamptz, '-infinity'), coalesce(split_part($1::text, '|', 2)::bigint, 0))
ORDER BY s.run_at, s.job LIMIT $2::text::int

-- name: source_succeeded
SELECT f.job, f.job::text AS key, row_number() OVER (ORDER BY f.job DESC) AS place FROM pgjobq.finished f
WHERE f.outcome = 's' AND f.job < coalesce($1::text::bigint, 9223372036854775807)
  AND f.job >= $16::text::bigint AND f.job < $17::text::bigint ORDER BY f.job DESC LIMIT $2::text::int

-- name: source_failed
-- The last that failed first.
SELECT f.job, f.finished_at::text || '|' || f.job AS key,
       row_number() OVER (ORDER BY f.finished_at DESC, f.job DESC) AS place
FROM pgjobq.finished f
WHERE f.outcome = 'f' AND f.outcome <> 's' AND (f.finished_at, f.job)
      < (coalesce(split_part($1::text, '|', 1)::timestamptz, 'infinity'), coalesce(split_part($1::text, '|', 2)::bigint, 9223372036854775807))
ORDER BY f.finished_at DESC, f.job DESC LIMIT $2::text::int

-- name: source_cancelled
SELECT f.job, f.finished_at::text || '|' || f.job AS key,
       row_number() OVER (ORDER BY f.finished_at DESC, f.job DESC) AS place
FROM pgjobq.finished f
WHERE f.outcome = 'c' AND f.outcome <> 's' AND (f.finished_at, f.job)
      < (coalesce(split_part($1::text, '|', 1)::timestamptz, 'infinity'), coalesce(split_part($1::text, '|', 2)::bigint, 9223372036854775807))
ORDER BY f.finished_at DESC, f.job DESC LIMIT $2::text::int

-- name: source_failed_enqueued
-- Of some time: the last that was enqueued first.
SELECT f.job, f.job::text AS key, row_number() OVER (ORDER BY f.job DESC) AS place FROM pgjobq.finished f
WHERE f.outcome = 'f' AND f.outcome <> 's' AND f.job < coalesce($1::text::bigint, 9223372036854775807)
  AND f.job >= $16::text::bigint AND f.job < $17::text::bigint ORDER BY f.job DESC LIMIT $2::text::int

-- name: source_cancelled_enqueued
SELECT f.job, f.job::text AS key, row_number() OVER (ORDER BY f.job DESC) AS place FROM pgjobq.finished f
WHERE f.outcome = 'c' AND f.outcome <> 's' AND f.job < coalesce($1::text::bigint, 9223372036854775807)
  AND f.job >= $16::text::bigint AND f.job < $17::text::bigint ORDER BY f.job DESC LIMIT $2::text::int
