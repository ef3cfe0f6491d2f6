-- What attempts remember, and events. As in jobs.sql every parameter and every column is text.

-- name: recall
-- What earlier attempts of job $1 have left: their steps by name, and the checkpoint. No row: attempt $2 of worker $3 no longer
-- holds the job, and what it would read a later attempt may have left.
SELECT jsonb_build_object(
    'steps', (SELECT coalesce(jsonb_object_agg(s.name, to_jsonb(s) - 'job' - 'name'), '{}') FROM pgjobq.step s
              WHERE s.job = $1::text::bigint),
    'checkpoint', (SELECT jsonb_build_object('value', c.value) FROM pgjobq.checkpoint c WHERE c.job = $1::text::bigint))::text
WHERE EXISTS (SELECT FROM pgjobq.running r
              WHERE r.job = $1::text::bigint AND r.attempt = $2::text::int AND r.worker = $3::text::uuid)

-- name: remember_step
SELECT pgjobq.remember_step($1::text::bigint, $2::text::int, $3::text::uuid, $4::text, $5::text::jsonb,
                            $6::text::float8)::text

-- name: sleep_step
SELECT pgjobq.sleep_step($1::text::bigint, $2::text::int, $3::text::uuid, $4::text, $5::text::float8)::text

-- name: wait_step
SELECT w.state, w.value::text
FROM pgjobq.wait_step($1::text::bigint, $2::text::int, $3::text::uuid, $4::text, $5::text, $6::text::float8) w

-- name: keep_checkpoint
SELECT pgjobq.keep_checkpoint($1::text::bigint, $2::text::int, $3::text::uuid, $4::text::jsonb)::text

-- name: report_progress
SELECT job::text FROM pgjobq.report_progress($1::text::jsonb) AS job

-- name: emit
SELECT pgjobq.emit($1::text, $2::text::jsonb, make_interval(secs => $3::text::float8))::text

-- name: steps
-- What attempts of a job have done, first thing first.
SELECT (to_jsonb(s) - 'job')::text FROM pgjobq.step s WHERE s.job = $1::text::bigint ORDER BY s.started_at, s.name

-- name: forget_steps
SELECT pgjobq.forget_steps($1::text::bigint, $2::text, $3::text)::text

-- name: retry_anew
-- Retry job $1 (an array of it, or an empty one) with nothing remembered.
SELECT a.jobs::text
FROM (SELECT pgjobq.act('retry', $1::text::bigint[], $2::text::jsonb, $3::text) AS jobs) a
WHERE a.jobs = 0 OR pgjobq.forget_steps(($1::text::bigint[])[1], NULL, $3::text) >= 0
