-- Read by large.py, with %(ended)s jobs that have ended (one in ten failed), %(waiting)s that wait, %(workers)s workers with 20
-- jobs each. What is which goes by a hash of the id, so that no filter meets its jobs side by side. Of a hundred jobs 99 are of
-- five queues, the others of 45 small ones.
INSERT INTO pgjobq.job (id, created_at, priority, max_attempts, queue, task, args, ref, tags)
SELECT nextval('pgjobq.job_id_seq'), now() - make_interval(secs => 259200.0 * (1 - i / (%(ended)s + %(waiting)s)::float8)), 0, 8,
       CASE WHEN h %% 100 = 99 THEN 'tenant-' || h / 100 %% 45
            ELSE (ARRAY['mail', 'default', 'merchants', 'reports', 'images'])[1 + h %% 5] END,
       CASE WHEN h %% 10000 = 7 THEN 'close_books'
            ELSE (ARRAY['send_confirmation', 'charge_card', 'notify_merchant', 'build_report', 'make_thumbnail'])[1 + h %% 5] END,
       jsonb_build_object('order_id', i / 4, 'customer', jsonb_build_object('name', 'customer ' || i %% 5000, 'id', i %% 5000)),
       CASE WHEN i %% 1000 = 0 THEN 'merchant:kiln' ELSE 'order:' || i / 4 END,
       CASE WHEN h %% 10 = 0 THEN '{monthly}'::text[] WHEN h %% 10000 = 1 THEN '{audited}' END
FROM (SELECT i, hashint8(i) & 2147483647 AS h FROM generate_series(1, %(ended)s + %(waiting)s + 20 * %(workers)s) i) x;
INSERT INTO pgjobq.worker (id, started_at, beat_at, expires_at, pid, concurrency, host, app, version, queues, tasks)
SELECT md5('worker ' || i)::uuid, now() - interval '5 hours', now(), now() + interval '1 day', 4000 + i, 20, 'web-' || i %% 5,
       'shop.jobs:queue', '0.2.0', '{}', '{send_confirmation,charge_card}'
FROM generate_series(1, %(workers)s) i;
INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome, result)
SELECT j.id, j.created_at + interval '40 ms', j.created_at + make_interval(secs => 0.2 + random()),
       md5('worker ' || 1 + j.id %% %(workers)s)::uuid, 1, CASE h %% 1000 / 100 WHEN 4 THEN 'f' ELSE CASE h %% 1000 WHEN 7 THEN 'c' ELSE 's' END END::"char", NULL
FROM (SELECT id, created_at, hashint8extended(id, 1) & 2147483647 AS h FROM pgjobq.job
      WHERE id <= (SELECT min(id) FROM pgjobq.job) + %(ended)s - 1) j ORDER BY j.id;
INSERT INTO pgjobq.attempt_error (job, started_at, failed_at, worker, attempt, kind, message, traceback)
SELECT f.job, f.started_at, f.finished_at, f.worker, 1, (ARRAY['KeyError', 'httpx.ReadTimeout', 'ValueError'])[1 + f.job %% 3],
       CASE WHEN f.job %% 5000 = 7 THEN 'the printer is on fire'
            ELSE 'order ' || f.job || ' was refused by host ' || chr(97 + f.job::int %% 17) END,
       repeat('  File "shop/tasks.py", line 41' || E'\n', 12)
FROM pgjobq.finished f WHERE f.outcome = 'f' ORDER BY f.job;
WITH rest AS MATERIALIZED (
    SELECT j.id, j.queue, j.priority, row_number() OVER (ORDER BY j.id) AS n FROM pgjobq.job j
    WHERE j.id > (SELECT max(job) FROM pgjobq.finished)
), running AS (
    INSERT INTO pgjobq.running (job, started_at, worker, attempt, spared)
    SELECT r.id, now() - interval '2 s', md5('worker ' || 1 + r.n %% %(workers)s)::uuid, 1, 0 FROM rest r
    WHERE r.n <= 20 * %(workers)s
), scheduled AS (
    INSERT INTO pgjobq.scheduled (job, queue, run_at, attempt, priority)
    SELECT id, queue, now() + make_interval(secs => n), 0, priority FROM rest
    WHERE n > 20 * %(workers)s AND n %% 4 = 0
), blocked AS (
    INSERT INTO pgjobq.blocked (job, since, priority, queue, waits_for)
    SELECT id, now() - interval '1 minute', priority, queue, CASE WHEN n %% 16 = 1 THEN 'jobs' ELSE 'gate:merchant:' || n / 8 %% 300 END FROM rest
    WHERE n > 20 * %(workers)s AND n %% 8 = 1
)
INSERT INTO pgjobq.ready (seq, job, queue, priority, attempt)
SELECT id, id, queue, priority, 0 FROM rest WHERE n > 20 * %(workers)s AND n %% 4 <> 0 AND n %% 8 <> 1;
UPDATE pgjobq.job j SET gates = jsonb_build_array(jsonb_build_object('key', substr(b.waits_for, 6), 'concurrency', 3))
FROM pgjobq.blocked b WHERE b.job = j.id AND starts_with(b.waits_for, 'gate:');
INSERT INTO pgjobq.gate_pass (key, job, keeps, token, attempt, since)
SELECT 'merchant:' || r.job %% 300, r.job, false, false, 0, now() FROM pgjobq.running r;
INSERT INTO pgjobq.dependency (job, on_job, needs)
SELECT b.job, f.job, 's' FROM pgjobq.blocked b CROSS JOIN LATERAL (SELECT r.job FROM pgjobq.running r ORDER BY r.job LIMIT 2) f
WHERE b.waits_for = 'jobs';
INSERT INTO pgjobq.pending (job, on_job, needs) SELECT job, on_job, needs FROM pgjobq.dependency;
INSERT INTO pgjobq.lane SELECT DISTINCT queue, priority FROM pgjobq.job;
-- A workflow of many jobs, half of them ended; a hundred that run, and a thousand that have ended, of ten jobs each.
WITH flow AS (
    INSERT INTO pgjobq.workflow (id, created_at, name, ref, open)
    SELECT nextval('pgjobq.job_id_seq'), now() - interval '1 day', 'month', 'books:2026-10', false RETURNING id
)
INSERT INTO pgjobq.member (job, workflow, counted)
SELECT j.job, flow.id, true FROM flow CROSS JOIN LATERAL (
    (SELECT f.job FROM pgjobq.finished f ORDER BY f.job DESC LIMIT %(members)s / 2)
    UNION ALL (SELECT b.job FROM pgjobq.blocked b ORDER BY b.job LIMIT %(members)s / 4)
    UNION ALL (SELECT r.job FROM pgjobq.ready r ORDER BY r.seq LIMIT %(members)s / 4)) j;
WITH flow AS (
    INSERT INTO pgjobq.workflow (id, created_at, name, ref, open, ended_at, started_at, succeeded)
    SELECT nextval('pgjobq.job_id_seq'), now() - interval '1 day', 'fulfil', 'order:' || i, false,
           CASE WHEN i > 100 THEN now() - interval '1 hour' END, now() - interval '1 day', 10 FROM generate_series(1100, 1, -1) i RETURNING id
)
INSERT INTO pgjobq.member (job, workflow, counted)
SELECT m.job, flow.id, true FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM flow) flow
CROSS JOIN LATERAL (SELECT (SELECT min(id) FROM pgjobq.job) + flow.n * 10 + k AS job FROM generate_series(0, 9) k) m
ON CONFLICT DO NOTHING;                     -- where few jobs were asked for
INSERT INTO pgjobq.audit (at, who, what, jobs, about)
SELECT now() - make_interval(secs => 100000 - i), 'ada@example.com', 'retry', 1, jsonb_build_object('job', i)
FROM generate_series(1, 100000) i;
INSERT INTO pgjobq.schedule (name, next_at, since, changed_at, definition)
SELECT 'report-' || i, now() + interval '1 hour', now(), now(),
       jsonb_build_object('expression', '0 6 * * *', 'task', 'build_report', 'tz', 'Europe/Paris')
FROM generate_series(1, 100) i;
INSERT INTO pgjobq.history (minute, queue, started, succeeded, failed, cancelled, errors, run_seconds, run, ready, oldest)
SELECT date_bin('1 minute', now(), 'epoch') - make_interval(mins => m), q.queue, 46, 45, 1, 0, 1, 20,
       ARRAY[0, 0, 0, 0, 0, 15, 15, 15, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 100, 12
FROM generate_series(1, 4319) m CROSS JOIN (SELECT DISTINCT queue FROM pgjobq.lane) q;
SELECT pgjobq.sum_history(now() - interval '3 days', now());
