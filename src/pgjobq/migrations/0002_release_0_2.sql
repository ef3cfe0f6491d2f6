-- From version 1 to version 2: what schema.sql has gained since, in the same words. Safe while workers of version 1 run:
-- nothing they read or call changes its name, its columns or its meaning.

-- All locks at once and without waiting: whoever takes one after the other while workers go on meets them in a circle,
-- and PostgreSQL then ends one of the two.
DO $$
DECLARE
    gives_up timestamptz := clock_timestamp() + interval '5 seconds';
BEGIN
    LOOP
        BEGIN
            LOCK TABLE pgjobq.job, pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked, pgjobq.finished,
                       pgjobq.attempt_error, pgjobq.lane, pgjobq.worker IN ACCESS EXCLUSIVE MODE NOWAIT;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > gives_up THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.005);
        END;
    END LOOP;
END $$;

-- ---------------------------------------------------------------------------------------------- schedules
-- A schedule makes a job at each of its ticks. There is no leader: any worker's upkeep computes what is due (cron
-- expressions and time zones are Python's), and tick() enqueues it and moves next_at in one transaction, guarded by the
-- old next_at and the revision. So each tick makes one job however many workers look, and because the memory of it
-- stands here and not in the jobs, deleting old jobs cannot make it come twice.
--   definition   expression, tz, missed, overlap, task, args, queue, priority, max_attempts, ref, tags, headers
--   declared     the same as the code says; while both are equal, a new declaration replaces the definition, and once
--                somebody has changed the schedule at run time it does not
--   since        ticks up to here are dealt with; next_at <= since: not planned yet, so look at once
--   revision     grows with every change, so that a tick planned from what it was before does not count

CREATE TABLE pgjobq.schedule (
    name           text PRIMARY KEY,
    next_at        timestamptz NOT NULL,
    since          timestamptz NOT NULL,
    changed_at     timestamptz NOT NULL,
    last_at        timestamptz,             -- the last tick that made a job, and that job
    last_job       bigint,
    paused_at      timestamptz,
    retired_at     timestamptz,             -- no longer declared by the code that had declared it
    revision       int NOT NULL DEFAULT 1,
    definition     jsonb NOT NULL,
    declared       jsonb,                   -- NULL: made at run time
    app            text,                    -- whose code declares it
    paused_because text,
    CONSTRAINT name_has_1_to_255_characters CHECK (length(name) BETWEEN 1 AND 255),
    CONSTRAINT definition_says_when_and_what CHECK (
        jsonb_typeof(definition) = 'object' AND jsonb_typeof(definition -> 'expression') = 'string'
        AND length(coalesce(definition ->> 'task', '')) BETWEEN 1 AND 255)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX schedule_next ON pgjobq.schedule (next_at) WHERE paused_at IS NULL AND retired_at IS NULL;

-- Enqueue the job of one tick. It tells its handler which schedule made it, and for which tick. NULL: its unique key is
-- held by another job, or its queue is full.
CREATE FUNCTION pgjobq.fire(name text, definition jsonb, at timestamptz) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    entry jsonb := definition - ARRAY['expression', 'tz', 'missed', 'overlap'] || jsonb_build_object(
        'headers', coalesce(definition -> 'headers', '{}') || jsonb_build_object(
            'schedule', fire.name, 'scheduled_for', to_char(fire.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')));
BEGIN
    IF pgjobq.is_limited(coalesce(entry ->> 'queue', 'default')) THEN
        BEGIN
            RETURN (SELECT u.id FROM pgjobq.enqueue_unique(jsonb_build_array(entry)) u WHERE u.is_new);
        EXCEPTION WHEN check_violation THEN
            IF SQLERRM LIKE 'the queue % is full:%' THEN    -- the other schedules go on
                RETURN NULL;
            END IF;
            RAISE;
        END;
    ELSIF NOT entry ? 'unique' THEN
        RETURN (SELECT m FROM pgjobq.enqueue_many(jsonb_build_array(entry)) m);
    END IF;
    RETURN (SELECT u.id FROM pgjobq.enqueue_unique(jsonb_build_array(entry)) u WHERE u.is_new);
END $$;

-- Deal with what is due: plans is an array of {name, revision, was, until, next_at, ticks}. A plan whose schedule has
-- moved on, was changed, or is locked (somebody is changing it) does nothing. Returns one row per tick, with the job it
-- made (NULL: the overlap policy or its unique key left it out); one without a time for a plan without ticks.
CREATE FUNCTION pgjobq.tick(plans jsonb) RETURNS TABLE (fired text, fired_at timestamptz, fired_job bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    plan record;
    held record;
BEGIN
    PERFORM pg_current_xact_id();           -- the xid before the numbers: see the head of this file
    FOR plan IN SELECT * FROM jsonb_to_recordset(tick.plans) AS x(
        name text, revision int, was timestamptz, until timestamptz, next_at timestamptz, ticks timestamptz[])
        ORDER BY x.name
    LOOP
        SELECT s.definition, s.last_at, s.last_job INTO held FROM pgjobq.schedule s
        WHERE s.name = plan.name AND s.next_at = plan.was AND s.revision = plan.revision
          AND s.paused_at IS NULL AND s.retired_at IS NULL
        FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        fired := plan.name;
        fired_at := NULL;
        fired_job := NULL;
        IF coalesce(cardinality(plan.ticks), 0) = 0 THEN
            RETURN NEXT;
        END IF;
        FOREACH fired_at IN ARRAY coalesce(plan.ticks, '{}') LOOP
            IF held.definition ->> 'overlap' = 'skip' AND pgjobq.has_not_ended(held.last_job) THEN
                fired_job := NULL;
            ELSE
                fired_job := pgjobq.fire(plan.name, held.definition, fired_at);
                held.last_job := coalesce(fired_job, held.last_job);
                held.last_at := CASE WHEN fired_job IS NULL THEN held.last_at ELSE fired_at END;
            END IF;
            RETURN NEXT;
        END LOOP;
        UPDATE pgjobq.schedule s SET next_at = plan.next_at, since = plan.until, last_at = held.last_at, last_job = held.last_job
        WHERE s.name = plan.name;
    END LOOP;
END $$;

-- Whether that job exists and has not ended.
CREATE FUNCTION pgjobq.has_not_ended(job bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pgjobq.job j WHERE j.id = has_not_ended.job)
           AND NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = has_not_ended.job)
$$;

-- Create a schedule, or change one: what it makes from now on. Its ticks are planned anew only if its times change.
CREATE FUNCTION pgjobq.put_schedule(name text, definition jsonb, who text DEFAULT NULL) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    INSERT INTO pgjobq.schedule AS s (name, definition, next_at, since, changed_at)
    VALUES (put_schedule.name, put_schedule.definition, pgjobq.clock(), pgjobq.clock(), pgjobq.clock())
    ON CONFLICT ON CONSTRAINT schedule_pkey DO UPDATE SET
        next_at = CASE WHEN pgjobq.same_times(s.definition, excluded.definition) AND s.retired_at IS NULL
                       THEN s.next_at ELSE excluded.next_at END,
        since = CASE WHEN pgjobq.same_times(s.definition, excluded.definition) AND s.retired_at IS NULL
                     THEN s.since ELSE excluded.since END,
        definition = excluded.definition, changed_at = excluded.changed_at, retired_at = NULL, revision = s.revision + 1;
    PERFORM pgjobq.wake_at(pgjobq.clock());
    PERFORM pgjobq.note_action(who, 'put_schedule', NULL, jsonb_build_object('schedule', put_schedule.name));
END $$;

CREATE FUNCTION pgjobq.same_times(one jsonb, other jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    SELECT (one -> 'expression', one -> 'tz') IS NOT DISTINCT FROM (other -> 'expression', other -> 'tz')
$$;

-- What the code of an app declares, said by each worker that starts: an object of definitions by name. What it declared
-- before and no longer does is retired: it makes no more jobs and keeps its pause and its changes, should it come back.
-- Without an app (an embedded worker) nothing is retired.
CREATE FUNCTION pgjobq.declare_schedules(app text, declarations jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    UPDATE pgjobq.schedule s SET retired_at = pgjobq.clock(), revision = s.revision + 1
    WHERE s.app = declare_schedules.app AND s.retired_at IS NULL AND NOT declare_schedules.declarations ? s.name;
    IF declare_schedules.declarations = '{}' THEN
        RETURN;
    END IF;
    INSERT INTO pgjobq.schedule AS s (name, definition, declared, app, next_at, since, changed_at)
    SELECT d.key, d.value, d.value, declare_schedules.app, pgjobq.clock(), pgjobq.clock(), pgjobq.clock()
    FROM jsonb_each(declare_schedules.declarations) d ORDER BY d.key
    ON CONFLICT ON CONSTRAINT schedule_pkey DO UPDATE SET
        next_at = CASE WHEN s.retired_at IS NULL AND (s.declared IS DISTINCT FROM s.definition
                            OR pgjobq.same_times(s.definition, excluded.definition))
                       THEN s.next_at ELSE excluded.next_at END,
        since = CASE WHEN s.retired_at IS NULL AND (s.declared IS DISTINCT FROM s.definition
                          OR pgjobq.same_times(s.definition, excluded.definition))
                     THEN s.since ELSE excluded.since END,
        definition = CASE WHEN s.declared IS DISTINCT FROM s.definition THEN s.definition ELSE excluded.definition END,
        declared = excluded.declared, app = coalesce(excluded.app, s.app), retired_at = NULL, changed_at = excluded.changed_at,
        revision = s.revision + 1
    WHERE (s.declared, s.app) IS DISTINCT FROM (excluded.declared, coalesce(excluded.app, s.app)) OR s.retired_at IS NOT NULL;
    IF FOUND THEN
        PERFORM pgjobq.wake_at(pgjobq.clock());
    END IF;
END $$;

-- Make no more jobs until resumed. NULL: there is no such schedule; false: it was paused already.
CREATE FUNCTION pgjobq.pause_schedule(name text, reason text DEFAULT NULL, who text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    UPDATE pgjobq.schedule s
    SET paused_at = pgjobq.clock(), paused_because = pause_schedule.reason, revision = s.revision + 1
    WHERE s.name = pause_schedule.name AND s.paused_at IS NULL;
    IF FOUND THEN
        PERFORM pgjobq.note_action(who, 'pause_schedule', NULL, jsonb_build_object(
            'schedule', pause_schedule.name, 'reason', pause_schedule.reason));
        RETURN true;
    END IF;
    RETURN CASE WHEN EXISTS (SELECT FROM pgjobq.schedule s WHERE s.name = pause_schedule.name) THEN false END;
END $$;

-- Go on with the next tick; those that passed meanwhile are not made up for. NULL: no such schedule; false: not paused.
CREATE FUNCTION pgjobq.resume_schedule(name text, who text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    UPDATE pgjobq.schedule s SET paused_at = NULL, paused_because = NULL, revision = s.revision + 1,
                                 since = pgjobq.clock(), next_at = pgjobq.clock()
    WHERE s.name = resume_schedule.name AND s.paused_at IS NOT NULL;
    IF FOUND THEN
        PERFORM pgjobq.note_action(who, 'resume_schedule', NULL, jsonb_build_object('schedule', resume_schedule.name));
        PERFORM pgjobq.wake_at(pgjobq.clock());
        RETURN true;
    END IF;
    RETURN CASE WHEN EXISTS (SELECT FROM pgjobq.schedule s WHERE s.name = resume_schedule.name) THEN false END;
END $$;

-- Make a job now, besides the ticks, even while it is paused. Returns its id; NULL: no such schedule; 0: its last job has
-- not ended and its overlap policy is to skip, or its unique key is held.
CREATE FUNCTION pgjobq.run_schedule(name text, who text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    held   record;
    new_id bigint;
BEGIN
    SELECT s.definition, s.last_job INTO held FROM pgjobq.schedule s WHERE s.name = run_schedule.name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF held.definition ->> 'overlap' = 'skip' AND pgjobq.has_not_ended(held.last_job) THEN
        RETURN 0;
    END IF;
    new_id := pgjobq.fire(run_schedule.name, held.definition, pgjobq.clock());
    IF new_id IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE pgjobq.schedule s SET last_at = pgjobq.clock(), last_job = new_id WHERE s.name = run_schedule.name;
    PERFORM pgjobq.note_action(who, 'run_schedule', 1, jsonb_build_object('schedule', run_schedule.name, 'job', new_id));
    RETURN new_id;
END $$;

-- Undo what was changed at run time: as the code declares it. NULL: no such schedule; false: not declared, or unchanged.
CREATE FUNCTION pgjobq.reset_schedule(name text, who text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    UPDATE pgjobq.schedule s SET definition = s.declared, revision = s.revision + 1, changed_at = pgjobq.clock(),
                                 since = pgjobq.clock(), next_at = pgjobq.clock()
    WHERE s.name = reset_schedule.name AND s.declared <> s.definition;
    IF FOUND THEN
        PERFORM pgjobq.note_action(who, 'reset_schedule', NULL, jsonb_build_object('schedule', reset_schedule.name));
        PERFORM pgjobq.wake_at(pgjobq.clock());
        RETURN true;
    END IF;
    RETURN CASE WHEN EXISTS (SELECT FROM pgjobq.schedule s WHERE s.name = reset_schedule.name) THEN false END;
END $$;

-- Delete a schedule; the jobs it made stay. One that code declares comes back when a worker starts: pause it instead.
CREATE FUNCTION pgjobq.delete_schedule(name text, who text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    DELETE FROM pgjobq.schedule s WHERE s.name = delete_schedule.name;
    IF FOUND THEN
        PERFORM pgjobq.note_action(who, 'delete_schedule', NULL, jsonb_build_object('schedule', delete_schedule.name));
        RETURN true;
    END IF;
    RETURN NULL;
END $$;

-- One row per schedule. next_at NULL: it makes no jobs (paused or retired), or a worker has yet to plan it.
CREATE VIEW pgjobq.schedules AS
SELECT s.name, s.definition ->> 'task' AS task, s.definition ->> 'expression' AS expression,
       coalesce(s.definition ->> 'tz', 'UTC') AS tz,
       CASE WHEN s.paused_at IS NULL AND s.retired_at IS NULL AND s.next_at > s.since THEN s.next_at END AS next_at,
       s.last_at, s.last_job, s.paused_at, s.paused_because, s.retired_at,
       coalesce(s.definition ->> 'missed', 'latest') AS missed, coalesce(s.definition ->> 'overlap', 'allow') AS overlap,
       coalesce(s.definition ->> 'queue', 'default') AS queue, coalesce((s.definition ->> 'priority')::int, 0) AS priority,
       s.definition ->> 'ref' AS ref, coalesce(s.definition -> 'args', '{}') AS args,
       s.app, coalesce(s.declared <> s.definition, false) AS edited, s.changed_at
FROM pgjobq.schedule s;

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
--   producer   enqueue and emit events, and read nothing, its own jobs included
--   monitor    see which jobs there are and where they stand, without arguments, headers, results and error texts
--   viewer     read jobs, their arguments and their errors
--   operator   the same, and retry, cancel, move, purge, pause, resume and set the limits of gates
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
        functions := ARRAY['enqueue', 'enqueue_alike', 'enqueue_many', 'enqueue_after', 'enqueue_linked', 'enqueue_unique', 'emit',
                           'start_workflow', 'add_to_workflow', 'join_workflow', 'workflow_of', 'close_workflow'];
    WHEN 'monitor' THEN
        functions := ARRAY['clock'];
        grants := ARRAY[
            'SELECT (id, task, queue, priority, ref, tags, created_at, max_attempts, state, attempt, run_at, started_at,
                     finished_at, worker, version, expires_at, workflow) ON pgjobq.jobs',
            'SELECT (name, task, expression, tz, next_at, last_at, last_job, paused_at, paused_because, retired_at, missed,
                     overlap, queue, priority, app, edited, changed_at) ON pgjobq.schedules',
            'SELECT ON pgjobq.misplaced, pgjobq.workflows, pgjobq.worker, pgjobq.lane, pgjobq.migration, pgjobq.paused,
                       pgjobq.queue_limit, pgjobq.gate, pgjobq.gate_pass, pgjobq.gate_meter, pgjobq.gate_share, pgjobq.history,
                       pgjobq.ageing',
            'SELECT ON pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked',    -- for the metrics
            'SELECT (id, queue, created_at) ON pgjobq.job',
            'SELECT (job, finished_at, outcome) ON pgjobq.finished'];
    WHEN 'viewer', 'operator' THEN
        functions := CASE allow.what WHEN 'operator' THEN ARRAY['clock', 'watch', 'limit_queue', 'unlimit_queue', 'retry', 'retry_from', 'cancel', 'cancel_running', 'pause', 'resume', 'act',
                                                           'set_gate', 'unset_gate', 'gate_figures', 'cancel_workflow', 'retry_workflow', 'close_workflow', 'set_ageing', 'unset_ageing', 'edit', 'put_schedule', 'pause_schedule',
                                                           'resume_schedule', 'run_schedule', 'reset_schedule', 'delete_schedule',
                                                           'emit', 'forget_steps']
                          ELSE ARRAY['clock', 'watch', 'gate_figures'] END;
        grants := ARRAY['SELECT ON pgjobq.jobs, pgjobq.misplaced, pgjobq.dependency, pgjobq.pending, pgjobq.workflows, pgjobq.workflow, pgjobq.member, pgjobq.attempt_error, pgjobq.worker, pgjobq.lane,
                         pgjobq.migration, pgjobq.paused, pgjobq.queue_limit, pgjobq.cancel_request, pgjobq.audit, pgjobq.gate, pgjobq.gate_pass, pgjobq.gate_meter, pgjobq.gate_share,
                         pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked, pgjobq.finished, pgjobq.job,
                         pgjobq.schedules, pgjobq.history, pgjobq.ageing, pgjobq.step, pgjobq.event, pgjobq.progress, pgjobq.checkpoint'];
    WHEN 'worker' THEN
        functions := ARRAY['clock', 'wake', 'wake_at', 'open_lane', 'ended', 'ended_many', 'release', 'expire', 'follow_limits', 'watch_dependencies', 'look_at_workflows', 'watch_workflows', 'complete', 'end_pauses', 'follow_cancels',
                           'after', 'look_at_gates', 'sweep_gates', 'forget_meters', 'gate_ahead', 'gate_keeps', 'gate_line', 'tick', 'declare_schedules', 'write_history', 'age',
                           'remember_step', 'sleep_step', 'wait_step', 'keep_checkpoint', 'report_progress', 'deliver', 'tend_events', 'emit', 'workflow_fate'];
        grants := ARRAY[
            'SELECT ON pgjobq.migration, pgjobq.paused, pgjobq.cancel_request, pgjobq.schedule',
            'SELECT, DELETE ON pgjobq.job, pgjobq.lane',
            'SELECT, INSERT, DELETE ON pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked, pgjobq.finished,
                                       pgjobq.attempt_error',
            'UPDATE (spared) ON pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked',
            'UPDATE (reason) ON pgjobq.finished',
            'UPDATE (started_at) ON pgjobq.workflow',
            'SELECT, UPDATE (until), DELETE ON pgjobq.unique_key',
            'SELECT, INSERT ON pgjobq.gate_look',
            'SELECT, INSERT, UPDATE, DELETE ON pgjobq.worker',
            'SELECT, DELETE ON pgjobq.awaited, pgjobq.dependency, pgjobq.workflow, pgjobq.member, pgjobq.step, pgjobq.progress, pgjobq.checkpoint',
            'SELECT ON pgjobq.look, pgjobq.pending, pgjobq.workflow_look, pgjobq.emission, pgjobq.event_look',
            'SELECT, UPDATE ON SEQUENCE pgjobq.idle_until, pgjobq.next_look, pgjobq.watched_until',
            'USAGE ON SEQUENCE pgjobq.job_id_seq'];
        IF current_setting('server_version_num')::int >= 170000 THEN    -- before that, only the owner can VACUUM
            grants := grants || 'MAINTAIN ON pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked,
                                    pgjobq.gate_pass, pgjobq.gate_look, pgjobq.gate_meter, pgjobq.gate_share'::text;
        END IF;
    ELSE
        RAISE EXCEPTION 'a role cannot be allowed to be %', quote_literal(allow.what)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'One of producer, monitor, viewer, operator, worker.';
    END CASE;
    IF allow.what IN ('viewer', 'operator') THEN    -- what stands behind `jobs`: a survey reads the tables by their indexes
        grants := grants ||
            'SELECT ON pgjobq.job, pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked, pgjobq.finished'::text;
    END IF;
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

-- ---------------------------------------------------------------------------------------------- enqueue
-- The rules for a job move from constraints into the functions that write one (the lock this takes is held for a moment).

ALTER TABLE pgjobq.job
    DROP CONSTRAINT priority_is_from_minus_9_to_9,
    DROP CONSTRAINT max_attempts_is_at_least_1,
    DROP CONSTRAINT queue_has_1_to_255_characters,
    DROP CONSTRAINT task_has_1_to_255_characters,
    DROP CONSTRAINT ref_has_1_to_255_characters,
    DROP CONSTRAINT args_are_a_json_object,
    DROP CONSTRAINT headers_are_a_json_object;

-- What is wrong with a job that is asked for; NULL when nothing is. The planner writes it out wherever it is called.
-- Not constraints of the table: PostgreSQL reads, plans and prepares each of those anew for every INSERT, which took
-- 15 us of the server's 100 for an enqueue.
CREATE FUNCTION pgjobq.job_fault(
    task text, args jsonb, queue text, priority int, max_attempts int, ref text, headers jsonb
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN priority NOT BETWEEN -9 AND 9
            THEN 'priority is ' || priority::text || ': wants a whole number from -9 (runs first) to 9 (last)'
        WHEN max_attempts NOT BETWEEN 1 AND 32767
            THEN 'max_attempts is ' || max_attempts::text || ': wants a whole number from 1 to 32767'
        WHEN length(task) NOT BETWEEN 1 AND 255
            THEN 'task has ' || length(task)::text || ' characters: wants 1 to 255'
        WHEN length(queue) NOT BETWEEN 1 AND 255
            THEN 'queue has ' || length(queue)::text || ' characters: wants 1 to 255'
        WHEN length(ref) NOT BETWEEN 1 AND 255
            THEN 'ref has ' || length(ref)::text || ' characters: wants 1 to 255'
        WHEN jsonb_typeof(args) <> 'object'
            THEN 'args is a JSON ' || jsonb_typeof(args) || ': wants an object of the arguments by name'
        WHEN jsonb_typeof(headers) <> 'object'
            THEN 'headers is a JSON ' || jsonb_typeof(headers) || ': wants an object of texts'
    END
$$;

-- Refuse a job, where a statement expects a value.
CREATE FUNCTION pgjobq.refuse(fault text) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RAISE check_violation USING MESSAGE = refuse.fault;
END $$;

-- Enqueue one job; returns its id. `delay` counts from now; without it and without run_at the job is ready at once.
CREATE OR REPLACE FUNCTION pgjobq.enqueue(
    task text, args jsonb DEFAULT '{}', queue text DEFAULT 'default', priority int DEFAULT 0,
    run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL, ref text DEFAULT NULL, tags text[] DEFAULT NULL,
    max_attempts int DEFAULT 20, headers jsonb DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    started timestamptz := pgjobq.clock();
    due     timestamptz := coalesce(enqueue.run_at, started + enqueue.delay);
    fault   text := pgjobq.job_fault(enqueue.task, enqueue.args, enqueue.queue, enqueue.priority, enqueue.max_attempts,
                                     enqueue.ref, enqueue.headers);
    before  xid8 := pg_current_xact_id();   -- the xid before the number: see the head of this file
    new_id  bigint;
    known   boolean;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    INSERT INTO pgjobq.job AS j (created_at, priority, max_attempts, queue, task, args, ref, tags, headers)
    VALUES (started, enqueue.priority, enqueue.max_attempts, enqueue.queue, enqueue.task, enqueue.args,
            enqueue.ref, enqueue.tags, enqueue.headers)
    RETURNING j.id INTO new_id;
    IF due > started THEN
        INSERT INTO pgjobq.scheduled (job, run_at, priority, queue)
        VALUES (new_id, due, enqueue.priority, enqueue.queue)
        RETURNING NOT EXISTS (SELECT FROM pgjobq.queue_limit l WHERE l.queue = enqueue.queue) INTO known;
        IF NOT known THEN
            PERFORM pgjobq.make_room(enqueue.queue, 1);
        END IF;
        PERFORM pgjobq.wake_at(due);
    ELSE
        -- enter_lane() and wake(), written out: each call and each query of its own would cost every job 5 to 10 us.
        INSERT INTO pgjobq.ready (seq, job, priority, queue)
        VALUES (new_id, new_id, enqueue.priority, enqueue.queue)
        RETURNING EXISTS (SELECT FROM pgjobq.lane l
                          WHERE l.queue = enqueue.queue AND l.priority = enqueue.priority AND NOT l.limited)
        INTO known;
        IF NOT known THEN
            PERFORM pgjobq.enter_lane(enqueue.queue, enqueue.priority, 1);
        END IF;
        IF pg_sequence_last_value('pgjobq.idle_until') > date_part('epoch', clock_timestamp()) * 1000 THEN
            PERFORM pg_notify('pgjobq', enqueue.queue);
        END IF;
    END IF;
    RETURN new_id;
END $$;

-- Enqueue jobs of one task that differ in their arguments only: an object of arguments a line (JSON Lines); returns the
-- ids in the same order. What enqueue_many does, at half of its cost. Lines, and no JSON array of objects: an array is
-- parsed, stored as a whole and taken apart again.
CREATE FUNCTION pgjobq.enqueue_alike(
    task text, args text, queue text DEFAULT 'default', priority int DEFAULT 0, max_attempts int DEFAULT 20,
    version int DEFAULT 1
) RETURNS bigint[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    started timestamptz := pgjobq.clock();
    lines   text[] := string_to_array(enqueue_alike.args, E'\n');
    fault   text := pgjobq.job_fault(enqueue_alike.task, NULL, enqueue_alike.queue, enqueue_alike.priority,
                                     enqueue_alike.max_attempts, NULL, NULL);
    before  xid8 := pg_current_xact_id();   -- the xid before the numbers: see the head of this file
    ids     bigint[];
    rank    smallint;                       -- what is the same for all is not made for each
    most    smallint;
    newer   smallint;
BEGIN
    IF enqueue_alike.version NOT BETWEEN 1 AND 32767 THEN
        fault := 'version is ' || enqueue_alike.version::text || ': wants a whole number from 1 to 32767';
    END IF;
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    IF lines[cardinality(lines)] = '' THEN  -- the last line was ended, too
        lines := trim_array(lines, 1);
    END IF;
    ids := ARRAY(SELECT nextval('pgjobq.job_id_seq') FROM (SELECT generate_series(1, cardinality(lines)) OFFSET 0) AS e);
    IF cardinality(ids) = 0 THEN
        RETURN ids;
    END IF;
    rank := enqueue_alike.priority;
    most := enqueue_alike.max_attempts;
    newer := nullif(enqueue_alike.version, 1);
    INSERT INTO pgjobq.job (id, created_at, priority, max_attempts, queue, task, version, args)
    SELECT e.id, started, rank, most, enqueue_alike.queue, enqueue_alike.task, newer,
           CASE WHEN e.line ^@ '{' THEN e.line::jsonb
                WHEN jsonb_typeof(e.line::jsonb) = 'object' THEN e.line::jsonb
                ELSE pgjobq.refuse('line ' || array_position(lines, e.line)::text || ' of args is a JSON '
                                   || jsonb_typeof(e.line::jsonb) || ': wants an object of the arguments by name') END
    FROM (SELECT unnest(ids) AS id, unnest(lines) AS line) AS e;
    INSERT INTO pgjobq.ready (seq, job, priority, queue)
    SELECT e.id, e.id, rank, enqueue_alike.queue FROM (SELECT unnest(ids) AS id OFFSET 0) AS e;
    PERFORM pgjobq.enter_lane(enqueue_alike.queue, enqueue_alike.priority, cardinality(ids));
    PERFORM pgjobq.wake(enqueue_alike.queue);
    RETURN ids;
END $$;

-- Enqueue an array of objects with enqueue()'s parameters as keys, and `unique`; returns the ids in the same order.
CREATE OR REPLACE FUNCTION pgjobq.enqueue_many(jobs jsonb) RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    keys    CONSTANT text[] := '{task, args, queue, priority, run_at, delay, ref, tags, max_attempts, headers, gates,
                                 version, expires_at, expires_in}';
    started timestamptz := pgjobq.clock();
    ids     bigint[];
    queues  text[];
    soonest timestamptz;                    -- when upkeep is to look: at the first delayed job, at once for a gate
    fault   text;
    limited boolean;                        -- some queue is
BEGIN
    IF jsonb_path_exists(enqueue_many.jobs, '$[*].unique') THEN
        RETURN QUERY SELECT e.id FROM pgjobq.enqueue_unique(enqueue_many.jobs) AS e;
        RETURN;
    END IF;
    PERFORM pg_current_xact_id();           -- the xid before the numbers: see the head of this file
    WITH asked AS MATERIALIZED (
        SELECT nextval('pgjobq.job_id_seq') AS id, x.task, x.ref, x.tags, x.headers,
               coalesce(x.args, '{}') AS args, coalesce(x.queue, 'default') AS queue,
               coalesce(x.priority, 0::smallint) AS priority, coalesce(x.max_attempts, 20::smallint) AS max_attempts,
               coalesce(x.run_at, started + x.delay) AS due, nullif(x.gates, '[]') AS gates,
               x.version, coalesce(x.expires_at, started + x.expires_in) AS expires_at,
               CASE WHEN x.gates IS NOT NULL THEN pgjobq.gate_ahead(x.gates, false) END AS ahead
        FROM jsonb_to_recordset(enqueue_many.jobs) AS x(
            task text, args jsonb, queue text, priority smallint, run_at timestamptz, delay interval,
            ref text, tags text[], max_attempts smallint, headers jsonb, gates jsonb, version smallint,
            expires_at timestamptz, expires_in interval)
    ), facts AS (
        INSERT INTO pgjobq.job (id, created_at, priority, max_attempts, queue, task, args, ref, tags, headers, gates, hooks,
                                version, expires_at)
        SELECT id, started, priority, max_attempts, queue, task, args, ref, tags, headers, gates,
               CASE WHEN ahead IS NOT NULL THEN 1 END, nullif(version, 1::smallint), expires_at
        FROM asked
    ), ends AS (
        INSERT INTO pgjobq.expiry (at, job) SELECT expires_at, id FROM asked WHERE expires_at IS NOT NULL
    ), later AS (
        INSERT INTO pgjobq.scheduled (job, run_at, priority, queue, waits_for)
        SELECT id, due, priority, queue, ahead FROM asked WHERE due > started
    ), now AS (
        INSERT INTO pgjobq.ready (seq, job, priority, queue)
        SELECT id, id, priority, queue FROM asked WHERE (due IS NULL OR due <= started) AND ahead IS NULL
    ), waiting AS (
        INSERT INTO pgjobq.blocked (job, since, priority, queue, waits_for)
        SELECT id, started, priority, queue, ahead FROM asked WHERE (due IS NULL OR due <= started) AND ahead IS NOT NULL
    ), looks AS (
        INSERT INTO pgjobq.gate_look (key)
        SELECT DISTINCT substr(ahead, 6) FROM asked WHERE (due IS NULL OR due <= started) AND ahead IS NOT NULL
    ), lanes AS (
        INSERT INTO pgjobq.lane (queue, priority, limited)
        SELECT DISTINCT a.queue, a.priority, pgjobq.is_limited(a.queue) FROM asked a
        WHERE NOT EXISTS (SELECT FROM pgjobq.lane l WHERE l.queue = a.queue AND l.priority = a.priority)
    )
    SELECT array_agg(id ORDER BY id), array_agg(DISTINCT queue) FILTER (WHERE (due IS NULL OR due <= started) AND ahead IS NULL),
           min(CASE WHEN due > started THEN due WHEN ahead IS NOT NULL THEN started END),
           min(coalesce(pgjobq.job_fault(task, args, queue, priority, max_attempts, ref, headers),
                        CASE WHEN gates IS NOT NULL THEN pgjobq.gates_fault(gates) END,
                        CASE WHEN version < 1 THEN 'version is ' || version::text || ': wants a whole number from 1 on'
                             WHEN due > started AND expires_at <= due
                             THEN 'it expires at ' || expires_at::text || ', before it is due at ' || due::text END)),
           (SELECT true FROM pgjobq.queue_limit LIMIT 1)
    INTO ids, queues, soonest, fault, limited FROM asked;
    IF fault IS NULL THEN
        SELECT 'enqueue_many has no key ' || quote_literal(key) || ' for a job: there are ' || array_to_string(keys, ', ')
        INTO fault FROM jsonb_array_elements(enqueue_many.jobs) AS job, jsonb_object_keys(job - keys) AS key LIMIT 1;
    END IF;
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    IF limited THEN
        PERFORM pgjobq.make_room(q.queue, q.jobs)
        FROM (SELECT coalesce(job ->> 'queue', 'default') AS queue, count(*)::int AS jobs
              FROM jsonb_array_elements(enqueue_many.jobs) AS job GROUP BY 1) q;
    END IF;
    PERFORM pgjobq.wake(q) FROM unnest(queues) AS q;
    IF soonest IS NOT NULL THEN
        PERFORM pgjobq.wake_at(soonest);
    END IF;
    RETURN QUERY SELECT unnest(ids);
END $$;

-- ---------------------------------------------------------------------------------------------- pausing and stopping
-- What is paused: a worker takes no jobs of such a queue, and parks those of such a task in `blocked`.
CREATE TABLE pgjobq.paused (
    kind   text NOT NULL CHECK (kind IN ('queue', 'task', 'gate')),
    name   text NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz,                     -- NULL: until resume()
    reason text,
    who    text NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Running jobs that somebody wants cancelled. A request stands until its job has ended, also over a retry.
CREATE TABLE pgjobq.cancel_request (
    job    bigint PRIMARY KEY,
    since  timestamptz NOT NULL,
    reason text NOT NULL
);

CREATE TABLE pgjobq.audit (
    id    bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at    timestamptz NOT NULL,
    who   text NOT NULL,
    what  text NOT NULL,                    -- retry, cancel, move, pause, resume
    jobs  int,                              -- how many it changed; NULL: it was not about single jobs
    about jsonb NOT NULL                    -- the filter, or the name, with the reason
);

-- A notification without a queue's name says to the workers: look anew at what is paused and what is to be cancelled.
-- Behind a pooler, or when it is lost, they look by themselves within a second.

-- Write down what somebody did; without a name it was the role of the session.
CREATE FUNCTION pgjobq.note_action(who text, what text, jobs int, about jsonb) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    INSERT INTO pgjobq.audit (at, who, what, jobs, about)
    VALUES (pgjobq.clock(), coalesce(note_action.who, session_user), note_action.what, note_action.jobs,
            jsonb_strip_nulls(note_action.about))
$$;

-- Let no job of a queue, of a task or behind a gate start until `until` (NULL: until it is resumed); what runs goes on. `kind`:
-- 'queue', 'task' or 'gate', by its key or its name. False: it was paused already, and now is so with this reason and this end.
CREATE FUNCTION pgjobq.pause(
    kind text, name text, reason text DEFAULT NULL, until timestamptz DEFAULT NULL, who text DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    fault text := CASE
        WHEN coalesce(pause.kind, '') NOT IN ('queue', 'task', 'gate')
            THEN 'kind is ' || quote_nullable(pause.kind) || ': wants queue, task or gate'
        WHEN coalesce(length(pause.name), 0) NOT BETWEEN 1 AND 255
            THEN 'name has ' || coalesce(length(pause.name), 0)::text || ' characters: wants 1 to 255'
        WHEN pause.until <= pgjobq.clock() THEN 'until is ' || pause.until::text || ': wants a time to come' END;
    again boolean;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    DELETE FROM pgjobq.paused p WHERE p.kind = pause.kind AND p.name = pause.name;
    again := FOUND;
    INSERT INTO pgjobq.paused (kind, name, since, until, reason, who)
    VALUES (pause.kind, pause.name, pgjobq.clock(), pause.until, pause.reason, coalesce(pause.who, session_user))
    ON CONFLICT DO NOTHING;
    IF pause.kind = 'gate' THEN
        PERFORM pgjobq.call_back(pause.name);
        PERFORM pgjobq.wake_at(pgjobq.clock());
    END IF;
    PERFORM pg_notify('pgjobq', '');
    PERFORM pgjobq.note_action(pause.who, 'pause', NULL, jsonb_build_object(
        pause.kind, pause.name, 'reason', pause.reason, 'until', pause.until));
    RETURN NOT again;
END $$;

-- Make the jobs of a task ready again that were parked while it was paused.
CREATE FUNCTION pgjobq.unpark(task text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    lanes record;
BEGIN
    PERFORM pg_current_xact_id();           -- the xid before the numbers: see the head of this file
    FOR lanes IN
        WITH parked AS (
            DELETE FROM pgjobq.blocked WHERE ctid = ANY (ARRAY(
                SELECT b.ctid FROM pgjobq.blocked b
                WHERE b.waits_for = 'paused:' || unpark.task FOR UPDATE SKIP LOCKED))
            RETURNING job, priority, attempt, spared, queue
        ), moved AS (
            INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
            SELECT nextval('pgjobq.job_id_seq'), job, priority, attempt, spared, queue
            FROM (SELECT * FROM parked ORDER BY job) p
        )
        SELECT DISTINCT queue, priority FROM parked
    LOOP
        PERFORM pgjobq.open_lane(lanes.queue, lanes.priority);
        PERFORM pgjobq.wake(lanes.queue);
    END LOOP;
END $$;

-- Let the jobs of a queue, of a task or behind a gate start again. False: it was not paused.
CREATE FUNCTION pgjobq.resume(kind text, name text, who text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    DELETE FROM pgjobq.paused p WHERE p.kind = resume.kind AND p.name = resume.name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF resume.kind = 'task' THEN
        PERFORM pgjobq.unpark(resume.name);
    ELSIF resume.kind = 'gate' THEN
        PERFORM pgjobq.sweep_gates();
        PERFORM pgjobq.wake_at(pgjobq.clock());
    END IF;
    PERFORM pg_notify('pgjobq', '');
    PERFORM pgjobq.note_action(resume.who, 'resume', NULL, jsonb_build_object(resume.kind, resume.name));
    RETURN true;
END $$;

-- Resume what was paused until now: a chore.
CREATE FUNCTION pgjobq.end_pauses() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT p.kind, p.name FROM pgjobq.paused p WHERE p.until <= pgjobq.clock() FOR UPDATE SKIP LOCKED LOOP
        PERFORM pgjobq.resume(one.kind, one.name, 'the end of its pause');
    END LOOP;
END $$;

-- cancel_running() without its audit.
CREATE FUNCTION pgjobq.ask_cancel(job bigint, reason text) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    IF pgjobq.cancel(ask_cancel.job) THEN
        RETURN true;
    END IF;
    INSERT INTO pgjobq.cancel_request (job, since, reason)
    SELECT r.job, pgjobq.clock(), 'cancelled while it ran' || coalesce(': ' || ask_cancel.reason, '')
    FROM pgjobq.running r WHERE r.job = ask_cancel.job
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM pg_notify('pgjobq', '');
        RETURN true;
    END IF;
    RETURN EXISTS (SELECT FROM pgjobq.cancel_request c WHERE c.job = ask_cancel.job)
           OR pgjobq.cancel(ask_cancel.job);        -- it may have come back from `running` just now
END $$;

-- Cancel a job, and have it cancelled when it runs: a coroutine at its next await, a plain function at its next step, an
-- isolated one by a signal, then by force. False: it has ended or does not exist. True for one that runs means that it is
-- asked for: a handler that returns all the same has succeeded.
CREATE FUNCTION pgjobq.cancel_running(job bigint, reason text DEFAULT NULL, who text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    IF NOT pgjobq.ask_cancel(cancel_running.job, cancel_running.reason) THEN
        RETURN false;
    END IF;
    PERFORM pgjobq.note_action(cancel_running.who, 'cancel', 1, jsonb_build_object(
        'job', cancel_running.job, 'reason', cancel_running.reason));
    RETURN true;
END $$;

-- Forget requests whose job has ended, and cancel the jobs that wait once more after a failed attempt: a chore.
CREATE FUNCTION pgjobq.follow_cancels() RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT c.job FROM pgjobq.cancel_request c
               WHERE NOT EXISTS (SELECT FROM pgjobq.running r WHERE r.job = c.job)
               ORDER BY c.job FOR UPDATE SKIP LOCKED LOOP
        PERFORM pgjobq.cancel(one.job);
        DELETE FROM pgjobq.cancel_request c
        WHERE c.job = one.job AND NOT EXISTS (SELECT FROM pgjobq.running r WHERE r.job = c.job);
    END LOOP;
END $$;

-- ---------------------------------------------------------------------------------------------- who waits for an end
-- Whoever wants to know how a job ends says so here; the transaction that ends the job then tells it. Nothing is asked
-- of a job that nobody watches, but for one look at a sequence in each transaction that ends jobs.

-- Until when (ms since 1970) the end of some job matters to somebody.
CREATE SEQUENCE pgjobq.watched_until MINVALUE 0 START 0;

-- The jobs whose end is waited for by a program that listens.
CREATE TABLE pgjobq.awaited (
    job   bigint NOT NULL,
    until timestamptz NOT NULL
);
CREATE INDEX awaited_job ON pgjobq.awaited (job);

-- Have the ends of jobs told for so many seconds. Not transactional, hence seen at once by everybody.
CREATE FUNCTION pgjobq.keep_watch(seconds float8) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    SELECT setval('pgjobq.watched_until', ((date_part('epoch', clock_timestamp()) + seconds) * 1000)::bigint)
    FROM pgjobq.watched_until WHERE last_value < ((date_part('epoch', clock_timestamp()) + seconds) * 1000)::bigint
$$;

-- Have the end of this job told on the channel `pgjobq:ended` for so many seconds. Commit before you look at the job.
CREATE FUNCTION pgjobq.watch(job bigint, seconds float8) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    INSERT INTO pgjobq.awaited (job, until)
    VALUES (watch.job, clock_timestamp() + make_interval(secs => least(greatest(watch.seconds, 0), 3600)));
    PERFORM pgjobq.keep_watch(least(greatest(watch.seconds, 0), 3600));
END $$;

-- Whether the end of some job matters to somebody just now.
CREATE FUNCTION pgjobq.watched() RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    SELECT last_value > date_part('epoch', clock_timestamp()) * 1000 FROM pgjobq.watched_until
$$;

-- Tell whoever waits for the end of these jobs, and note what depends on them, in the transaction that ends them. All at once:
-- one by one it took a batch of successes 12 us a job. `badly`: they failed or were cancelled, which a workflow wants to know
-- whichever of its jobs they are.
CREATE FUNCTION pgjobq.ended_many(jobs bigint[], badly boolean DEFAULT false) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    told boolean;
BEGIN
    PERFORM pg_notify('pgjobq:ended', a.job::text)
    FROM (SELECT DISTINCT x.job FROM pgjobq.awaited x WHERE x.job = ANY (ended_many.jobs) AND x.until > clock_timestamp()) a;
    INSERT INTO pgjobq.look (job, at) SELECT p.job, clock_timestamp() FROM pgjobq.pending p WHERE p.on_job = ANY (ended_many.jobs);
    told := FOUND;
    INSERT INTO pgjobq.workflow_look (workflow, at, news, job)
    SELECT w.id, clock_timestamp(), NULL, NULL::bigint FROM pgjobq.workflow w WHERE w.next_job = ANY (ended_many.jobs)
    UNION ALL
    SELECT m.workflow, clock_timestamp(), 'bad', m.job FROM pgjobq.member m WHERE ended_many.badly AND m.job = ANY (ended_many.jobs);
    IF told OR FOUND THEN
        PERFORM pg_notify('pgjobq:due', '');
    END IF;
END $$;

-- The same for one, where a statement expects a value. Always true.
CREATE FUNCTION pgjobq.ended(job bigint, badly boolean DEFAULT false) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    PERFORM pgjobq.ended_many(ARRAY[ended.job], ended.badly);
    RETURN true;
END $$;

-- Whether a job waits, as of now. Who names one job and has waited for its row finds it gone also when the other one has only
-- put it elsewhere (edit, move, its age): then he looks for it once more.
CREATE FUNCTION pgjobq.is_waiting(job bigint) RETURNS boolean LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pgjobq.blocked b WHERE b.job = is_waiting.job)
        OR EXISTS (SELECT FROM pgjobq.scheduled s WHERE s.job = is_waiting.job)
        OR EXISTS (SELECT FROM pgjobq.ready r WHERE r.job = is_waiting.job AND r.seq <> r.job)
        OR EXISTS (SELECT FROM pgjobq.ready r JOIN pgjobq.job j ON r.queue = j.queue AND r.priority = j.priority AND r.seq = j.id
                   WHERE j.id = is_waiting.job)
$$;

-- Cancel a job that waits. False: it runs, has finished, or does not exist. The tables are tried in the direction in
-- which jobs move, so that one promoted meanwhile is still met.
CREATE OR REPLACE FUNCTION pgjobq.cancel(job bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    made int;
BEGIN
    LOOP
        DELETE FROM pgjobq.blocked b WHERE b.job = cancel.job RETURNING attempt INTO made;
        IF NOT FOUND THEN
            DELETE FROM pgjobq.scheduled s WHERE s.job = cancel.job RETURNING attempt INTO made;
        END IF;
        IF NOT FOUND THEN
            DELETE FROM pgjobq.ready r USING pgjobq.job j
            WHERE j.id = cancel.job AND r.queue = j.queue AND r.priority = j.priority AND r.seq = j.id
            RETURNING r.attempt INTO made;
        END IF;
        IF NOT FOUND THEN
            DELETE FROM pgjobq.ready r WHERE r.job = cancel.job AND r.seq <> r.job RETURNING attempt INTO made;
        END IF;
        EXIT WHEN FOUND;
        IF NOT pgjobq.is_waiting(cancel.job) THEN
            RETURN false;
        END IF;
    END LOOP;
    INSERT INTO pgjobq.finished (job, finished_at, attempt, outcome, reason)
    VALUES (cancel.job, pgjobq.clock(), made, 'c', 'cancelled while it waited');
    IF pgjobq.watched() THEN
        PERFORM pgjobq.ended(cancel.job, true);
    END IF;
    INSERT INTO pgjobq.gate_look (key) SELECT p.key FROM pgjobq.gate_pass p WHERE p.job = cancel.job;
    IF FOUND THEN                           -- it had been let through: others may now
        PERFORM pgjobq.wake_at(pgjobq.clock());
    END IF;
    RETURN true;
END $$;

-- Complete a running attempt inside the handler's own transaction: its effects and its completion commit together or
-- not at all. False: this attempt no longer holds the job (the caller must roll back).
CREATE OR REPLACE FUNCTION pgjobq.complete(job bigint, attempt int, worker uuid, result jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    WITH held AS (
        DELETE FROM pgjobq.running r
        WHERE r.job = complete.job AND r.attempt = complete.attempt AND r.worker = complete.worker
        RETURNING r.started_at)
    INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome, result)
    SELECT complete.job, held.started_at, pgjobq.clock(), complete.worker, complete.attempt, 's', complete.result
    FROM held;
    IF FOUND AND pgjobq.watched() THEN
        RETURN pgjobq.ended(complete.job);
    END IF;
    RETURN FOUND;
END $$;

-- ---------------------------------------------------------------------------------------------- gates
-- A job may carry gates: [{"key", "name", "concurrency", "rate", …}, …]. It stands in `blocked` (`gate:KEY`, one
-- gate at a time) until all of them let it through together; then it gets a pass for each and becomes ready. How many may
-- pass is counted from the passes whose jobs stand where passing leads, never from a stored number.
--
-- THE KEY'S LOCK: passes are given and taken away only under it, by workers in short transactions of their own, and whoever
-- took it looks with a fresh snapshot. So two never give the same place away; and no transaction of an application's holds
-- it, however long it is open: who enqueues, cancels or retries only says (`gate_look`) that somebody should look.
-- Locks are waited for in the order of their numbers; a lock found necessary later is only tried.

ALTER TABLE pgjobq.job ADD COLUMN gates jsonb, ADD COLUMN hooks smallint;
ALTER TABLE pgjobq.scheduled ADD COLUMN waits_for text;
CREATE INDEX blocked_by_priority ON pgjobq.blocked (waits_for, priority, job);
CREATE INDEX blocked_by_age ON pgjobq.blocked (waits_for, job);
DROP INDEX pgjobq.blocked_waits_for;

-- What is set by hand comes before what the jobs say.
CREATE TABLE pgjobq.gate (
    key         text PRIMARY KEY,           -- a key, or the name of a gate for all its keys
    concurrency int CHECK (concurrency >= 0),
    rate        jsonb,                      -- of all these NULL: what the jobs say
    quota       jsonb,
    weights     jsonb,                      -- by share
    set_at      timestamptz NOT NULL
);

-- Written only under the key's lock. A pass counts as long as its job stands where passing leads: see pass_counts().
CREATE TABLE pgjobq.gate_pass (
    key   text NOT NULL,
    job   bigint NOT NULL,
    keeps boolean NOT NULL,                 -- the job keeps it while it waits for another attempt
    token boolean NOT NULL,                 -- nobody has seen yet when the job started
    attempt int NOT NULL,                   -- attempts made before it passed
    since timestamptz NOT NULL,
    PRIMARY KEY (key, job)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
CREATE INDEX gate_pass_job ON pgjobq.gate_pass (job);

CREATE TABLE pgjobq.gate_look (
    key text NOT NULL,                      -- a key; or a key, U+001F and a share where somebody waits
    at  timestamptz NOT NULL DEFAULT '1970-01-01 UTC'       -- when to look
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
CREATE INDEX gate_look_at ON pgjobq.gate_look (at);
CREATE INDEX gate_look_key ON pgjobq.gate_look (key, at);

-- What has been used of a key's rate and quota, and how far its shares have come. Written only under the key's lock, from the
-- times at which jobs started: there is nothing in it that could be given back twice. One that says nothing is deleted.
CREATE TABLE pgjobq.gate_meter (
    key      text PRIMARY KEY,
    full_at  timestamptz,                   -- when the bucket of tokens is full again
    period   timestamptz,                   -- the beginning of the quota's period, its end, and the starts in it
    ends     timestamptz,
    used     int,
    turn     float8,                        -- the virtual time of the shares
    pace     float8,                        -- about so many jobs are let through in a second: a hint
    paced_at timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);

-- The shares of a key that are in the round. Written only under the key's lock.
CREATE TABLE pgjobq.gate_share (
    key    text NOT NULL,
    share  text NOT NULL,                   -- '': of jobs from before there were shares
    turn   float8 NOT NULL,                 -- when its next job begins, in virtual time
    weight float8 NOT NULL,
    PRIMARY KEY (key, share)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
CREATE INDEX gate_share_turn ON pgjobq.gate_share (key, turn, share);

-- What is wrong with a rate; NULL when nothing is. {"limit": 10, "per": 1, "burst": 20}: ten in a second, twenty at once.
CREATE FUNCTION pgjobq.rate_fault(rate jsonb) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE
        WHEN jsonb_typeof(rate) <> 'object' OR rate - '{limit, per, burst}'::text[] <> '{}'
            THEN 'rate is ' || rate::text || ': wants an object such as {"limit": 10, "per": 1, "burst": 20}'
        WHEN coalesce(rate ->> 'limit', '') !~ '^[1-9][0-9]{0,8}$'
            THEN 'rate.limit is ' || coalesce(rate ->> 'limit', 'missing') || ': wants a whole number from 1 to 999999999'
        WHEN coalesce(jsonb_typeof(rate -> 'per'), 'number') <> 'number'
             OR coalesce((rate ->> 'per')::numeric, 1) NOT BETWEEN 0.001 AND 31622400
            THEN 'rate.per is ' || (rate ->> 'per') || ': wants seconds from 0.001 to 31622400'
        WHEN (rate ->> 'limit')::numeric > coalesce((rate ->> 'per')::numeric, 1) * 1000000
            THEN 'rate is ' || rate::text || ': a million in a second is the most'
        WHEN coalesce(rate ->> 'burst', '1') !~ '^[1-9][0-9]{0,5}$'
            THEN 'rate.burst is ' || (rate ->> 'burst') || ': wants a whole number from 1 to 999999'
    END
$$;

-- Microseconds in which one token comes; rounded up, so that there is never one too many.
CREATE FUNCTION pgjobq.rate_step(rate jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ceil(coalesce((rate ->> 'per')::numeric, 1) * 1000000 / (rate ->> 'limit')::numeric)::bigint
$$;

-- How many tokens there can be; unless it is said, as many as come in a tenth of a second.
CREATE FUNCTION pgjobq.rate_burst(rate jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce((rate ->> 'burst')::bigint, greatest(1, 100000 / pgjobq.rate_step(rate)))
$$;

-- What is wrong with a quota; NULL when nothing is. {"limit": 1000, "per": "day", "tz": "Europe/Paris"}, or so many seconds.
CREATE FUNCTION pgjobq.quota_fault(quota jsonb) RETURNS text LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF jsonb_typeof(quota) <> 'object' OR quota - '{limit, per, tz}'::text[] <> '{}' THEN
        RETURN 'quota is ' || quota::text || ': wants an object such as {"limit": 1000, "per": "day", "tz": "Europe/Paris"}';
    END IF;
    IF coalesce(quota ->> 'limit', '') !~ '^[1-9][0-9]{0,8}$' THEN
        RETURN 'quota.limit is ' || coalesce(quota ->> 'limit', 'missing') || ': wants a whole number from 1 to 999999999';
    END IF;
    IF jsonb_typeof(quota -> 'per') = 'number' THEN
        IF (quota ->> 'per')::numeric NOT BETWEEN 1 AND 31622400 THEN
            RETURN 'quota.per is ' || (quota ->> 'per') || ': wants seconds from 1 to 31622400, or day, week or month';
        END IF;
        IF quota ->> 'tz' IS NOT NULL THEN
            RETURN 'quota.tz is ' || quote_literal(quota ->> 'tz') || ': only a day, a week or a month begins in a time zone';
        END IF;
    ELSIF coalesce(quota ->> 'per', 'day') NOT IN ('day', 'week', 'month') THEN
        RETURN 'quota.per is ' || quote_literal(quota ->> 'per') || ': wants day, week or month, or seconds as a number';
    END IF;
    PERFORM timezone(coalesce(quota ->> 'tz', 'UTC'), now());       -- it complains of a zone that there is not
    RETURN NULL;
END $$;

-- When the period of a quota begins that `at` lies in, and when it ends. Seconds are counted from 1970 on.
CREATE FUNCTION pgjobq.quota_period(quota jsonb, at timestamptz, OUT begins timestamptz, OUT ends timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN p.seconds IS NULL THEN timezone(p.tz, p.first)
                ELSE to_timestamp((floor(extract(epoch FROM at) / p.seconds) * p.seconds)::float8) END,
           CASE WHEN p.seconds IS NULL THEN timezone(p.tz, p.first + ('1 ' || p.per)::interval)
                ELSE to_timestamp(((floor(extract(epoch FROM at) / p.seconds) + 1) * p.seconds)::float8) END
    FROM (SELECT q.*, CASE WHEN q.seconds IS NULL THEN date_trunc(q.per, timezone(q.tz, at)) END AS first
          FROM (SELECT coalesce(quota ->> 'tz', 'UTC') AS tz, coalesce(quota ->> 'per', 'day') AS per,
                       CASE jsonb_typeof(quota -> 'per') WHEN 'number' THEN (quota ->> 'per')::numeric END AS seconds) q) p
$$;

-- What is wrong with a job's gates; NULL when nothing is.
CREATE FUNCTION pgjobq.gates_fault(gates jsonb) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    known CONSTANT text[] := '{key, name, concurrency, order, on_failure, rate, quota, share, weight}';
    one   jsonb;
    seen  text[] := '{}';
    fault text;
BEGIN
    IF jsonb_typeof(gates) <> 'array' OR jsonb_array_length(gates) > 8 THEN
        RETURN 'gates is no array of up to 8 gates: wants [{"key": "api", "concurrency": 3}]';
    END IF;
    FOR one IN SELECT * FROM jsonb_array_elements(gates) LOOP
        IF jsonb_typeof(one) <> 'object' THEN
            RETURN 'gates holds a JSON ' || jsonb_typeof(one) || ': wants objects such as {"key": "api", "concurrency": 3}';
        END IF;
        IF one - known <> '{}' THEN
            RETURN 'a gate has no key ' || (SELECT quote_literal(k) FROM jsonb_object_keys(one - known) k LIMIT 1)
                   || ': there are ' || array_to_string(known, ', ');
        END IF;
        IF coalesce(length(one ->> 'key'), 0) NOT BETWEEN 1 AND 255 THEN
            RETURN 'the key of a gate has ' || coalesce(length(one ->> 'key'), 0)::text || ' characters: wants 1 to 255';
        END IF;
        IF strpos(one ->> 'key', chr(31)) > 0 THEN      -- it stands between a key and a share
            RETURN 'the key of a gate contains the control character U+001F, which it must not';
        END IF;
        IF one ->> 'key' = ANY (seen) THEN
            RETURN 'the gate ' || quote_literal(one ->> 'key') || ' is named twice';
        END IF;
        seen := seen || (one ->> 'key');
        IF coalesce(one ->> 'order', 'fifo') <> 'fifo' THEN
            RETURN 'the order of a gate is ' || quote_literal(one ->> 'order') || ': wants fifo, or none';
        END IF;
        IF coalesce(one ->> 'on_failure', 'hold') NOT IN ('hold', 'pass') THEN
            RETURN 'on_failure of a gate is ' || quote_literal(one ->> 'on_failure') || ': wants hold or pass';
        END IF;
        IF coalesce(one ->> 'concurrency', '1') !~ '^[1-9][0-9]{0,8}$' THEN
            RETURN 'the concurrency of a gate is ' || (one ->> 'concurrency') || ': wants a whole number from 1 to 999999999';
        END IF;
        fault := coalesce(CASE WHEN one ->> 'rate' IS NOT NULL THEN pgjobq.rate_fault(one -> 'rate') END,
                          CASE WHEN one ->> 'quota' IS NOT NULL THEN pgjobq.quota_fault(one -> 'quota') END);
        IF fault IS NOT NULL THEN
            RETURN 'the gate ' || quote_literal(one ->> 'key') || ': ' || fault;
        END IF;
        IF one ->> 'share' IS NOT NULL AND length(one ->> 'share') NOT BETWEEN 1 AND 255 THEN
            RETURN 'the share of a gate has ' || length(one ->> 'share')::text || ' characters: wants 1 to 255';
        END IF;
        IF one ->> 'share' IS NOT NULL AND one ->> 'order' IS NOT NULL THEN
            RETURN 'the gate ' || quote_literal(one ->> 'key') || ' has an order and shares: it is one or the other';
        END IF;
        IF coalesce(one ->> 'weight', '1') !~ '^[1-9][0-9]{0,3}$' THEN
            RETURN 'the weight of a share is ' || (one ->> 'weight') || ': wants a whole number from 1 to 9999';
        END IF;
        IF coalesce(one ->> 'concurrency', one ->> 'order', one ->> 'rate', one ->> 'quota', one ->> 'share') IS NULL THEN
            RETURN 'the gate ' || quote_literal(one ->> 'key')
                   || ' limits nothing: give it a concurrency, an order, a rate, a quota or a share';
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Whether a job keeps its pass for this gate while it waits for another attempt, so that nobody overtakes it.
CREATE FUNCTION pgjobq.gate_keeps(gate jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(gate ->> 'order' = 'fifo' AND coalesce(gate ->> 'on_failure', 'hold') = 'hold', false)
$$;

-- Where a job waits at this gate: the key, and where there are shares, the job's.
CREATE FUNCTION pgjobq.gate_line(gate jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(gate ->> 'key', '') || coalesce(chr(31) || (gate ->> 'share'), '')
$$;

-- What a job with these gates waits for before it may become ready (again: after an attempt); NULL: nothing. A place in an
-- order is kept, but each attempt needs a token of its own.
CREATE FUNCTION pgjobq.gate_ahead(gates jsonb, again boolean) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF jsonb_typeof(gates) <> 'array' THEN
        RETURN 'gate:';                     -- gates_fault() says what is wrong
    END IF;
    RETURN (SELECT 'gate:' || pgjobq.gate_line(g.gate)
            FROM jsonb_array_elements(gates) WITH ORDINALITY AS g(gate, place)
            WHERE NOT (gate_ahead.again AND pgjobq.gate_keeps(g.gate)
                       AND coalesce(g.gate ->> 'rate', g.gate ->> 'quota') IS NULL)
            ORDER BY g.place LIMIT 1);
END $$;

-- Whether a pass holds a place: its job is ready or runs; or was parked because its task is unknown or paused, since it
-- goes on from there past its gates; or, where a job keeps its pass, waits for another attempt.
CREATE FUNCTION pgjobq.pass_counts(job bigint, keeps boolean) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM pgjobq.running r WHERE r.job = pass_counts.job)
        OR EXISTS (SELECT FROM pgjobq.ready r WHERE r.job = pass_counts.job AND r.seq <> r.job)
        OR EXISTS (SELECT FROM pgjobq.blocked b WHERE b.job = pass_counts.job AND b.waits_for <> 'jobs'
                   AND (pass_counts.keeps OR NOT (starts_with(b.waits_for, 'gate:') OR starts_with(b.waits_for, 'event:'))))
        OR (pass_counts.keeps AND EXISTS (SELECT FROM pgjobq.scheduled s WHERE s.job = pass_counts.job))
$$;

-- A gate with what was set by hand, for its key or else for its name, in place of what the job says; `paused`: somebody has.
CREATE FUNCTION pgjobq.gate_limits(gate jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT gate
           || coalesce((SELECT jsonb_strip_nulls(jsonb_build_object('concurrency', g.concurrency, 'rate', g.rate, 'quota', g.quota,
                                                                    'weights', g.weights))
                        FROM pgjobq.gate g WHERE g.key = gate ->> 'name'), '{}')
           || coalesce((SELECT jsonb_strip_nulls(jsonb_build_object('concurrency', g.concurrency, 'rate', g.rate, 'quota', g.quota,
                                                                    'weights', g.weights))
                        FROM pgjobq.gate g WHERE g.key = gate ->> 'key'), '{}')
           || CASE WHEN EXISTS (SELECT FROM pgjobq.paused p
                                WHERE p.kind = 'gate' AND p.name IN (gate ->> 'key', gate ->> 'name')
                                  AND (p.until IS NULL OR p.until > pgjobq.clock()))
                   THEN '{"paused": true}' ELSE '{}' END::jsonb
$$;

-- Whether whoever passes a gate with these limits takes a token, which is out until it is seen when the job started.
CREATE FUNCTION pgjobq.gate_has_tokens(limits jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(limits ->> 'rate', limits ->> 'quota', limits ->> 'share') IS NOT NULL
$$;

-- Look what has become of a gate's passes: charge the starts, and forget those that count no more. The caller has the
-- key's lock. A token is charged with the time at which its job started, once, and one that was never used is not charged.
CREATE FUNCTION pgjobq.see_starts(limits jsonb) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    here    text := limits ->> 'key';
    step    bigint := pgjobq.rate_step(nullif(limits -> 'rate', 'null'));
    quota   jsonb := nullif(limits -> 'quota', 'null');
    places  boolean := coalesce(limits ->> 'concurrency', limits ->> 'order') IS NOT NULL;
    meter   record;
    full_at timestamptz;
    spell   record;                         -- the quota's period
    began   timestamptz;
    seen    timestamptz[];
BEGIN
    WITH out AS MATERIALIZED (              -- `began`: NULL if it never started
        SELECT p.job, coalesce(
            (SELECT r.started_at FROM pgjobq.running r WHERE r.job = p.job),
            (SELECT f.started_at FROM pgjobq.finished f WHERE f.job = p.job AND f.attempt > p.attempt),
            (SELECT min(e.started_at) FROM pgjobq.attempt_error e WHERE e.job = p.job AND e.attempt = p.attempt + 1),
            CASE WHEN EXISTS (SELECT FROM pgjobq.scheduled s WHERE s.job = p.job AND s.attempt > p.attempt)
                   OR EXISTS (SELECT FROM pgjobq.blocked b WHERE b.job = p.job AND b.attempt > p.attempt)
                   OR NOT EXISTS (SELECT FROM pgjobq.job j WHERE j.id = p.job) THEN pgjobq.clock() END) AS began
        FROM pgjobq.gate_pass p
        WHERE p.key = here AND p.token
          AND NOT EXISTS (SELECT FROM pgjobq.ready r WHERE r.job = p.job AND r.seq <> r.job)
          AND NOT EXISTS (SELECT FROM pgjobq.blocked b WHERE b.job = p.job AND b.attempt <= p.attempt     -- parked
                          AND NOT starts_with(b.waits_for, 'gate:'))
    ), back AS (
        UPDATE pgjobq.gate_pass p SET token = false FROM out WHERE p.key = here AND p.job = out.job AND places
    ), gone AS (
        DELETE FROM pgjobq.gate_pass p USING out WHERE p.key = here AND p.job = out.job AND NOT places
    )
    SELECT array_agg(out.began ORDER BY out.began) FILTER (WHERE out.began IS NOT NULL) INTO seen FROM out;
    -- A token that is still out stands in `ready`, or is parked: no need to ask for each.
    DELETE FROM pgjobq.gate_pass p
    WHERE p.key = here AND (NOT p.token OR EXISTS (SELECT FROM pgjobq.blocked b WHERE b.job = p.job))
      AND NOT pgjobq.pass_counts(p.job, p.keeps);
    IF seen IS NULL OR (step IS NULL AND quota IS NULL) THEN
        RETURN;
    END IF;
    SELECT m.full_at, m.period, m.ends, coalesce(m.used, 0) AS used INTO meter FROM pgjobq.gate_meter m WHERE m.key = here;
    full_at := meter.full_at;
    FOREACH began IN ARRAY seen LOOP
        full_at := greatest(full_at, began) + step * interval '1 microsecond';
        IF quota IS NOT NULL THEN
            spell := pgjobq.quota_period(quota, began);
            IF meter.period IS NULL OR meter.period < spell.begins THEN
                meter.period := spell.begins;
                meter.ends := spell.ends;
                meter.used := 1;
            ELSIF meter.period = spell.begins THEN
                meter.used := meter.used + 1;
            END IF;
        END IF;
    END LOOP;
    INSERT INTO pgjobq.gate_meter AS m (key, full_at, period, ends, used)
    VALUES (here, full_at, meter.period, meter.ends, meter.used)
    ON CONFLICT ON CONSTRAINT gate_meter_pkey DO UPDATE
    SET full_at = EXCLUDED.full_at, period = EXCLUDED.period, ends = EXCLUDED.ends, used = EXCLUDED.used;
END $$;

-- How many jobs a gate with tokens lets through ahead of their starts: as many as the live workers can run at once, and
-- what they start in 50 ms at their present pace. So the turn of a share is decided shortly before its job starts.
CREATE FUNCTION pgjobq.gate_window(key text) RETURNS int LANGUAGE sql STABLE AS $$
    SELECT least(2000, greatest(1, (SELECT sum(w.concurrency) FROM pgjobq.worker w WHERE w.expires_at > now()))
           + coalesce((SELECT 0.05 * m.pace * exp(least(0, greatest(-50, extract(epoch FROM m.paced_at - pgjobq.clock()) * 2)))
                       FROM pgjobq.gate_meter m WHERE m.key = gate_window.key AND m.pace > 0), 0))::int
$$;

-- How many more jobs a gate with these limits lets through now, other than `job`; where that is none, and only time is
-- missing, when it does again. The caller has the key's lock, and has seen the starts.
--
-- Of a rate it is the starts that must not be too many, so a token that is out counts as if its job started at any moment
-- from now on: jobs that stand ready for a while, and then start together, start no more than `burst` at once.
CREATE FUNCTION pgjobq.gate_room(limits jsonb, job bigint, OUT room int, OUT opens_at timestamptz) LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    here   text := limits ->> 'key';
    moment timestamptz := pgjobq.clock();
    rate   jsonb := nullif(limits -> 'rate', 'null');
    quota  jsonb := nullif(limits -> 'quota', 'null');
    most   int := CASE WHEN limits ->> 'order' = 'fifo' THEN least((limits ->> 'concurrency')::int, 1)
                       ELSE (limits ->> 'concurrency')::int END;
    unseen int;                             -- tokens that are out
    since  timestamptz;
    step   bigint;
    depth  bigint;                          -- of the bucket, in microseconds
    lack   bigint;                          -- what it is short of being full
    meter  record;
    spell  record;
    used   int;
BEGIN
    room := CASE WHEN limits ? 'paused' THEN 0 ELSE 999999999 END;
    IF most IS NOT NULL THEN
        room := least(room, most - (SELECT count(*) FROM pgjobq.gate_pass p
                                    WHERE p.key = here AND p.job <> gate_room.job AND pgjobq.pass_counts(p.job, p.keeps)));
    END IF;
    IF room <= 0 OR NOT pgjobq.gate_has_tokens(limits) THEN
        RETURN;
    END IF;
    SELECT count(*), min(p.since) INTO unseen, since
    FROM pgjobq.gate_pass p WHERE p.key = here AND p.token AND p.job <> gate_room.job;
    room := least(room, pgjobq.gate_window(here) - unseen);
    IF room <= 0 THEN
        -- Nobody tells when a job starts. The end of one does; this is for those that take long.
        opens_at := moment + greatest(interval '50 milliseconds', least(moment - since, interval '4 seconds') / 4);
        RETURN;
    END IF;
    SELECT m.full_at, m.period, m.used INTO meter FROM pgjobq.gate_meter m WHERE m.key = here;
    IF rate IS NOT NULL THEN
        step := pgjobq.rate_step(rate);
        depth := step * pgjobq.rate_burst(rate);
        lack := least(greatest(coalesce(extract(epoch FROM meter.full_at - moment) * 1000000, 0), 0), depth)::bigint;
        room := least(room, (depth - lack) / step - unseen);
        IF room <= 0 THEN
            opens_at := moment + (lack + (unseen + 1) * step - depth) * interval '1 microsecond';
        END IF;
    END IF;
    IF quota IS NOT NULL THEN
        spell := pgjobq.quota_period(quota, moment);
        used := unseen + CASE WHEN meter.period >= spell.begins THEN meter.used ELSE 0 END;
        room := least(room, (quota ->> 'limit')::int - used);
        IF used >= (quota ->> 'limit')::int THEN
            opens_at := greatest(opens_at, spell.ends);
        END IF;
    END IF;
    IF unseen > 0 AND opens_at IS NOT NULL THEN     -- they may stand ready for long: no need to look all the time
        opens_at := greatest(opens_at, moment + least(moment - since, interval '4 seconds') / 4);
    END IF;
END $$;

-- Have somebody look at a gate at that time, unless somebody does so earlier. The caller has the key's lock.
CREATE FUNCTION pgjobq.look_later(key text, at timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.gate_look l WHERE l.key = look_later.key AND l.at <= look_later.at) THEN
        INSERT INTO pgjobq.gate_look (key, at) VALUES (look_later.key, look_later.at);
        PERFORM pgjobq.wake_at(look_later.at);
    END IF;
END $$;

-- Shares at which a job waits are in the round from now on. Whoever comes has the turn that is now, or the one that he still
-- has from just before: so neither a backlog nor coming late gives more than the weight says.
CREATE FUNCTION pgjobq.join_round(lines text[]) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
    INSERT INTO pgjobq.gate_share (key, share, turn, weight)
    SELECT l.key, l.share, coalesce(m.turn, 0), coalesce(w.weight, 1)
    FROM (SELECT line, split_part(line, chr(31), 1) AS key, substr(line, strpos(line, chr(31)) + 1) AS share
          FROM unnest(lines) AS line WHERE strpos(line, chr(31)) > 0) l
    CROSS JOIN LATERAL (
        SELECT (g.gate ->> 'weight')::float8 AS weight
        FROM (SELECT b.job FROM pgjobq.blocked b WHERE b.waits_for = 'gate:' || l.line ORDER BY b.job LIMIT 1) b
        JOIN pgjobq.job j ON j.id = b.job CROSS JOIN jsonb_array_elements(j.gates) AS g(gate)
        WHERE g.gate ->> 'key' = l.key LIMIT 1) w
    LEFT JOIN pgjobq.gate_meter m ON m.key = l.key
    WHERE NOT EXISTS (SELECT FROM pgjobq.gate_share x WHERE x.key = l.key AND x.share = l.share)
    ORDER BY l.key, l.share
    ON CONFLICT DO NOTHING
$$;

-- The next jobs of a gate with shares, up to `most`, in their order, by start-time fair queueing (Goyal, Vin and Cheng, 1996):
-- each job begins at the turn at which the one before it of its share ended, and takes 1 / weight; the earliest begins.
-- The shares' turns are moved on. Only shares whose turn may come within `most` jobs are looked at.
CREATE FUNCTION pgjobq.take_turns(key text, weights jsonb, most int) RETURNS bigint[] LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    chosen bigint[];
    reached float8;
    left_over int;
BEGIN
    LOOP
        WITH first AS MATERIALIZED (
            SELECT s.ctid AS place, s.share, s.turn, coalesce((take_turns.weights ->> s.share)::float8, s.weight) AS weight,
                   'gate:' || take_turns.key || CASE s.share WHEN '' THEN '' ELSE chr(31) || s.share END AS line
            FROM pgjobq.gate_share s WHERE s.key = take_turns.key ORDER BY s.turn, s.share LIMIT take_turns.most
        ), level AS (                       -- the turn that is reached at most when so many have been let through
            SELECT (take_turns.most + sum(f.weight * f.turn)) / sum(f.weight) AS turn FROM first f
        ), candidates AS (
            SELECT f.place, f.weight, b.job, f.turn + (row_number() OVER (PARTITION BY f.place ORDER BY b.priority, b.job) - 1) / f.weight AS begins
            FROM first f CROSS JOIN level l CROSS JOIN LATERAL (
                SELECT x.job, x.priority FROM pgjobq.blocked x WHERE x.waits_for = f.line ORDER BY x.priority, x.job
                LIMIT 1 + least(take_turns.most, greatest(0, ceil((l.turn - f.turn) * f.weight)))::int FOR UPDATE SKIP LOCKED) b
        ), taken AS MATERIALIZED (
            SELECT c.* FROM candidates c ORDER BY c.begins, c.job LIMIT take_turns.most
        ), moved AS (
            UPDATE pgjobq.gate_share s SET turn = t.turn
            FROM (SELECT t.place, max(t.begins + 1 / t.weight) AS turn FROM taken t GROUP BY t.place) t
            WHERE s.ctid = t.place          -- nobody else writes here: the caller has the key's lock
        ), ends AS (                        -- whoever has nothing left is forgotten once his turn has been passed
            DELETE FROM pgjobq.gate_share s WHERE s.ctid = ANY (ARRAY(
                SELECT f.place FROM first f
                WHERE f.turn <= (SELECT coalesce(max(t.begins), 'infinity') FROM taken t)
                  AND f.place <> ALL (ARRAY(SELECT t.place FROM taken t))
                  AND NOT EXISTS (SELECT FROM pgjobq.blocked b WHERE b.waits_for = f.line)))
            RETURNING s.share
        )
        SELECT array_agg(t.job ORDER BY t.begins, t.job), max(t.begins), (SELECT count(*) FROM ends)
        INTO chosen, reached, left_over FROM taken t;
        EXIT WHEN chosen IS NOT NULL OR left_over = 0;
    END LOOP;
    IF chosen IS NULL THEN
        RETURN '{}';
    END IF;
    INSERT INTO pgjobq.gate_meter AS m (key, turn) VALUES (take_turns.key, reached)
    ON CONFLICT ON CONSTRAINT gate_meter_pkey DO UPDATE SET turn = greatest(m.turn, EXCLUDED.turn);
    RETURN chosen;
END $$;

-- Let jobs with several gates, or with an order, through all of them together, or have each wait where it cannot pass. Returns
-- the queues of those that passed.
CREATE FUNCTION pgjobq.pass_together(here text, held text[], jobs bigint[]) RETURNS text[] LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    one    bigint;
    it     record;
    other  jsonb;
    closed jsonb;
    space  record;
    queues text[] := '{}';
BEGIN
    FOREACH one IN ARRAY jobs LOOP
        SELECT b.priority, b.attempt, b.spared, b.queue, j.gates INTO it
        FROM pgjobq.blocked b JOIN pgjobq.job j ON j.id = b.job
        WHERE b.job = one AND starts_with(b.waits_for, 'gate:') FOR UPDATE OF b SKIP LOCKED;
        IF NOT FOUND THEN                   -- somebody is cancelling the first of an order: what comes of it decides
            RETURN NULL;
        END IF;
        closed := NULL;
        FOR other IN SELECT pgjobq.gate_limits(g.gate) FROM jsonb_array_elements(it.gates) WITH ORDINALITY AS g(gate, place)
                     WHERE g.gate ->> 'key' <> here ORDER BY g.place LOOP
            closed := other;
            EXIT WHEN NOT other ->> 'key' = ANY (held)
                      AND NOT pg_try_advisory_xact_lock(hashtextextended('pgjobq:gate:' || (other ->> 'key'), 0));
            PERFORM pgjobq.see_starts(other);
            space := pgjobq.gate_room(other, one);
            IF space.room <= 0 AND space.opens_at IS NOT NULL THEN
                PERFORM pgjobq.look_later(other ->> 'key', space.opens_at);
            END IF;
            EXIT WHEN space.room <= 0;
            closed := NULL;
        END LOOP;
        IF closed IS NOT NULL THEN
            WITH moved AS (DELETE FROM pgjobq.blocked b WHERE b.job = one RETURNING b.*)
            INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
            SELECT m.job, m.since, m.priority, m.attempt, m.spared, m.queue, 'gate:' || pgjobq.gate_line(closed) FROM moved m;
            DELETE FROM pgjobq.gate_pass p WHERE p.key = closed ->> 'key' AND p.job = one AND NOT p.keeps;
            IF NOT closed ->> 'key' = ANY (held) OR closed ->> 'share' IS NOT NULL THEN
                INSERT INTO pgjobq.gate_look (key) VALUES (pgjobq.gate_line(closed));
            END IF;
            CONTINUE;
        END IF;
        INSERT INTO pgjobq.gate_pass AS p (key, job, keeps, token, attempt, since)
        SELECT g.gate ->> 'key', one, pgjobq.gate_keeps(g.gate), pgjobq.gate_has_tokens(pgjobq.gate_limits(g.gate)), it.attempt, pgjobq.clock()
        FROM jsonb_array_elements(it.gates) AS g(gate)
        ON CONFLICT ON CONSTRAINT gate_pass_pkey
        DO UPDATE SET token = EXCLUDED.token, attempt = EXCLUDED.attempt, since = EXCLUDED.since;
        DELETE FROM pgjobq.blocked b WHERE b.job = one;
        INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
        VALUES (nextval('pgjobq.job_id_seq'), one, it.priority, it.attempt, it.spared, it.queue);
        PERFORM pgjobq.open_lane(it.queue, it.priority);
        queues := queues || it.queue;
    END LOOP;
    RETURN queues;
END $$;

-- Let jobs through that have no other gate than this one and whose rows the caller has locked. Returns their queues.
CREATE FUNCTION pgjobq.pass_alone(here text, tokens boolean, jobs bigint[]) RETURNS text[] LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    queues text[];
BEGIN
    WITH gone AS (
        DELETE FROM pgjobq.blocked b WHERE b.job = ANY (pass_alone.jobs) RETURNING b.*
    ), passes AS (
        INSERT INTO pgjobq.gate_pass AS p (key, job, keeps, token, attempt, since)
        SELECT here, g.job, false, tokens, g.attempt, pgjobq.clock() FROM gone g
        ON CONFLICT ON CONSTRAINT gate_pass_pkey
        DO UPDATE SET token = EXCLUDED.token, attempt = EXCLUDED.attempt, since = EXCLUDED.since
    ), moved AS (
        INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
        SELECT nextval('pgjobq.job_id_seq'), o.job, o.priority, o.attempt, o.spared, o.queue
        FROM (SELECT g.* FROM gone g ORDER BY array_position(pass_alone.jobs, g.job)) o
    ), lanes AS MATERIALIZED (
        SELECT l.queue, pgjobq.open_lane(l.queue, l.priority) FROM (SELECT DISTINCT g.queue, g.priority FROM gone g) l
    )
    SELECT array_agg(g.queue), (SELECT count(*) FROM lanes) INTO queues FROM gone g;
    RETURN queues;
END $$;

-- Let jobs through one gate whose lock the caller has, with those of `held`; returns the queue of each.
CREATE FUNCTION pgjobq.admit_at(here text, held text[]) RETURNS text[] LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    most     CONSTANT int := 500;           -- jobs per call and key, so that the locks are not held for long
    shared   boolean := EXISTS (SELECT FROM pgjobq.gate_share s WHERE s.key = here);
    lead     record;
    limits   jsonb;
    space    record;
    chosen   bigint[];
    alone    bigint[];
    passed   text[];
    queues   text[] := '{}';
    moved    int := 0;
BEGIN
    IF shared AND EXISTS (SELECT FROM pgjobq.blocked b WHERE b.waits_for = 'gate:' || here) THEN
        INSERT INTO pgjobq.gate_share (key, share, turn, weight)    -- of before there were shares
        VALUES (here, '', coalesce((SELECT m.turn FROM pgjobq.gate_meter m WHERE m.key = here), 0), 1) ON CONFLICT DO NOTHING;
    END IF;
    LOOP
        -- The job that has waited longest says what the limit is, unless it was set by hand; in an order one that keeps
        -- its place goes first.
        IF shared THEN
            SELECT b.job, g.gate INTO lead
            FROM (SELECT b.job FROM pgjobq.gate_share s CROSS JOIN LATERAL (
                      SELECT b.job FROM pgjobq.blocked b
                      WHERE b.waits_for = 'gate:' || here || CASE s.share WHEN '' THEN '' ELSE chr(31) || s.share END
                      ORDER BY b.job LIMIT 1) b
                  WHERE s.key = here ORDER BY s.turn LIMIT 1) b
            JOIN pgjobq.job j ON j.id = b.job CROSS JOIN jsonb_array_elements(j.gates) AS g(gate)
            WHERE g.gate ->> 'key' = here;
        ELSE
            SELECT b.job, g.gate INTO lead
            FROM (SELECT b.job FROM pgjobq.blocked b WHERE b.waits_for = 'gate:' || here ORDER BY b.job LIMIT 1) b
            JOIN pgjobq.job j ON j.id = b.job CROSS JOIN jsonb_array_elements(j.gates) AS g(gate)
            WHERE g.gate ->> 'key' = here;
        END IF;
        IF NOT FOUND THEN                   -- nobody waits: only what became of the passes is written down
            IF moved = 0 THEN
                SELECT g.gate INTO limits
                FROM (SELECT p.job FROM pgjobq.gate_pass p WHERE p.key = here ORDER BY p.job DESC LIMIT 1) p
                JOIN pgjobq.job j ON j.id = p.job CROSS JOIN jsonb_array_elements(j.gates) AS g(gate)
                WHERE g.gate ->> 'key' = here;
                PERFORM pgjobq.see_starts(coalesce(pgjobq.gate_limits(limits), jsonb_build_object('key', here)));
            END IF;
            DELETE FROM pgjobq.gate_share s WHERE s.key = here;         -- the round is over
            EXIT;
        END IF;
        limits := pgjobq.gate_limits(lead.gate);
        IF moved = 0 THEN
            PERFORM pgjobq.see_starts(limits);
        END IF;
        IF limits ->> 'order' = 'fifo' THEN
            lead.job := coalesce((SELECT min(p.job) FROM pgjobq.gate_pass p JOIN pgjobq.blocked b ON b.job = p.job
                                  WHERE p.key = here AND p.keeps AND b.waits_for = 'gate:' || here), lead.job);
            space := pgjobq.gate_room(limits, lead.job);
            chosen := ARRAY[lead.job];
        ELSE
            space := pgjobq.gate_room(limits, 0);
        END IF;
        IF space.room <= 0 THEN
            IF space.opens_at IS NOT NULL THEN
                PERFORM pgjobq.look_later(here, space.opens_at);
            END IF;
            EXIT;
        END IF;
        IF moved >= most THEN
            INSERT INTO pgjobq.gate_look (key) VALUES (here);
            EXIT;
        END IF;
        IF shared THEN
            chosen := pgjobq.take_turns(here, limits -> 'weights', least(space.room, most));
        ELSIF limits ->> 'order' IS DISTINCT FROM 'fifo' THEN
            chosen := ARRAY(SELECT b.job FROM pgjobq.blocked b WHERE b.waits_for = 'gate:' || here
                            ORDER BY b.priority, b.job LIMIT least(space.room, most) FOR UPDATE SKIP LOCKED);
        END IF;
        EXIT WHEN cardinality(chosen) = 0;
        alone := ARRAY(SELECT c.job FROM unnest(chosen) WITH ORDINALITY AS c(job, place) JOIN pgjobq.job j ON j.id = c.job
                       WHERE jsonb_array_length(j.gates) = 1 AND limits ->> 'order' IS DISTINCT FROM 'fifo' ORDER BY c.place);
        moved := moved + cardinality(chosen);
        IF cardinality(alone) > 0 THEN
            queues := queues || pgjobq.pass_alone(here, pgjobq.gate_has_tokens(limits), alone);
        END IF;
        IF cardinality(alone) < cardinality(chosen) THEN
            passed := pgjobq.pass_together(here, held, ARRAY(
                SELECT c.job FROM unnest(chosen) WITH ORDINALITY AS c(job, place) WHERE NOT c.job = ANY (alone) ORDER BY c.place));
            EXIT WHEN passed IS NULL;
            queues := queues || passed;
        END IF;
    END LOOP;
    IF cardinality(queues) > 0 AND pgjobq.gate_has_tokens(limits) THEN      -- the pace of about the last half second
        INSERT INTO pgjobq.gate_meter AS m (key, pace, paced_at) VALUES (here, cardinality(queues) * 2.0, pgjobq.clock())
        ON CONFLICT ON CONSTRAINT gate_meter_pkey DO UPDATE SET paced_at = greatest(m.paced_at, EXCLUDED.paced_at),
            pace = EXCLUDED.pace + coalesce(m.pace * exp(least(0, greatest(-50, extract(epoch FROM m.paced_at - EXCLUDED.paced_at) * 2))), 0);
    END IF;
    RETURN queues;
END $$;

-- Let jobs through these gates, as many as there are places; returns how many. Takes the keys' locks until the transaction
-- ends, so it belongs in short ones.
CREATE FUNCTION pgjobq.admit(keys text[]) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    held   text[] := ARRAY(SELECT DISTINCT split_part(k, chr(31), 1) FROM unnest(admit.keys) AS k);
    here   text;
    number bigint;
    queues text[] := '{}';
BEGIN
    FOR number IN SELECT DISTINCT hashtextextended('pgjobq:gate:' || k, 0) FROM unnest(held) AS k ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(number);
    END LOOP;
    PERFORM pg_current_xact_id();           -- the xid before the numbers: see the head of this file
    PERFORM pgjobq.join_round(admit.keys);
    FOREACH here IN ARRAY held LOOP
        queues := queues || pgjobq.admit_at(here, held);
    END LOOP;
    PERFORM pgjobq.wake(q) FROM (SELECT DISTINCT q FROM unnest(queues) AS q) AS w;
    RETURN cardinality(queues);
END $$;

-- What an outcome sets going, for the jobs of a settlement that have hooks; in the same transaction.
CREATE FUNCTION pgjobq.after(jobs bigint[]) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    keys text[] := ARRAY(SELECT DISTINCT pgjobq.gate_line(g.gate)
                         FROM pgjobq.job j CROSS JOIN jsonb_array_elements(j.gates) AS g(gate)
                         WHERE j.id = ANY (after.jobs) AND j.hooks & 1 = 1);
BEGIN
    IF cardinality(keys) > 0 THEN           -- the place that became free is given away
        PERFORM pgjobq.admit(keys);
    END IF;
END $$;

-- Look at up to so many of the gates where somebody should by now; returns how many were asked for.
CREATE FUNCTION pgjobq.look_at_gates(most int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    keys text[];
    asked int;
BEGIN
    WITH asked AS (
        DELETE FROM pgjobq.gate_look WHERE ctid = ANY (ARRAY(
            SELECT l.ctid FROM pgjobq.gate_look l WHERE l.at <= pgjobq.clock() LIMIT look_at_gates.most FOR UPDATE SKIP LOCKED))
        RETURNING key
    )
    SELECT array_agg(DISTINCT key), count(*) INTO keys, asked FROM asked;
    IF asked > 0 THEN
        PERFORM pgjobq.admit(keys);
    END IF;
    RETURN asked;
END $$;

-- Ask for a look at every gate where jobs wait or where a pass counts no more: for what was missed (a worker that died
-- between an outcome and what follows from it, a worker of version 1) and for limits that were set.
CREATE FUNCTION pgjobq.sweep_gates() RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
    WITH RECURSIVE hop AS (
        (SELECT waits_for FROM pgjobq.blocked ORDER BY waits_for LIMIT 1)
        UNION ALL
        SELECT next.waits_for FROM hop CROSS JOIN LATERAL (
            SELECT b.waits_for FROM pgjobq.blocked b WHERE b.waits_for > hop.waits_for ORDER BY b.waits_for LIMIT 1) next
    )
    INSERT INTO pgjobq.gate_look (key)
    SELECT substr(waits_for, 6) FROM hop WHERE starts_with(waits_for, 'gate:')
    UNION SELECT p.key FROM pgjobq.gate_pass p WHERE NOT pgjobq.pass_counts(p.job, p.keeps)
$$;

-- Forget up to so many meters that say nothing any more: nobody waits or has a pass, the bucket is full and the period over.
-- One whose key is being looked at is left alone. A chore.
CREATE FUNCTION pgjobq.forget_meters(most int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    old text;
BEGIN
    FOR old IN SELECT m.key FROM pgjobq.gate_meter m
               WHERE coalesce(m.full_at, '-infinity') < pgjobq.clock() - interval '1 minute'
                 AND coalesce(m.ends, '-infinity') < pgjobq.clock()
                 AND coalesce(m.paced_at, '-infinity') < pgjobq.clock() - interval '1 minute'
               LIMIT forget_meters.most LOOP
        IF pg_try_advisory_xact_lock(hashtextextended('pgjobq:gate:' || old, 0))
           AND NOT EXISTS (SELECT FROM pgjobq.gate_pass p WHERE p.key = old AND p.token)
           AND NOT EXISTS (SELECT FROM pgjobq.gate_share s WHERE s.key = old) THEN
            DELETE FROM pgjobq.gate_meter m WHERE m.key = old;
        END IF;
    END LOOP;
END $$;

-- Set limits of one key, or of all keys of a gate by its name, in place of what the jobs say; what is NULL stays as it is. A
-- concurrency of 0 lets nobody through. `weights`: {"acme": 5}, of shares.
CREATE FUNCTION pgjobq.set_gate(
    key text, concurrency int DEFAULT NULL, rate jsonb DEFAULT NULL, quota jsonb DEFAULT NULL, weights jsonb DEFAULT NULL,
    who text DEFAULT NULL
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    fault text := CASE
        WHEN coalesce(length(set_gate.key), 0) NOT BETWEEN 1 AND 255
            THEN 'key has ' || coalesce(length(set_gate.key), 0)::text || ' characters: wants 1 to 255'
        WHEN coalesce(set_gate.concurrency::text, set_gate.rate::text, set_gate.quota::text, set_gate.weights::text) IS NULL
            THEN 'set_gate sets nothing: give it a concurrency, a rate, a quota or weights'
        WHEN set_gate.concurrency NOT BETWEEN 0 AND 999999999
            THEN 'concurrency is ' || set_gate.concurrency::text || ': wants a whole number from 0 to 999999999'
        WHEN jsonb_typeof(set_gate.weights) <> 'object' OR EXISTS (
                SELECT FROM jsonb_each_text(CASE jsonb_typeof(set_gate.weights) WHEN 'object' THEN set_gate.weights END) w
                WHERE w.value !~ '^[1-9][0-9]{0,3}$')
            THEN 'weights is ' || set_gate.weights::text || ': wants an object of whole numbers from 1 to 9999 by share'
        ELSE coalesce(pgjobq.rate_fault(set_gate.rate), pgjobq.quota_fault(set_gate.quota)) END;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    INSERT INTO pgjobq.gate AS g (key, concurrency, rate, quota, weights, set_at)
    VALUES (set_gate.key, set_gate.concurrency, set_gate.rate, set_gate.quota, set_gate.weights, pgjobq.clock())
    ON CONFLICT ON CONSTRAINT gate_pkey DO UPDATE SET
        concurrency = coalesce(EXCLUDED.concurrency, g.concurrency), rate = coalesce(EXCLUDED.rate, g.rate),
        quota = coalesce(EXCLUDED.quota, g.quota), weights = coalesce(EXCLUDED.weights, g.weights), set_at = EXCLUDED.set_at;
    PERFORM pgjobq.sweep_gates();
    PERFORM pgjobq.wake_at(pgjobq.clock());
    PERFORM pgjobq.note_action(set_gate.who, 'set_gate', NULL, jsonb_build_object(
        'gate', set_gate.key, 'concurrency', set_gate.concurrency, 'rate', set_gate.rate, 'quota', set_gate.quota,
        'weights', set_gate.weights));
END $$;

-- Back to what the jobs say. False: nothing was set.
CREATE FUNCTION pgjobq.unset_gate(key text, who text DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    DELETE FROM pgjobq.gate g WHERE g.key = unset_gate.key;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pgjobq.note_action(unset_gate.who, 'unset_gate', NULL, jsonb_build_object('gate', unset_gate.key));
    PERFORM pgjobq.sweep_gates();
    PERFORM pgjobq.wake_at(pgjobq.clock());
    RETURN true;
END $$;

-- Have the jobs that were let through this gate (a key or a name) and have not started wait at it again: it was paused. Their
-- passes count no more.
CREATE FUNCTION pgjobq.call_back(gate text) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
    WITH passed AS MATERIALIZED (
        SELECT DISTINCT ON (p.job) p.job, g.gate FROM pgjobq.gate_pass p JOIN pgjobq.job j ON j.id = p.job
        CROSS JOIN jsonb_array_elements(j.gates) AS g(gate)
        WHERE p.key = g.gate ->> 'key' AND call_back.gate IN (p.key, g.gate ->> 'name') ORDER BY p.job
    ), gone AS (
        DELETE FROM pgjobq.ready WHERE ctid = ANY (ARRAY(
            SELECT r.ctid FROM passed p JOIN pgjobq.ready r ON r.job = p.job AND r.seq <> r.job FOR UPDATE OF r SKIP LOCKED))
        RETURNING job, priority, attempt, spared, queue
    ), looks AS (                           -- the other gates that they had passed
        INSERT INTO pgjobq.gate_look (key) SELECT DISTINCT p.key FROM gone g JOIN pgjobq.gate_pass p ON p.job = g.job
    )
    INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
    SELECT g.job, pgjobq.clock(), g.priority, g.attempt, g.spared, g.queue, 'gate:' || pgjobq.gate_line(p.gate)
    FROM gone g JOIN passed p ON p.job = g.job
$$;

-- What a gate stands at, for people: its limits as they are now, and what of them is used. No lock: from what is committed.
CREATE FUNCTION pgjobq.gate_figures(gate jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    limits jsonb := pgjobq.gate_limits(gate);
    rate   jsonb := nullif(limits -> 'rate', 'null');
    quota  jsonb := nullif(limits -> 'quota', 'null');
    moment timestamptz := pgjobq.clock();
    lack   numeric := 0;
    meter  record;
    unseen int;
    period record;
BEGIN
    SELECT m.full_at, m.period, m.used INTO meter FROM pgjobq.gate_meter m WHERE m.key = limits ->> 'key';
    SELECT count(*) INTO unseen FROM pgjobq.gate_pass p WHERE p.key = limits ->> 'key' AND p.token;
    IF rate IS NOT NULL THEN
        lack := least(greatest(coalesce(extract(epoch FROM meter.full_at - moment) * 1000000, 0), 0)
                      + unseen * pgjobq.rate_step(rate), pgjobq.rate_step(rate) * pgjobq.rate_burst(rate));
        rate := jsonb_build_object('limit', (rate ->> 'limit')::int, 'per', coalesce((rate ->> 'per')::float8, 1),
                                   'burst', pgjobq.rate_burst(rate),
                                   'left', floor(pgjobq.rate_burst(rate) - lack / pgjobq.rate_step(rate))::int,
                                   'next', greatest(0, lack - pgjobq.rate_step(rate) * (pgjobq.rate_burst(rate) - 1)) / 1000000);
    END IF;
    IF quota IS NOT NULL THEN
        period := pgjobq.quota_period(quota, moment);
        quota := jsonb_build_object('limit', (quota ->> 'limit')::int, 'per', coalesce(quota -> 'per', '"day"'), 'tz', quota -> 'tz',
                                    'used', CASE WHEN meter.period >= period.begins THEN meter.used ELSE 0 END + unseen,
                                    'ends', period.ends);
    END IF;
    RETURN jsonb_build_object(
        'limit', CASE WHEN limits ->> 'order' = 'fifo' THEN least((limits ->> 'concurrency')::int, 1) ELSE (limits ->> 'concurrency')::int END,
        'in_order', coalesce(limits ->> 'order' = 'fifo', false), 'rate', rate, 'quota', quota,
        'is_fair', limits ->> 'share' IS NOT NULL, 'weights', limits -> 'weights',
        'pause', (SELECT to_jsonb(p) FROM pgjobq.paused p WHERE p.kind = 'gate' AND p.name IN (limits ->> 'key', limits ->> 'name')
                  AND (p.until IS NULL OR p.until > moment) ORDER BY p.name = limits ->> 'key' DESC LIMIT 1),
        'set_at', (SELECT max(g.set_at) FROM pgjobq.gate g WHERE g.key IN (limits ->> 'key', limits ->> 'name')));
END $$;

-- Run a job again that had failed or was cancelled, with a fresh budget of attempts. False: it was neither, so a
-- second press of the same button changes nothing.
CREATE OR REPLACE FUNCTION pgjobq.retry(job bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    again record;
BEGIN
    DELETE FROM pgjobq.finished f USING pgjobq.job j
    WHERE f.job = retry.job AND f.outcome <> 's' AND j.id = f.job
    RETURNING f.attempt, j.priority, j.queue, j.gates INTO again;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE pgjobq.job j SET expires_at = NULL           -- somebody wants it all the same
    WHERE j.id = retry.job AND j.expires_at <= pgjobq.clock();
    DELETE FROM pgjobq.cancel_request c WHERE c.job = retry.job;  -- it was for the run that has ended
    INSERT INTO pgjobq.workflow_look (workflow, at, news, job)  -- it may have ended, and goes on
    SELECT m.workflow, clock_timestamp(), 'again', m.job FROM pgjobq.member m WHERE m.job = retry.job AND m.counted;
    IF FOUND THEN
        PERFORM pgjobq.keep_watch(120);
        PERFORM pg_notify('pgjobq:due', '');
    END IF;
    INSERT INTO pgjobq.pending (job, on_job, needs)     -- a predecessor that runs again is waited for again
    SELECT d.job, d.on_job, d.needs FROM pgjobq.dependency d
    WHERE d.job = retry.job AND (
        (EXISTS (SELECT FROM pgjobq.job j WHERE j.id = d.on_job) AND NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = d.on_job))
        OR EXISTS (SELECT FROM pgjobq.workflow w WHERE w.id = d.on_job AND pgjobq.workflow_fate(w.id, d.needs) IS NULL))
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
        VALUES (retry.job, pgjobq.clock(), again.priority, again.attempt, again.attempt, again.queue, 'jobs');
        INSERT INTO pgjobq.look (job, at) VALUES (retry.job, clock_timestamp()),
                                                 (retry.job, clock_timestamp() + interval '2 seconds');
        PERFORM pgjobq.keep_watch(120);
        PERFORM pg_notify('pgjobq:due', '');
        RETURN true;
    END IF;
    IF again.gates IS NOT NULL THEN
        INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
        VALUES (retry.job, pgjobq.clock(), again.priority, again.attempt, again.attempt, again.queue,
                pgjobq.gate_ahead(again.gates, false));
        INSERT INTO pgjobq.gate_look (key) VALUES (substr(pgjobq.gate_ahead(again.gates, false), 6));
        PERFORM pgjobq.wake_at(pgjobq.clock());
        RETURN true;
    END IF;
    INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
    VALUES (nextval('pgjobq.job_id_seq'), retry.job, again.priority, again.attempt, again.attempt, again.queue);
    PERFORM pgjobq.open_lane(again.queue, again.priority);
    PERFORM pgjobq.wake(again.queue);
    RETURN true;
END $$;

-- Unique jobs, and the editing of those that wait.

-- Who holds a unique key. A row is taken over, not deleted, when its holder has ended: so finishing costs nothing.
CREATE TABLE pgjobq.unique_key (
    key   text PRIMARY KEY,                 -- the task, a colon, and what must be unique
    job   bigint NOT NULL,                  -- the holder; 0 while the transaction that took the key writes its job
    until timestamptz                       -- taken until then, whatever becomes of the holder
);
CREATE INDEX unique_key_job ON pgjobq.unique_key (job);
CREATE INDEX unique_key_until ON pgjobq.unique_key (until) WHERE until IS NOT NULL;

-- edit() without its audit.
CREATE FUNCTION pgjobq.change_waiting(
    job bigint, args jsonb, version int, priority int, run_at timestamptz, delay interval
) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    started timestamptz := pgjobq.clock();
    fault   text := pgjobq.job_fault('-', change_waiting.args, '-', change_waiting.priority, 1, NULL, NULL);
    due     timestamptz := coalesce(change_waiting.run_at, started + change_waiting.delay);
    it      record;
    at      record;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    -- In the direction in which jobs move, as in cancel().
    LOOP
        SELECT j.queue, j.priority INTO it FROM pgjobq.job j WHERE j.id = change_waiting.job;
        SELECT b.run_at, b.attempt, b.spared, b.waits_for, b.delay INTO at
        FROM pgjobq.blocked b WHERE b.job = change_waiting.job FOR UPDATE;
        IF NOT FOUND THEN
            SELECT s.run_at, s.attempt, s.spared, NULL::text AS waits_for, NULL::interval AS delay INTO at
            FROM pgjobq.scheduled s WHERE s.job = change_waiting.job FOR UPDATE;
        END IF;
        IF NOT FOUND THEN
            SELECT NULL::timestamptz AS run_at, r.attempt, r.spared, NULL::text AS waits_for, NULL::interval AS delay INTO at FROM pgjobq.ready r
            WHERE r.queue = it.queue AND r.priority = it.priority AND r.seq = change_waiting.job AND r.job = change_waiting.job
            FOR UPDATE;
        END IF;
        IF NOT FOUND THEN
            SELECT NULL::timestamptz AS run_at, r.attempt, r.spared, NULL::text AS waits_for, NULL::interval AS delay INTO at FROM pgjobq.ready r
            WHERE r.job = change_waiting.job AND r.seq <> r.job FOR UPDATE;
        END IF;
        EXIT WHEN FOUND;
        IF NOT pgjobq.is_waiting(change_waiting.job) THEN
            RETURN false;
        END IF;
    END LOOP;
    -- Only now: another one who changed it may have held the row until here.
    SELECT j.queue, j.priority, j.gates INTO it FROM pgjobq.job j WHERE j.id = change_waiting.job;
    PERFORM pg_current_xact_id();           -- the xid before a number: see the head of this file
    UPDATE pgjobq.job j
    SET args = coalesce(change_waiting.args, j.args), priority = coalesce(change_waiting.priority, j.priority),
        version = CASE WHEN change_waiting.version IS NULL THEN j.version ELSE nullif(change_waiting.version, 1) END
    WHERE j.id = change_waiting.job;
    IF due IS NULL AND coalesce(change_waiting.priority, it.priority) = it.priority THEN
        RETURN true;                        -- it stays where it stands
    END IF;
    DELETE FROM pgjobq.scheduled s WHERE s.job = change_waiting.job;
    DELETE FROM pgjobq.blocked b WHERE b.job = change_waiting.job;
    DELETE FROM pgjobq.ready r WHERE r.queue = it.queue AND r.priority = it.priority AND r.seq = change_waiting.job;
    DELETE FROM pgjobq.ready r WHERE r.job = change_waiting.job AND r.seq <> r.job;
    due := coalesce(due, at.run_at);
    INSERT INTO pgjobq.gate_look (key) SELECT p.key FROM pgjobq.gate_pass p WHERE p.job = change_waiting.job;
    IF FOUND THEN                           -- it had been let through, and comes to its gates anew
        PERFORM pgjobq.wake_at(started);
    END IF;
    IF at.waits_for = 'jobs' OR (at.waits_for IS NOT NULL AND it.gates IS NULL) THEN    -- that has not come, whatever its time
        INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for, run_at, delay)
        VALUES (change_waiting.job, started, coalesce(change_waiting.priority, it.priority), at.attempt, at.spared, it.queue, at.waits_for,
                CASE WHEN at.waits_for = 'jobs' THEN due END, CASE WHEN due IS NULL THEN at.delay END);
    ELSIF due > started THEN
        INSERT INTO pgjobq.scheduled (job, run_at, priority, attempt, spared, queue, waits_for)
        VALUES (change_waiting.job, due, coalesce(change_waiting.priority, it.priority), at.attempt, at.spared, it.queue,
                CASE WHEN it.gates IS NOT NULL THEN pgjobq.gate_ahead(it.gates, false) END);
        PERFORM pgjobq.wake_at(due);
    ELSIF it.gates IS NOT NULL THEN
        INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
        VALUES (change_waiting.job, started, coalesce(change_waiting.priority, it.priority), at.attempt, at.spared, it.queue,
                pgjobq.gate_ahead(it.gates, false));
        INSERT INTO pgjobq.gate_look (key) VALUES (substr(pgjobq.gate_ahead(it.gates, false), 6));
        PERFORM pgjobq.wake_at(started);
    ELSE
        INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
        VALUES (nextval('pgjobq.job_id_seq'), change_waiting.job, coalesce(change_waiting.priority, it.priority), at.attempt, at.spared, it.queue);
        PERFORM pgjobq.open_lane(it.queue, coalesce(change_waiting.priority, it.priority));
        PERFORM pgjobq.wake(it.queue);
    END IF;
    RETURN true;
END $$;

-- Let no attempt of a job start from `at` on (NULL: at any time).
CREATE FUNCTION pgjobq.set_expiry(job bigint, at timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    UPDATE pgjobq.job j SET expires_at = set_expiry.at
    WHERE j.id = set_expiry.job AND j.expires_at IS DISTINCT FROM set_expiry.at;
    IF FOUND AND set_expiry.at IS NOT NULL THEN
        INSERT INTO pgjobq.expiry (at, job) VALUES (set_expiry.at, set_expiry.job);
    END IF;
END $$;

-- Change a job that waits: its arguments, its priority, its time, when it expires. False: it runs, has ended or does not
-- exist. What is NULL stays as it is; a job whose priority or time changes goes to the end of its lane, `delay` 0 makes it
-- ready at once. `version`: that of the new arguments. `who`: for the audit; NULL: the role.
CREATE FUNCTION pgjobq.edit(
    job bigint, args jsonb DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL,
    version int DEFAULT NULL, expires_at timestamptz DEFAULT NULL, expires_in interval DEFAULT NULL, who text DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    expires timestamptz := coalesce(edit.expires_at, pgjobq.clock() + edit.expires_in);
BEGIN
    IF edit.version NOT BETWEEN 1 AND 32767 THEN
        RAISE check_violation USING MESSAGE = 'version is ' || edit.version::text || ': wants a whole number from 1 to 32767';
    END IF;
    IF NOT pgjobq.change_waiting(edit.job, edit.args, edit.version, edit.priority, edit.run_at, edit.delay) THEN
        RETURN false;
    END IF;
    IF expires IS NOT NULL THEN
        PERFORM pgjobq.set_expiry(edit.job, expires);
    END IF;
    PERFORM pgjobq.note_action(edit.who, 'edit', 1, jsonb_build_object(     -- arguments may be secret: not their values
        'job', edit.job, 'args', CASE WHEN edit.args IS NOT NULL THEN 'changed' END, 'priority', edit.priority,
        'run_at', coalesce(edit.run_at, pgjobq.clock() + edit.delay), 'expires_at', expires));
    RETURN true;
END $$;

-- The waiting job as if it were enqueued now with what a later call says: its arguments, priority and time.
CREATE FUNCTION pgjobq.replace_waiting(job bigint, later jsonb) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    IF NOT pgjobq.change_waiting(
        replace_waiting.job, coalesce(later -> 'args', '{}'), coalesce((later ->> 'version')::int, 1),
        coalesce((later ->> 'priority')::int, 0), (later ->> 'run_at')::timestamptz,
        coalesce((later ->> 'delay')::interval, CASE WHEN later ->> 'run_at' IS NULL THEN interval '0' END)) THEN
        RETURN false;
    END IF;
    PERFORM pgjobq.set_expiry(replace_waiting.job, coalesce((later ->> 'expires_at')::timestamptz,
                                                            pgjobq.clock() + (later ->> 'expires_in')::interval));
    RETURN true;
END $$;

-- Take a key for a job that is about to be written, or say which job holds it. `waiting`: only a job that waits holds it,
-- not one that runs.
CREATE FUNCTION pgjobq.take_key(key text, period interval, waiting boolean) RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    started timestamptz := pgjobq.clock();
    holder  record;
BEGIN
    LOOP
        INSERT INTO pgjobq.unique_key AS u (key, job, until) VALUES (take_key.key, 0, started + take_key.period)
        ON CONFLICT ON CONSTRAINT unique_key_pkey DO NOTHING;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT u.job, u.until INTO holder FROM pgjobq.unique_key u WHERE u.key = take_key.key FOR UPDATE;
        IF FOUND THEN                       -- else retention has just deleted it
            IF holder.until > started OR holder.job = 0 OR EXISTS (
                SELECT FROM pgjobq.job j WHERE j.id = holder.job
                AND NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = j.id)
                AND NOT (take_key.waiting AND EXISTS (SELECT FROM pgjobq.running r WHERE r.job = j.id))) THEN
                RETURN holder.job;
            END IF;
            UPDATE pgjobq.unique_key u SET job = 0, until = started + take_key.period WHERE u.key = take_key.key;
            RETURN NULL;
        END IF;
    END LOOP;
END $$;

-- What is wrong with a job's `unique`; NULL when nothing is.
CREATE FUNCTION pgjobq.unique_fault(asked jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN jsonb_typeof(asked) <> 'object' THEN 'unique is a JSON ' || jsonb_typeof(asked) || ': wants an object with a key'
        WHEN asked - '{key, period, until, on_conflict}'::text[] <> '{}'
            THEN 'unique has no key ' || (SELECT quote_literal(k) FROM jsonb_object_keys(
                     asked - '{key, period, until, on_conflict}'::text[]) k LIMIT 1)
                 || ': there are key, period, until, on_conflict'
        WHEN coalesce(length(asked ->> 'key'), 0) NOT BETWEEN 1 AND 1000
            THEN 'unique.key has ' || coalesce(length(asked ->> 'key'), 0)::text || ' characters: wants 1 to 1000'
        WHEN coalesce(asked ->> 'until', 'finished') NOT IN ('finished', 'started')
            THEN 'unique.until is ' || quote_literal(asked ->> 'until') || ': wants finished or started'
        WHEN coalesce(asked ->> 'on_conflict', 'return') NOT IN ('return', 'skip', 'raise', 'replace')
            THEN 'unique.on_conflict is ' || quote_literal(asked ->> 'on_conflict') || ': wants return, skip, raise or replace'
        WHEN (asked ->> 'period')::interval <= interval '0' THEN 'unique.period is ' || (asked ->> 'period') || ': wants more than 0'
    END
$$;

-- enqueue_many() for jobs of which some have the key `unique`: {"key", "period", "until", "on_conflict"}. One row a job, in
-- order: its id (that of the holder; NULL when skipped), whether it was written now, and of one that was there its queue.
CREATE FUNCTION pgjobq.enqueue_unique(jobs jsonb) RETURNS TABLE (id bigint, is_new boolean, queue text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
#variable_conflict use_column
DECLARE
    most    int := jsonb_array_length(enqueue_unique.jobs);
    places  int[] := ARRAY(SELECT generate_series(1, most));    -- by place: whose job it is, 0: nobody's
    ids     bigint[] := array_fill(NULL::bigint, ARRAY[most]);  -- by place: the job that is there already
    keys    text[] := array_fill(NULL::text, ARRAY[most]);      -- by place: the key that its job is to hold
    fresh   int[];
    written bigint[];
    one     record;
    holder  bigint;
    before  text;                           -- the key looked at last, and the place that took it in this very call
    taker   int;
BEGIN
    FOR one IN
        SELECT e.place::int AS place, e.job, e.job -> 'unique' AS asked,
               coalesce(e.job ->> 'task', '') || ':' || (e.job #>> '{unique,key}') COLLATE "C" AS key,
               coalesce(e.job #>> '{unique,on_conflict}', 'return') AS on_conflict,
               pgjobq.unique_fault(e.job -> 'unique') AS fault
        FROM jsonb_array_elements(enqueue_unique.jobs) WITH ORDINALITY AS e(job, place)
        WHERE jsonb_typeof(e.job -> 'unique') <> 'null' ORDER BY key, place
    LOOP
        IF one.fault IS NOT NULL THEN
            RAISE check_violation USING MESSAGE = one.fault;
        END IF;
        IF one.key IS DISTINCT FROM before THEN
            before := one.key;
            taker := NULL;
        END IF;
        holder := pgjobq.take_key(one.key, (one.asked ->> 'period')::interval,
                                  one.on_conflict = 'replace' OR one.asked ->> 'until' = 'started');
        IF holder <> 0 AND one.on_conflict = 'replace' AND NOT pgjobq.replace_waiting(holder, one.job) THEN
            -- A worker has just started it, or it has ended within its period.
            IF NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = holder) THEN
                UPDATE pgjobq.unique_key u SET job = 0 WHERE u.key = one.key;
                holder := NULL;
            END IF;
        END IF;
        IF holder IS NULL THEN
            keys[one.place] := one.key;
            taker := one.place;
        ELSIF one.on_conflict = 'raise' THEN
            RAISE unique_violation USING MESSAGE = format('job %s holds the unique key %s', holder, quote_literal(one.key));
        ELSIF one.on_conflict = 'skip' THEN
            places[one.place] := 0;
        ELSIF holder = 0 AND one.on_conflict = 'replace' THEN
            keys[one.place] := one.key;
            keys[taker] := NULL;
            places := ARRAY(SELECT CASE p WHEN taker THEN one.place ELSE p END
                            FROM unnest(places) WITH ORDINALITY AS x(p, at) ORDER BY at);
            taker := one.place;
        ELSIF holder = 0 THEN
            places[one.place] := taker;
        ELSE
            places[one.place] := 0;
            ids[one.place] := holder;
        END IF;
    END LOOP;
    fresh := ARRAY(SELECT at FROM unnest(places) WITH ORDINALITY AS x(p, at) WHERE p = at ORDER BY at);
    written := ARRAY(SELECT w FROM pgjobq.enqueue_many(coalesce((
        SELECT jsonb_agg((enqueue_unique.jobs -> (at - 1)) - 'unique' ORDER BY at) FROM unnest(fresh) AS at), '[]')) AS w);
    UPDATE pgjobq.unique_key u SET job = w.job
    FROM unnest(fresh, written) AS w(at, job) WHERE u.key = keys[w.at];
    RETURN QUERY
    SELECT coalesce(w.job, ids[x.at]), coalesce(w.at = x.at, false),
           CASE WHEN w.at IS DISTINCT FROM x.at THEN (SELECT j.queue FROM pgjobq.job j WHERE j.id = coalesce(w.job, ids[x.at])) END
    FROM unnest(places) WITH ORDINALITY AS x(p, at) LEFT JOIN unnest(fresh, written) AS w(at, job) ON w.at = x.p
    ORDER BY x.at;
END $$;

-- ---------------------------------------------------------------------------------------------- what waits for what
-- A job that depends on others stands in `blocked` and waits for `jobs`. Whatever ends a job only notes whose turn it may
-- be (`look`); release() decides, in a transaction of its own, from what is committed. So nobody who ends a job ever waits
-- for anybody, and of two predecessors that end at once none overlooks the other.

ALTER TABLE pgjobq.blocked ADD COLUMN run_at timestamptz, ADD COLUMN delay interval;

-- Which job depends on which. INSERT only; deleted with the job by retention.
CREATE TABLE pgjobq.dependency (
    job    bigint NOT NULL,
    on_job bigint NOT NULL,
    needs  "char" NOT NULL,                 -- s: that it succeeds, a: that it ends, f: that it fails or is cancelled
    PRIMARY KEY (job, on_job)
);
CREATE INDEX dependency_on_job ON pgjobq.dependency (on_job);

-- Those whose predecessor has not ended, as far as release() knows.
CREATE TABLE pgjobq.pending (
    job    bigint NOT NULL,
    on_job bigint NOT NULL,
    needs  "char" NOT NULL,
    PRIMARY KEY (job, on_job)
);
CREATE INDEX pending_on_job ON pgjobq.pending (on_job);

-- Blocked jobs whose turn may have come, and when to look.
CREATE TABLE pgjobq.look (
    job bigint NOT NULL,
    at  timestamptz NOT NULL
);
CREATE INDEX look_at ON pgjobq.look (at);

-- Make a job that was enqueued in this very transaction wait for others, or for workflows as a whole. A look at once, as they
-- may have ended; and one later, as one may be ending in a transaction that neither sees us nor is seen by us (see also
-- watch_dependencies). When they have ended it comes to its gates, if it has any, and to its time: `run_at`, or `delay` after that.
CREATE FUNCTION pgjobq.hold(job bigint, on_jobs bigint[], needs text, run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    kind    "char" := CASE hold.needs WHEN 'success' THEN 's' WHEN 'any' THEN 'a' WHEN 'failure' THEN 'f' END;
    missing bigint;
BEGIN
    IF kind IS NULL THEN
        RAISE check_violation USING MESSAGE = 'needs is ' || quote_nullable(hold.needs) || ': wants success, any or failure';
    END IF;
    SELECT o INTO missing FROM unnest(hold.on_jobs) AS o
    WHERE o IS NULL OR o = hold.job OR NOT (EXISTS (SELECT FROM pgjobq.job j WHERE j.id = o)
                                            OR EXISTS (SELECT FROM pgjobq.workflow w WHERE w.id = o)) LIMIT 1;
    IF FOUND THEN
        RAISE check_violation USING MESSAGE = 'depends_on names job ' || coalesce(missing::text, 'null')
            || ', and there is no such job (any more)';
    END IF;
    WITH ready AS (
        DELETE FROM pgjobq.ready r USING pgjobq.job j
        WHERE j.id = hold.job AND r.queue = j.queue AND r.priority = j.priority AND r.seq = j.id
        RETURNING r.job, r.priority, r.attempt, r.spared, r.queue
    ), gated AS (
        DELETE FROM pgjobq.blocked b WHERE b.job = hold.job RETURNING b.job, b.priority, b.attempt, b.spared, b.queue
    )
    INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for, run_at, delay)
    SELECT m.job, pgjobq.clock(), m.priority, m.attempt, m.spared, m.queue, 'jobs', hold.run_at, hold.delay
    FROM (SELECT * FROM ready UNION ALL SELECT * FROM gated) m;
    IF NOT FOUND THEN
        RAISE check_violation USING MESSAGE = 'job ' || hold.job || ' does not wait: only one that was just enqueued can be held';
    END IF;
    INSERT INTO pgjobq.dependency (job, on_job, needs)
    SELECT DISTINCT hold.job, o, kind FROM unnest(hold.on_jobs) AS o;
    INSERT INTO pgjobq.pending (job, on_job, needs)
    SELECT DISTINCT hold.job, o, kind FROM unnest(hold.on_jobs) AS o;
    INSERT INTO pgjobq.look (job, at) VALUES (hold.job, clock_timestamp()),
                                             (hold.job, clock_timestamp() + interval '2 seconds');
    PERFORM pgjobq.keep_watch(120);
    PERFORM pg_notify('pgjobq:due', '');
END $$;

-- enqueue_after(), and whether each job was written now: a unique one may have been there already, and then stays as it is.
CREATE FUNCTION pgjobq.enqueue_linked(jobs jsonb) RETURNS TABLE (id bigint, is_new boolean, queue text) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
#variable_conflict use_column
DECLARE
    keys  CONSTANT text[] := '{depends_on, after, needs}';
    plain jsonb;
    ids   bigint[];
    fresh boolean[];
    there text[];                           -- the queues of those that were there
    asked record;
BEGIN
    plain := (SELECT coalesce(jsonb_agg(     -- one that waits for others comes to its time afterwards
                  CASE WHEN jsonb_array_length(coalesce(nullif(e.entry -> 'depends_on', 'null'), '[]')) > 0
                         OR jsonb_array_length(coalesce(nullif(e.entry -> 'after', 'null'), '[]')) > 0
                       THEN e.entry - keys - '{run_at, delay}'::text[] ELSE e.entry - keys END ORDER BY e.place), '[]')
              FROM jsonb_array_elements(enqueue_linked.jobs) WITH ORDINALITY AS e(entry, place));
    IF jsonb_path_exists(plain, '$[*].unique') THEN
        SELECT array_agg(u.id ORDER BY u.place), array_agg(u.is_new ORDER BY u.place), array_agg(u.queue ORDER BY u.place)
        INTO ids, fresh, there FROM pgjobq.enqueue_unique(plain) WITH ORDINALITY AS u(id, is_new, queue, place);
    ELSE
        ids := ARRAY(SELECT m FROM pgjobq.enqueue_many(plain) AS m);
        fresh := array_fill(true, ARRAY[cardinality(ids)]);
    END IF;
    FOR asked IN
        SELECT e.place, coalesce(x.depends_on, '{}') AS depends_on, coalesce(x.after, '{}') AS after,
               coalesce(x.needs, 'success') AS needs, x.run_at, x.delay, x.expires_at
        FROM jsonb_array_elements(enqueue_linked.jobs) WITH ORDINALITY AS e(entry, place),
             jsonb_to_record(e.entry) AS x(depends_on bigint[], after int[], needs text, run_at timestamptz, delay interval,
                                           expires_at timestamptz)
        WHERE e.entry ?| keys ORDER BY e.place
    LOOP
        IF EXISTS (SELECT FROM unnest(asked.after) a WHERE a IS NULL OR a NOT BETWEEN 0 AND asked.place - 2) THEN
            RAISE check_violation USING MESSAGE = 'after of element ' || (asked.place - 1)
                || ' wants places of elements before it, from 0';
        END IF;
        IF EXISTS (SELECT FROM unnest(asked.after) a WHERE ids[a + 1] IS NULL) THEN
            RAISE check_violation USING MESSAGE = 'after of element ' || (asked.place - 1)
                || ' names one that its unique key skipped: there is no job to wait for';
        END IF;
        IF asked.run_at IS NOT NULL AND asked.delay IS NOT NULL THEN
            RAISE check_violation USING MESSAGE = 'element ' || (asked.place - 1) || ' has run_at and delay: give one of them';
        END IF;
        IF asked.expires_at <= asked.run_at THEN
            RAISE check_violation USING MESSAGE = 'it expires at ' || asked.expires_at || ', before it is due at ' || asked.run_at;
        END IF;
        IF fresh[asked.place] AND cardinality(asked.depends_on) + cardinality(asked.after) > 0 THEN
            PERFORM pgjobq.hold(ids[asked.place], asked.depends_on || ARRAY(SELECT ids[a + 1] FROM unnest(asked.after) a),
                                asked.needs, asked.run_at, asked.delay);
        END IF;
    END LOOP;
    RETURN QUERY SELECT u.id, u.is_new, u.queue FROM unnest(ids, fresh, there) AS u(id, is_new, queue);
END $$;

-- Enqueue an array of objects with enqueue_many's keys, and with these; returns the ids in the same order:
--   depends_on   ids of jobs, or of workflows as a whole, that must have ended before
--   after        the same for earlier elements of the array: their places, from 0
--   needs        'success' (else the job is cancelled), 'any', or 'failure' (it runs as soon as one of them has failed
--                or was cancelled, and is cancelled if none did)
-- With these `delay` counts from when the last of them has ended, and `run_at` is the earliest time all the same.
CREATE FUNCTION pgjobq.enqueue_after(jobs jsonb) RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    SELECT e.id FROM pgjobq.enqueue_linked(enqueue_after.jobs) AS e
$$;

-- Let the jobs go whose predecessors have ended as they need it, and cancel those for which that cannot be any more;
-- up to `most` of them. Returns how many it looked at. Whose row in `blocked` is held, by a cancel that is under way or by
-- another release(), is passed by and looked at again: two that counted at once would each overlook what the other counts.
CREATE FUNCTION pgjobq.release(most int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    before   xid8;
    looked   bigint[];
    free     bigint[];
    over     bigint[];
    round    bigint[];
    soonest  timestamptz;
    total    bigint := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.look l WHERE l.at <= clock_timestamp()) THEN
        RETURN 0;
    END IF;
    before := pg_current_xact_id();         -- the xid before the numbers: see the head of this file
    LOOP
        WITH taken AS (
            DELETE FROM pgjobq.look WHERE ctid = ANY (ARRAY(
                SELECT l.ctid FROM pgjobq.look l WHERE l.at <= clock_timestamp()
                ORDER BY l.at LIMIT release.most - total FOR UPDATE SKIP LOCKED))
            RETURNING job)
        SELECT array_agg(DISTINCT job) INTO looked FROM taken;
        EXIT WHEN looked IS NULL;
        total := total + cardinality(looked);
        free := ARRAY(SELECT b.job FROM pgjobq.blocked b WHERE b.job = ANY (looked) AND b.waits_for = 'jobs'
                      ORDER BY b.job FOR UPDATE SKIP LOCKED);
        INSERT INTO pgjobq.look (job, at)
        SELECT b.job, clock_timestamp() + interval '0.3 seconds' FROM pgjobq.blocked b
        WHERE b.job = ANY (looked) AND b.waits_for = 'jobs' AND NOT b.job = ANY (free);
        DELETE FROM pgjobq.pending p
        WHERE p.job = ANY (looked) AND NOT EXISTS (SELECT FROM pgjobq.blocked b WHERE b.job = p.job AND b.waits_for = 'jobs');
        WITH told AS MATERIALIZED (         -- 'd': deleted meanwhile
            SELECT p.job, p.on_job, coalesce(
                       (SELECT f.outcome FROM pgjobq.finished f WHERE f.job = p.on_job),
                       CASE WHEN EXISTS (SELECT FROM pgjobq.job j WHERE j.id = p.on_job) THEN NULL
                            WHEN EXISTS (SELECT FROM pgjobq.workflow w WHERE w.id = p.on_job)
                            THEN pgjobq.workflow_fate(p.on_job, p.needs) ELSE 'd' END) AS outcome
            FROM pgjobq.pending p WHERE p.job = ANY (free)
        ), ended AS (
            DELETE FROM pgjobq.pending p USING told t
            WHERE p.job = t.job AND p.on_job = t.on_job AND t.outcome IS NOT NULL
            RETURNING p.job, p.on_job, p.needs, t.outcome
        ), seen AS (
            SELECT e.job, e.needs, min(e.on_job) FILTER (WHERE e.outcome <> 's') AS bad,
                   (SELECT count(*) FROM pgjobq.pending p WHERE p.job = e.job) - count(*) AS open
            FROM ended e GROUP BY e.job, e.needs
        ), fates AS MATERIALIZED (
            SELECT s.job, s.bad,
                   CASE WHEN s.needs = 's' AND s.bad IS NOT NULL THEN 'c' WHEN s.needs = 'f' AND s.bad IS NOT NULL THEN 'r'
                        WHEN s.open > 0 THEN NULL WHEN s.needs = 'f' THEN 'c' ELSE 'r' END AS fate
            FROM seen s
        ), moved AS (
            DELETE FROM pgjobq.blocked b USING fates f WHERE b.job = f.job AND f.fate IS NOT NULL
            RETURNING b.job, b.priority, b.attempt, b.spared, b.queue, f.fate, f.bad,
                      CASE WHEN f.fate = 'r' THEN coalesce(b.run_at, pgjobq.clock() + b.delay) END AS due
        ), placed AS MATERIALIZED (
            SELECT m.job, m.priority, m.attempt, m.spared, m.queue, CASE WHEN m.due > pgjobq.clock() THEN m.due END AS due,
                   CASE WHEN j.gates IS NOT NULL THEN pgjobq.gate_ahead(j.gates, false) END AS ahead
            FROM moved m JOIN pgjobq.job j ON j.id = m.job WHERE m.fate = 'r'
        ), later AS (
            INSERT INTO pgjobq.scheduled (job, run_at, priority, attempt, spared, queue, waits_for)
            SELECT job, due, priority, attempt, spared, queue, ahead FROM placed WHERE due IS NOT NULL
        ), waiting AS (
            INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
            SELECT job, pgjobq.clock(), priority, attempt, spared, queue, ahead FROM placed WHERE due IS NULL AND ahead IS NOT NULL
        ), gates AS (
            INSERT INTO pgjobq.gate_look (key)
            SELECT DISTINCT substr(ahead, 6) FROM placed WHERE due IS NULL AND ahead IS NOT NULL
        ), soon AS (
            INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
            SELECT nextval('pgjobq.job_id_seq'), p.job, p.priority, p.attempt, p.spared, p.queue
            FROM (SELECT * FROM placed WHERE due IS NULL AND ahead IS NULL ORDER BY priority, job) p
        ), ends AS (
            INSERT INTO pgjobq.finished (job, finished_at, attempt, outcome, reason)
            SELECT m.job, pgjobq.clock(), m.attempt, 'c',
                   CASE WHEN m.bad IS NULL THEN 'depends on the failure of others, and none of them failed'
                        ELSE coalesce((SELECT 'depends on workflow ' || w.id || ', whose job ' || w.bad || ' did not succeed'
                                       FROM pgjobq.workflow w WHERE w.id = m.bad),
                                      'depends on job ' || m.bad || ', which ' ||
                                      (SELECT CASE e.outcome WHEN 'f' THEN 'failed' WHEN 'c' THEN 'was cancelled' ELSE 'was deleted' END
                                       FROM ended e WHERE e.job = m.job AND e.on_job = m.bad)) END
            FROM moved m WHERE m.fate = 'c'
        ), woken AS MATERIALIZED (
            SELECT count(pgjobq.open_lane(queue, priority))
            FROM (SELECT DISTINCT queue, priority FROM placed) q
            UNION ALL
            SELECT count(pgjobq.wake(queue)) FROM (SELECT DISTINCT queue FROM placed) q
        )
        SELECT array_agg(m.job) FILTER (WHERE m.fate = 'c'), array_agg(m.job),
               (SELECT min(coalesce(p.due, pgjobq.clock())) FROM placed p WHERE p.due IS NOT NULL OR p.ahead IS NOT NULL)
        INTO over, round, soonest
        FROM moved m WHERE (SELECT count(*) FROM woken) IS NOT NULL;
        DELETE FROM pgjobq.pending p WHERE p.job = ANY (round);
        IF soonest IS NOT NULL THEN
            PERFORM pgjobq.wake_at(soonest);
        END IF;
        IF over IS NOT NULL THEN
            PERFORM pgjobq.ended_many(over, true);
        END IF;
        EXIT WHEN total >= release.most;
    END LOOP;
    RETURN total;
END $$;

-- Now and then: look at whatever should have been released, whoever failed to note it, and have ends told for as long
-- as something depends on them. Returns how many jobs depend on one that has ended.
CREATE FUNCTION pgjobq.watch_dependencies() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    found bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.pending) THEN
        RETURN 0;
    END IF;
    PERFORM pgjobq.keep_watch(120);
    INSERT INTO pgjobq.look (job, at)
    SELECT DISTINCT p.job, clock_timestamp() FROM pgjobq.pending p
    WHERE (EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = p.on_job)
           OR NOT EXISTS (SELECT FROM pgjobq.job j WHERE j.id = p.on_job
                          UNION ALL SELECT FROM pgjobq.workflow w WHERE w.id = p.on_job AND w.ended_at IS NULL AND w.bad IS NULL))
      AND NOT EXISTS (SELECT FROM pgjobq.look l WHERE l.job = p.job);
    GET DIAGNOSTICS found = ROW_COUNT;
    RETURN found;
END $$;

-- Run a job again that had failed or was cancelled, and all that was cancelled because of it, each after the other as
-- before. Returns the ids of those that run again: none when it was neither.
CREATE FUNCTION pgjobq.retry_from(job bigint, who text DEFAULT NULL) RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    next   bigint;
    after  bigint[];
    number int := 1;
BEGIN
    IF NOT pgjobq.retry(retry_from.job) THEN
        RETURN;
    END IF;
    RETURN NEXT retry_from.job;
    after := ARRAY(
        WITH RECURSIVE chain AS (
            SELECT retry_from.job AS id
            UNION
            SELECT f.job FROM chain c CROSS JOIN LATERAL (
                SELECT d.job FROM pgjobq.dependency d WHERE d.on_job = c.id
                UNION ALL           -- what waits for the workflow of such a job as a whole
                SELECT d.job FROM pgjobq.member m JOIN pgjobq.dependency d ON d.on_job = m.workflow WHERE m.job = c.id AND m.counted) d
            JOIN pgjobq.finished f ON f.job = d.job AND f.outcome = 'c'
                AND (f.reason LIKE 'depends on job %' OR f.reason LIKE 'depends on workflow %'))
        SELECT c.id FROM chain c WHERE c.id <> retry_from.job ORDER BY c.id);
    PERFORM pgjobq.reopen_workflows(after);
    FOREACH next IN ARRAY after LOOP
        IF pgjobq.retry(next) THEN
            number := number + 1;
            RETURN NEXT next;
        END IF;
    END LOOP;
    PERFORM pgjobq.note_action(retry_from.who, 'retry_from', number, jsonb_build_object('job', retry_from.job));
END $$;

-- ---------------------------------------------------------------------------------------------- workflows
-- A workflow is a small row of its own to which jobs belong. Its id is drawn from the sequence of jobs' ids, so that a job may
-- depend on a job or on a workflow as a whole with the same words. Nothing that starts or ends a job writes to that row, so
-- that ten thousand jobs that end at once never queue up for it: look_at_workflows() finds out, from the rows of its jobs in
-- the order of their ids, up to where all have ended (`swept`), counts those once, and asks to be told of the end of the next.
-- A job that ends badly, comes in or runs again is told as news (`workflow_look`).
--
-- WHO ADDS JOBS holds the workflow's row FOR KEY SHARE until its transaction ends, and a look takes it FOR UPDATE or passes
-- it by: so a workflow never ends over the head of somebody who adds to it, and nothing is added to one that has ended.

-- Draws its id from job_id_seq.
CREATE TABLE pgjobq.workflow (
    id           bigint PRIMARY KEY,
    created_at   timestamptz NOT NULL,
    name         text NOT NULL,
    ref          text,
    open         boolean NOT NULL,          -- it does not end before close_workflow()
    fail_fast    boolean NOT NULL DEFAULT false,    -- the first bad end cancels the rest
    cancelled_at timestamptz,
    started_at   timestamptz,               -- of its jobs, as far as they are counted, the first start
    ended_at     timestamptz,
    bad          bigint,                    -- a job of it that failed or was cancelled
    swept        bigint NOT NULL DEFAULT 0, -- its jobs up to this id have ended, and so many of them
    succeeded    int NOT NULL DEFAULT 0,
    failed       int NOT NULL DEFAULT 0,
    cancelled    int NOT NULL DEFAULT 0,
    next_job     bigint                     -- the first that had not ended: its end is told
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX workflow_running ON pgjobq.workflow (id) WHERE ended_at IS NULL;
CREATE INDEX workflow_next_job ON pgjobq.workflow (next_job) WHERE next_job IS NOT NULL;
CREATE INDEX workflow_name ON pgjobq.workflow (name, id);
CREATE INDEX workflow_ref ON pgjobq.workflow (ref, id) WHERE ref IS NOT NULL;

-- Which jobs belong to which workflow, each to one at most. INSERT only; deleted with the job.
CREATE TABLE pgjobq.member (
    job      bigint PRIMARY KEY,
    workflow bigint NOT NULL,
    counted  boolean NOT NULL               -- false: it waits for the whole, which therefore does not wait for it
);
CREATE INDEX member_workflow ON pgjobq.member (workflow, job);

-- Workflows at which somebody should look, and when.
CREATE TABLE pgjobq.workflow_look (
    workflow bigint NOT NULL,
    at       timestamptz NOT NULL,
    news     text,                          -- of a job: it ended `bad`, runs `again` or `came` in; NULL: none
    job      bigint
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX workflow_look_at ON pgjobq.workflow_look (at);
CREATE INDEX workflow_look_workflow ON pgjobq.workflow_look (workflow);

-- Whether this end is a bad one for whoever needs success. A job that was to run on failure only, and was not needed, is none.
CREATE FUNCTION pgjobq.is_bad_end(outcome "char", reason text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT outcome = 'f' OR (outcome = 'c' AND coalesce(reason, '') NOT LIKE 'depends on the failure of%')
$$;

-- Whether a workflow has ended, as far as can be told now: not while one of its jobs is known to run again.
CREATE FUNCTION pgjobq.workflow_is_over(workflow bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM pgjobq.workflow w WHERE w.id = workflow_is_over.workflow AND w.ended_at IS NOT NULL)
       AND NOT EXISTS (SELECT FROM pgjobq.workflow_look l WHERE l.workflow = workflow_is_over.workflow AND l.news IN ('again', 'came'))
$$;

-- What a workflow means to a job that needs this of it as a whole ('s', 'a', 'f'); NULL: it has yet to show.
CREATE FUNCTION pgjobq.workflow_fate(workflow bigint, needs "char") RETURNS "char" LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN w.bad IS NOT NULL THEN 'f'::"char" ELSE 's'::"char" END
    FROM pgjobq.workflow w
    WHERE w.id = workflow_fate.workflow AND (w.ended_at IS NOT NULL OR (w.bad IS NOT NULL AND workflow_fate.needs <> 'a'))
      AND NOT EXISTS (SELECT FROM pgjobq.workflow_look l WHERE l.workflow = w.id AND l.news IN ('again', 'came'))
$$;

-- Ask for a look at a workflow: now, and once more for what is ending in a transaction that we do not see.
CREATE FUNCTION pgjobq.note_workflow(workflow bigint, came bigint DEFAULT NULL) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    INSERT INTO pgjobq.workflow_look (workflow, at, news, job) VALUES
        (note_workflow.workflow, clock_timestamp(), CASE WHEN note_workflow.came IS NOT NULL THEN 'came' END, note_workflow.came),
        (note_workflow.workflow, clock_timestamp() + interval '2 seconds', NULL, NULL);
    PERFORM pgjobq.keep_watch(120);
    PERFORM pg_notify('pgjobq:due', '');
END $$;

-- Begin a workflow; returns its id. `open`: it does not end before close_workflow(), whatever becomes of its jobs; without
-- it, it ends when all jobs that it has have ended, at once when this transaction gives it none. `fail_fast`: when one of its
-- jobs has failed for good or was cancelled, the others are cancelled as by cancel_workflow().
CREATE FUNCTION pgjobq.start_workflow(name text, ref text DEFAULT NULL, open boolean DEFAULT false, fail_fast boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    fault text := CASE
        WHEN coalesce(length(start_workflow.name), 0) NOT BETWEEN 1 AND 255
            THEN 'the name of a workflow has ' || coalesce(length(start_workflow.name), 0)::text || ' characters: wants 1 to 255'
        WHEN length(start_workflow.ref) NOT BETWEEN 1 AND 255
            THEN 'ref has ' || length(start_workflow.ref)::text || ' characters: wants 1 to 255' END;
    new_id bigint;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    INSERT INTO pgjobq.workflow (id, created_at, name, ref, open, fail_fast)
    VALUES (nextval('pgjobq.job_id_seq'), pgjobq.clock(), start_workflow.name, start_workflow.ref, coalesce(start_workflow.open, false),
            coalesce(start_workflow.fail_fast, false))
    RETURNING id INTO new_id;
    PERFORM pgjobq.note_workflow(new_id);
    RETURN new_id;
END $$;

-- From now on it ends when its jobs have. False: it was closed already, or does not exist.
CREATE FUNCTION pgjobq.close_workflow(workflow bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    UPDATE pgjobq.workflow w SET open = false WHERE w.id = close_workflow.workflow AND w.open;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pgjobq.note_workflow(close_workflow.workflow);
    RETURN true;
END $$;

-- Keep a workflow from ending until this transaction does; refuses one that has ended or was cancelled.
CREATE FUNCTION pgjobq.enter_workflow(workflow bigint) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    it record;
BEGIN
    SELECT w.ended_at, w.cancelled_at INTO it FROM pgjobq.workflow w WHERE w.id = enter_workflow.workflow FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE check_violation USING MESSAGE = 'there is no workflow ' || coalesce(enter_workflow.workflow::text, 'null') || ' (any more)';
    END IF;
    IF it.cancelled_at IS NOT NULL AND NOT EXISTS (     -- a job of it was retried since, and may add to it
        SELECT FROM pgjobq.workflow_look l WHERE l.workflow = enter_workflow.workflow AND l.news = 'again') THEN
        RAISE check_violation USING MESSAGE = 'workflow ' || enter_workflow.workflow || ' was cancelled: nothing can be added to it';
    END IF;
    IF it.ended_at IS NOT NULL AND pgjobq.workflow_is_over(enter_workflow.workflow) THEN
        RAISE check_violation USING MESSAGE = 'workflow ' || enter_workflow.workflow
            || ' has ended: nothing can be added to it any more; start another one, or retry what failed in it';
    END IF;
END $$;

-- Whether a job waits, through whatever is between, for a workflow as a whole.
CREATE FUNCTION pgjobq.waits_for_workflow(job bigint, workflow bigint) RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    WITH RECURSIVE up AS (
        SELECT p.on_job AS id FROM pgjobq.pending p WHERE p.job = waits_for_workflow.job
        UNION
        SELECT n.id FROM up CROSS JOIN LATERAL (
            SELECT p.on_job AS id FROM pgjobq.pending p WHERE p.job = up.id
            UNION ALL
            SELECT p.on_job FROM pgjobq.member m JOIN pgjobq.pending p ON p.job = m.job
            WHERE m.workflow = up.id AND m.counted AND up.id <> waits_for_workflow.workflow) n
    )
    SELECT EXISTS (SELECT FROM up WHERE up.id = waits_for_workflow.workflow)
$$;

-- Let jobs that were enqueued in this very transaction belong to a workflow.
CREATE FUNCTION pgjobq.join_workflow(workflow bigint, jobs bigint[]) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    awaited boolean := EXISTS (SELECT FROM pgjobq.pending p WHERE p.on_job = join_workflow.workflow);
BEGIN
    PERFORM pgjobq.enter_workflow(join_workflow.workflow);
    INSERT INTO pgjobq.member (job, workflow, counted)
    SELECT j, join_workflow.workflow,
           CASE WHEN awaited AND EXISTS (SELECT FROM pgjobq.pending p WHERE p.job = j)
                THEN NOT pgjobq.waits_for_workflow(j, join_workflow.workflow) ELSE true END
    FROM unnest(join_workflow.jobs) AS j;
    -- Its first job as news: it may be below the mark.
    PERFORM pgjobq.note_workflow(join_workflow.workflow, (SELECT min(j) FROM unnest(join_workflow.jobs) AS j));
END $$;

-- The workflow to which a job belongs; NULL: none.
CREATE FUNCTION pgjobq.workflow_of(job bigint) RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
    SELECT m.workflow FROM pgjobq.member m WHERE m.job = workflow_of.job
$$;

-- Enqueue jobs, with enqueue_after's keys, as part of a workflow; returns the ids in the same order. Of a unique job that was
-- there already the id is that job's, and it stays where it belongs. Refuses a workflow that has ended.
CREATE FUNCTION pgjobq.add_to_workflow(workflow bigint, jobs jsonb) RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    ids   bigint[];
    fresh bigint[];
BEGIN
    PERFORM pgjobq.enter_workflow(add_to_workflow.workflow);     -- before the rows of jobs, as whoever cancels it does
    SELECT array_agg(e.id ORDER BY e.place), array_agg(e.id) FILTER (WHERE e.is_new) INTO ids, fresh
    FROM pgjobq.enqueue_linked(add_to_workflow.jobs) WITH ORDINALITY AS e(id, is_new, queue, place);
    IF fresh IS NOT NULL THEN
        PERFORM pgjobq.join_workflow(add_to_workflow.workflow, fresh);
    END IF;
    RETURN QUERY SELECT unnest(ids);
END $$;

-- Find out how far a workflow is. The caller holds its row FOR UPDATE and says what was told: which jobs ended badly, which
-- came in, whether one runs again. Returns whether it went on.
CREATE FUNCTION pgjobq.sweep_workflow(workflow bigint, badly bigint[], came bigint[], again boolean) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    most  CONSTANT int := 20000;            -- jobs that one look passes
    w     pgjobq.workflow%ROWTYPE;
    first bigint;
    last  bigint;
    seen  record;
    was   pgjobq.workflow%ROWTYPE;
BEGIN
    SELECT * INTO w FROM pgjobq.workflow x WHERE x.id = sweep_workflow.workflow;
    was := w;
    IF again OR w.swept >= ANY (came) THEN  -- counted anew
        w.swept := 0; w.succeeded := 0; w.failed := 0; w.cancelled := 0; w.bad := NULL;
    END IF;
    IF w.bad IS NULL THEN
        w.bad := (SELECT min(m.job) FROM pgjobq.member m JOIN pgjobq.finished f ON f.job = m.job
                  WHERE m.job = ANY (badly) AND m.workflow = w.id AND m.counted AND pgjobq.is_bad_end(f.outcome, f.reason));
    END IF;
    first := (SELECT a.job FROM (SELECT m.job FROM pgjobq.member m WHERE m.workflow = w.id AND m.counted AND m.job > w.swept
                                 ORDER BY m.job LIMIT most) a
              WHERE NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = a.job) ORDER BY a.job LIMIT 1);
    last := coalesce(first - 1, (SELECT max(a.job) FROM (
        SELECT m.job FROM pgjobq.member m WHERE m.workflow = w.id AND m.counted AND m.job > w.swept ORDER BY m.job LIMIT most) a));
    IF last > w.swept THEN
        SELECT count(*) FILTER (WHERE f.outcome = 's') AS s, count(*) FILTER (WHERE f.outcome = 'f') AS f,
               count(*) FILTER (WHERE f.outcome = 'c') AS c, min(f.started_at) AS started,
               min(m.job) FILTER (WHERE pgjobq.is_bad_end(f.outcome, f.reason)) AS bad, count(*) AS n
        INTO seen FROM pgjobq.member m
        CROSS JOIN LATERAL (SELECT * FROM pgjobq.finished x WHERE x.job = m.job OFFSET 0) f
        WHERE m.workflow = w.id AND m.counted AND m.job > w.swept AND m.job <= last;
        w.succeeded := w.succeeded + seen.s;
        w.failed := w.failed + seen.f;
        w.cancelled := w.cancelled + seen.c;
        w.started_at := least(w.started_at, seen.started);
        w.bad := coalesce(w.bad, seen.bad);
        w.swept := last;
    END IF;
    w.next_job := first;
    IF first IS NULL AND NOT w.open
       AND NOT EXISTS (SELECT FROM pgjobq.member m WHERE m.workflow = w.id AND m.counted AND m.job > w.swept) THEN
        w.ended_at := CASE WHEN again THEN pgjobq.clock() ELSE coalesce(w.ended_at, pgjobq.clock()) END;
    ELSE
        w.ended_at := NULL;
    END IF;
    IF w IS NOT DISTINCT FROM was AND badly IS NULL AND came IS NULL AND NOT again THEN
        RETURN false;                       -- with news, whoever waits for the whole has waited for this look
    END IF;
    UPDATE pgjobq.workflow x
    SET started_at = w.started_at, ended_at = w.ended_at, bad = w.bad, swept = w.swept, succeeded = w.succeeded, failed = w.failed,
        cancelled = w.cancelled, next_job = w.next_job
    WHERE x.id = w.id;
    IF w.ended_at IS NOT NULL THEN          -- told as the end of a job is: their ids are of one sequence
        PERFORM pg_notify('pgjobq:ended', w.id::text)
        WHERE EXISTS (SELECT FROM pgjobq.awaited x WHERE x.job = w.id AND x.until > clock_timestamp());
    END IF;
    IF w.ended_at IS NOT NULL OR w.bad IS NOT NULL THEN
        INSERT INTO pgjobq.look (job, at) SELECT p.job, clock_timestamp() FROM pgjobq.pending p WHERE p.on_job = w.id;
        IF FOUND THEN
            PERFORM pg_notify('pgjobq:due', '');
        END IF;
    END IF;
    RETURN w.ended_at IS NULL;
END $$;

-- Let a cancelled workflow go on of which a job was retried alone. One that was retried before the whole was cancelled has
-- ended, or is asked to. The caller holds the workflow's row.
CREATE FUNCTION pgjobq.go_on(workflow bigint, again bigint[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
BEGIN
    UPDATE pgjobq.workflow w SET cancelled_at = NULL
    WHERE w.id = go_on.workflow AND w.cancelled_at IS NOT NULL AND EXISTS (
        SELECT FROM unnest(go_on.again) AS j
        WHERE NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = j)
          AND NOT EXISTS (SELECT FROM pgjobq.cancel_request c WHERE c.job = j));
END $$;

-- Of a workflow that is to fail fast: cancel it when one of its jobs has ended badly. The caller holds its row, has swept it and
-- says whether it was bad before, which jobs ended badly, and whether one runs again: then what was bad before cancels nothing.
CREATE FUNCTION pgjobq.fail_fast(workflow bigint, was_bad boolean, badly bigint[], again boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    culprit bigint := (SELECT min(m.job) FROM pgjobq.member m JOIN pgjobq.finished f ON f.job = m.job
                       WHERE m.job = ANY (fail_fast.badly) AND m.workflow = fail_fast.workflow AND m.counted
                         AND pgjobq.is_bad_end(f.outcome, f.reason));
BEGIN
    UPDATE pgjobq.workflow w SET cancelled_at = coalesce(w.cancelled_at, pgjobq.clock()), open = false
    WHERE w.id = fail_fast.workflow AND w.ended_at IS NULL
      AND (culprit IS NOT NULL OR (w.bad IS NOT NULL AND NOT was_bad AND NOT again));
END $$;

-- Cancel what came into a workflow while somebody cancelled it; not before all is known of what was retried since. Waits for
-- nobody.
CREATE FUNCTION pgjobq.cancel_latecomers(workflow bigint) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    late bigint[] := ARRAY(
        SELECT m.job FROM pgjobq.workflow w JOIN pgjobq.member m ON m.workflow = w.id AND m.counted AND m.job > w.swept
        WHERE w.id = cancel_latecomers.workflow AND w.cancelled_at IS NOT NULL AND w.ended_at IS NULL
          AND NOT EXISTS (SELECT FROM pgjobq.workflow_look l WHERE l.workflow = w.id AND l.news = 'again')
          AND NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = m.job)
          AND NOT EXISTS (SELECT FROM pgjobq.cancel_request c WHERE c.job = m.job) ORDER BY m.job LIMIT 1000);
    why  text := (SELECT CASE WHEN w.fail_fast AND w.bad IS NOT NULL THEN 'job ' || w.bad || ' of its workflow did not succeed'
                              ELSE 'its workflow was cancelled' END
                  FROM pgjobq.workflow w WHERE w.id = cancel_latecomers.workflow);
BEGIN
    IF cardinality(late) > 0 THEN
        PERFORM pgjobq.drop_waiting(late, 'cancelled while it waited: ' || why);
        INSERT INTO pgjobq.cancel_request (job, since, reason)
        SELECT r.job, pgjobq.clock(), 'cancelled while it ran: ' || why
        FROM pgjobq.running r WHERE r.job = ANY (late) ORDER BY r.job
        ON CONFLICT DO NOTHING;
        PERFORM pg_notify('pgjobq', '');
    END IF;
END $$;

-- Look at the workflows at which somebody should; up to `most` notes. Returns how many. While a workflow goes on it is looked
-- at ten times a second; when it stands still, once more two seconds later, and then when the job that it waits for ends.
CREATE FUNCTION pgjobq.look_at_workflows(most int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    one  record;
    held record;
    done bigint := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.workflow_look l WHERE l.at <= clock_timestamp()) THEN
        RETURN 0;
    END IF;
    FOR one IN
        WITH taken AS (
            DELETE FROM pgjobq.workflow_look WHERE ctid = ANY (ARRAY(
                SELECT l.ctid FROM pgjobq.workflow_look l WHERE l.at <= clock_timestamp()
                ORDER BY l.at LIMIT look_at_workflows.most FOR UPDATE SKIP LOCKED))
            RETURNING workflow, news, job)
        SELECT t.workflow, array_agg(t.job) FILTER (WHERE t.news = 'bad') AS badly,
               array_agg(t.job) FILTER (WHERE t.news = 'came') AS came, array_agg(t.job) FILTER (WHERE t.news = 'again') AS again,
               count(*) AS notes
        FROM taken t GROUP BY t.workflow ORDER BY t.workflow
    LOOP
        done := done + one.notes;
        SELECT w.id, w.fail_fast, w.bad IS NOT NULL AS was_bad INTO held
        FROM pgjobq.workflow w WHERE w.id = one.workflow FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN                   -- somebody adds to it, or looks at it
            INSERT INTO pgjobq.workflow_look (workflow, at, news, job)
            SELECT w.id, clock_timestamp() + interval '0.3 seconds', n.news, n.job
            FROM pgjobq.workflow w CROSS JOIN LATERAL (
                SELECT 'bad' AS news, j AS job FROM unnest(one.badly) AS j UNION ALL SELECT 'came', j FROM unnest(one.came) AS j
                UNION ALL SELECT 'again', j FROM unnest(one.again) AS j UNION ALL SELECT NULL, NULL) n
            WHERE w.id = one.workflow;
            CONTINUE;
        END IF;
        IF pgjobq.sweep_workflow(one.workflow, one.badly, one.came, one.again IS NOT NULL) THEN
            PERFORM pgjobq.keep_watch(120);
            INSERT INTO pgjobq.workflow_look (workflow, at)
            SELECT one.workflow, clock_timestamp() + wait FROM unnest('{0.1 seconds, 2 seconds}'::interval[]) AS wait
            WHERE wait < interval '1 second' OR NOT EXISTS (
                SELECT FROM pgjobq.workflow_look l WHERE l.workflow = one.workflow AND l.at > clock_timestamp() + interval '1 second');
        END IF;
        IF one.again IS NOT NULL THEN
            PERFORM pgjobq.go_on(one.workflow, one.again);
        END IF;
        IF held.fail_fast THEN
            PERFORM pgjobq.fail_fast(one.workflow, held.was_bad, one.badly, one.again IS NOT NULL);
        END IF;
        PERFORM pgjobq.cancel_latecomers(one.workflow);
    END LOOP;
    RETURN done;
END $$;

-- Now and then: look at the workflows whose next job has ended without a word. Returns how many these are.
CREATE FUNCTION pgjobq.watch_workflows() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    found bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.workflow w WHERE w.ended_at IS NULL) THEN
        RETURN 0;
    END IF;
    PERFORM pgjobq.keep_watch(120);
    INSERT INTO pgjobq.workflow_look (workflow, at)
    SELECT w.id, clock_timestamp() FROM pgjobq.workflow w
    WHERE w.ended_at IS NULL AND (w.next_job IS NULL OR EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = w.next_job));
    GET DIAGNOSTICS found = ROW_COUNT;
    RETURN found;
END $$;

-- Cancel what has not ended of a workflow, what runs included, and let nothing be added to it. Jobs that wait for the whole
-- are not touched: they run, or are cancelled, as they need it. Returns how many it cancelled or asked to end; NULL: there is
-- no such workflow, or it has ended.
CREATE FUNCTION pgjobq.cancel_workflow(workflow bigint, reason text DEFAULT NULL, who text DEFAULT NULL) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    one     bigint;
    changed int := 0;
BEGIN
    UPDATE pgjobq.workflow w SET cancelled_at = pgjobq.clock(), open = false
    WHERE w.id = cancel_workflow.workflow AND NOT pgjobq.workflow_is_over(w.id);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    FOR one IN SELECT m.job FROM pgjobq.member m
               WHERE m.workflow = cancel_workflow.workflow AND m.counted
                 AND NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = m.job) ORDER BY m.job LOOP
        changed := changed + pgjobq.ask_cancel(one, cancel_workflow.reason)::int;
    END LOOP;
    PERFORM pgjobq.note_workflow(cancel_workflow.workflow);
    PERFORM pgjobq.note_action(cancel_workflow.who, 'cancel_workflow', changed, jsonb_build_object(
        'workflow', cancel_workflow.workflow, 'reason', cancel_workflow.reason));
    RETURN changed;
END $$;

-- Run again what failed in a workflow, and what was cancelled because of that or by an operator, each job after those that it
-- depends on; what succeeded stays as it is, and so does what expired or discarded itself. Returns how many run again; NULL:
-- there is no such workflow.
CREATE FUNCTION pgjobq.retry_workflow(workflow bigint, who text DEFAULT NULL) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    one     bigint;
    changed int := 0;
BEGIN
    IF EXISTS (SELECT FROM pgjobq.workflow w WHERE w.id = retry_workflow.workflow) AND NOT EXISTS (
        SELECT FROM pgjobq.member m JOIN pgjobq.finished f ON f.job = m.job AND f.outcome <> 's'
        WHERE m.workflow = retry_workflow.workflow) THEN
        RETURN 0;
    END IF;
    UPDATE pgjobq.workflow w
    SET cancelled_at = NULL, ended_at = NULL, bad = NULL, next_job = NULL, swept = 0, succeeded = 0, failed = 0, cancelled = 0
    WHERE w.id = retry_workflow.workflow;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    FOR one IN SELECT m.job FROM pgjobq.member m JOIN pgjobq.finished f ON f.job = m.job
               WHERE m.workflow = retry_workflow.workflow
                 AND (f.outcome = 'f' OR (f.outcome = 'c' AND (f.reason LIKE 'depends on job %' OR f.reason LIKE 'depends on workflow %'
                                                              OR f.reason LIKE 'cancelled while it %')))
               ORDER BY m.job LOOP
        changed := changed + pgjobq.retry(one)::int;
    END LOOP;
    PERFORM pgjobq.note_workflow(retry_workflow.workflow);
    IF changed > 0 THEN
        PERFORM pgjobq.note_action(retry_workflow.who, 'retry_workflow', changed, jsonb_build_object('workflow', retry_workflow.workflow));
    END IF;
    RETURN changed;
END $$;

-- ---------------------------------------------------------------------------------------------- jobs nobody needs any more
-- A job with `expires_at` that is claimed too late is ended by its worker, which the claim tells; those that nobody claims
-- are ended by expire(), a chore.

ALTER TABLE pgjobq.job ADD COLUMN version smallint, ADD COLUMN expires_at timestamptz;

-- Jobs that nobody needs from `at` on, unless they have started. A row stays here until then, whatever becomes of its job: so
-- neither starting nor ending a job costs anything.
CREATE TABLE pgjobq.expiry (
    at  timestamptz NOT NULL,
    job bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX expiry_at ON pgjobq.expiry (at);

-- End those of these jobs that wait as cancelled; returns which. Never waits: what is locked is passed by.
CREATE FUNCTION pgjobq.drop_waiting(jobs bigint[], reason text) RETURNS bigint[] LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    dropped bigint[];
BEGIN
    WITH b AS (
        DELETE FROM pgjobq.blocked WHERE ctid = ANY (ARRAY(
            SELECT x.ctid FROM pgjobq.blocked x WHERE x.job = ANY (drop_waiting.jobs) FOR UPDATE SKIP LOCKED))
        RETURNING job, attempt
    ), s AS (
        DELETE FROM pgjobq.scheduled WHERE ctid = ANY (ARRAY(
            SELECT x.ctid FROM pgjobq.scheduled x WHERE x.job = ANY (drop_waiting.jobs) FOR UPDATE SKIP LOCKED))
        RETURNING job, attempt
    ), first AS (
        DELETE FROM pgjobq.ready WHERE ctid = ANY (ARRAY(
            SELECT r.ctid FROM pgjobq.job j
            JOIN pgjobq.ready r ON r.queue = j.queue AND r.priority = j.priority AND r.seq = j.id
            WHERE j.id = ANY (drop_waiting.jobs) FOR UPDATE OF r SKIP LOCKED))
        RETURNING job, attempt
    ), again AS (
        DELETE FROM pgjobq.ready WHERE ctid = ANY (ARRAY(
            SELECT r.ctid FROM pgjobq.ready r
            WHERE r.job = ANY (drop_waiting.jobs) AND r.seq <> r.job FOR UPDATE SKIP LOCKED))
        RETURNING job, attempt
    ), gone AS (
        SELECT * FROM b UNION ALL SELECT * FROM s UNION ALL SELECT * FROM first UNION ALL SELECT * FROM again
    ), ends AS (
        INSERT INTO pgjobq.finished (job, finished_at, attempt, outcome, reason)
        SELECT g.job, pgjobq.clock(), g.attempt, 'c', drop_waiting.reason FROM gone g
    )
    SELECT array_agg(g.job ORDER BY g.job) INTO dropped FROM gone g;
    IF dropped IS NULL THEN
        RETURN '{}';
    END IF;
    IF pgjobq.watched() THEN
        PERFORM pgjobq.ended_many(dropped, true);
    END IF;
    INSERT INTO pgjobq.gate_look (key) SELECT DISTINCT p.key FROM pgjobq.gate_pass p WHERE p.job = ANY (dropped);
    IF FOUND THEN                           -- one had been let through: others may now
        PERFORM pgjobq.wake_at(pgjobq.clock());
    END IF;
    RETURN dropped;
END $$;

-- End up to so many jobs that have expired; returns at how many it looked. One that runs, or is locked, is looked at again.
CREATE FUNCTION pgjobq.expire(most int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    due     bigint[];
    over    bigint[];
    dropped bigint[];
BEGIN
    WITH taken AS (
        DELETE FROM pgjobq.expiry WHERE ctid = ANY (ARRAY(
            SELECT e.ctid FROM pgjobq.expiry e
            WHERE e.at <= pgjobq.clock() ORDER BY e.at LIMIT expire.most FOR UPDATE SKIP LOCKED))
        RETURNING job)
    SELECT array_agg(t.job) INTO due FROM taken t;
    IF due IS NULL THEN
        RETURN 0;
    END IF;
    over := ARRAY(SELECT j.id FROM pgjobq.job j WHERE j.id = ANY (due) AND j.expires_at <= pgjobq.clock());
    dropped := pgjobq.drop_waiting(over, 'expired before it started');
    INSERT INTO pgjobq.expiry (at, job)
    SELECT pgjobq.clock() + interval '10 seconds', o FROM unnest(over) AS o
    WHERE NOT o = ANY (dropped) AND NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = o);
    RETURN cardinality(due);
END $$;

-- ---------------------------------------------------------------------------------------------- limits of waiting jobs
-- A queue may have a limit of jobs that wait in it (ready, scheduled or blocked): who enqueues more is refused, or the oldest
-- are dropped. Nobody waits for anybody, so what other open transactions are about to add is not seen: the limit may be
-- exceeded by that. Counting takes the longer the more jobs wait, so it is not done for each job: each one that comes in
-- draws a number from a sequence, which nobody ever has to wait for. It starts at what was counted last, and as jobs also leave
-- the queue it is never less than the truth, but for what was not committed when it was counted. Only when it comes to the
-- limit is it counted again, by one at a time: that is waited for, nobody's transaction is.

ALTER TABLE pgjobq.lane ADD COLUMN limited boolean NOT NULL DEFAULT false;

-- How many jobs may wait in a queue. About how many do stands in the sequence `limit_` with the row's number.
CREATE TABLE pgjobq.queue_limit (
    queue     text PRIMARY KEY,
    number    bigint GENERATED ALWAYS AS IDENTITY,
    waiting   int CHECK (waiting >= 1),     -- NULL: no limit (any more)
    when_full text NOT NULL CHECK (when_full IN ('raise', 'drop_oldest')),
    set_at    timestamptz NOT NULL,
    who       text NOT NULL
);

-- Whether the number of jobs that wait in this queue is limited.
CREATE FUNCTION pgjobq.is_limited(queue text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM pgjobq.queue_limit l WHERE l.queue = is_limited.queue AND l.waiting IS NOT NULL)
$$;

-- Make sure that claims look at this lane. Costs one probe of a tiny index when the lane is known.
CREATE OR REPLACE FUNCTION pgjobq.open_lane(queue text, priority int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.lane l WHERE l.queue = open_lane.queue AND l.priority = open_lane.priority) THEN
        INSERT INTO pgjobq.lane (queue, priority, limited)
        VALUES (open_lane.queue, open_lane.priority, pgjobq.is_limited(open_lane.queue));
    END IF;
END $$;

-- How many jobs wait in a queue; counts no further than `most`.
CREATE FUNCTION pgjobq.count_waiting(queue text, most bigint) RETURNS bigint LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
    SELECT count(*) FROM (
        (SELECT FROM pgjobq.ready r WHERE r.queue = count_waiting.queue LIMIT count_waiting.most)
        UNION ALL (SELECT FROM pgjobq.blocked b WHERE b.queue = count_waiting.queue LIMIT count_waiting.most)
        UNION ALL (SELECT FROM pgjobq.scheduled s WHERE s.queue = count_waiting.queue LIMIT count_waiting.most)
        LIMIT count_waiting.most) w
$$;

-- The same, and let the numbers go on from there when that is no more than `below`. One counts at a time, since the number of
-- one who counted long ago would take back what was drawn since. The lock goes with the inner block, not with the
-- transaction, whatever ends it; what setval() did stays. Whoever holds it waits for nothing.
CREATE FUNCTION pgjobq.count_anew(queue text, tickets regclass, most bigint, below bigint) RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    there bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('pgjobq:limit:' || count_anew.queue, 0));
    there := pgjobq.count_waiting(count_anew.queue, count_anew.most);
    -- A transaction that sees the past counts the past: good enough for itself, and for nobody else.
    IF there <= count_anew.below AND current_setting('transaction_isolation') = 'read committed' THEN
        PERFORM setval(count_anew.tickets, greatest(there, 1));
    END IF;
    RAISE SQLSTATE 'PJQ00';
EXCEPTION WHEN SQLSTATE 'PJQ00' THEN
    RETURN there;
END $$;

-- End up to so many of the oldest jobs that wait in a queue, ready ones first, to make room. What is locked is passed by.
CREATE FUNCTION pgjobq.drop_oldest(queue text, jobs bigint, reason text) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    chosen bigint[];
BEGIN
    chosen := ARRAY(SELECT r.job FROM pgjobq.ready r WHERE r.queue = drop_oldest.queue
                    ORDER BY r.job LIMIT drop_oldest.jobs FOR UPDATE SKIP LOCKED);
    chosen := chosen || ARRAY(SELECT b.job FROM pgjobq.blocked b WHERE b.queue = drop_oldest.queue
                              ORDER BY b.job LIMIT drop_oldest.jobs - cardinality(chosen) FOR UPDATE SKIP LOCKED);
    chosen := chosen || ARRAY(SELECT s.job FROM pgjobq.scheduled s WHERE s.queue = drop_oldest.queue
                              ORDER BY s.job LIMIT drop_oldest.jobs - cardinality(chosen) FOR UPDATE SKIP LOCKED);
    RETURN cardinality(pgjobq.drop_waiting(chosen, drop_oldest.reason));
END $$;

-- So many jobs have been written to a queue: see whether there is room for them. Refuses them, or drops older ones, if not.
CREATE FUNCTION pgjobq.make_room(queue text, jobs int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    it    record;
    drawn bigint;                           -- no fewer wait, with these
    there bigint;
BEGIN
    SELECT l.waiting, l.when_full, format('pgjobq.limit_%s', l.number)::regclass AS tickets INTO it
    FROM pgjobq.queue_limit l WHERE l.queue = make_room.queue AND l.waiting IS NOT NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    drawn := CASE WHEN make_room.jobs = 1 THEN nextval(it.tickets)
                  ELSE setval(it.tickets, coalesce(pg_sequence_last_value(it.tickets), 0) + make_room.jobs) END;
    IF drawn <= it.waiting THEN
        RETURN;
    END IF;
    there := drawn;
    -- A full queue refuses many: it is enough to count for each thousandth of the limit.
    IF it.when_full = 'drop_oldest' OR drawn <= it.waiting + make_room.jobs
       OR (drawn - it.waiting) % greatest(1, it.waiting / 1000) < make_room.jobs THEN
        there := pgjobq.count_anew(make_room.queue, it.tickets, it.waiting::bigint + make_room.jobs + 1000, it.waiting);
        IF there <= it.waiting THEN
            RETURN;
        END IF;
    END IF;
    IF it.when_full = 'raise' THEN
        RAISE check_violation USING MESSAGE = format('the queue %L is full: %s jobs wait, and its limit is %s', make_room.queue,
                                                     least(there - make_room.jobs, it.waiting), it.waiting);
    END IF;
    -- A hundredth more than there must be, so that not each one that comes has to count.
    there := there - pgjobq.drop_oldest(make_room.queue, there - it.waiting + it.waiting / 100,
                                        'dropped: its queue was full (limit ' || it.waiting || ')');
    PERFORM setval(it.tickets, greatest(there, 1));
END $$;

-- Make sure that claims look at this lane, and that its queue takes so many jobs, which have just been written.
CREATE FUNCTION pgjobq.enter_lane(queue text, priority int, jobs int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.lane l
                   WHERE l.queue = enter_lane.queue AND l.priority = enter_lane.priority AND NOT l.limited) THEN
        PERFORM pgjobq.open_lane(enter_lane.queue, enter_lane.priority);
        PERFORM pgjobq.make_room(enter_lane.queue, enter_lane.jobs);
    END IF;
END $$;

-- Limit the jobs that may wait in a queue. `when_full`: 'raise', or 'drop_oldest'. What waits already stays.
CREATE FUNCTION pgjobq.limit_queue(queue text, waiting int, when_full text DEFAULT 'raise', who text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    its   bigint;
    fault text := CASE
        WHEN coalesce(length(limit_queue.queue), 0) NOT BETWEEN 1 AND 255
            THEN 'queue has ' || coalesce(length(limit_queue.queue), 0)::text || ' characters: wants 1 to 255'
        WHEN coalesce(limit_queue.waiting, 0) < 1
            THEN 'waiting is ' || coalesce(limit_queue.waiting::text, 'null') || ': wants a whole number from 1 on'
        WHEN coalesce(limit_queue.when_full, '') NOT IN ('raise', 'drop_oldest')
            THEN 'when_full is ' || quote_nullable(limit_queue.when_full) || ': wants raise or drop_oldest' END;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    INSERT INTO pgjobq.queue_limit AS l (queue, waiting, when_full, set_at, who)
    VALUES (limit_queue.queue, limit_queue.waiting, limit_queue.when_full, pgjobq.clock(),
            coalesce(limit_queue.who, session_user))
    ON CONFLICT ON CONSTRAINT queue_limit_pkey DO UPDATE SET
        waiting = excluded.waiting, when_full = excluded.when_full, set_at = excluded.set_at, who = excluded.who
    RETURNING l.number INTO its;
    -- Never dropped: that would wait for every transaction that has drawn from it, and make all others wait meanwhile.
    IF to_regclass('pgjobq.limit_' || its) IS NULL THEN
        EXECUTE format('CREATE SEQUENCE pgjobq.limit_%s', its);
    END IF;
    PERFORM setval(('pgjobq.limit_' || its)::regclass, greatest(1, pgjobq.count_waiting(
        limit_queue.queue, limit_queue.waiting::bigint + 1)));
    PERFORM pgjobq.follow_limits();
    PERFORM pgjobq.note_action(limit_queue.who, 'limit', NULL, jsonb_build_object(
        'queue', limit_queue.queue, 'waiting', limit_queue.waiting, 'when_full', limit_queue.when_full));
END $$;

-- Let any number of jobs wait in a queue. False: it had no limit.
CREATE FUNCTION pgjobq.unlimit_queue(queue text, who text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    UPDATE pgjobq.queue_limit l SET waiting = NULL WHERE l.queue = unlimit_queue.queue AND l.waiting IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM pgjobq.follow_limits();
    PERFORM pgjobq.note_action(unlimit_queue.who, 'unlimit', NULL, jsonb_build_object('queue', unlimit_queue.queue));
    RETURN true;
END $$;

-- Now and then: mark the lanes that were opened while somebody set a limit, and count where a queue is taken to be full.
CREATE FUNCTION pgjobq.follow_limits() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    UPDATE pgjobq.lane SET limited = NOT limited WHERE ctid = ANY (ARRAY(
        SELECT l.ctid FROM pgjobq.lane l WHERE l.limited <> pgjobq.is_limited(l.queue) FOR UPDATE SKIP LOCKED));
    PERFORM pgjobq.count_anew(x.queue, x.tickets, x.waiting::bigint + 1, x.waiting::bigint + 1)
    FROM (SELECT l.queue, l.waiting, format('pgjobq.limit_%s', l.number)::regclass AS tickets
          FROM pgjobq.queue_limit l WHERE l.waiting IS NOT NULL) x
    WHERE pg_sequence_last_value(x.tickets) > x.waiting;
END $$;

-- ---------------------------------------------------------------------------------------------- priorities that age
-- In a queue that ages a job counts, after it has waited for a step, as if it had been enqueued with the next more urgent
-- priority, behind those that have it by then. So it is overtaken only by what comes within (its priority - theirs) steps
-- after it. Its own priority stays in `job`; what rises is its row in `ready`, with a new number, by a chore. No job has to say
-- since when it waits: the numbers are drawn in the order of time, so it is enough to note now and then how far they are.

-- Queues whose jobs rise by one priority for each `step` that they have waited, to `up_to` at the most.
CREATE TABLE pgjobq.ageing (
    queue  text PRIMARY KEY,
    step   interval NOT NULL,
    up_to  smallint NOT NULL CHECK (up_to BETWEEN -9 AND 9),
    set_at timestamptz NOT NULL,
    who    text NOT NULL
);

-- When how many numbers had been drawn: what stands in `ready` with a smaller one has waited since then, or longer.
CREATE TABLE pgjobq.age_mark (
    queue    text NOT NULL,
    priority smallint NOT NULL,
    at       timestamptz NOT NULL,
    seq      bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX age_mark_lane ON pgjobq.age_mark (queue, priority, at);

-- Let the jobs of a queue rise by one priority for each `step` (1 second or more) that they have waited while ready, to `up_to`
-- at the most. In force from now on, also for those that wait already.
CREATE FUNCTION pgjobq.set_ageing(queue text, step interval, up_to int DEFAULT -9, who text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    fault text := CASE
        WHEN coalesce(length(set_ageing.queue), 0) NOT BETWEEN 1 AND 255
            THEN 'queue has ' || coalesce(length(set_ageing.queue), 0)::text || ' characters: wants 1 to 255'
        WHEN set_ageing.step IS NULL OR set_ageing.step NOT BETWEEN interval '1 second' AND interval '366 days'
            THEN 'step is ' || coalesce(set_ageing.step::text, 'null') || ': wants 1 second to 366 days'
        WHEN coalesce(set_ageing.up_to, 99) NOT BETWEEN -9 AND 9
            THEN 'up_to is ' || coalesce(set_ageing.up_to::text, 'null') || ': wants a whole number from -9 to 9' END;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    INSERT INTO pgjobq.ageing (queue, step, up_to, set_at, who)
    VALUES (set_ageing.queue, set_ageing.step, set_ageing.up_to, pgjobq.clock(), coalesce(set_ageing.who, session_user))
    ON CONFLICT ON CONSTRAINT ageing_pkey DO UPDATE SET
        step = excluded.step, up_to = excluded.up_to, set_at = excluded.set_at, who = excluded.who;
    PERFORM pgjobq.note_action(set_ageing.who, 'set_ageing', NULL, jsonb_build_object(
        'queue', set_ageing.queue, 'step', set_ageing.step, 'up_to', set_ageing.up_to));
END $$;

-- Let the jobs of a queue keep their priority; those that have risen stay where they are. False: they did not rise.
CREATE FUNCTION pgjobq.unset_ageing(queue text, who text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    DELETE FROM pgjobq.ageing a WHERE a.queue = unset_ageing.queue;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM pgjobq.age_mark m WHERE m.queue = unset_ageing.queue;
    PERFORM pgjobq.note_action(unset_ageing.who, 'unset_ageing', NULL, jsonb_build_object('queue', unset_ageing.queue));
    RETURN true;
END $$;

-- Let jobs rise that have waited long enough, up to `most` of each lane, the longest waiting first: a chore. Returns how many
-- there were in the lane with the most: `most` says that there may be more. A lane's jobs go straight to the next lane that
-- there is, of whatever queue (a worker compares the priorities of all its queues), after as many steps as lie between.
CREATE FUNCTION pgjobq.age(most int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    started timestamptz := pgjobq.clock();
    before  xid8;
    lane    record;
    ripe    record;                         -- the latest mark that is old enough
    risen   bigint;
    largest bigint := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.ageing)
       OR NOT pg_try_advisory_xact_lock(hashtextextended('pgjobq:ageing', 0)) THEN
        RETURN 0;
    END IF;
    before := pg_current_xact_id();         -- the xid before the numbers: see the head of this file
    FOR lane IN
        WITH levels AS MATERIALIZED (
            SELECT DISTINCT l.priority FROM pgjobq.lane l
        ), lanes AS MATERIALIZED (
            SELECT l.queue, l.priority, a.step, (SELECT max(v.priority) FROM levels v
                                                 WHERE v.priority < l.priority AND v.priority >= a.up_to) AS above
            FROM (SELECT DISTINCT o.queue, o.priority FROM pgjobq.lane o) l JOIN pgjobq.ageing a ON a.queue = l.queue
        )
        SELECT l.queue, l.priority, l.above, l.step * (l.priority - l.above) AS wait
        FROM lanes l WHERE l.above IS NOT NULL ORDER BY l.priority, l.queue
    LOOP
        INSERT INTO pgjobq.age_mark (queue, priority, at, seq)
        SELECT lane.queue, lane.priority, started, s.last_value FROM pgjobq.job_id_seq s
        WHERE NOT EXISTS (SELECT FROM pgjobq.age_mark m WHERE m.queue = lane.queue AND m.priority = lane.priority
                          AND m.at > started - lane.wait / 8 AND m.at <= started);
        SELECT m.at, m.seq INTO ripe FROM pgjobq.age_mark m
        WHERE m.queue = lane.queue AND m.priority = lane.priority AND m.at <= started - lane.wait
        ORDER BY m.at DESC LIMIT 1;
        CONTINUE WHEN NOT FOUND;
        DELETE FROM pgjobq.age_mark m WHERE m.queue = lane.queue AND m.priority = lane.priority AND m.at < ripe.at;
        WITH oldest AS MATERIALIZED (
            SELECT r.ctid AS place FROM pgjobq.ready r
            WHERE r.queue = lane.queue AND r.priority = lane.priority AND r.seq <= ripe.seq
            ORDER BY r.seq LIMIT age.most FOR UPDATE SKIP LOCKED
        ), numbered AS MATERIALIZED (
            SELECT o.place, nextval('pgjobq.job_id_seq') AS seq FROM oldest o
        ), gone AS (
            DELETE FROM pgjobq.ready r USING numbered n WHERE r.ctid = n.place
            RETURNING n.seq, r.job, r.attempt, r.spared, r.queue
        )
        INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
        SELECT g.seq, g.job, lane.above, g.attempt, g.spared, g.queue FROM gone g;
        GET DIAGNOSTICS risen = ROW_COUNT;
        IF risen > 0 THEN
            PERFORM pgjobq.open_lane(lane.queue, lane.above);
            PERFORM pgjobq.wake(lane.queue);
            largest := greatest(largest, risen);
        END IF;
    END LOOP;
    DELETE FROM pgjobq.age_mark m WHERE NOT EXISTS (SELECT FROM pgjobq.ageing a WHERE a.queue = m.queue);
    RETURN largest;
END $$;

-- ---------------------------------------------------------------------------------------------- steps and events
-- What a handler has done for good is remembered under a name, so that the next attempt goes on behind it. A sleep and a
-- wait for an event are steps that are not over: the handler ends, no worker is held, and the job stands in `scheduled` or
-- in `blocked` (`event:NAME`). wait_step() alone, called by an attempt, decides what came of a wait and writes it down; all
-- else only sees to it that there is an attempt: whoever emits only adds to `emission` and conflicts with nobody, however
-- long its transaction is open, and deliver() looks, in a transaction of its own, at what is committed.

-- What attempts have done for good. Deleted with the job, or by forget_steps().
CREATE TABLE pgjobq.step (
    job        bigint NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,                 -- NULL: a sleep or a wait that is not over
    until      timestamptz,                 -- when a sleep is over, or a wait in vain
    attempt    int NOT NULL,                -- that did it
    timed_out  boolean NOT NULL DEFAULT false,
    kind       text NOT NULL CHECK (kind IN ('step', 'sleep', 'wait')),
    name       text NOT NULL,
    event      text,                        -- that a wait waits for
    value      jsonb,
    PRIMARY KEY (job, name)
);
CREATE INDEX step_waits ON pgjobq.step (event) WHERE ended_at IS NULL;

-- Events as they were emitted, until deliver() has seen them. Not unique: two that emit the same never wait for each other.
CREATE TABLE pgjobq.emission (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL,
    keep    timestamptz NOT NULL,
    event   text NOT NULL,
    payload jsonb
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX emission_event ON pgjobq.emission (event);

-- Events that have happened: of several emissions the one that was met first, the same for everybody.
CREATE TABLE pgjobq.event (
    name    text PRIMARY KEY,
    at      timestamptz NOT NULL,
    keep    timestamptz NOT NULL,           -- remembered until then
    payload jsonb
);
CREATE INDEX event_keep ON pgjobq.event (keep);

-- Jobs that may have waited long enough for an event, and when to look.
CREATE TABLE pgjobq.event_look (
    job bigint NOT NULL,
    at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX event_look_at ON pgjobq.event_look (at);

-- How far a job has come, as its latest report says. Deleted with the job, like its checkpoint.
CREATE TABLE pgjobq.progress (
    job     bigint PRIMARY KEY,
    at      timestamptz NOT NULL,
    done    float8 NOT NULL,
    total   float8,
    attempt int NOT NULL,
    message text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Where the next attempt goes on.
CREATE TABLE pgjobq.checkpoint (
    job     bigint PRIMARY KEY,
    at      timestamptz NOT NULL,
    attempt int NOT NULL,
    value   jsonb
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- ---------------------------------------------------------------------------------------------- steps
-- What is wrong with the name of a step or an event; NULL when nothing is.
CREATE FUNCTION pgjobq.name_fault(what text, name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN coalesce(length(name), 0) NOT BETWEEN 1 AND 255
                THEN what || ' has ' || coalesce(length(name), 0)::text || ' characters: wants 1 to 255' END
$$;

-- Whether this attempt still holds its job. If so, nobody takes the job away before the caller's transaction has ended: what
-- it writes about the job and a rescue come one after the other.
CREATE FUNCTION pgjobq.keep_lease(job bigint, attempt int, worker uuid) RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    PERFORM FROM pgjobq.running r
    WHERE r.job = keep_lease.job AND r.attempt = keep_lease.attempt AND r.worker = keep_lease.worker FOR KEY SHARE;
    RETURN FOUND;
END $$;

-- Remember what a step gave, in the caller's transaction: what the step has written and its memory commit together or not
-- at all. `seconds`: how long it took. False: this attempt no longer holds the job (the caller must roll back).
CREATE FUNCTION pgjobq.remember_step(
    job bigint, attempt int, worker uuid, name text, value jsonb DEFAULT NULL, seconds float8 DEFAULT 0
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    fault text := pgjobq.name_fault('the name of a step', remember_step.name);
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    IF NOT pgjobq.keep_lease(remember_step.job, remember_step.attempt, remember_step.worker) THEN
        RETURN false;
    END IF;
    INSERT INTO pgjobq.step (job, started_at, ended_at, attempt, kind, name, value)
    VALUES (remember_step.job, pgjobq.clock() - make_interval(secs => greatest(remember_step.seconds, 0)), pgjobq.clock(),
            remember_step.attempt, 'step', remember_step.name, remember_step.value);
    RETURN true;
END $$;

-- Begin a sleep of so many seconds, or go on with it. Returns the seconds that are left, 0 when it is over; NULL: this
-- attempt no longer holds the job.
CREATE FUNCTION pgjobq.sleep_step(job bigint, attempt int, worker uuid, name text, seconds float8) RETURNS float8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    started timestamptz := pgjobq.clock();
    fault   text := pgjobq.name_fault('the name of a step', sleep_step.name);
    due     timestamptz;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    IF NOT pgjobq.keep_lease(sleep_step.job, sleep_step.attempt, sleep_step.worker) THEN
        RETURN NULL;
    END IF;
    INSERT INTO pgjobq.step AS s (job, started_at, until, attempt, kind, name)
    VALUES (sleep_step.job, started, started + make_interval(secs => sleep_step.seconds), sleep_step.attempt, 'sleep',
            sleep_step.name)
    ON CONFLICT ON CONSTRAINT step_pkey DO UPDATE SET attempt = excluded.attempt
    RETURNING s.until INTO due;
    IF due > started THEN
        RETURN extract(epoch FROM due - started);
    END IF;
    UPDATE pgjobq.step s SET ended_at = started
    WHERE s.job = sleep_step.job AND s.name = sleep_step.name AND s.ended_at IS NULL;
    RETURN 0;
END $$;

-- Forget what attempts of a job have done, all of it and its checkpoint or the step of one name, so that it is done anew.
-- Returns how many steps were forgotten. A running attempt goes on with what it knows.
CREATE FUNCTION pgjobq.forget_steps(job bigint, name text DEFAULT NULL, who text DEFAULT NULL) RETURNS int LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    gone int;
BEGIN
    DELETE FROM pgjobq.step s WHERE s.job = forget_steps.job AND (forget_steps.name IS NULL OR s.name = forget_steps.name);
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF forget_steps.name IS NULL THEN
        DELETE FROM pgjobq.checkpoint c WHERE c.job = forget_steps.job;
        DELETE FROM pgjobq.progress p WHERE p.job = forget_steps.job;
    END IF;
    IF gone > 0 THEN
        INSERT INTO pgjobq.event_look (job, at) VALUES (forget_steps.job, pgjobq.clock());    -- it may wait for nothing now
        PERFORM pgjobq.note_action(forget_steps.who, 'forget_steps', 1, jsonb_build_object(
            'job', forget_steps.job, 'name', forget_steps.name));
    END IF;
    RETURN gone;
END $$;

-- Keep a value for the next attempt in place of the last one. False: this attempt no longer holds the job.
CREATE FUNCTION pgjobq.keep_checkpoint(job bigint, attempt int, worker uuid, value jsonb) RETURNS boolean LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    IF NOT pgjobq.keep_lease(keep_checkpoint.job, keep_checkpoint.attempt, keep_checkpoint.worker) THEN
        RETURN false;
    END IF;
    INSERT INTO pgjobq.checkpoint (job, at, attempt, value)
    VALUES (keep_checkpoint.job, pgjobq.clock(), keep_checkpoint.attempt, keep_checkpoint.value)
    ON CONFLICT ON CONSTRAINT checkpoint_pkey
    DO UPDATE SET at = excluded.at, attempt = excluded.attempt, value = excluded.value;
    RETURN true;
END $$;

-- Write down how far jobs have come: an array of {"job", "attempt", "worker", "done", "total", "message"}. Returns those whose
-- attempt still holds its job, or has ended it. Tells whoever watches.
CREATE FUNCTION pgjobq.report_progress(reports jsonb) RETURNS SETOF bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    held bigint[];
BEGIN
    WITH said AS (
        SELECT x.* FROM jsonb_to_recordset(report_progress.reports) AS x(
            job bigint, attempt int, worker uuid, done float8, total float8, message text)
        WHERE EXISTS (SELECT FROM pgjobq.running r
                      WHERE r.job = x.job AND r.attempt = x.attempt AND r.worker = x.worker)
           OR EXISTS (SELECT FROM pgjobq.finished f
                      WHERE f.job = x.job AND f.attempt = x.attempt AND f.worker = x.worker)
    ), written AS (
        INSERT INTO pgjobq.progress AS p (job, at, done, total, attempt, message)
        SELECT s.job, pgjobq.clock(), s.done, s.total, s.attempt, s.message FROM said s ORDER BY s.job
        ON CONFLICT ON CONSTRAINT progress_pkey DO UPDATE SET
            at = excluded.at, done = excluded.done, total = excluded.total, attempt = excluded.attempt, message = excluded.message
        WHERE p.attempt <= excluded.attempt
    )
    SELECT array_agg(s.job) INTO held FROM said s;
    IF pgjobq.watched() THEN
        PERFORM pg_notify('pgjobq:progress', h.job::text)
        FROM (SELECT DISTINCT unnest(held) AS job) h
        WHERE EXISTS (SELECT FROM pgjobq.awaited a WHERE a.job = h.job AND a.until > clock_timestamp());
    END IF;
    RETURN QUERY SELECT unnest(held);
END $$;

-- ---------------------------------------------------------------------------------------------- events
-- An event is a name that happens once, such as `order:42:paid`, with a payload. It is remembered, so a wait that begins after
-- it returns at once.
--
-- WHY NO EVENT IS MISSED: an emission is deleted in the transaction that puts its event in `event`, so of one that is committed
-- every snapshot shows the one or the other. deliver() finds the waits that are committed; a wait that was not yet has asked
-- for a look after its own commit, and whatever deliver() overlooked because of that was committed before.

-- Let an event happen. `keep`: for how long it is remembered. False: one of this name has happened, and stands. Of two that
-- emit at once one is met first, and stands for everybody; both are told true.
CREATE FUNCTION pgjobq.emit(event text, payload jsonb DEFAULT NULL, keep interval DEFAULT '30 days') RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    fault text := coalesce(pgjobq.name_fault('the name of an event', emit.event),
                           CASE WHEN coalesce(emit.keep <= interval '0', true)
                                THEN 'keep is ' || coalesce(emit.keep::text, 'null') || ': wants more than no time' END);
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    IF EXISTS (SELECT FROM pgjobq.event e WHERE e.name = emit.event AND e.keep > pgjobq.clock()) THEN
        RETURN false;
    END IF;
    INSERT INTO pgjobq.emission (at, keep, event, payload)
    VALUES (pgjobq.clock(), pgjobq.clock() + emit.keep, emit.event, emit.payload);
    RETURN true;
END $$;

-- At the end of the transaction that emits: wake upkeep if somebody waits. Else it is delivered when upkeep looks by itself.
CREATE FUNCTION pgjobq.wake_for_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM pgjobq.step s WHERE s.event = NEW.event AND s.ended_at IS NULL) THEN
        PERFORM pg_notify('pgjobq:due', '');
    END IF;
    RETURN NULL;
END $$;

-- Deferred, since a wait may begin while an emitting transaction is open. Of a wait that begins while it commits neither sees
-- the other, but that asks for a look a second later.
CREATE CONSTRAINT TRIGGER wake_for_event AFTER INSERT ON pgjobq.emission DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION pgjobq.wake_for_event();

-- Begin to wait for an event, for so many seconds (NULL: for ever), or go on with it. `state`: came, with the payload in
-- `value`; late; waits: then the attempt has to end, and another one comes when there is something to know. NULL: this
-- attempt no longer holds the job.
CREATE FUNCTION pgjobq.wait_step(
    job bigint, attempt int, worker uuid, name text, event text, seconds float8, OUT state text, OUT value jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    started timestamptz := pgjobq.clock();
    fault   text := coalesce(pgjobq.name_fault('the name of a step', wait_step.name),
                             pgjobq.name_fault('the name of an event', wait_step.event));
    due     timestamptz;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    IF NOT pgjobq.keep_lease(wait_step.job, wait_step.attempt, wait_step.worker) THEN
        RETURN;
    END IF;
    INSERT INTO pgjobq.step AS s (job, started_at, until, attempt, kind, name, event)
    VALUES (wait_step.job, started, started + make_interval(secs => wait_step.seconds), wait_step.attempt, 'wait',
            wait_step.name, wait_step.event)
    ON CONFLICT ON CONSTRAINT step_pkey DO UPDATE SET attempt = excluded.attempt, event = excluded.event
    RETURNING s.until INTO due;
    INSERT INTO pgjobq.event AS e (name, at, keep, payload)         -- not delivered yet: here and now, for everybody
    SELECT m.event, m.at, m.keep, m.payload FROM pgjobq.emission m WHERE m.event = wait_step.event ORDER BY m.id LIMIT 1
    ON CONFLICT ON CONSTRAINT event_pkey DO UPDATE SET at = excluded.at, keep = excluded.keep, payload = excluded.payload
    WHERE e.keep <= pgjobq.clock();
    SELECT 'came', e.payload INTO state, value FROM pgjobq.event e WHERE e.name = wait_step.event;
    IF state IS NULL AND due <= started THEN
        state := 'late';
    END IF;
    IF state IS NOT NULL THEN
        UPDATE pgjobq.step s
        SET ended_at = started, value = wait_step.value, timed_out = wait_step.state = 'late'
        WHERE s.job = wait_step.job AND s.name = wait_step.name;
        RETURN;
    END IF;
    state := 'waits';
    INSERT INTO pgjobq.event_look (job, at) VALUES (wait_step.job, started + interval '1 second');
    IF due IS NOT NULL THEN
        INSERT INTO pgjobq.event_look (job, at) VALUES (wait_step.job, due);
        PERFORM pgjobq.wake_at(due);
    END IF;
END $$;

-- Let events happen that were emitted, and have those jobs run that waited for one, or long enough: up to so many of each.
-- Returns at how many it looked.
CREATE FUNCTION pgjobq.deliver(most int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
DECLARE
    started  timestamptz := pgjobq.clock();
    happened text[];
    looked   bigint[];
    free     bigint[];
    total    bigint;
    lanes    record;
BEGIN
    IF NOT EXISTS (SELECT FROM pgjobq.emission) AND NOT EXISTS (SELECT FROM pgjobq.event_look l WHERE l.at <= started) THEN
        RETURN 0;
    END IF;
    PERFORM pg_current_xact_id();           -- the xid before the numbers: see the head of this file
    WITH met AS (
        DELETE FROM pgjobq.emission WHERE ctid = ANY (ARRAY(
            SELECT m.ctid FROM pgjobq.emission m ORDER BY m.id LIMIT deliver.most FOR UPDATE SKIP LOCKED))
        RETURNING id, at, keep, event, payload
    ), events AS (
        INSERT INTO pgjobq.event AS e (name, at, keep, payload)
        SELECT DISTINCT ON (m.event) m.event, m.at, m.keep, m.payload FROM met m ORDER BY m.event, m.id
        ON CONFLICT ON CONSTRAINT event_pkey DO UPDATE SET at = excluded.at, keep = excluded.keep, payload = excluded.payload
        WHERE e.keep <= started
    )
    SELECT array_agg(DISTINCT m.event), count(*) INTO happened, total FROM met m;
    INSERT INTO pgjobq.event_look (job, at)
    SELECT s.job, started FROM pgjobq.step s WHERE s.event = ANY (happened) AND s.ended_at IS NULL;
    WITH taken AS (
        DELETE FROM pgjobq.event_look WHERE ctid = ANY (ARRAY(
            SELECT l.ctid FROM pgjobq.event_look l WHERE l.at <= started
            ORDER BY l.at LIMIT deliver.most FOR UPDATE SKIP LOCKED))
        RETURNING job)
    SELECT array_agg(DISTINCT t.job), greatest(total, count(*)) INTO looked, total FROM taken t;
    free := ARRAY(SELECT b.job FROM pgjobq.blocked b WHERE b.job = ANY (looked) AND starts_with(b.waits_for, 'event:')
                  ORDER BY b.job FOR UPDATE SKIP LOCKED);
    -- Somebody has it in hand, or its attempt has yet to end: look once more, soon.
    INSERT INTO pgjobq.event_look (job, at)
    SELECT b.job, started + interval '0.3 seconds' FROM pgjobq.blocked b
    WHERE b.job = ANY (looked) AND starts_with(b.waits_for, 'event:') AND NOT b.job = ANY (free)
    UNION
    SELECT r.job, started + interval '0.1 seconds' FROM pgjobq.running r
    WHERE r.job = ANY (looked) AND EXISTS (
        SELECT FROM pgjobq.step s WHERE s.job = r.job AND s.attempt = r.attempt AND s.kind = 'wait' AND s.ended_at IS NULL);
    FOR lanes IN
        WITH woken AS (
            DELETE FROM pgjobq.blocked b
            WHERE b.job = ANY (free) AND starts_with(b.waits_for, 'event:') AND (
                EXISTS (SELECT FROM pgjobq.step s WHERE s.job = b.job AND s.kind = 'wait' AND s.ended_at IS NULL
                        AND (s.until <= started OR EXISTS (SELECT FROM pgjobq.event e WHERE e.name = s.event)
                             OR EXISTS (SELECT FROM pgjobq.emission m WHERE m.event = s.event)))
                OR NOT EXISTS (SELECT FROM pgjobq.step s WHERE s.job = b.job AND s.kind = 'wait' AND s.ended_at IS NULL))
            RETURNING b.job, b.priority, b.attempt, b.spared, b.queue
        ), placed AS MATERIALIZED (
            SELECT w.*, pgjobq.gate_ahead(j.gates, true) AS ahead FROM woken w JOIN pgjobq.job j ON j.id = w.job
        ), soon AS (
            INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
            SELECT nextval('pgjobq.job_id_seq'), job, priority, attempt, spared, queue
            FROM (SELECT * FROM placed WHERE ahead IS NULL ORDER BY priority, job) p
        ), gated AS (
            INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for)
            SELECT job, started, priority, attempt, spared, queue, ahead FROM placed WHERE ahead IS NOT NULL
        ), looks AS (
            INSERT INTO pgjobq.gate_look (key) SELECT DISTINCT substr(ahead, 6) FROM placed WHERE ahead IS NOT NULL
        )
        SELECT queue, priority, bool_or(ahead IS NOT NULL) AS is_gated FROM placed GROUP BY queue, priority
    LOOP
        PERFORM pgjobq.open_lane(lanes.queue, lanes.priority);
        PERFORM pgjobq.wake(lanes.queue);
        IF lanes.is_gated THEN
            PERFORM pgjobq.wake_at(started);
        END IF;
    END LOOP;
    RETURN total;
END $$;

-- Now and then: forget events whose time is over, unless somebody waits for one; and look at every job that should have been
-- found, whoever failed to ask for it.
CREATE FUNCTION pgjobq.tend_events() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM pgjobq.event WHERE ctid = ANY (ARRAY(
        SELECT e.ctid FROM pgjobq.event e WHERE e.keep <= pgjobq.clock()
          AND NOT EXISTS (SELECT FROM pgjobq.step s WHERE s.event = e.name AND s.ended_at IS NULL)
        LIMIT 10000 FOR UPDATE SKIP LOCKED));
    INSERT INTO pgjobq.event_look (job, at)
    SELECT b.job, pgjobq.clock() FROM pgjobq.blocked b
    WHERE b.waits_for >= 'event:' AND b.waits_for < 'event;' AND starts_with(b.waits_for, 'event:') AND (
        EXISTS (SELECT FROM pgjobq.step s WHERE s.job = b.job AND s.kind = 'wait' AND s.ended_at IS NULL
                AND (s.until <= pgjobq.clock() OR EXISTS (SELECT FROM pgjobq.event e WHERE e.name = s.event)))
        OR NOT EXISTS (SELECT FROM pgjobq.step s WHERE s.job = b.job AND s.kind = 'wait' AND s.ended_at IS NULL));
END $$;

-- ---------------------------------------------------------------------------------------------- many jobs at once
-- For lists of what went wrong, newest job first; a job that succeeds pays nothing for it.
CREATE INDEX finished_badly_job ON pgjobq.finished (outcome, job) WHERE outcome <> 's';

-- ---------------------------------------------------------------------------------------------- many jobs at once
-- Move a job that waits to another queue. False: it runs, has ended, does not exist, is there already, or its payload is
-- sealed (with its queue's name, so that it would not open there).
CREATE FUNCTION pgjobq.move(job bigint, queue text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    fault text := CASE WHEN coalesce(length(move.queue), 0) NOT BETWEEN 1 AND 255
                       THEN 'queue has ' || coalesce(length(move.queue), 0)::text || ' characters: wants 1 to 255' END;
    fact  record;
    place record;
BEGIN
    IF fault IS NOT NULL THEN
        RAISE check_violation USING MESSAGE = fault;
    END IF;
    PERFORM pg_current_xact_id();           -- the xid before the number: see the head of this file
    LOOP
        SELECT j.queue, j.priority INTO fact FROM pgjobq.job j
        WHERE j.id = move.job AND j.queue <> move.queue AND NOT j.args ? '$enc';
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        -- In the direction in which jobs move, as in cancel().
        DELETE FROM pgjobq.blocked b WHERE b.job = move.job RETURNING b.* INTO place;
        IF FOUND THEN
            INSERT INTO pgjobq.blocked (job, since, priority, attempt, spared, queue, waits_for, run_at, delay)
            VALUES (move.job, place.since, place.priority, place.attempt, place.spared, move.queue, place.waits_for, place.run_at,
                    place.delay);
            EXIT;
        END IF;
        DELETE FROM pgjobq.scheduled s WHERE s.job = move.job RETURNING s.* INTO place;
        IF FOUND THEN
            INSERT INTO pgjobq.scheduled (job, run_at, priority, attempt, spared, queue, waits_for)
            VALUES (move.job, place.run_at, place.priority, place.attempt, place.spared, move.queue, place.waits_for);
            EXIT;
        END IF;
        DELETE FROM pgjobq.ready r
        WHERE r.queue = fact.queue AND r.priority = fact.priority AND r.seq = move.job RETURNING r.* INTO place;
        IF NOT FOUND THEN
            DELETE FROM pgjobq.ready r WHERE r.job = move.job AND r.seq <> r.job RETURNING r.* INTO place;
        END IF;
        IF FOUND THEN
            INSERT INTO pgjobq.ready (seq, job, priority, attempt, spared, queue)
            VALUES (nextval('pgjobq.job_id_seq'), move.job, place.priority, place.attempt, place.spared, move.queue);
            PERFORM pgjobq.open_lane(move.queue, place.priority);
            PERFORM pgjobq.wake(move.queue);
            EXIT;
        END IF;
        IF NOT pgjobq.is_waiting(move.job) THEN
            RETURN false;
        END IF;
    END LOOP;
    UPDATE pgjobq.job j SET queue = move.queue WHERE j.id = move.job;
    RETURN true;
END $$;

-- Delete a job that has ended, with its errors. False: it has not ended, another job waits to see how it ended, its workflow
-- has not ended, or it does not exist.
CREATE FUNCTION pgjobq.purge(job bigint) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pgjobq, pg_temp AS $$
BEGIN
    DELETE FROM pgjobq.finished f
    WHERE f.job = purge.job AND NOT EXISTS (SELECT FROM pgjobq.pending p WHERE p.on_job = purge.job)
      AND NOT EXISTS (SELECT FROM pgjobq.member m JOIN pgjobq.workflow w ON w.id = m.workflow
                      WHERE m.job = purge.job AND m.counted AND w.ended_at IS NULL);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM pgjobq.attempt_error e WHERE e.job = purge.job;
    DELETE FROM pgjobq.dependency d WHERE d.job = purge.job;
    DELETE FROM pgjobq.member m WHERE m.job = purge.job;
    DELETE FROM pgjobq.step s WHERE s.job = purge.job;
    DELETE FROM pgjobq.progress p WHERE p.job = purge.job;
    DELETE FROM pgjobq.checkpoint c WHERE c.job = purge.job;
    DELETE FROM pgjobq.job j WHERE j.id = purge.job;
    RETURN true;
END $$;

-- Say of the workflows of these jobs that they go on, before any of the jobs is retried: a job that waits for the whole of one
-- may have a smaller id than those it waits for.
CREATE FUNCTION pgjobq.reopen_workflows(jobs bigint[]) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pgjobq, pg_temp SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO pgjobq.workflow_look (workflow, at, news, job)
    SELECT m.workflow, clock_timestamp(), 'again', min(m.job)
    FROM pgjobq.member m JOIN pgjobq.finished f ON f.job = m.job AND f.outcome <> 's'
    WHERE m.job = ANY (reopen_workflows.jobs) AND m.counted GROUP BY m.workflow ORDER BY m.workflow;
END $$;

-- Do something to many jobs and write it down: retry, cancel, cancel_running (with the reason in `about`), purge, or move (to
-- the queue `target`). Returns how many it changed; a job that has changed by itself meanwhile is left alone. In the order of
-- the ids: see THE LOCK ORDER.
CREATE FUNCTION pgjobq.act(what text, jobs bigint[], about jsonb, who text DEFAULT NULL, target text DEFAULT NULL)
RETURNS int LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    one     bigint;
    changed int := 0;
    done    boolean;
BEGIN
    IF act.what = 'retry' AND cardinality(act.jobs) > 1 THEN
        PERFORM pgjobq.reopen_workflows(act.jobs);
    END IF;
    FOR one IN SELECT DISTINCT j FROM unnest(act.jobs) AS j ORDER BY j LOOP
        CASE act.what
            WHEN 'retry' THEN done := pgjobq.retry(one);
            WHEN 'cancel' THEN done := pgjobq.cancel(one);
            WHEN 'cancel_running' THEN done := pgjobq.ask_cancel(one, act.about ->> 'reason');
            WHEN 'purge' THEN done := pgjobq.purge(one);
            WHEN 'move' THEN done := pgjobq.move(one, act.target);
            ELSE RAISE check_violation USING MESSAGE = 'what is ' || quote_nullable(act.what) || ': wants retry, cancel, cancel_running, move or purge';
        END CASE;
        changed := changed + done::int;
    END LOOP;
    IF changed > 0 THEN
        PERFORM pgjobq.note_action(act.who, CASE act.what WHEN 'cancel_running' THEN 'cancel' ELSE act.what END, changed, act.about || jsonb_build_object('to', act.target));
    END IF;
    RETURN changed;
END $$;

-- One row per job, with its state.
CREATE OR REPLACE VIEW pgjobq.jobs AS
SELECT j.id, j.task, j.queue, j.priority, j.ref, j.tags, j.args, j.headers, j.created_at, j.max_attempts,
       CASE WHEN f.outcome = 's' THEN 'succeeded' WHEN f.outcome = 'f' THEN 'failed' WHEN f.outcome = 'c' THEN 'cancelled'
            WHEN x.job IS NOT NULL THEN 'running'
            WHEN s.job IS NOT NULL THEN 'scheduled'
            WHEN b.job IS NOT NULL THEN 'blocked'
            WHEN coalesce(first.job, again.job) IS NOT NULL THEN 'ready' END AS state,
       coalesce(f.attempt, x.attempt, s.attempt, b.attempt, first.attempt, again.attempt) AS attempt,
       coalesce(s.run_at, CASE WHEN starts_with(b.waits_for, 'event:')      -- then it goes on at the latest
                               THEN (SELECT min(w.until) FROM pgjobq.step w WHERE w.job = j.id AND w.ended_at IS NULL) END) AS run_at,
       coalesce(f.started_at, x.started_at) AS started_at, f.finished_at,
       coalesce(f.worker, x.worker) AS worker, f.result,
       CASE WHEN b.job IS NOT NULL THEN 'waits for ' || replace(b.waits_for, chr(31), ' as ')
            ELSE coalesce(f.reason, (SELECT e.kind || ': ' || e.message FROM pgjobq.attempt_error e
                                     WHERE e.job = j.id AND f.outcome IS DISTINCT FROM 's'
                                     ORDER BY e.attempt DESC LIMIT 1)) END AS reason,
       coalesce(j.version, 1) AS version, j.expires_at,
       (SELECT to_jsonb(p) - 'job' FROM pgjobq.progress p WHERE p.job = j.id) AS progress,
       (SELECT m.workflow FROM pgjobq.member m WHERE m.job = j.id) AS workflow
FROM pgjobq.job j
LEFT JOIN pgjobq.finished f ON f.job = j.id
LEFT JOIN pgjobq.running x ON x.job = j.id
LEFT JOIN pgjobq.scheduled s ON s.job = j.id
LEFT JOIN pgjobq.blocked b ON b.job = j.id
LEFT JOIN pgjobq.ready first ON first.queue = j.queue AND first.priority = j.priority AND first.seq = j.id
LEFT JOIN pgjobq.ready again ON again.job = j.id AND again.seq <> again.job;

-- One row per workflow. `total` and the numbers by state are of the jobs that it consists of; jobs that wait for the whole are
-- not among them.
CREATE VIEW pgjobq.workflows AS
SELECT w.id, w.name, w.ref, w.created_at, coalesce(w.started_at, n.started_at) AS started_at,
       CASE WHEN o.over THEN w.ended_at END AS ended_at,
       CASE WHEN NOT o.over THEN 'running' WHEN w.bad IS NULL THEN 'succeeded' WHEN w.failed > 0 THEN 'failed'
            ELSE 'cancelled' END AS state,
       w.open AND w.ended_at IS NULL AS open, w.cancelled_at,
       coalesce(n.total, w.succeeded + w.failed + w.cancelled) AS total,
       coalesce(n.total - n.succeeded - n.failed - n.cancelled - n.running - n.scheduled - n.blocked, 0) AS ready,
       coalesce(n.running, 0) AS running, coalesce(n.scheduled, 0) AS scheduled, coalesce(n.blocked, 0) AS blocked,
       coalesce(n.succeeded, w.succeeded) AS succeeded, coalesce(n.failed, w.failed) AS failed,
       coalesce(n.cancelled, w.cancelled) AS cancelled, w.bad, w.fail_fast
FROM pgjobq.workflow w
CROSS JOIN LATERAL (
    SELECT w.ended_at IS NOT NULL AND NOT EXISTS (                  -- as in workflow_is_over()
        SELECT FROM pgjobq.workflow_look l WHERE l.workflow = w.id AND l.news IN ('again', 'came')) AS over OFFSET 0) o
LEFT JOIN LATERAL (
    SELECT (SELECT count(*) FROM pgjobq.member m WHERE m.workflow = w.id AND m.counted)::int AS total,
           (SELECT count(*) FROM pgjobq.running r JOIN pgjobq.member m ON m.job = r.job WHERE m.workflow = w.id AND m.counted)::int AS running,
           (SELECT count(*) FROM pgjobq.scheduled s JOIN pgjobq.member m ON m.job = s.job WHERE m.workflow = w.id AND m.counted)::int AS scheduled,
           (SELECT count(*) FROM pgjobq.blocked b JOIN pgjobq.member m ON m.job = b.job WHERE m.workflow = w.id AND m.counted)::int AS blocked,
           e.*, least(e.began, (SELECT min(r.started_at) FROM pgjobq.running r JOIN pgjobq.member m ON m.job = r.job
                                WHERE m.workflow = w.id AND m.counted)) AS started_at
    FROM (SELECT count(*) FILTER (WHERE f.outcome = 's')::int AS succeeded, count(*) FILTER (WHERE f.outcome = 'f')::int AS failed,
                 count(*) FILTER (WHERE f.outcome = 'c')::int AS cancelled, min(f.started_at) AS began
          FROM pgjobq.member m JOIN pgjobq.finished f ON f.job = m.job WHERE m.workflow = w.id AND m.counted) e
) n ON NOT o.over;

-- ---------------------------------------------------------------------------------------------- history
-- What happened in each minute is counted once, when it is over, from the rows of the jobs that ended: no job pays for it
-- with a write of its own, and what is counted twice comes to the same. A row that was committed long after its time (a
-- handler that completes its job in a long transaction of its own) is found by a second look, two and fifteen minutes later.

-- What happened in each minute, queue by queue; written by write_history() once the minute is over.
CREATE TABLE pgjobq.history (
    minute       timestamptz NOT NULL,      -- its beginning; -infinity: all minutes that are not kept one by one any more
    queue        text NOT NULL,
    started      bigint NOT NULL,           -- attempts that began
    succeeded    bigint NOT NULL,           -- jobs that ended, and how
    failed       bigint NOT NULL,
    cancelled    bigint NOT NULL,
    errors       bigint NOT NULL,           -- attempts that failed, the last ones of failed jobs included
    run_seconds  float8 NOT NULL,           -- of the attempts that ended, together
    run          bigint[] NOT NULL,         -- how many took how long: see history_bounds()
    ready        bigint NOT NULL,           -- jobs that waited for a worker at the minute's end, counted up to 100,000
    oldest       float8,                    -- seconds since the first of them was enqueued
    PRIMARY KEY (minute, queue)
);

-- Rows arrive in the order of failed_at: as with finished_at.
CREATE INDEX attempt_error_at ON pgjobq.attempt_error USING brin (failed_at) WITH (pages_per_range = 16, autosummarize = on);

-- What the places of `run` mean: the first counts what took up to 1 ms, the last what took 1000 s or longer.
CREATE FUNCTION pgjobq.history_bounds() RETURNS float8[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}'::float8[]
$$;

-- Two of these arrays, added place by place.
CREATE FUNCTION pgjobq.history_sum(one bigint[], other bigint[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY(SELECT coalesce(x.a, 0) + coalesce(x.b, 0) FROM unnest(one, other) WITH ORDINALITY AS x(a, b, place)
                 ORDER BY x.place)
$$;

-- Count the minutes from `since` to before `until` (full minutes both) and keep what was found, or what was known where
-- that is more: rows may have been deleted since. Where more than 20,000 jobs ended in a minute, one in so many of those that
-- succeeded stands for the others: each would cost some 5 us.
CREATE FUNCTION pgjobq.count_history(since timestamptz, until timestamptz) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pgjobq, pg_temp SET plan_cache_mode = force_custom_plan AS $$
    WITH size AS MATERIALIZED (
        SELECT greatest(1, count(*) / (20000 * extract(epoch FROM until - since) / 60))::int AS step
        FROM pgjobq.finished f WHERE f.finished_at >= since AND f.finished_at < until
    ), attempts AS MATERIALIZED (           -- every attempt, and every job that ended
        SELECT date_bin('1 minute', f.finished_at, 'epoch') AS minute, j.queue, f.started_at, f.outcome AS ending,
               f.outcome <> 'f' AND f.started_at IS NOT NULL AS ran,       -- a failed one's last attempt is an error, too
               extract(epoch FROM f.finished_at - f.started_at)::float8 AS took,
               CASE f.outcome WHEN 's' THEN size.step ELSE 1 END AS weight
        FROM size CROSS JOIN pgjobq.finished f JOIN pgjobq.job j ON j.id = f.job
        WHERE f.finished_at >= since AND f.finished_at < until + interval '5 seconds'
          AND (f.outcome <> 's' OR (hashint8(f.job) & 2147483647) % size.step = 0)
        UNION ALL
        SELECT date_bin('1 minute', e.failed_at, 'epoch'), j.queue, e.started_at, 'e', e.started_at IS NOT NULL,
               extract(epoch FROM e.failed_at - e.started_at)::float8, 1
        FROM pgjobq.attempt_error e JOIN pgjobq.job j ON j.id = e.job
        WHERE e.failed_at >= since AND e.failed_at < until + interval '5 seconds'
    ), placed AS (
        SELECT a.minute, a.queue, a.ending, a.ran, a.weight, greatest(a.took, 0) AS took,
               CASE WHEN a.ran THEN width_bucket(a.took, pgjobq.history_bounds()) END AS run
        FROM attempts a WHERE a.minute < until
    ), counted AS MATERIALIZED (
        SELECT p.minute, p.queue, grouping(p.run) = 1 AS whole, p.run, sum(p.weight) AS n,
               sum(p.weight) FILTER (WHERE p.ending = 's') AS succeeded, count(*) FILTER (WHERE p.ending = 'f') AS failed,
               count(*) FILTER (WHERE p.ending = 'c') AS cancelled, count(*) FILTER (WHERE p.ending = 'e') AS errors,
               sum(p.took * p.weight) FILTER (WHERE p.ran) AS run_seconds
        FROM placed p GROUP BY p.minute, p.queue, GROUPING SETS ((), (p.run))
    ), begun AS MATERIALIZED (
        SELECT b.minute, b.queue, sum(b.weight) AS started
        FROM (SELECT date_bin('1 minute', a.started_at, 'epoch') AS minute, a.queue, a.weight FROM attempts a WHERE a.ran
              UNION ALL
              SELECT date_bin('1 minute', x.started_at, 'epoch'), j.queue, 1
              FROM pgjobq.running x JOIN pgjobq.job j ON j.id = x.job) b
        WHERE b.minute >= since AND b.minute < until GROUP BY b.minute, b.queue
    ), waiting AS MATERIALIZED (            -- only now, so it is said of the last minute
        SELECT until - interval '1 minute' AS minute, l.queue, sum(c.n) AS ready,
               extract(epoch FROM pgjobq.clock() - min(first.created_at))::float8 AS oldest
        FROM (SELECT DISTINCT queue, priority FROM pgjobq.lane) l
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT FROM pgjobq.ready r WHERE r.queue = l.queue AND r.priority = l.priority
                                                       LIMIT 100000) x) c
        LEFT JOIN LATERAL (SELECT j.created_at FROM pgjobq.ready r JOIN pgjobq.job j ON j.id = r.job
                           WHERE r.queue = l.queue AND r.priority = l.priority AND (r.seq = r.job OR r.priority < j.priority)
                           ORDER BY r.seq LIMIT 1) first ON true
        WHERE c.n > 0 AND until >= pgjobq.clock() - interval '90 seconds' GROUP BY l.queue
    ), keys AS MATERIALIZED (
        SELECT minute, queue FROM counted UNION SELECT minute, queue FROM begun UNION SELECT minute, queue FROM waiting
    ), spread AS (                          -- the counts by place, none left out
        SELECT k.minute, k.queue, array_agg(coalesce(r.n, 0) ORDER BY place) AS run
        FROM keys k CROSS JOIN generate_series(0, cardinality(pgjobq.history_bounds())) AS place
        LEFT JOIN counted r ON r.minute = k.minute AND r.queue = k.queue AND NOT r.whole AND r.run = place
        GROUP BY k.minute, k.queue
    )
    INSERT INTO pgjobq.history AS h (minute, queue, started, succeeded, failed, cancelled, errors, run_seconds,
                                     run, ready, oldest)
    SELECT k.minute, k.queue, coalesce(b.started, 0), coalesce(c.succeeded, 0), coalesce(c.failed, 0),
           coalesce(c.cancelled, 0), coalesce(c.errors, 0), coalesce(c.run_seconds, 0),
           s.run, coalesce(w.ready, 0), w.oldest
    FROM keys k JOIN spread s USING (minute, queue) LEFT JOIN begun b USING (minute, queue)
    LEFT JOIN counted c ON c.minute = k.minute AND c.queue = k.queue AND c.whole
    LEFT JOIN waiting w ON w.minute = k.minute AND w.queue = k.queue
    ON CONFLICT (minute, queue) DO UPDATE SET
        started = greatest(h.started, EXCLUDED.started), succeeded = greatest(h.succeeded, EXCLUDED.succeeded),
        failed = greatest(h.failed, EXCLUDED.failed), cancelled = greatest(h.cancelled, EXCLUDED.cancelled),
        errors = greatest(h.errors, EXCLUDED.errors), ready = greatest(h.ready, EXCLUDED.ready),
        oldest = coalesce(h.oldest, EXCLUDED.oldest),
        run_seconds = greatest(h.run_seconds, EXCLUDED.run_seconds),
        run = CASE WHEN EXCLUDED.succeeded + EXCLUDED.errors > h.succeeded + h.errors THEN EXCLUDED.run ELSE h.run END
$$;

-- Count the minutes that are over, and put those older than three days together: a chore. Seconds until it is due again.
CREATE FUNCTION pgjobq.write_history() RETURNS float8 LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pgjobq, pg_temp AS $$
DECLARE
    -- By three seconds later what ended in a minute has been committed, but for long transactions.
    edge  timestamptz := date_bin('1 minute', pgjobq.clock() - interval '3 seconds', 'epoch');
    since timestamptz;
    late  timestamptz;
BEGIN
    IF pg_try_advisory_xact_lock(hashtextextended('pgjobq:history', 0)) THEN
        since := greatest((SELECT max(h.minute) FROM pgjobq.history h) + interval '1 minute', edge - interval '10 minutes');
        IF since < edge THEN
            PERFORM pgjobq.count_history(since, edge);
            FOREACH late IN ARRAY ARRAY[edge - interval '2 minutes', edge - interval '15 minutes'] LOOP
                IF late < since AND (
                    (SELECT count(*) FROM pgjobq.finished f WHERE f.finished_at >= late AND f.finished_at < late + interval '1 minute')
                    > (SELECT CASE WHEN sum(h.succeeded) > 20000 THEN 'infinity' ELSE coalesce(sum(h.succeeded + h.failed + h.cancelled), 0) END
                       FROM pgjobq.history h WHERE h.minute = late))
                THEN
                    PERFORM pgjobq.count_history(late, late + interval '1 minute');
                END IF;
            END LOOP;
            WITH old AS (
                DELETE FROM pgjobq.history h
                WHERE h.minute < edge - interval '3 days' AND h.minute > '-infinity' RETURNING h.*
            ), places AS (
                SELECT o.queue, u.place, sum(u.run) AS run
                FROM old o CROSS JOIN LATERAL unnest(o.run) WITH ORDINALITY AS u(run, place) GROUP BY o.queue, u.place
            ), spread AS (
                SELECT p.queue, array_agg(p.run ORDER BY p.place)::bigint[] AS run
                FROM places p GROUP BY p.queue
            )
            INSERT INTO pgjobq.history AS h (minute, queue, started, succeeded, failed, cancelled, errors, run_seconds,
                                             run, ready)
            SELECT '-infinity', o.queue, sum(o.started), sum(o.succeeded), sum(o.failed), sum(o.cancelled), sum(o.errors),
                   sum(o.run_seconds), s.run, 0
            FROM old o JOIN spread s USING (queue) GROUP BY o.queue, s.run
            ON CONFLICT (minute, queue) DO UPDATE SET
                started = h.started + EXCLUDED.started, succeeded = h.succeeded + EXCLUDED.succeeded,
                failed = h.failed + EXCLUDED.failed, cancelled = h.cancelled + EXCLUDED.cancelled,
                errors = h.errors + EXCLUDED.errors, run_seconds = h.run_seconds + EXCLUDED.run_seconds,
                run = pgjobq.history_sum(h.run, EXCLUDED.run);
        END IF;
    END IF;
    RETURN extract(epoch FROM edge + interval '63 seconds' - pgjobq.clock());
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA pgjobq FROM PUBLIC;
