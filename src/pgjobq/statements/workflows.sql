-- What an application and its operators say to workflows: like jobs.sql, every parameter and every column is text.

-- name: start_workflow
SELECT pgjobq.start_workflow($1::text, $2::text, true, $3::text::boolean)::text

-- name: close_workflow
SELECT pgjobq.close_workflow($1::text::bigint)::text

-- name: add_to_workflow
SELECT ARRAY(SELECT id FROM pgjobq.add_to_workflow($1::text::bigint, $2::text::jsonb) AS id)::text

-- name: join_workflow
SELECT pgjobq.join_workflow($1::text::bigint, $2::text::bigint[])::text

-- name: workflow_of
-- The workflow to which a job belongs, if any.
SELECT pgjobq.workflow_of($1::text::bigint)::text

-- name: cancel_workflow
SELECT pgjobq.cancel_workflow($1::text::bigint, $2::text, $3::text)::text

-- name: retry_workflow
SELECT pgjobq.retry_workflow($1::text::bigint, $2::text)::text

-- name: get_workflow
SELECT to_jsonb(w)::text FROM pgjobq.workflows w WHERE w.id = $1::text::bigint

-- name: get_workflow_of
SELECT to_jsonb(w)::text FROM pgjobq.workflows w
WHERE w.id = (SELECT m.workflow FROM pgjobq.member m WHERE m.job = $1::text::bigint)

-- name: list_workflows
-- Newest first; every filter may be NULL; $4: only those older than this id; $5: how many.
SELECT to_jsonb(w)::text FROM pgjobq.workflows w
WHERE ($1::text IS NULL OR w.name = $1::text)
  AND ($2::text IS NULL OR w.ref = $2::text)
  AND ($3::text IS NULL OR w.state = $3::text)
  AND ($4::text IS NULL OR w.id < $4::text::bigint)
ORDER BY w.id DESC LIMIT $5::text::int

-- name: workflow_nodes
-- The jobs of a workflow, up to $2, first one first.
SELECT json_build_object('id', j.id, 'task', j.task, 'states', json_build_object(j.state, 1), 'waits_for_whole', NOT m.counted)::text
FROM (SELECT * FROM pgjobq.member x WHERE x.workflow = $1::text::bigint ORDER BY x.job LIMIT $2::text::int) m
JOIN pgjobq.jobs j ON j.id = m.job ORDER BY j.id

-- name: workflow_groups
-- The same, one row a task.
SELECT json_build_object('id', min(s.id), 'task', s.task, 'states', json_object_agg(s.state, s.n), 'waits_for_whole', s.whole)::text
FROM (SELECT min(j.id) AS id, j.task, NOT m.counted AS whole, j.state, count(*) AS n
      FROM pgjobq.member m JOIN pgjobq.jobs j ON j.id = m.job
      WHERE m.workflow = $1::text::bigint AND j.state IS NOT NULL GROUP BY j.task, NOT m.counted, j.state) s
GROUP BY s.task, s.whole ORDER BY min(s.id)

-- name: workflow_links
SELECT d.on_job::text, d.job::text, d.needs::text
FROM pgjobq.member m JOIN pgjobq.dependency d ON d.job = m.job
WHERE m.workflow = $1::text::bigint ORDER BY d.on_job, d.job LIMIT $2::text::int

-- name: workflow_group_links
-- Between the groups: told by the first job of each.
WITH named AS MATERIALIZED (
    SELECT m.job, min(m.job) OVER (PARTITION BY j.task, m.counted) AS first
    FROM pgjobq.member m JOIN pgjobq.job j ON j.id = m.job WHERE m.workflow = $1::text::bigint
)
SELECT DISTINCT coalesce(b.first, d.on_job)::text, a.first::text, d.needs::text
FROM named a JOIN pgjobq.dependency d ON d.job = a.job LEFT JOIN named b ON b.job = d.on_job
WHERE b.first IS NOT NULL OR d.on_job = $1::text::bigint
LIMIT $2::text::int
