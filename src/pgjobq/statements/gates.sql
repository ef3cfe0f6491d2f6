-- name: set_gate
SELECT pgjobq.set_gate($1::text, $2::text::int, $3::text::jsonb, $4::text::jsonb, $5::text::jsonb, $6::text)::text

-- name: unset_gate
SELECT pgjobq.unset_gate($1::text, $2::text)::text

-- name: gates
-- The gates where jobs wait or hold places, or of which something is used, at most $1 keys; how many do (up to $2), and of those
-- that hold places the first 8. A pass counts as in pass_counts().
WITH RECURSIVE waits AS (       -- from one to the next in the index
    (SELECT b.waits_for FROM pgjobq.blocked b ORDER BY b.waits_for LIMIT 1)
    UNION ALL
    SELECT (SELECT b.waits_for FROM pgjobq.blocked b WHERE b.waits_for > w.waits_for ORDER BY b.waits_for LIMIT 1)
    FROM waits w WHERE w.waits_for IS NOT NULL
), passed AS (
    (SELECT p.key FROM pgjobq.gate_pass p ORDER BY p.key LIMIT 1)
    UNION ALL
    SELECT (SELECT p.key FROM pgjobq.gate_pass p WHERE p.key > a.key ORDER BY p.key LIMIT 1)
    FROM passed a WHERE a.key IS NOT NULL
), lines AS MATERIALIZED (      -- of a gate with shares there is a line for each
    SELECT split_part(substr(w.waits_for, 6), chr(31), 1) AS key, w.waits_for
    FROM waits w WHERE starts_with(w.waits_for, 'gate:') LIMIT $1::text::int * 20
), keys AS (
    (SELECT DISTINCT l.key FROM lines l LIMIT $1::text::int)
    UNION (SELECT a.key FROM passed a WHERE a.key IS NOT NULL LIMIT $1::text::int)
), told AS (
    SELECT k.key, h.holding, h.holders, w.waiting, coalesce(w.first, h.first) AS example
    FROM keys k
    CROSS JOIN LATERAL (
        SELECT count(*) AS holding, min(x.job) AS first,
               coalesce(json_agg(json_build_object('job', x.job, 'task', x.task, 'ref', x.ref) ORDER BY x.place)
                        FILTER (WHERE x.place <= 8), '[]') AS holders
        FROM (SELECT p.job, j.task, j.ref, row_number() OVER (ORDER BY p.job) AS place
              FROM pgjobq.gate_pass p JOIN pgjobq.job j ON j.id = p.job
              WHERE p.key = k.key AND (
                  EXISTS (SELECT FROM pgjobq.running r WHERE r.job = p.job)
                  OR EXISTS (SELECT FROM pgjobq.ready r WHERE r.job = p.job AND r.seq <> r.job)
                  OR EXISTS (SELECT FROM pgjobq.blocked b WHERE b.job = p.job AND b.waits_for <> 'jobs'
                             AND (p.keeps OR NOT (starts_with(b.waits_for, 'gate:') OR starts_with(b.waits_for, 'event:'))))
                  OR (p.keeps AND EXISTS (SELECT FROM pgjobq.scheduled s WHERE s.job = p.job)))
              LIMIT $2::text::int) x) h
    CROSS JOIN LATERAL (
        SELECT least(coalesce(sum(x.waiting), 0), $2::text::int) AS waiting, min(x.first) AS first
        FROM lines l CROSS JOIN LATERAL (
            SELECT count(*) AS waiting, min(y.job) AS first FROM (
                SELECT b.job FROM pgjobq.blocked b WHERE b.waits_for = l.waits_for ORDER BY b.job LIMIT $2::text::int) y) x
        WHERE l.key = k.key) w
    WHERE h.holding > 0 OR w.waiting > 0
)
SELECT (jsonb_build_object(
    'key', t.key, 'holding', t.holding, 'waiting', t.waiting, 'holders', t.holders, 'first', w.id, 'since', w.since, 'cap', $2::text::int)
    || pgjobq.gate_figures(coalesce(e.gate, jsonb_build_object('key', t.key))))::text
FROM told t
LEFT JOIN LATERAL (SELECT x.gate FROM pgjobq.job j CROSS JOIN LATERAL jsonb_array_elements(j.gates) AS x(gate)
                   WHERE j.id = t.example AND x.gate ->> 'key' = t.key LIMIT 1) e ON true
LEFT JOIN LATERAL (SELECT b.job AS id, b.since FROM pgjobq.blocked b WHERE b.job = t.example AND t.waiting > 0) w ON true
ORDER BY t.waiting DESC, t.key LIMIT $1::text::int
