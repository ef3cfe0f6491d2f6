"""The schema's name is a parameter: several queues side by side in one database, words of SQL among their names."""

from __future__ import annotations

import psycopg
import pytest

from pgjobq import ConfigError, Queue
from pgjobq.migrate import install
from sql.support.hand import Hand

NAMES = ["pgjobq", "shop_jobs", "order", "user", "job", "enqueue", "x" * 48]


def _round(hand: Hand) -> int:
    """One job through every door, by the statements of a worker."""
    job = hand.enqueue("send", args={"schema": hand.schema}, delay="1 second", ref="r")
    hand.set_now("2999-01-01")
    assert hand.promote() == 1
    assert hand.say("find_lanes") == [(1,)]
    hand.say("tidy_lanes")
    hand.say("next_due", 1.0)
    hand.say("doze", 1000)
    lease = hand.claim_one()
    assert lease.args == f'{{"schema": "{hand.schema}"}}'
    assert hand.settle_as("f", lease, kind="E", message="m") == [(job, True)]
    assert hand.retry(job)
    assert hand.say("stray", hand.id, [hand.claim_one().job]) == []
    hand.rescue([hand.id])
    hand.register()
    assert hand.say("churned") in ([(True,)], [(False,)])
    assert hand.say("may_vacuum") == [(True,)]
    hand.conn.execute(hand.text("vacuum").encode(), prepare=False)
    assert hand.settle_as("blocked", hand.claim_one(), back=1, waits_for="task:send") == [(job, True)]
    assert hand.complete(hand.adopt(["send"])[0]) == [job]
    return job


def test_side_by_side(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        for name in NAMES:
            assert install(conn, name)
    for count, name in enumerate(NAMES):
        with Hand(empty_dsn, schema=name) as hand:
            job = _round(hand)
            assert hand.places() == {job: ("succeeded", 3, None)}
        with psycopg.connect(empty_dsn) as conn:
            filled = [
                other
                for other in NAMES
                if conn.execute(f'SELECT FROM "{other}".job'.encode()).rowcount  # type: ignore[arg-type]
            ]
        assert filled == NAMES[: count + 1]


@pytest.mark.parametrize("name", NAMES[1:])
def test_through_the_front_door(empty_dsn: str, name: str) -> None:
    queue = Queue(empty_dsn, schema=name)

    @queue.task
    def send(order: int) -> None: ...

    try:
        assert queue.migrate()
        one = send.using(ref="r").enqueue(order=1)
        (two,) = queue.enqueue_many([send.using(delay=60).call(order=2)])
        assert [job.id for job in queue.jobs()] == [two, one.id]
        assert [job.id for job in queue.jobs(ref="r", state="ready")] == [one.id]
        assert queue.cancel(two)
        assert queue.retry(two)
        found = queue.get(two)
        assert found is not None
        assert (found.state, found.args) == ("ready", {"order": 2})
        assert queue.errors(two) == []
        assert queue.misplaced() == []
    finally:
        queue.close()


def test_wakes_its_own_workers_only(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        install(conn, "shop_jobs")
        install(conn)
    with (
        Hand(empty_dsn, schema="shop_jobs") as shop,
        Hand(empty_dsn) as other,
        psycopg.connect(empty_dsn, autocommit=True) as ears,
    ):
        for hand in (shop, other):
            hand.say("doze", 60_000)
            hand.say("next_due", 3600.0)
        for channel in ("shop_jobs", "shop_jobs:due", "pgjobq", "pgjobq:due"):
            ears.execute(f'LISTEN "{channel}"'.encode())
        shop.enqueue()
        shop.enqueue(delay="1 second")
        heard = [notify.channel for notify in ears.notifies(timeout=20, stop_after=2)]
        assert heard == ["shop_jobs", "shop_jobs:due"]
        with other.conn.transaction():
            other.enqueue(delay="1 second")
            other.enqueue()
        heard = [notify.channel for notify in ears.notifies(timeout=20, stop_after=2)]
        assert heard == ["pgjobq:due", "pgjobq"]


def test_upkeep_of_one_does_not_hold_up_the_other(empty_dsn: str) -> None:
    """The chores' locks carry the schema's name."""
    with psycopg.connect(empty_dsn) as conn:
        install(conn, "shop_jobs")
        install(conn)
    with Hand(empty_dsn, schema="shop_jobs") as shop, Hand(empty_dsn) as other:
        for hand in (shop, other):
            hand.enqueue(delay="0.001 s")
            hand.set_now("2999-01-01")
        with shop.conn.transaction():
            assert shop.promote() == 1
            assert other.promote() == 1


HOSTILE = [
    "",
    "x" * 49,
    "Shop",
    "a b",
    'a"b',
    "a'; DROP TABLE orders; --",
    "1st",
    "pg_jobs",
    "a.b",
    "a-b",
    "jöbs",
    "a\n",
    "a\0",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_are_refused(empty_dsn: str, name: str) -> None:
    with pytest.raises(ConfigError, match="schema name"):
        Queue(empty_dsn, schema=name)
    with psycopg.connect(empty_dsn) as conn:
        with pytest.raises(ConfigError, match="for example"):
            install(conn, name)
        assert (
            conn.execute("SELECT FROM pg_namespace WHERE nspname !~ '^(pg_|public$|information_schema$)'").rowcount == 0
        )
