-- What happened, minute by minute: from what upkeep has counted (schema.sql, history).

-- name: history
-- The last $1 minutes in spans of $3 minutes, the oldest first, of the queue $2 (NULL: all together). Of minutes that nobody
-- has counted yet (this one; every one where no worker runs: the last 60 then) it tells how many jobs ended, for all queues
-- together and without times. $4: read quarters of an hour instead, which are kept of all queues together; spans are of whole
-- ones then. The twenty places of `run` are written out: to unnest them takes eight times as long.
WITH edge AS MATERIALIZED (
    SELECT date_bin('1 minute', pgjobq.clock(), 'epoch') AS now,
           date_bin(make_interval(mins => $3::text::int), pgjobq.clock(), 'epoch')
               - make_interval(mins => $1::text::int - $3::text::int) AS first,
           coalesce((SELECT max(h.minute) FROM pgjobq.history h), '-infinity') + interval '1 minute' AS uncounted
), told AS (                    -- minute by minute, because what waits in several queues at once is added up
    SELECT k.minute, sum(k.started) AS started, sum(k.succeeded) AS succeeded, sum(k.failed) AS failed,
           sum(k.cancelled) AS cancelled, sum(k.errors) AS errors, sum(k.run_seconds) AS run_seconds,
           sum(k.ready) AS ready, max(k.oldest) AS oldest, ARRAY[
                 sum(k.run[1]), sum(k.run[2]), sum(k.run[3]), sum(k.run[4]), sum(k.run[5]), sum(k.run[6]),
                 sum(k.run[7]), sum(k.run[8]), sum(k.run[9]), sum(k.run[10]), sum(k.run[11]), sum(k.run[12]),
                 sum(k.run[13]), sum(k.run[14]), sum(k.run[15]), sum(k.run[16]), sum(k.run[17]), sum(k.run[18]),
                 sum(k.run[19]), sum(k.run[20])]::bigint[] AS run
    FROM pgjobq.history k
    WHERE NOT $4::bool AND k.minute >= (SELECT e.first FROM edge e) AND ($2::text IS NULL OR k.queue = $2::text)
    GROUP BY k.minute
    UNION ALL
    SELECT quarter, started, succeeded, failed, cancelled, errors, run_seconds, ready, oldest, run
    FROM pgjobq.history_quarter
    WHERE $4::bool AND quarter >= (SELECT e.first FROM edge e)
), spans AS (
    SELECT date_bin(make_interval(mins => $3::text::int), k.minute, 'epoch') AS minute, sum(k.started) AS started,
           sum(k.succeeded) AS succeeded, sum(k.failed) AS failed, sum(k.cancelled) AS cancelled, sum(k.errors) AS errors,
           sum(k.run_seconds) AS run_seconds, max(k.ready) AS ready, max(k.oldest) AS oldest, ARRAY[
                 sum(k.run[1]), sum(k.run[2]), sum(k.run[3]), sum(k.run[4]), sum(k.run[5]), sum(k.run[6]),
                 sum(k.run[7]), sum(k.run[8]), sum(k.run[9]), sum(k.run[10]), sum(k.run[11]), sum(k.run[12]),
                 sum(k.run[13]), sum(k.run[14]), sum(k.run[15]), sum(k.run[16]), sum(k.run[17]), sum(k.run[18]),
                 sum(k.run[19]), sum(k.run[20])] AS run
    FROM told k GROUP BY 1
), fresh AS (
    SELECT date_bin(make_interval(mins => $3::text::int), f.finished_at, 'epoch') AS minute,
           count(*) FILTER (WHERE f.outcome = 's') AS succeeded, count(*) FILTER (WHERE f.outcome = 'f') AS failed,
           count(*) FILTER (WHERE f.outcome = 'c') AS cancelled
    FROM pgjobq.finished f
    WHERE $2::text IS NULL
      AND f.finished_at >= (SELECT greatest(e.uncounted, e.first, e.now - interval '59 minutes') FROM edge e)
    GROUP BY 1
)
SELECT json_build_object(
    'minute', m.minute, 'started', coalesce(s.started, 0),
    'succeeded', coalesce(s.succeeded, 0) + coalesce(f.succeeded, 0), 'failed', coalesce(s.failed, 0) + coalesce(f.failed, 0),
    'cancelled', coalesce(s.cancelled, 0) + coalesce(f.cancelled, 0), 'errors', coalesce(s.errors, 0) + coalesce(f.failed, 0),
    'run_seconds', coalesce(s.run_seconds, 0), 'run', coalesce(s.run, '{}'), 'ready', s.ready, 'oldest', s.oldest)::text
FROM edge e
CROSS JOIN generate_series(e.first, e.now, make_interval(mins => $3::text::int)) AS m(minute)
LEFT JOIN spans s ON s.minute = m.minute LEFT JOIN fresh f ON f.minute = m.minute
ORDER BY m.minute

-- name: history_trends
-- Each queue in the last $1 minutes, one array for each of its lines: what ended, what was given up, what waited.
WITH kept AS MATERIALIZED (
    SELECT h.queue, h.minute, h.succeeded + h.failed + h.cancelled AS ended, h.failed, h.ready
    FROM pgjobq.history h
    WHERE h.minute >= date_bin('1 minute', pgjobq.clock(), 'epoch') - make_interval(mins => $1::text::int)
), minutes AS (
    SELECT generate_series(date_bin('1 minute', pgjobq.clock(), 'epoch') - make_interval(mins => $1::text::int),
                           date_bin('1 minute', pgjobq.clock(), 'epoch') - interval '1 minute', interval '1 minute') AS minute
)
SELECT json_build_object('queue', q.queue, 'ended', json_agg(coalesce(k.ended, 0) ORDER BY m.minute),
                         'failed', json_agg(coalesce(k.failed, 0) ORDER BY m.minute),
                         'ready', json_agg(coalesce(k.ready, 0) ORDER BY m.minute))::text
FROM (SELECT DISTINCT queue FROM kept) q CROSS JOIN minutes m
LEFT JOIN kept k ON k.queue = q.queue AND k.minute = m.minute
GROUP BY q.queue ORDER BY q.queue

-- name: history_totals
-- Since the first minute that was ever counted, by queue: numbers that only grow. `pace`: jobs that ended in a minute, of
-- the last ten that were counted.
SELECT json_build_object(
    'queue', h.queue, 'started', sum(h.started), 'succeeded', sum(h.succeeded), 'failed', sum(h.failed),
    'cancelled', sum(h.cancelled), 'errors', sum(h.errors), 'run_seconds', sum(h.run_seconds),
    'pace', coalesce(sum(h.succeeded + h.failed + h.cancelled)
                     FILTER (WHERE h.minute >= date_bin('1 minute', pgjobq.clock(), 'epoch') - interval '10 minutes'), 0) / 10.0)::text
FROM pgjobq.history h GROUP BY h.queue ORDER BY h.queue
