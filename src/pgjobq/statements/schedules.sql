-- What an application and its operators say to schedules. Text in, text out: see jobs.sql.

-- name: put_schedule
SELECT pgjobq.put_schedule($1::text, $2::text::jsonb, $3::text)::text

-- name: schedules
SELECT to_jsonb(s)::text FROM pgjobq.schedules s WHERE $1::text IS NULL OR s.name = $1::text ORDER BY s.name

-- name: pause_schedule
SELECT pgjobq.pause_schedule($1::text, $2::text, $3::text)::text

-- name: resume_schedule
SELECT pgjobq.resume_schedule($1::text, $2::text)::text

-- name: run_schedule
SELECT pgjobq.run_schedule($1::text, $2::text)::text, (SELECT s.task FROM pgjobq.schedules s WHERE s.name = $1::text),
       (SELECT s.queue FROM pgjobq.schedules s WHERE s.name = $1::text)

-- name: reset_schedule
SELECT pgjobq.reset_schedule($1::text, $2::text)::text

-- name: delete_schedule
SELECT pgjobq.delete_schedule($1::text, $2::text)::text
