-- What happened, minute by minute: from what upkeep has counted (schema.sql, history).

-- name: history_minutes
-- Each of the last $1 minutes, the oldest first, of the queue $2 (NULL: all together). Of minutes that nobody has counted
-- yet (this one; every one where no worker runs) it tells how many jobs ended, for all queues together and without times.
WITH edge AS MATERIALIZED (
    SELECT date_bin('1 minute', pgjobq.clock(), 'epoch') AS now,
           coalesce((SELECT max(h.minute) FROM pgjobq.history h), '-infinity') + interval '1 minute' AS uncounted
), kept AS MATERIALIZED (
    SELECT h.* FROM pgjobq.history h
    WHERE h.minute >= (SELECT now FROM edge) - make_interval(mins => $1::text::int - 1) AND ($2::text IS NULL OR h.queue = $2::text)
), told AS (
    SELECT k.minute, sum(k.started) AS started, sum(k.succeeded) AS succeeded, sum(k.failed) AS failed,
           sum(k.cancelled) AS cancelled, sum(k.errors) AS errors, sum(k.run_seconds) AS run_seconds,
           sum(k.ready) AS ready, max(k.oldest) AS oldest
    FROM kept k GROUP BY k.minute
), spread AS (
    SELECT x.minute, json_agg(x.n ORDER BY x.place) AS run
    FROM (SELECT k.minute, u.place, sum(u.n) AS n
          FROM kept k CROSS JOIN LATERAL unnest(k.run) WITH ORDINALITY AS u(n, place) GROUP BY k.minute, u.place) x
    GROUP BY x.minute
), fresh AS (
    SELECT date_bin('1 minute', f.finished_at, 'epoch') AS minute,
           count(*) FILTER (WHERE f.outcome = 's') AS succeeded, count(*) FILTER (WHERE f.outcome = 'f') AS failed,
           count(*) FILTER (WHERE f.outcome = 'c') AS cancelled
    FROM pgjobq.finished f
    WHERE $2::text IS NULL
      AND f.finished_at >= (SELECT greatest(e.uncounted, e.now - make_interval(mins => $1::text::int - 1)) FROM edge e)
    GROUP BY 1
)
SELECT json_build_object(
    'minute', m.minute, 'started', coalesce(t.started, 0),
    'succeeded', coalesce(t.succeeded, f.succeeded, 0), 'failed', coalesce(t.failed, f.failed, 0),
    'cancelled', coalesce(t.cancelled, f.cancelled, 0), 'errors', coalesce(t.errors, f.failed, 0),
    'run_seconds', coalesce(t.run_seconds, 0), 'run', coalesce(s.run, '[]'), 'ready', t.ready, 'oldest', t.oldest)::text
FROM edge e
CROSS JOIN generate_series(e.now - make_interval(mins => $1::text::int - 1), e.now, interval '1 minute') AS m(minute)
LEFT JOIN told t ON t.minute = m.minute LEFT JOIN spread s ON s.minute = m.minute LEFT JOIN fresh f ON f.minute = m.minute
ORDER BY m.minute

-- name: history_totals
-- Since the first minute that was ever counted, by queue: numbers that only grow. `pace`: jobs that ended in a minute, of
-- the last ten that were counted.
SELECT json_build_object(
    'queue', h.queue, 'started', sum(h.started), 'succeeded', sum(h.succeeded), 'failed', sum(h.failed),
    'cancelled', sum(h.cancelled), 'errors', sum(h.errors), 'run_seconds', sum(h.run_seconds),
    'pace', coalesce(sum(h.succeeded + h.failed + h.cancelled)
                     FILTER (WHERE h.minute >= date_bin('1 minute', pgjobq.clock(), 'epoch') - interval '10 minutes'), 0) / 10.0)::text
FROM pgjobq.history h GROUP BY h.queue ORDER BY h.queue
