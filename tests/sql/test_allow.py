"""The roles that ship: each tried at everything, what it may do and above all what it may not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from pgjobq import JobState, Queue, migrate
from pgjobq.statements import statement_text
from pgjobq.statements.text import _statements
from pgjobq.survey import Filter, Survey
from sql.support.hand import Hand
from support.roles import role_on

Connection = psycopg.Connection[Any]
ROLES = ("producer", "monitor", "viewer", "operator", "worker")
MADE_FOR_THE_OWNER = {
    "allow",
    "allow_again",
    "allowed",
    "audit_id_seq",
    "move",
    "purge",
    "disallow",
    "fire",
    "has_not_ended",
    "job_fault",
    "keep_watch",
    "hold",
    "note_action",
    "refuse",
    "replace_waiting",
    "same_times",
    "take_key",
    "unique_fault",
    "unpark",
    "watched",
}
MADE_FOR_THE_OWNER |= {"admit", "admit_at", "gate_room", "gates_fault", "pass_alone", "pass_counts", "pass_together"}
MADE_FOR_THE_OWNER |= {"call_back", "gate_has_tokens", "gate_limits", "gate_window", "join_round", "look_later"}
MADE_FOR_THE_OWNER |= {
    "quota_fault",
    "quota_period",
    "rate_burst",
    "rate_fault",
    "rate_step",
    "see_starts",
    "take_turns",
}
MADE_FOR_THE_OWNER |= {"age_mark", "is_waiting"}
MADE_FOR_THE_OWNER |= {"count_history", "history_bounds", "history_sum", "sum_history"}
MADE_FOR_THE_OWNER |= {"ask_cancel", "change_waiting", "drop_waiting", "expiry", "set_expiry"}
MADE_FOR_THE_OWNER |= {
    "queue_limit_number_seq",
    "count_anew",
    "count_waiting",
    "drop_oldest",
    "enter_lane",
    "is_limited",
    "make_room",
}
MADE_FOR_THE_OWNER |= {
    "cancel_latecomers",
    "fail_fast",
    "go_on",
    "reopen_workflows",
    "wake_for_event",
    "enter_workflow",
    "is_bad_end",
    "note_workflow",
    "sweep_workflow",
    "waits_for_workflow",
    "workflow_is_over",
}

MADE_FOR_THE_OWNER |= {"emission_id_seq", "keep_lease", "name_fault"}

CAN_READ = {"viewer", "operator"}
CAN_WATCH = CAN_READ | {"monitor"}
WORKS = {"worker"}
NOBODY: set[str] = set()

MATRIX: dict[str, set[str]] = {
    # what an application does
    "SELECT pgjobq.enqueue('send')": {"producer"},
    'SELECT * FROM pgjobq.enqueue_many(\'[{"task": "send"}]\')': {"producer"},
    "SELECT pgjobq.enqueue_alike('send', '{}')": {"producer"},
    'SELECT * FROM pgjobq.enqueue_unique(\'[{"task": "send", "unique": {"key": "7"}}]\')': {"producer"},
    # what people look at
    "SELECT id, task, queue, state, attempt FROM pgjobq.jobs": CAN_WATCH,
    "SELECT state, count(*) FROM pgjobq.jobs GROUP BY state": CAN_WATCH,
    "SELECT args FROM pgjobq.jobs": CAN_READ,
    "SELECT headers FROM pgjobq.jobs": CAN_READ,
    "SELECT result FROM pgjobq.jobs": CAN_READ,
    "SELECT reason FROM pgjobq.jobs": CAN_READ,
    "SELECT to_jsonb(j) FROM pgjobq.jobs j": CAN_READ,
    "SELECT * FROM pgjobq.misplaced": CAN_WATCH,
    "SELECT message, traceback FROM pgjobq.attempt_error": CAN_READ | WORKS,
    "SELECT * FROM pgjobq.worker": CAN_WATCH | WORKS,
    "SELECT version FROM pgjobq.migration": CAN_WATCH | WORKS,
    # what operators do
    "SELECT pgjobq.retry(1)": {"operator"},
    "SELECT pgjobq.cancel(1)": {"operator"},
    "SELECT pgjobq.watch(1, 1)": CAN_READ,
    "SELECT pgjobq.retry_from(1)": {"operator"},
    "SELECT * FROM pgjobq.dependency": CAN_READ | WORKS,
    "SELECT pgjobq.enqueue_after('[]')": {"producer"},
    "SELECT pgjobq.release(1)": WORKS,
    "SELECT pgjobq.hold(1, '{2}', 'success')": NOBODY,
    "DELETE FROM pgjobq.pending": NOBODY,
    "SELECT pgjobq.ended(1)": WORKS,
    "SELECT pgjobq.ended_many('{1}')": WORKS,
    "SELECT * FROM pgjobq.enqueue_linked('[]')": {"producer"},
    "SELECT pgjobq.add_to_workflow(pgjobq.start_workflow('w', open => true), '[{\"task\": \"send\"}]')": {"producer"},
    "SELECT pgjobq.join_workflow(pgjobq.start_workflow('w'), '{}'), pgjobq.workflow_of(1)": {"producer"},
    "SELECT pgjobq.close_workflow(1)": {"producer", "operator"},
    "SELECT pgjobq.cancel_workflow(1), pgjobq.retry_workflow(1)": {"operator"},
    "SELECT * FROM pgjobq.workflows": CAN_WATCH,
    "SELECT * FROM pgjobq.member": CAN_READ | WORKS,
    "UPDATE pgjobq.workflow SET ended_at = now()": NOBODY,
    "SELECT pgjobq.look_at_workflows(1), pgjobq.watch_workflows()": WORKS,
    "SELECT pgjobq.sweep_workflow(1, '{}', '{}', false)": NOBODY,
    "SELECT pgjobq.fail_fast(1, false, '{}', false)": NOBODY,
    "SELECT pgjobq.reopen_workflows('{1}')": NOBODY,
    "SELECT pgjobq.keep_watch(1)": NOBODY,
    "SELECT pgjobq.cancel_running(1)": {"operator"},
    "SELECT pgjobq.pause('queue', 'mail')": {"operator"},
    "SELECT pgjobq.resume('queue', 'mail')": {"operator"},
    "SELECT * FROM pgjobq.paused": CAN_WATCH | WORKS,
    "SELECT * FROM pgjobq.cancel_request": CAN_READ | WORKS,
    "SELECT * FROM pgjobq.audit": CAN_READ,
    "DELETE FROM pgjobq.audit": NOBODY,
    "SELECT * FROM pgjobq.history": CAN_WATCH,
    "SELECT * FROM pgjobq.history_quarter": CAN_WATCH,
    "DELETE FROM pgjobq.history": NOBODY,
    "DELETE FROM pgjobq.history_quarter": NOBODY,
    "SELECT pgjobq.write_history()": WORKS,
    "DELETE FROM pgjobq.paused": NOBODY,
    "SELECT pgjobq.set_gate('api', 1)": {"operator"},
    "SELECT pgjobq.unset_gate('api')": {"operator"},
    'SELECT pgjobq.gate_figures(\'{"key": "api"}\')': CAN_READ,
    "SELECT * FROM pgjobq.gate_pass, pgjobq.gate_meter, pgjobq.gate_share": CAN_WATCH,
    "UPDATE pgjobq.gate_meter SET used = 0": NOBODY,
    "SELECT pgjobq.forget_meters(1)": WORKS,
    "SELECT pgjobq.edit(1, priority => 3)": {"operator"},
    "SELECT name, task, expression, next_at, last_job FROM pgjobq.schedules": CAN_WATCH,
    "SELECT args FROM pgjobq.schedules": CAN_READ,
    'SELECT pgjobq.put_schedule(\'beat\', \'{"expression": "@every 1s", "task": "send"}\')': {"operator"},
    "SELECT pgjobq.pause_schedule('beat'), pgjobq.resume_schedule('beat')": {"operator"},
    "SELECT pgjobq.run_schedule('beat')": {"operator"},
    "SELECT pgjobq.reset_schedule('beat'), pgjobq.delete_schedule('beat')": {"operator"},
    "UPDATE pgjobq.schedule SET next_at = now()": NOBODY,
    "SELECT pgjobq.fire('beat', '{\"task\": \"send\"}', now())": NOBODY,
    # what workers do
    "SELECT definition FROM pgjobq.schedule": WORKS,
    "SELECT * FROM pgjobq.tick('[]')": WORKS,
    "SELECT pgjobq.declare_schedules('app:queue', '{}')": WORKS,
    "SELECT args FROM pgjobq.job": CAN_READ | WORKS,
    "SELECT * FROM pgjobq.ready": CAN_WATCH | WORKS,
    "SELECT job, finished_at, outcome FROM pgjobq.finished": CAN_WATCH | WORKS,
    "SELECT reason FROM pgjobq.finished": CAN_READ | WORKS,
    "SELECT result FROM pgjobq.finished": CAN_READ | WORKS,
    "SELECT headers FROM pgjobq.job": CAN_READ | WORKS,
    "SELECT pgjobq.act('retry', '{1}', '{}')": {"operator"},
    "SELECT * FROM pgjobq.running FOR UPDATE": WORKS,
    "DELETE FROM pgjobq.ready": WORKS,
    "DELETE FROM pgjobq.job WHERE id = 0": WORKS,
    "SELECT pgjobq.complete(1, 1, gen_random_uuid())": WORKS,
    "SELECT nextval('pgjobq.job_id_seq')": WORKS,
    "SELECT setval('pgjobq.idle_until', 1)": WORKS,
    "SELECT pgjobq.wake('default')": WORKS,
    "SELECT pgjobq.end_pauses(), pgjobq.follow_cancels()": WORKS,
    "SELECT pgjobq.after('{1}')": WORKS,
    "SELECT pgjobq.look_at_gates(1)": WORKS,
    "SELECT pgjobq.expire(1)": WORKS,
    "SELECT pgjobq.follow_limits()": WORKS,
    "SELECT pgjobq.limit_queue('mail', 10), pgjobq.unlimit_queue('mail')": {"operator"},
    "SELECT * FROM pgjobq.queue_limit": CAN_WATCH,
    "SELECT pgjobq.age(1)": WORKS,
    "SELECT pgjobq.set_ageing('mail', '1 hour'), pgjobq.unset_ageing('mail')": {"operator"},
    "SELECT * FROM pgjobq.ageing": CAN_WATCH,
    "SELECT pgjobq.emit('paid')": {"producer", "operator", "worker"},
    "SELECT pgjobq.forget_steps(1)": {"operator"},
    "SELECT value FROM pgjobq.step": CAN_READ | WORKS,
    "SELECT value FROM pgjobq.checkpoint": CAN_READ | WORKS,
    "SELECT message FROM pgjobq.progress": CAN_READ | WORKS,
    "SELECT progress FROM pgjobq.jobs": CAN_READ,
    "SELECT payload FROM pgjobq.event": CAN_READ,
    "SELECT event FROM pgjobq.emission": WORKS,
    "DELETE FROM pgjobq.step": WORKS,
    "DELETE FROM pgjobq.event": NOBODY,
    "UPDATE pgjobq.step SET value = '1'": NOBODY,
    "INSERT INTO pgjobq.emission (at, keep, event) VALUES (now(), now(), 'paid')": NOBODY,
    "SELECT pgjobq.remember_step(1, 1, gen_random_uuid(), 'a')": WORKS,
    "SELECT pgjobq.sleep_step(1, 1, gen_random_uuid(), 'a', 1)": WORKS,
    "SELECT pgjobq.wait_step(1, 1, gen_random_uuid(), 'a', 'e', 1)": WORKS,
    "SELECT pgjobq.keep_checkpoint(1, 1, gen_random_uuid(), '1')": WORKS,
    "SELECT pgjobq.report_progress('[]')": WORKS,
    "SELECT pgjobq.deliver(1), pgjobq.tend_events()": WORKS,
    # what nobody does but the owner: facts are not rewritten, no job is made but by enqueue()
    "INSERT INTO pgjobq.job SELECT * FROM pgjobq.job": NOBODY,
    "UPDATE pgjobq.job SET task = 'other'": NOBODY,
    "UPDATE pgjobq.job SET args = '{}'": NOBODY,
    "UPDATE pgjobq.finished SET outcome = 's'": NOBODY,
    "UPDATE pgjobq.attempt_error SET message = ''": NOBODY,
    "UPDATE pgjobq.running SET attempt = 1, worker = gen_random_uuid()": NOBODY,
    "UPDATE pgjobq.ready SET queue = 'other'": NOBODY,
    "TRUNCATE pgjobq.ready": NOBODY,
    "TRUNCATE pgjobq.finished": NOBODY,
    "DROP TABLE pgjobq.ready": NOBODY,
    "ALTER TABLE pgjobq.job ADD COLUMN extra int": NOBODY,
    "CREATE TABLE pgjobq.mine (id int)": NOBODY,
    "CREATE FUNCTION pgjobq.clock(int) RETURNS int LANGUAGE sql AS 'SELECT 1'": NOBODY,
    "CREATE OR REPLACE FUNCTION pgjobq.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'": NOBODY,
    "DELETE FROM pgjobq.migration": NOBODY,
    "SELECT * FROM pgjobq.allowed": NOBODY,
    "INSERT INTO pgjobq.allowed VALUES (current_user, 'worker')": NOBODY,
    "SELECT pgjobq.allow(current_user, 'worker')": NOBODY,
    "SELECT pgjobq.disallow(current_user)": NOBODY,
    "SELECT pgjobq.allow_again()": NOBODY,
    "INSERT INTO pgjobq.gate_pass VALUES ('api', 1, false)": NOBODY,
    "SELECT pgjobq.admit('{api}')": NOBODY,
}


@pytest.fixture
def as_role(dsn: str) -> Iterator[Callable[..., str]]:
    """Makes roles; gives their DSNs."""
    with ExitStack() as stack:
        yield lambda *allowed: stack.enter_context(role_on(dsn, *allowed))


def may(conn: Connection, statement: str) -> bool:
    """Whether this role may say that; whatever it did is undone."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement.encode())
    except pg.InsufficientPrivilege:
        return False
    return True


@pytest.mark.parametrize("what", [*ROLES, "nothing"])
def test_each_role_may_do_exactly_its_part(hand: Hand, as_role: Callable[..., str], what: str) -> None:
    hand.enqueue()
    with psycopg.connect(as_role(*([] if what == "nothing" else [what])), autocommit=True) as conn:
        allowed = {statement for statement in MATRIX if may(conn, statement)}
    assert allowed == {statement for statement, roles in MATRIX.items() if what in roles}


def test_every_role_and_every_object_is_in_the_matrix(hand: Hand, as_role: Callable[..., str]) -> None:
    """A new table or function has to be given to somebody, or to be named as the owner's own."""
    names = [str(conninfo_to_dict(as_role(what))["user"]) for what in ROLES]
    ungranted = hand.sql(
        """SELECT c.relname::text FROM pg_class c
           WHERE c.relnamespace = 'pgjobq'::regnamespace AND c.relkind IN ('r', 'v')
             AND NOT EXISTS (SELECT FROM unnest($1::text[]) r WHERE has_any_column_privilege(r, c.oid, 'SELECT'))
           UNION ALL SELECT c.relname FROM pg_class c
           WHERE c.relnamespace = 'pgjobq'::regnamespace AND c.relkind = 'S'
             AND NOT EXISTS (SELECT FROM unnest($1::text[]) r WHERE has_sequence_privilege(r, c.oid, 'USAGE, SELECT'))
           UNION ALL SELECT p.proname FROM pg_proc p
           WHERE p.pronamespace = 'pgjobq'::regnamespace
             AND NOT EXISTS (SELECT FROM unnest($1::text[]) r WHERE has_function_privilege(r, p.oid, 'EXECUTE'))""",
        names,
    )
    assert {name for (name,) in ungranted} == MADE_FOR_THE_OWNER


def statements_of(kind: str) -> list[str]:
    """The statements of the worker, or of applications and operators. Those of survey.sql are parts of such."""
    survey_sql = (migrate._HERE / "statements" / "survey.sql").read_text()
    listed, surveyed = (set(re.findall(r"^-- name: (\w+)", text, re.M)) for text in (JOBS_SQL, survey_sql))
    return sorted(name for name in _statements() if (name in listed) == (kind == "jobs") and name not in surveyed)


JOBS_SQL = "".join(
    (migrate._HERE / "statements" / name).read_text()
    for name in (
        "jobs.sql",
        "operate.sql",
        "ageing.sql",
        "schedules.sql",
        "history.sql",
        "gates.sql",
        "steps.sql",
        "workflows.sql",
    )
)
NEEDS = dict.fromkeys(("enqueue", "enqueue_plain", "enqueue_alike", "enqueue_many", "enqueue_unique"), "producer")
NEEDS |= {"enqueue_after": "producer", "retry_from": "operator"}
NEEDS |= dict.fromkeys(("cancel_running", "edit", "pause", "resume", "act"), "operator")
NEEDS |= dict.fromkeys(
    ("set_gate", "unset_gate", "limit_queue", "unlimit_queue", "set_ageing", "unset_ageing"), "operator"
)
NEEDS |= dict.fromkeys(
    (f"{what}_schedule" for what in ("put", "pause", "resume", "run", "reset", "delete")), "operator"
)
NEEDS |= {"complete_within": "worker"}
NEEDS |= dict.fromkeys(
    ("enqueue_linked", "start_workflow", "add_to_workflow", "join_workflow", "close_workflow", "workflow_of"),
    "producer",
)
NEEDS |= dict.fromkeys(("cancel_workflow", "retry_workflow"), "operator")
NEEDS |= {"emit": "producer", "forget_steps": "operator", "retry_anew": "operator"}
NEEDS |= dict.fromkeys(("remember_step", "sleep_step", "wait_step", "keep_checkpoint", "report_progress"), "worker")
NEEDS |= {"recall": "worker"}


def explain(conn: Connection, name: str) -> None:
    """Plan and open a statement, which checks every right it needs, and do not run it."""
    text = statement_text(name)
    count = max([0, *map(int, re.findall(r"\$(\d+)", text))])
    with psycopg.RawCursor(conn) as cursor:
        cursor.execute(f"EXPLAIN {text}".encode(), [None] * count)


def test_a_worker_may_say_every_statement_of_the_engine(as_role: Callable[..., str]) -> None:
    with psycopg.connect(as_role("worker"), autocommit=True) as conn:
        for name in statements_of("engine"):
            if not name.startswith("vacuum"):
                explain(conn, name)


def test_without_one_of_its_rights_a_worker_is_noticed(hand: Hand, as_role: Callable[..., str]) -> None:
    """The test above would see a grant that is missing: each table taken away makes a statement fail."""
    with psycopg.connect(as_role("worker"), autocommit=True) as conn:
        name = conn.info.user
        for table in (
            "ready",
            "running",
            "scheduled",
            "blocked",
            "finished",
            "job",
            "attempt_error",
            "worker",
            "lane",
            "schedule",
        ):
            hand.sql(f'REVOKE ALL ON pgjobq.{table} FROM "{name}"')
            with pytest.raises(pg.InsufficientPrivilege):
                for statement in statements_of("engine"):
                    if not statement.startswith("vacuum"):
                        explain(conn, statement)
            hand.sql("SELECT pgjobq.allow_again()")


def test_viewers_and_operators_may_say_what_queues_and_dashboards_say(as_role: Callable[..., str]) -> None:
    conns = {what: psycopg.connect(as_role(what), autocommit=True) for what in ROLES}
    try:
        for name in statements_of("jobs"):
            explain(conns[NEEDS.get(name, "viewer")], name)
    finally:
        for conn in conns.values():
            conn.close()


# --- through the front door ------------------------------------------------------------------------------


def test_a_queue_of_a_producer_enqueues_and_no_more(hand: Hand, as_role: Callable[..., str]) -> None:
    """On its own pool, and on a connection of the caller's, where the job is part of the transaction."""
    producer = as_role("producer")
    queue = Queue(producer)

    @queue.task
    def send(order: int) -> None: ...

    try:
        first = send.enqueue(1).id
        with psycopg.connect(producer) as conn:
            second = send.using(conn=conn, delay=60).enqueue(2).id
            third, fourth = queue.enqueue_many([send.call(3), send.call(4)], conn=conn)
        with psycopg.connect(producer) as conn:
            undone = send.using(conn=conn).enqueue(5).id
            conn.rollback()
        places = hand.places()
        assert {job: places[job][0] for job in (first, second, third, fourth)} == {
            first: "ready",
            second: "scheduled",
            third: "ready",
            fourth: "ready",
        }
        assert undone not in places
        for forbidden in (queue.get, queue.errors, queue.retry, queue.cancel):
            with pytest.raises(pg.InsufficientPrivilege):
                forbidden(first)
        for forbidden_list in (queue.jobs, queue.misplaced):
            with pytest.raises(pg.InsufficientPrivilege):
                forbidden_list()
    finally:
        queue.close()


def test_a_queue_of_an_operator_looks_and_presses_buttons(hand: Hand, as_role: Callable[..., str]) -> None:
    job = hand.enqueue(args={"order": 1})
    queue = Queue(as_role("operator"))
    try:
        found = queue.get(job)
        assert found is not None
        assert found.args == {"order": 1}
        assert queue.cancel(job)
        assert queue.retry(job)
        assert [entry.id for entry in queue.jobs(state="ready")] == [job]
        assert queue.errors(job) == queue.misplaced() == []
    finally:
        queue.close()


# --- giving and taking ------------------------------------------------------------------------------------


def test_a_role_may_be_several_things_and_nothing_again(hand: Hand, as_role: Callable[..., str]) -> None:
    with psycopg.connect(as_role("worker", "producer"), autocommit=True) as conn:
        hand.sql("SELECT pgjobq.allow($1, 'worker')", conn.info.user)
        assert may(conn, "SELECT pgjobq.enqueue('send')")
        assert may(conn, "SELECT * FROM pgjobq.ready")
        hand.sql("SELECT pgjobq.disallow($1)", conn.info.user)
        assert not [statement for statement in MATRIX if may(conn, statement)]
        assert hand.sql("SELECT * FROM pgjobq.allowed") == []


def test_a_migration_gives_everybody_their_part_again(hand: Hand, as_role: Callable[..., str]) -> None:
    """As after a step that made a table anew; a role that was dropped meanwhile is no obstacle."""
    hand.sql("INSERT INTO pgjobq.allowed VALUES ('nobody has this name', 'viewer')")
    with psycopg.connect(as_role("viewer"), autocommit=True) as conn:
        definition = hand.value("SELECT pg_get_viewdef('pgjobq.jobs')")
        hand.sql("DROP VIEW pgjobq.jobs")
        hand.sql(f"CREATE VIEW pgjobq.jobs AS {definition}")
        assert not may(conn, "SELECT args FROM pgjobq.jobs")
        hand.sql("SELECT pgjobq.allow_again()")
        assert may(conn, "SELECT args FROM pgjobq.jobs")
        assert hand.sql("SELECT role::text FROM pgjobq.allowed") == [(conn.info.user,)]


@pytest.mark.parametrize("what", ["owner", "Worker", "", "worker; DROP SCHEMA pgjobq"])
def test_a_part_that_does_not_exist_is_refused_with_those_that_do(hand: Hand, what: str) -> None:
    with pytest.raises(pg.InvalidParameterValue, match="cannot be allowed to be") as refusal:
        hand.sql("SELECT pgjobq.allow('postgres', $1)", what)
    assert "producer, monitor, viewer, operator, worker" in str(refusal.value.diag.message_hint)


def test_a_hostile_name_of_a_role_is_only_a_name(hand: Hand) -> None:
    with pytest.raises(pg.UndefinedObject):
        hand.sql("SELECT pgjobq.allow($1, 'viewer')", 'x"; DROP SCHEMA pgjobq CASCADE; --')
    assert hand.places() == {}


@pytest.mark.lawless("installs a schema of another name beside ours")
def test_the_roles_of_another_schema_are_its_own(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        migrate.install(conn, "order")
        migrate.install(conn, "pgjobq")
    with role_on(empty_dsn) as role, psycopg.connect(role, autocommit=True) as conn:
        with psycopg.connect(empty_dsn, autocommit=True) as owner:
            for what in ROLES:
                owner.execute('SELECT "order".allow(%s, %s)', [conn.info.user, what])
        assert may(conn, "SELECT \"order\".enqueue('send')")
        assert may(conn, 'SELECT * FROM "order".jobs')
        assert not [statement for statement in MATRIX if may(conn, statement)]


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_may_read_can_survey(as_role: Callable[..., str], role: str) -> None:
    """Everything that the dashboard shows, asked by the role it would connect as."""
    queue = Queue(as_role(role))
    survey = Survey(queue)
    survey.counts(), survey.queues(), survey.workers(), survey.gates(), survey.pulse(), survey.failures()
    queue.history(), queue.history(60, span=15), queue.totals(), queue.audit(), queue.schedules(), queue.paused()
    for state in (None, *JobState):
        assert survey.look(Filter(state=state, text="x", error="y")).jobs == []
    assert survey.look(Filter(ref="a")).jobs == []
    if role == "operator":
        assert (queue.retry_all(ids=[1]), queue.cancel_all(ids=[1], running=True)) == (0, 0)
    queue.close()
