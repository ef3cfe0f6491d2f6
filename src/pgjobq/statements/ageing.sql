-- Queues in which jobs rise while they wait, for ageing.py: like jobs.sql, every parameter and every column is text.

-- name: set_ageing
SELECT pgjobq.set_ageing($1::text, make_interval(secs => $2::text::float8), $3::text::int, $4::text)::text

-- name: unset_ageing
SELECT pgjobq.unset_ageing($1::text, $2::text)::text

-- name: ageing
SELECT jsonb_build_object('queue', a.queue, 'step', extract(epoch FROM a.step), 'up_to', a.up_to, 'set_at', a.set_at,
                          'who', a.who)::text
FROM pgjobq.ageing a ORDER BY a.queue
