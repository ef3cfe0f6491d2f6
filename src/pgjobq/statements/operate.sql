-- What operators do and look at, for operations.py: like jobs.sql, every parameter and every column is text.

-- name: pause
SELECT pgjobq.pause($1::text, $2::text, $3::text, $4::text::timestamptz, $5::text)::text

-- name: resume
SELECT pgjobq.resume($1::text, $2::text, $3::text)::text

-- name: paused
SELECT to_jsonb(p)::text FROM pgjobq.paused p
WHERE p.until IS NULL OR p.until > pgjobq.clock() ORDER BY p.kind, p.name

-- name: cancel_running
SELECT pgjobq.cancel_running($1::text::bigint, $2::text, $3::text)::text

-- name: audit
-- Newest first; $1: only older than this entry; $2: how many.
SELECT to_jsonb(a)::text FROM pgjobq.audit a
WHERE $1::text IS NULL OR a.id < $1::text::bigint ORDER BY a.id DESC LIMIT $2::text::int
