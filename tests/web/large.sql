-- Read by large.py, with %(ended)s jobs that have ended, %(waiting)s that wait, %(workers)s workers with 20 jobs each.
INSERT INTO pgjobq.job (id, created_at, priority, max_attempts, queue, task, args, ref, tags)
SELECT nextval('pgjobq.job_id_seq'), now() - make_interval(secs => 259200.0 * (1 - i / (%(ended)s + %(waiting)s)::float8)), 0, 8,
       (ARRAY['mail', 'default', 'merchants', 'reports', 'images'])[1 + i %% 5],
       (ARRAY['send_confirmation', 'charge_card', 'notify_merchant', 'build_report', 'make_thumbnail'])[1 + i %% 5],
       jsonb_build_object('order_id', i / 4, 'customer', jsonb_build_object('name', 'customer ' || i %% 5000, 'id', i %% 5000)),
       'order:' || i / 4, CASE i %% 10 WHEN 0 THEN '{monthly}'::text[] END
FROM generate_series(1, %(ended)s + %(waiting)s + 20 * %(workers)s) i;
INSERT INTO pgjobq.worker (id, started_at, beat_at, expires_at, pid, concurrency, host, app, version, queues, tasks)
SELECT gen_random_uuid(), now() - interval '5 hours', now(), now() + interval '1 day', 4000 + i, 20, 'web-' || i %% 5,
       'shop.jobs:queue', '0.2.0', '{}', '{send_confirmation,charge_card}'
FROM generate_series(1, %(workers)s) i;
INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome, result)
SELECT j.id, j.created_at + interval '40 ms', j.created_at + make_interval(secs => 0.2 + random()), w.id, 1,
       CASE WHEN j.id %% 100 = 0 THEN 'f' WHEN j.id %% 997 = 0 THEN 'c' ELSE 's' END::"char", NULL
FROM pgjobq.job j CROSS JOIN (SELECT id FROM pgjobq.worker LIMIT 1) w
WHERE j.id <= (SELECT min(id) FROM pgjobq.job) + %(ended)s - 1;
INSERT INTO pgjobq.attempt_error (job, started_at, failed_at, worker, attempt, kind, message, traceback)
SELECT f.job, f.started_at, f.finished_at, f.worker, 1, (ARRAY['KeyError', 'httpx.ReadTimeout', 'ValueError'])[1 + f.job %% 3],
       'order ' || f.job || ' was refused by host ' || f.job %% 7, repeat('  File "shop/tasks.py", line 41' || E'\n', 12)
FROM pgjobq.finished f WHERE f.outcome = 'f';
WITH rest AS MATERIALIZED (
    SELECT j.id, j.queue, j.priority, row_number() OVER (ORDER BY j.id) AS n FROM pgjobq.job j
    WHERE j.id > (SELECT max(job) FROM pgjobq.finished)
), running AS (
    INSERT INTO pgjobq.running (job, started_at, worker, attempt, spared)
    SELECT r.id, now() - interval '2 s', w.id, 1, 0 FROM rest r
    JOIN (SELECT id, row_number() OVER () AS n FROM pgjobq.worker) w ON w.n = 1 + r.n %% %(workers)s
    WHERE r.n <= 20 * %(workers)s
), scheduled AS (
    INSERT INTO pgjobq.scheduled (job, queue, run_at, attempt, priority)
    SELECT id, queue, now() + make_interval(secs => n), 0, priority FROM rest
    WHERE n > 20 * %(workers)s AND n %% 4 = 0
)
INSERT INTO pgjobq.ready (seq, job, queue, priority, attempt)
SELECT id, id, queue, priority, 0 FROM rest WHERE n > 20 * %(workers)s AND n %% 4 <> 0;
INSERT INTO pgjobq.lane SELECT DISTINCT queue, priority FROM pgjobq.job;
INSERT INTO pgjobq.history (minute, queue, started, succeeded, failed, cancelled, errors, run_seconds, run, ready, oldest)
SELECT date_bin('1 minute', now(), 'epoch') - make_interval(mins => m), q, 46, 45, 1, 0, 1, 20,
       ARRAY[0, 0, 0, 0, 0, 15, 15, 15, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 100, 12
FROM generate_series(1, 4319) m CROSS JOIN unnest(ARRAY['mail', 'default', 'merchants', 'reports', 'images']) q;
