-- What an application and its operators say. Every parameter travels as text and every column comes back as text, so
-- that no driver's adapters, loaders or codecs matter.

-- name: enqueue
SELECT pgjobq.enqueue(
    $1::text, $2::text::jsonb, $3::text, $4::text::int, $5::text::timestamptz, make_interval(secs => $6::text::float8),
    $7::text, $8::text::text[], $9::text::int, $10::text::jsonb)::text

-- name: enqueue_plain
-- What most jobs need: half the parameters, a third of the time to parse and plan where nothing is prepared.
SELECT pgjobq.enqueue($1::text, $2::text::jsonb, $3::text, $4::text::int, max_attempts => $5::text::int)::text

-- name: enqueue_alike
-- Ids that follow one another, which is the rule, as FIRST+COUNT: writing and reading thousands is a part of a bulk's time.
SELECT CASE WHEN ids[cardinality(ids)] - ids[1] = cardinality(ids) - 1 THEN ids[1] || '+' || cardinality(ids) ELSE ids::text END
FROM (SELECT pgjobq.enqueue_alike($1::text, $2::text, $3::text, $4::text::int, $5::text::int, $6::text::int) AS ids OFFSET 0) AS e

-- name: enqueue_many
SELECT ARRAY(SELECT id FROM pgjobq.enqueue_many($1::text::jsonb) AS id)::text

-- name: enqueue_unique
SELECT coalesce(id, 0)::text, is_new::text, queue FROM pgjobq.enqueue_unique($1::text::jsonb)

-- name: enqueue_linked
SELECT coalesce(id, 0)::text, is_new::text, queue FROM pgjobq.enqueue_linked($1::text::jsonb)

-- name: edit
SELECT pgjobq.edit($1::text::bigint, $2::text::jsonb, $3::text::int, $4::text::timestamptz,
                   make_interval(secs => $5::text::float8), $6::text::int, $7::text::timestamptz,
                   make_interval(secs => $8::text::float8), $9::text)::text

-- name: get
SELECT to_jsonb(j)::text FROM pgjobq.jobs j WHERE j.id = $1::text::bigint

-- name: list
-- Newest first; every filter may be NULL; $5: only jobs older than this id; $6: how many.
SELECT to_jsonb(j)::text FROM pgjobq.jobs j
WHERE ($1::text IS NULL OR j.ref = $1::text)
  AND ($2::text IS NULL OR j.state = $2::text)
  AND ($3::text IS NULL OR j.queue = $3::text)
  AND ($4::text IS NULL OR j.task = $4::text)
  AND ($5::text IS NULL OR j.id < $5::text::bigint)
ORDER BY j.id DESC LIMIT $6::text::int

-- name: errors
SELECT to_jsonb(e)::text FROM pgjobq.attempt_error e WHERE e.job = $1::text::bigint ORDER BY e.attempt, e.failed_at

-- name: complete_within
SELECT pgjobq.complete($1::text::bigint, $2::text::int, $3::text::uuid, $4::text::jsonb)::text

-- name: misplaced
SELECT job::text, places FROM pgjobq.misplaced ORDER BY job

-- name: watch
SELECT pgjobq.watch($1::text::bigint, $2::text::float8)::text

-- name: enqueue_after
SELECT ARRAY(SELECT id FROM pgjobq.enqueue_after($1::text::jsonb) AS id)::text

-- name: predecessors
SELECT to_jsonb(j)::text FROM pgjobq.dependency d JOIN pgjobq.jobs j ON j.id = d.on_job
WHERE d.job = $1::text::bigint ORDER BY j.id

-- name: dependents
SELECT to_jsonb(j)::text FROM pgjobq.dependency d JOIN pgjobq.jobs j ON j.id = d.job
WHERE d.on_job = $1::text::bigint ORDER BY j.id

-- name: retry_from
SELECT ARRAY(SELECT id FROM pgjobq.retry_from($1::text::bigint, $2::text) AS id)::text
