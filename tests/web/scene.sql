-- Read by scene.py, as one transaction.
INSERT INTO pgjobq.job (id, created_at, priority, max_attempts, queue, task, args, ref)
SELECT nextval('pgjobq.job_id_seq'), pgjobq.clock() - make_interval(secs => 3600 - i * 3600.0 / 1500), 0, 8,
       (ARRAY['mail', 'default', 'merchants', 'default'])[1 + i % 4],
       (ARRAY['send_confirmation', 'charge_card', 'notify_merchant', 'book_sale'])[1 + i % 4],
       jsonb_build_object('order_id', 1000 + i / 4), 'order:' || (1000 + i / 4)
FROM generate_series(0, 1499) i
WHERE random() < 0.55 + 0.4 * sin(i / 140.0) AND i / 4 <> 339;
INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome, result)
SELECT id, created_at + interval '40 ms',
       created_at + interval '40 ms' + make_interval(secs => 0.08 + 0.2 * random() ^ 4 + (id % 37 = 0)::int * random()),
       '11111111-1111-4111-8111-111111111111', 1, CASE WHEN id % 61 = 0 THEN 'f' ELSE 's' END::"char", NULL
FROM pgjobq.job ORDER BY created_at;
INSERT INTO pgjobq.attempt_error (job, started_at, failed_at, worker, attempt, kind, message, traceback)
SELECT f.job, f.started_at, f.finished_at, f.worker, 1,
       CASE j.task WHEN 'notify_merchant' THEN 'httpx.ReadTimeout' WHEN 'charge_card' THEN 'shop.payment.CardDeclined'
                   WHEN 'book_sale' THEN 'KeyError' ELSE 'smtplib.SMTPRecipientsRefused' END,
       CASE j.task WHEN 'notify_merchant' THEN 'merchant "kiln" did not answer order ' || (j.args ->> 'order_id') || ' within 5 s'
                   WHEN 'charge_card' THEN 'card of order ' || (j.args ->> 'order_id') || ' was declined'
                   WHEN 'book_sale' THEN '''vat_code'''
                   ELSE '550 no such mailbox: order ' || (j.args ->> 'order_id') END, current_setting('scene.traceback')
FROM pgjobq.finished f JOIN pgjobq.job j ON j.id = f.job WHERE f.outcome = 'f';
INSERT INTO pgjobq.lane SELECT DISTINCT queue, priority FROM pgjobq.job;

WITH made AS (
    INSERT INTO pgjobq.job (id, created_at, priority, max_attempts, queue, task, args, ref, tags)
    SELECT nextval('pgjobq.job_id_seq'), pgjobq.clock() - interval '4 minutes', 0, 3, x.queue, x.task,
           x.args::jsonb, 'order:1339', '{checkout}'
    FROM (VALUES ('default', 'charge_card', '{"order_id": 1339, "cents": 5300}'),
                 ('merchants', 'notify_merchant', '{"order_id": 1339, "merchant": "kiln"}'),
                 ('mail', 'send_confirmation', '{"order_id": 1339, "email": "ada@example.com", "letter": {"language": "en", "copies": 1}}')
         ) AS x(queue, task, args)
    RETURNING id, task, created_at
), ended AS (
    INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome, result)
    SELECT id, created_at + make_interval(secs => CASE task WHEN 'send_confirmation' THEN 92 ELSE 0.1 END), created_at + make_interval(secs => CASE task WHEN 'send_confirmation' THEN 95 ELSE 0.4 END),
           '11111111-1111-4111-8111-111111111111', CASE task WHEN 'send_confirmation' THEN 3 ELSE 1 END,
           CASE task WHEN 'send_confirmation' THEN 'f' ELSE 's' END::"char",
           CASE task WHEN 'charge_card' THEN '{"receipt": "R-88213"}'::jsonb END FROM made
)
INSERT INTO pgjobq.attempt_error (job, started_at, failed_at, worker, attempt, kind, message, traceback)
SELECT id, created_at + make_interval(secs => (ARRAY[0.1, 11, 92])[n]), created_at + make_interval(secs => (ARRAY[1.2, 14.5, 95])[n]),
       '11111111-1111-4111-8111-111111111111', n, 'ConnectionRefusedError', '[Errno 111] Connection refused', current_setting('scene.traceback')
FROM made, generate_series(1, 3) n WHERE task = 'send_confirmation';

SELECT pgjobq.enqueue('send_confirmation', jsonb_build_object('order_id', 1500 + i), 'mail', ref => 'order:' || 1500 + i)
FROM generate_series(1, 23) i;
SELECT pgjobq.enqueue('build_report', '{"month": "2026-10"}', 'reports', delay => interval '3 hours 20 minutes', tags => '{monthly}');
SELECT pgjobq.enqueue('charge_card', jsonb_build_object('order_id', 1500 + i), delay => make_interval(secs => 40 * i), ref => 'order:' || 1500 + i)
FROM generate_series(1, 6) i;
INSERT INTO pgjobq.worker (id, started_at, beat_at, expires_at, pid, concurrency, host, app, version, queues, tasks)
VALUES ('11111111-1111-4111-8111-111111111111', now() - interval '5 hours', now(), now() + interval '1 day', 4711, 10,
        'web-1', 'shop.jobs:queue', '0.2.0', '{}', '{send_confirmation,charge_card,notify_merchant,book_sale}'),
       ('22222222-2222-4222-8222-222222222222', now() - interval '5 hours', now(), now() + interval '1 day', 4712, 4,
        'web-1', 'shop.jobs:queue', '0.2.0', '{mail}', '{send_confirmation}');
WITH taken AS (
    DELETE FROM pgjobq.ready WHERE seq IN (SELECT seq FROM pgjobq.ready ORDER BY seq LIMIT 4) RETURNING job
)
INSERT INTO pgjobq.running (job, started_at, worker, attempt, spared)
SELECT job, now() - interval '2 s', '11111111-1111-4111-8111-111111111111', 1, 0 FROM taken;
SELECT pgjobq.count_history(date_bin('1 minute', now(), 'epoch') - interval '59 minutes', date_bin('1 minute', now(), 'epoch'));
-- The day before that hour, as workers have counted it.
INSERT INTO pgjobq.history AS h (minute, queue, started, succeeded, failed, cancelled, errors, run_seconds, run, ready, oldest)
SELECT date_bin('1 minute', now(), 'epoch') - make_interval(mins => m), q.queue, n + r, n, f, 0, f + r, (n + f) * 0.17,
       ARRAY[0, 0, 0, 0, 0, n / 3, n / 3, n - 2 * (n / 3), f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], w, CASE WHEN w > 0 THEN w * 0.9 END
FROM generate_series(60, 1500) m
CROSS JOIN (VALUES ('mail', 1.0), ('default', 1.6), ('merchants', 0.7)) AS q(queue, size)
CROSS JOIN LATERAL (SELECT greatest(0, (q.size * (6 + 5 * sin(m / 229.0) + 2 * sin(m / 31.0))))::bigint AS n,
                           (random() ^ 9 * 2)::bigint AS f, (CASE WHEN m BETWEEN 400 AND 450 THEN 4 ELSE 1 END * random() ^ 3)::bigint AS r,
                           greatest(0, CASE WHEN m BETWEEN 400 AND 450 THEN 40 ELSE 2 END * q.size * random() ^ 2 - 1)::bigint AS w) x;
UPDATE pgjobq.history h SET ready = w, oldest = CASE WHEN w > 0 THEN w * 0.8 END
FROM (SELECT k.minute, k.queue, (greatest(0, 9 * sin(extract(epoch FROM k.minute) / 700)) * random())::bigint AS w
      FROM pgjobq.history k WHERE k.minute > now() - interval '60 minutes') x
WHERE x.minute = h.minute AND x.queue = h.queue;
SELECT pgjobq.sum_history(now() - interval '3 days', now());
