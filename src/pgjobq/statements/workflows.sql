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
  AND w.id < coalesce($4::text::bigint, 9223372036854775807)
ORDER BY w.id DESC LIMIT $5::text::int

-- name: workflow_nodes
-- The jobs of a workflow, up to $2, first one first.
SELECT json_build_object('id', j.id, 'task', j.task, 'states', json_build_object(j.state, 1), 'waits_for_whole', NOT m.counted)::text
FROM (SELECT * FROM pgjobq.member x WHERE x.workflow = $1::text::bigint ORDER BY x.job LIMIT $2::text::int) m
JOIN pgjobq.jobs j ON j.id = m.job ORDER BY j.id

-- name: workflow_groups
-- The same, one row a task, of its first $2 jobs.
SELECT json_build_object('id', min(s.id), 'task', s.task, 'states', json_object_agg(s.state, s.n), 'waits_for_whole', s.whole)::text
FROM (SELECT min(t.job) AS id, t.task, t.whole, t.state, count(*) AS n
      FROM (SELECT m.job, j.task, NOT m.counted AS whole, coalesce(
                (SELECT CASE f.outcome WHEN 's' THEN 'succeeded' WHEN 'f' THEN 'failed' ELSE 'cancelled' END
                 FROM pgjobq.finished f WHERE f.job = m.job),
                (SELECT 'running' FROM pgjobq.running x WHERE x.job = m.job),
                (SELECT 'scheduled' FROM pgjobq.scheduled x WHERE x.job = m.job),
                (SELECT 'blocked' FROM pgjobq.blocked x WHERE x.job = m.job),
                (SELECT 'ready' FROM pgjobq.ready x WHERE x.queue = j.queue AND x.priority = j.priority AND x.seq = m.job LIMIT 1),
                (SELECT 'ready' FROM pgjobq.ready x WHERE x.job = m.job AND x.seq <> x.job LIMIT 1)) AS state
            FROM (SELECT * FROM pgjobq.member x WHERE x.workflow = $1::text::bigint ORDER BY x.job LIMIT $2::text::int) m
            CROSS JOIN LATERAL (SELECT y.task, y.queue, y.priority FROM pgjobq.job y WHERE y.id = m.job OFFSET 0) j
            OFFSET 0) t             -- 0: each state is looked for once
      WHERE t.state IS NOT NULL GROUP BY t.task, t.whole, t.state) s
GROUP BY s.task, s.whole ORDER BY min(s.id)

-- name: workflow_links
SELECT d.on_job::text, d.job::text, d.needs::text
FROM pgjobq.member m JOIN pgjobq.dependency d ON d.job = m.job
WHERE m.workflow = $1::text::bigint ORDER BY d.on_job, d.job LIMIT $2::text::int

-- name: workflow_group_links
-- Between the groups, of its first $3 jobs: the task of each, and whether it waits for the whole. No task: the whole.
SELECT DISTINCT b.task, b.whole::text, a.task, (NOT m.counted)::text, d.needs::text
FROM (SELECT * FROM pgjobq.member x WHERE x.workflow = $1::text::bigint ORDER BY x.job LIMIT $3::text::int) m
CROSS JOIN LATERAL (SELECT y.on_job, y.needs FROM pgjobq.dependency y WHERE y.job = m.job OFFSET 0) d
CROSS JOIN LATERAL (SELECT y.task FROM pgjobq.job y WHERE y.id = m.job OFFSET 0) a
LEFT JOIN LATERAL (SELECT y.task, NOT z.counted AS whole FROM pgjobq.member z JOIN pgjobq.job y ON y.id = z.job
                   WHERE z.job = d.on_job AND z.workflow = $1::text::bigint OFFSET 0) b ON true
WHERE b.task IS NOT NULL OR d.on_job = $1::text::bigint
LIMIT $2::text::int
