-- What operators do and look at, for operations.py: like jobs.sql, every parameter and every column is text.

-- name: pause
SELECT pgjobq.pause($1::text, $2::text, $3::text, coalesce($4::text::timestamptz,
                    pgjobq.clock() + make_interval(secs => $6::text::float8)), $5::text)::text

-- name: resume
SELECT pgjobq.resume($1::text, $2::text, $3::text)::text

-- name: paused
SELECT to_jsonb(p)::text FROM pgjobq.paused p
WHERE p.until IS NULL OR p.until > pgjobq.clock() ORDER BY p.kind, p.name

-- name: limit_queue
SELECT pgjobq.limit_queue($1::text, $2::text::int, $3::text, $4::text)::text

-- name: unlimit_queue
SELECT pgjobq.unlimit_queue($1::text, $2::text)::text

-- name: limits
SELECT jsonb_build_object('queue', l.queue, 'waiting', l.waiting, 'when_full', l.when_full, 'set_at', l.set_at, 'who', l.who,
    'now', (SELECT count(*) FROM pgjobq.ready r WHERE r.queue = l.queue)
           + (SELECT count(*) FROM pgjobq.blocked b WHERE b.queue = l.queue)
           + (SELECT count(*) FROM pgjobq.scheduled s WHERE s.queue = l.queue))::text
FROM pgjobq.queue_limit l WHERE l.waiting IS NOT NULL ORDER BY l.queue

-- name: cancel_running
SELECT pgjobq.cancel_running($1::text::bigint, $2::text, $3::text)::text

-- name: audit
-- Newest first; $1: only older than this entry; $2: how many.
SELECT to_jsonb(a)::text FROM pgjobq.audit a
WHERE $1::text IS NULL OR a.id < $1::text::bigint ORDER BY a.id DESC LIMIT $2::text::int

-- name: candidates_succeeded
-- Which jobs are in a state: what a search for such jobs starts from (statements/operate.py).
SELECT f.job FROM pgjobq.finished f WHERE f.outcome = 's'

-- name: candidates_failed
SELECT f.job FROM pgjobq.finished f WHERE f.outcome = 'f'

-- name: candidates_cancelled
SELECT f.job FROM pgjobq.finished f WHERE f.outcome = 'c'

-- name: candidates_ended_badly
SELECT f.job FROM pgjobq.finished f WHERE f.outcome = 'f' UNION ALL SELECT f.job FROM pgjobq.finished f WHERE f.outcome = 'c'

-- name: candidates_running
SELECT x.job FROM pgjobq.running x

-- name: candidates_scheduled
SELECT s.job FROM pgjobq.scheduled s

-- name: candidates_blocked
SELECT b.job FROM pgjobq.blocked b

-- name: candidates_ready
SELECT r.job FROM pgjobq.ready r

-- name: depths
-- Jobs that ended badly and come after others that did: after how many whole workflows, one after the other. Two workflows that
-- wait for each other are no more than a hundred deep.
WITH RECURSIVE below AS (
    SELECT d.job, 1 AS wholes FROM pgjobq.finished f JOIN pgjobq.dependency d ON d.job = f.job JOIN pgjobq.workflow w ON w.id = d.on_job
    WHERE f.outcome <> 's'
    UNION
    SELECT n.job, b.wholes + n.more FROM below b CROSS JOIN LATERAL (
        SELECT d.job, 0 AS more FROM pgjobq.dependency d WHERE d.on_job = b.job
        UNION ALL
        SELECT d.job, 1 FROM pgjobq.member m JOIN pgjobq.dependency d ON d.on_job = m.workflow WHERE m.job = b.job AND m.counted) n
    JOIN pgjobq.finished f ON f.job = n.job AND f.outcome <> 's' WHERE b.wholes < 100
) SELECT b.job, max(b.wholes) AS wholes FROM below b GROUP BY b.job

-- name: act
-- Do $1 to the jobs $2 (ids); $3 is written to the audit, with $4, who wants it; $5: the queue to move to.
SELECT pgjobq.act($1::text, $2::text::bigint[], $3::text::jsonb, $4::text, $5::text)::text

-- name: queues
-- One row a queue: what waits and runs in it, since when its oldest ready job waits, and who serves it.
WITH placed AS (
    SELECT queue, count(*) AS ready, 0 AS running, 0 AS scheduled, 0 AS blocked, min(job) AS first
    FROM pgjobq.ready GROUP BY queue
    UNION ALL
    SELECT j.queue, 0, count(*), 0, 0, NULL FROM pgjobq.running x JOIN pgjobq.job j ON j.id = x.job GROUP BY j.queue
    UNION ALL
    SELECT queue, 0, 0, count(*), 0, NULL FROM pgjobq.scheduled GROUP BY queue
    UNION ALL
    SELECT queue, 0, 0, 0, count(*), NULL FROM pgjobq.blocked GROUP BY queue
    UNION ALL
    SELECT DISTINCT queue, 0, 0, 0, 0, NULL::bigint FROM pgjobq.lane
    UNION ALL
    SELECT name, 0, 0, 0, 0, NULL FROM pgjobq.paused WHERE kind = 'queue'
), summed AS (
    SELECT queue, sum(ready) AS ready, sum(running) AS running, sum(scheduled) AS scheduled, sum(blocked) AS blocked,
           min(first) AS first
    FROM placed GROUP BY queue
)
SELECT jsonb_build_object(
    'name', s.queue, 'ready', s.ready, 'running', s.running, 'scheduled', s.scheduled, 'blocked', s.blocked,
    'oldest', (SELECT j.created_at FROM pgjobq.job j WHERE j.id = s.first),
    'workers', (SELECT count(*) FROM pgjobq.worker w WHERE w.expires_at > now()
                AND (w.queues = '{}' OR s.queue = ANY (w.queues))),
    'paused', EXISTS (SELECT FROM pgjobq.paused p WHERE p.kind = 'queue' AND p.name = s.queue
                      AND (p.until IS NULL OR p.until > pgjobq.clock())))::text
FROM summed s ORDER BY s.queue

-- name: workers
SELECT (to_jsonb(w) || jsonb_build_object(
    'alive', w.expires_at > now(),
    'running', (SELECT count(*) FROM pgjobq.running x WHERE x.worker = w.id)))::text
FROM pgjobq.worker w ORDER BY w.started_at, w.id

-- name: stats
-- Exact but for `succeeded`, which would have to be counted row by row: what the last ANALYZE saw, less the others.
SELECT jsonb_build_object(
    'ready', (SELECT count(*) FROM pgjobq.ready), 'running', (SELECT count(*) FROM pgjobq.running),
    'scheduled', (SELECT count(*) FROM pgjobq.scheduled), 'blocked', (SELECT count(*) FROM pgjobq.blocked),
    'failed', b.failed, 'cancelled', b.cancelled,
    'succeeded', greatest(0, (SELECT c.reltuples::bigint FROM pg_class c WHERE c.oid = 'pgjobq.finished'::regclass)
                             - b.failed - b.cancelled),
    'finished_last_minute', (SELECT count(*) FROM pgjobq.finished f
                             WHERE f.finished_at > pgjobq.clock() - interval '1 minute'),
    'failed_last_hour', (SELECT count(*) FROM pgjobq.finished f
                         WHERE f.outcome = 'f' AND f.outcome <> 's' AND f.finished_at > pgjobq.clock() - interval '1 hour'),
    'workers', (SELECT count(*) FROM pgjobq.worker w WHERE w.expires_at > now()))::text
FROM (SELECT count(*) FILTER (WHERE f.outcome = 'f') AS failed, count(*) FILTER (WHERE f.outcome = 'c') AS cancelled
      FROM pgjobq.finished f WHERE f.outcome <> 's') b

-- name: clock
SELECT extract(epoch FROM pgjobq.clock())::text

-- name: explain
-- All that tells why a job ($1) is where it is.
SELECT jsonb_build_object(
    'job', to_jsonb(v), 'now', pgjobq.clock(),
    'waits_for', (SELECT b.waits_for FROM pgjobq.blocked b WHERE b.job = v.id),
    'gate', (SELECT pgjobq.gate_figures(coalesce(e.gate, jsonb_build_object('key', b.key))) || jsonb_build_object(
                 'key', b.key, 'share', e.gate ->> 'share',
                 'holders', (SELECT coalesce(jsonb_agg(jsonb_build_object('job', x.job, 'task', x.task, 'ref', x.ref, 'state', x.state)
                                                       ORDER BY x.job), '[]')
                             FROM (SELECT h.id AS job, h.task, h.ref, h.state    -- as in pass_counts()
                                   FROM pgjobq.gate_pass p JOIN pgjobq.jobs h ON h.id = p.job
                                   WHERE p.key = b.key AND (h.state = 'running'
                                       OR (h.state = 'ready' AND EXISTS (SELECT FROM pgjobq.ready r WHERE r.job = h.id AND r.seq <> r.job))
                                       OR EXISTS (SELECT FROM pgjobq.blocked o WHERE o.job = h.id AND o.waits_for <> 'jobs'
                                                  AND (p.keeps OR NOT (starts_with(o.waits_for, 'gate:') OR starts_with(o.waits_for, 'event:'))))
                                       OR (p.keeps AND h.state = 'scheduled'))
                                   ORDER BY h.id LIMIT 100) x),
                 'before', (SELECT count(*) FROM (SELECT FROM pgjobq.blocked o
                            WHERE o.waits_for = b.waits_for AND o.job < b.job LIMIT 100000) x))
             FROM (SELECT w.job, w.waits_for, split_part(substr(w.waits_for, 6), chr(31), 1) AS key FROM pgjobq.blocked w
                   WHERE w.job = v.id AND starts_with(w.waits_for, 'gate:')) b
             LEFT JOIN LATERAL (SELECT x.gate FROM pgjobq.job j CROSS JOIN LATERAL jsonb_array_elements(j.gates) AS x(gate)
                                WHERE j.id = b.job AND x.gate ->> 'key' = b.key LIMIT 1) e ON true),
    'after', (SELECT coalesce(jsonb_agg(jsonb_build_object('job', x.id, 'task', x.task, 'ref', x.ref, 'state', x.state,
                                                           'needs', x.needs) ORDER BY x.id), '[]')
              FROM (SELECT o.id, o.task, o.ref, o.state, d.needs
                    FROM pgjobq.dependency d JOIN pgjobq.jobs o ON o.id = d.on_job
                    WHERE d.job = v.id AND v.state = 'blocked' AND o.finished_at IS NULL ORDER BY o.id LIMIT 100) x),
    'pauses', (SELECT coalesce(jsonb_agg(to_jsonb(p)), '[]') FROM pgjobq.paused p
               WHERE (p.kind, p.name) IN (('queue', v.queue), ('task', v.task))
                 AND (p.until IS NULL OR p.until > pgjobq.clock())),
    'alive', (SELECT count(*) FROM pgjobq.worker w WHERE w.expires_at > now()),
    'serving', (SELECT count(*) FROM pgjobq.worker w
                WHERE w.expires_at > now() AND (w.queues = '{}' OR v.queue = ANY (w.queues))),
    'knowing', (SELECT count(*) FROM pgjobq.worker w WHERE w.expires_at > now()
                AND (w.queues = '{}' OR v.queue = ANY (w.queues)) AND v.task = ANY (w.tasks)),
    'ahead', (SELECT count(*) FROM (
                  SELECT FROM pgjobq.ready r WHERE r.queue = v.queue
                    AND (r.priority < mine.priority OR (r.priority = mine.priority AND r.seq < mine.seq))
                  LIMIT 100000) x),
    'level', mine.priority,
    'pace', (SELECT count(*) FROM pgjobq.finished f WHERE f.finished_at > pgjobq.clock() - interval '1 minute') / 60.0,
    'holder', (SELECT w.host || ' (pid ' || w.pid || ')' FROM pgjobq.worker w WHERE w.id = v.worker::uuid),
    'lease_over', (SELECT NOT EXISTS (SELECT FROM pgjobq.worker w WHERE w.id = v.worker::uuid AND w.expires_at > now())),
    'workflow', (SELECT jsonb_build_object('id', w.id, 'name', w.name)
                 FROM pgjobq.member m JOIN pgjobq.workflow w ON w.id = m.workflow WHERE m.job = v.id),
    'wholes', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', w.id, 'name', w.name) ORDER BY w.id), '[]')
               FROM pgjobq.pending p JOIN pgjobq.workflow w ON w.id = p.on_job WHERE p.job = v.id),
    'cancel_requested', EXISTS (SELECT FROM pgjobq.cancel_request c WHERE c.job = v.id),
    'failures', (SELECT count(*) FROM pgjobq.attempt_error e WHERE e.job = v.id),
    'error', (SELECT e.kind || ': ' || e.message FROM pgjobq.attempt_error e WHERE e.job = v.id
              ORDER BY e.failed_at DESC LIMIT 1))::text
FROM pgjobq.jobs v
LEFT JOIN LATERAL (
    SELECT r.priority, r.seq FROM pgjobq.ready r
    WHERE r.queue = v.queue AND r.priority = v.priority AND r.seq = v.id
    UNION ALL
    SELECT r.priority, r.seq FROM pgjobq.ready r WHERE r.job = v.id AND r.seq <> r.job
    LIMIT 1) mine ON true
WHERE v.id = $1::text::bigint

-- name: doctor_indexes
SELECT c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relnamespace = 'pgjobq'::regnamespace

-- name: doctor_settings
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'autovacuum', 'track_counts', 'synchronous_commit', 'max_connections')
UNION ALL
SELECT 'connections', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::text

-- name: doctor_autovacuum
-- The tables that churn: whether autovacuum is off for them, whether they have our settings; the age of the oldest row.
SELECT c.oid::regclass::text, coalesce('autovacuum_enabled=false' = ANY (c.reloptions)
                                       OR 'autovacuum_enabled=off' = ANY (c.reloptions), false),
       coalesce(array_to_string(c.reloptions, ' ') LIKE '%autovacuum_vacuum_scale_factor=0%', false),
       ARRAY[(SELECT age(d.datfrozenxid)::bigint FROM pg_database d WHERE d.datname = current_database()),
             current_setting('autovacuum_freeze_max_age')::bigint]
FROM pg_class c WHERE c.relnamespace = 'pgjobq'::regnamespace AND c.relname IN ('ready', 'running', 'scheduled', 'blocked')
ORDER BY c.relname

-- name: doctor_transactions
-- Who keeps rows from being removed, for how many seconds, and how.
SELECT * FROM (
    SELECT coalesce(nullif(a.application_name, ''), 'pid ' || a.pid)::text AS who,
           extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds, coalesce(a.state, 'unknown') AS kind
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.xact_start IS NOT NULL AND a.pid <> pg_backend_pid()
      AND a.backend_type = 'client backend'
    UNION ALL
    SELECT p.gid, extract(epoch FROM clock_timestamp() - p.prepared)::float8, 'prepared transaction'
    FROM pg_prepared_xacts p WHERE p.database = current_database()) t
ORDER BY seconds DESC

-- name: doctor_replication
-- What else keeps rows from being removed: slots of replication, and standbys that say what they still read. For how many
-- transactions; of a slot also how much WAL it keeps, in bytes.
SELECT 'slot ' || s.slot_name AS who, s.active,
       greatest(age(s.xmin), age(s.catalog_xmin))::bigint AS transactions,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint END AS wal
FROM pg_replication_slots s
UNION ALL
SELECT 'standby ' || coalesce(nullif(r.application_name, ''), 'pid ' || r.pid), true, age(r.backend_xmin)::bigint, NULL
FROM pg_stat_replication r WHERE r.backend_xmin IS NOT NULL
ORDER BY 3 DESC NULLS LAST, 1

-- name: doctor_bloat
SELECT s.relname::text, s.n_live_tup, s.n_dead_tup FROM pg_stat_all_tables s
WHERE s.schemaname = 'pgjobq' AND s.relname IN ('ready', 'running', 'scheduled', 'blocked')

-- name: doctor_unknown
SELECT waits_for, count(*) FROM pgjobq.blocked WHERE starts_with(waits_for, 'task:') GROUP BY 1 ORDER BY 2 DESC LIMIT 5

-- name: doctor_searches
-- About how many jobs there are, and whether an index leads to their arguments.
SELECT c.reltuples::bigint, EXISTS (
    SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
    WHERE i.indrelid = c.oid AND i.indisvalid AND m.amname = 'gin'
      AND (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'args') = ANY (i.indkey))
FROM pg_class c WHERE c.oid = 'pgjobq.job'::regclass

-- name: doctor_clock
SELECT extract(epoch FROM clock_timestamp())::text
