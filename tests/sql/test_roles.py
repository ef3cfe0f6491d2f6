"""Who may do what: nobody anything, a producer only enqueue, and no caller can slip objects of its own under ours."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql

from sql.support.hand import Hand
from support.databases import PREFIX

Connection = psycopg.Connection[Any]


@pytest.fixture
def producer(hand: Hand, dsn: str) -> Iterator[Connection]:
    """A connection as a role with USAGE on the schema and EXECUTE on enqueue, nothing else."""
    name = f"{PREFIX}producer_{secrets.token_hex(4)}"
    role = sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {}").format(role))
        admin.execute(sql.SQL("GRANT USAGE ON SCHEMA pgjobq TO {}").format(role))
        admin.execute(sql.SQL("GRANT EXECUTE ON FUNCTION pgjobq.enqueue TO {}").format(role))
        admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(role))
        try:
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
                yield conn
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


def test_nobody_may_call_anything_by_default(hand: Hand) -> None:
    open_to_all = hand.sql(
        """SELECT p.oid::regprocedure::text FROM pg_proc p
           WHERE p.pronamespace = 'pgjobq'::regnamespace
             AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))"""
    )
    assert open_to_all == []
    assert hand.value("SELECT count(*) FROM pg_proc WHERE pronamespace = 'pgjobq'::regnamespace") >= 8
    grants = "SELECT * FROM information_schema.table_privileges WHERE table_schema = 'pgjobq' AND grantee = 'PUBLIC'"
    assert hand.sql(grants) == []


def test_every_definer_function_pins_its_path_with_pg_temp_last(hand: Hand) -> None:
    loose = hand.sql(
        """SELECT p.oid::regprocedure::text, p.proconfig FROM pg_proc p
           WHERE p.pronamespace = 'pgjobq'::regnamespace AND p.prosecdef
             AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pgjobq, pg_temp'], false)"""
    )
    assert loose == []


@pytest.mark.parametrize("delay", [None, "1 hour"])
def test_a_producer_enqueues(hand: Hand, producer: Connection, delay: str | None) -> None:
    row = producer.execute(
        "SELECT pgjobq.enqueue('send', queue => 'new', priority => 3, delay => %s)", [delay]
    ).fetchone()
    assert row is not None
    assert hand.place(row[0])[0] == ("scheduled" if delay else "ready")


FORBIDDEN = [
    "SELECT * FROM pgjobq.job",
    "SELECT * FROM pgjobq.jobs",
    "SELECT * FROM pgjobq.misplaced",
    "SELECT * FROM pgjobq.ready",
    "SELECT * FROM pgjobq.lane",
    "SELECT last_value FROM pgjobq.idle_until",
    "SELECT nextval('pgjobq.job_id_seq')",
    "DELETE FROM pgjobq.ready",
    "INSERT INTO pgjobq.lane VALUES ('x', 0)",
    "UPDATE pgjobq.job SET task = 'x'",
    "TRUNCATE pgjobq.finished",
    "SELECT pgjobq.retry(1)",
    "SELECT pgjobq.cancel(1)",
    "SELECT pgjobq.enqueue_many('[]')",
    "SELECT pgjobq.enqueue_alike('x', '')",
    "SELECT pgjobq.complete(1, 1, gen_random_uuid())",
    "SELECT pgjobq.wake('default')",
    "SELECT pgjobq.wake_at(now())",
    "SELECT pgjobq.open_lane('x', 0)",
    "SELECT pgjobq.clock()",
    "CREATE TABLE pgjobq.mine (id int)",
    "CREATE TRIGGER t AFTER INSERT ON pgjobq.job EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_a_producer_may_do_nothing_else(producer: Connection, statement: str) -> None:
    with pytest.raises(pg.InsufficientPrivilege):
        producer.execute(statement.encode())


def test_each_public_function_works_with_execute_alone(hand: Hand, producer: Connection, dsn: str) -> None:
    name = producer.execute("SELECT current_user").fetchone()
    assert name is not None
    for function in ("enqueue_many", "retry", "cancel", "complete"):
        hand.sql(f'GRANT EXECUTE ON FUNCTION pgjobq.{function} TO "{name[0]}"')
    ids = [
        job for (job,) in producer.execute("""SELECT * FROM pgjobq.enqueue_many('[{"task": "a"}, {"task": "b"}]')""")
    ]
    assert producer.execute("SELECT pgjobq.cancel(%s)", [ids[0]]).fetchone() == (True,)
    assert producer.execute("SELECT pgjobq.retry(%s)", [ids[0]]).fetchone() == (True,)
    lease = next(lease for lease in hand.claim() if lease.job == ids[1])
    done = producer.execute("SELECT pgjobq.complete(%s, %s::int, %s)", [lease.job, lease.attempt, hand.id]).fetchone()
    assert done == (True,)


def test_temporary_objects_of_the_caller_are_never_reached(hand: Hand, producer: Connection) -> None:
    """The classic against SECURITY DEFINER: the caller's own tables, functions and operators under our names."""
    for table in ("job", "ready", "lane", "scheduled", "idle_until", "next_look"):
        producer.execute(f"CREATE TEMP TABLE {table} AS SELECT 1 AS id, 2 AS last_value".encode())
    for signature in ("now()", "statement_timestamp()", "pg_notify(text, text)", "pg_current_xact_id()", "clock()"):
        producer.execute(
            f"""CREATE FUNCTION public.{signature} RETURNS text LANGUAGE plpgsql AS
                $$ BEGIN RAISE 'hijacked as %', current_user; END $$""".encode()
        )
    producer.execute("""CREATE FUNCTION public.loud(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql AS
                        $$ BEGIN RAISE 'hijacked as %', current_user; END $$""")
    producer.execute("CREATE OPERATOR public.> (FUNCTION = public.loud, LEFTARG = timestamptz, RIGHTARG = timestamptz)")
    producer.execute("SET search_path = pg_temp, public, pg_catalog")
    hand.say("doze", 60_000)
    hand.say("next_due", 3600.0)
    for delay in (None, "1 minute"):
        row = producer.execute("SELECT pgjobq.enqueue('send', delay => %s)", [delay]).fetchone()
        assert row is not None
        assert hand.place(row[0])[0] == ("scheduled" if delay else "ready")
    assert producer.execute("SELECT count(*) FROM pg_temp.job").fetchone() == (1,)


def test_the_callers_settings_stay(hand: Hand) -> None:
    hand.sql("SET search_path = pg_temp")
    hand.sql("SET TimeZone = 'Asia/Kathmandu'")
    hand.enqueue()
    assert hand.value("SHOW search_path") == "pg_temp"
    assert hand.value("SHOW TimeZone") == "Asia/Kathmandu"
