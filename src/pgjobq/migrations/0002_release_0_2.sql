-- From version 1 to version 2: what schema.sql has gained since, in the same words. Safe while workers of version 1 run:
-- nothing they read or call changes its name, its columns or its meaning.

-- ---------------------------------------------------------------------------------------------- who may
-- Roles belong to the whole server, and a managed database may refuse CREATE ROLE: so none is made here. The owner says
-- which role may do what: SELECT pgjobq.allow('shop_web', 'producer'). A role may be allowed several things.

-- What allow() has granted, so that a migration can grant the same roles what its new tables and functions need.
CREATE TABLE pgjobq.allowed (
    role name NOT NULL,
    what text NOT NULL,
    PRIMARY KEY (role, what)
);

-- Let a role that exists be one of:
--   producer   enqueue, and read nothing, its own jobs included
--   monitor    see which jobs there are and where they stand, without arguments, headers, results and error texts
--   viewer     read jobs, their arguments and their errors
--   operator   the same, and retry and cancel
--   worker     claim, settle and do the chores; it cannot enqueue: a worker whose handlers do is a producer as well
-- FOR UPDATE wants the right to UPDATE a column, hence one column of each table whose rows a worker locks.
CREATE FUNCTION pgjobq.allow(role name, what text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    grants    text[] := ARRAY[]::text[];
    functions text[] := ARRAY[]::text[];
    granted   text;
BEGIN
    CASE allow.what
    WHEN 'producer' THEN
        functions := ARRAY['enqueue', 'enqueue_many'];
    WHEN 'monitor' THEN
        functions := ARRAY['clock'];
        grants := ARRAY[
            'SELECT (id, task, queue, priority, ref, tags, created_at, max_attempts, state, attempt, run_at, started_at,
                     finished_at, worker) ON pgjobq.jobs',
            'SELECT ON pgjobq.misplaced, pgjobq.worker, pgjobq.lane, pgjobq.migration'];
    WHEN 'viewer', 'operator' THEN
        functions := CASE allow.what WHEN 'operator' THEN ARRAY['clock', 'retry', 'cancel'] ELSE ARRAY['clock'] END;
        grants := ARRAY['SELECT ON pgjobq.jobs, pgjobq.misplaced, pgjobq.attempt_error, pgjobq.worker, pgjobq.lane,
                         pgjobq.migration'];
    WHEN 'worker' THEN
        functions := ARRAY['clock', 'wake', 'wake_at', 'open_lane', 'complete'];
        grants := ARRAY[
            'SELECT ON pgjobq.migration',
            'SELECT, DELETE ON pgjobq.job, pgjobq.lane',
            'SELECT, INSERT, DELETE ON pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked, pgjobq.finished,
                                       pgjobq.attempt_error',
            'UPDATE (spared) ON pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked',
            'UPDATE (reason) ON pgjobq.finished',
            'SELECT, INSERT, UPDATE, DELETE ON pgjobq.worker',
            'SELECT, UPDATE ON SEQUENCE pgjobq.idle_until, pgjobq.next_look',
            'USAGE ON SEQUENCE pgjobq.job_id_seq'];
        IF current_setting('server_version_num')::int >= 170000 THEN    -- before that, only the owner can VACUUM
            grants := grants || 'MAINTAIN ON pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked'::text;
        END IF;
    ELSE
        RAISE EXCEPTION 'a role cannot be allowed to be %', quote_literal(allow.what)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'One of producer, monitor, viewer, operator, worker.';
    END CASE;
    FOREACH granted IN ARRAY grants || 'USAGE ON SCHEMA pgjobq'::text LOOP
        EXECUTE format('GRANT %s TO %I', granted, allow.role);
    END LOOP;
    FOR granted IN SELECT p.oid::regprocedure FROM pg_proc p
                   WHERE p.pronamespace = 'pgjobq'::regnamespace AND p.proname = ANY (functions) LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', granted, allow.role);
    END LOOP;
    INSERT INTO pgjobq.allowed (role, what) VALUES (allow.role, allow.what) ON CONFLICT DO NOTHING;
END $$;

-- Take everything in this schema away from a role again, whatever granted it.
CREATE FUNCTION pgjobq.disallow(role name) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA pgjobq FROM %I', disallow.role);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA pgjobq FROM %I', disallow.role);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgjobq FROM %I', disallow.role);
    EXECUTE format('REVOKE ALL ON SCHEMA pgjobq FROM %I', disallow.role);
    DELETE FROM pgjobq.allowed a WHERE a.role = disallow.role;
END $$;

-- Grant all that was allowed once more: the last word of every migration. Roles that are gone are forgotten.
CREATE FUNCTION pgjobq.allow_again() RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    DELETE FROM pgjobq.allowed a WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = a.role);
    PERFORM pgjobq.allow(a.role, a.what) FROM pgjobq.allowed a;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA pgjobq FROM PUBLIC;
