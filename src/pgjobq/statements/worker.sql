-- Who is alive.

-- name: register
INSERT INTO pgjobq.worker (id, expires_at, pid, concurrency, host, app, version, queues, tasks)
VALUES ($1::uuid, now() + make_interval(secs => $2::float8), $3::int, $4::int, $5::text, $6::text, $7::text,
        $8::text[], $9::text[])

-- name: beat
-- Renew the leases of all jobs these workers hold. A worker that is not returned was declared dead.
UPDATE pgjobq.worker SET beat_at = now(), expires_at = now() + make_interval(secs => $2::float8)
WHERE id = ANY ($1::uuid[])
RETURNING id::text

-- name: leave
-- Go, unless something is still held.
DELETE FROM pgjobq.worker w WHERE w.id = $1::uuid AND NOT EXISTS (SELECT FROM pgjobq.running r WHERE r.worker = w.id)
RETURNING true

-- name: server
-- Whom we are talking to: a pooler in between greets with another process number, a standby cannot be written to.
SELECT pg_backend_pid(), pg_is_in_recovery()
