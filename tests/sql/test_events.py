"""Events and waits in SQL: who decides, who is woken, and the races between them; most with a clock of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from pgjobq.statements import statement_text

WAIT = "SELECT state, value FROM pgjobq.wait_step(%s, %s, %s, 'w', %s, %s)"


class Desk:
    """Connections to the test's database, and a worker that does by hand what the engine does."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.worker: UUID = uuid4()
        self.opened: list[psycopg.Connection[Any]] = []
        self.conn = self.open(autocommit=True)
        self.conn.execute(
            """INSERT INTO pgjobq.worker (id, expires_at, pid, concurrency, host, app, version, queues, tasks)
               VALUES (%s, now() + interval '1 hour', 1, 1, '', '', '', '{}', '{}')""",
            (self.worker,),
        )

    def open(self, autocommit: bool = False) -> psycopg.Connection[Any]:
        conn = psycopg.connect(self.dsn, autocommit=autocommit)
        self.opened.append(conn)
        return conn

    def value(self, sql: str, *params: object) -> Any:
        row = self.conn.execute(sql, params or None).fetchone()
        return row and row[0]

    def at(self, seconds: float) -> None:
        """Set the clock of this connection, seconds from a fixed time."""
        self.conn.execute(
            "SELECT set_config('pgjobq.now', (timestamptz '2026-11-29 UTC' + make_interval(secs => %s))::text, false)",
            (seconds,),
        )

    def start(self) -> int:
        """A job whose first attempt runs."""
        job = self.value("SELECT pgjobq.enqueue('buy')")
        self.claim(job, 1)
        return int(job)

    def claim(self, job: int, attempt: int) -> None:
        self.conn.execute(
            """WITH taken AS (DELETE FROM pgjobq.ready WHERE job = %s RETURNING job, attempt, spared)
               INSERT INTO pgjobq.running (job, started_at, worker, attempt, spared)
               SELECT job, pgjobq.clock(), %s, attempt + 1, spared FROM taken""",
            (job, self.worker),
        )
        assert self.value("SELECT attempt FROM pgjobq.running WHERE job = %s", job) == attempt

    def wait(self, job: int, attempt: int = 1, seconds: float | None = None, event: str = "paid") -> tuple[Any, Any]:
        row = self.conn.execute(WAIT, (job, attempt, self.worker, event, seconds)).fetchone()
        assert row is not None
        return row[0], row[1]

    def block(self, job: int, event: str = "paid") -> None:
        """The worker settles an attempt that waits."""
        asked = [{"job": job, "attempt": self.value("SELECT attempt FROM pgjobq.running WHERE job = %s", job),
                  "fate": "blocked", "spare": 1, "waits_for": f"event:{event}"}]  # fmt: skip
        sql = statement_text("settle").replace("$1::text::jsonb", "%(asked)s::jsonb").replace("$2::uuid", "%(worker)s")
        self.conn.execute(sql, {"asked": json.dumps(asked), "worker": self.worker})

    def deliver(self) -> int:
        return int(self.value("SELECT pgjobq.deliver(1000)"))

    def state(self, job: int) -> str:
        return str(self.value("SELECT state FROM pgjobq.jobs WHERE id = %s", job))


@pytest.fixture
def desk(dsn: str) -> Iterator[Desk]:
    desk = Desk(dsn)
    yield desk
    for conn in desk.opened:
        conn.close()


def test_a_wait_from_beginning_to_end(desk: Desk) -> None:
    desk.at(0)
    job = desk.start()
    assert desk.wait(job) == ("waits", None)
    desk.block(job)
    assert desk.deliver() == 0
    assert desk.state(job) == "blocked"
    assert desk.value("SELECT pgjobq.emit('paid', '{\"n\": 1}')")
    assert desk.deliver() > 0
    assert desk.state(job) == "ready"
    desk.claim(job, 2)
    assert desk.value("SELECT spared FROM pgjobq.running") == 1
    assert desk.wait(job, 2) == ("came", {"n": 1})
    assert desk.wait(job, 2) == ("came", {"n": 1})


def test_a_time_out_from_beginning_to_end(desk: Desk) -> None:
    """Counted from the first attempt's wait; the event that comes in the same moment wins."""
    desk.at(0)
    late, both = desk.start(), desk.start()
    for job in (late, both):
        assert desk.wait(job, seconds=60, event=f"paid {job}") == ("waits", None)
        desk.block(job, f"paid {job}")
    desk.at(59)
    desk.deliver()
    assert (desk.state(late), desk.state(both)) == ("blocked", "blocked")
    desk.at(60)
    desk.value("SELECT pgjobq.emit(%s)", f"paid {both}")
    desk.deliver()
    assert (desk.state(late), desk.state(both)) == ("ready", "ready")
    for job in (late, both):
        desk.claim(job, 2)
    assert desk.wait(late, 2, 60, f"paid {late}") == ("late", None)
    assert desk.wait(both, 2, 60, f"paid {both}") == ("came", None)
    desk.value("SELECT pgjobq.emit(%s)", f"paid {late}")
    assert desk.value("SELECT timed_out FROM pgjobq.step WHERE job = %s", late)


def test_an_emission_that_is_open_blocks_nobody(desk: Desk) -> None:
    """Neither another emission, nor a wait, nor a delivery; what it says is seen when it commits."""
    open_ = desk.open()
    open_.execute("SELECT pgjobq.emit('paid', '1')")
    desk.conn.execute("SET lock_timeout = '2s'")
    job = desk.start()
    assert desk.wait(job) == ("waits", None)
    desk.block(job)
    desk.value("SELECT pgjobq.emit('other')")
    desk.deliver()
    assert desk.state(job) == "blocked"
    open_.commit()
    desk.deliver()
    assert desk.state(job) == "ready"


def test_it_is_emitted_between_the_wait_and_the_end_of_its_attempt(desk: Desk) -> None:
    """deliver() finds the wait of an attempt that still runs, and looks again until it has ended."""
    desk.at(0)
    job = desk.start()
    desk.wait(job)
    desk.value("SELECT pgjobq.emit('paid')")
    desk.deliver()
    assert desk.state(job) == "running"
    desk.block(job)
    desk.at(0.2)
    desk.deliver()
    assert desk.state(job) == "ready"


def test_it_is_delivered_while_the_wait_is_being_written(desk: Desk) -> None:
    """The wait looked before the event was there, deliver() before the wait was: it has asked for a look of its own."""
    desk.at(0)
    job = desk.start()
    slow = desk.open()
    slow.execute("SELECT set_config('pgjobq.now', '2026-11-29 UTC', false)")
    assert slow.execute(WAIT, (job, 1, desk.worker, "paid", None)).fetchone() == ("waits", None)
    desk.value("SELECT pgjobq.emit('paid')")
    desk.deliver()
    slow.commit()
    desk.block(job)
    desk.at(1)
    desk.deliver()
    assert desk.state(job) == "ready"


def test_a_delivery_that_has_not_committed_hides_no_event(desk: Desk) -> None:
    """Of an emission that is committed every snapshot shows itself or its event."""
    desk.at(0)
    job = desk.start()
    desk.wait(job, event="rare")
    desk.block(job, "rare")
    desk.value("SELECT pgjobq.emit('rare')")
    slow = desk.open()
    slow.execute("SELECT pgjobq.deliver(1000)")  # open: has deleted the emission, and holds the job
    other = desk.start()
    desk.conn.execute("SET lock_timeout = '500ms'")
    desk.conn.execute("SET statement_timeout = '5s'")
    desk.at(2)
    desk.deliver()  # passes by what is locked
    slow.rollback()
    desk.at(3)
    desk.deliver()
    assert desk.state(job) == "ready"
    assert desk.wait(other, event="rare")[0] == "came"


def test_a_job_that_somebody_has_in_hand_is_looked_at_again(desk: Desk) -> None:
    """A cancel in an open transaction: when it is rolled back, the event is not lost on the job."""
    desk.at(0)
    job = desk.start()
    desk.wait(job)
    desk.block(job)
    slow = desk.open()
    slow.execute("SELECT pgjobq.cancel(%s)", (job,))
    desk.conn.execute("SET lock_timeout = '2s'")  # a delivery waits for nobody
    desk.value("SELECT pgjobq.emit('paid')")
    desk.deliver()
    slow.rollback()
    desk.at(0.4)
    desk.deliver()
    assert desk.state(job) == "ready"


def test_two_that_deliver_at_once(desk: Desk) -> None:
    """A job is woken once: the law holds, and there is one ready row."""
    desk.at(0)
    jobs = [desk.start() for _ in range(5)]
    for job in jobs:
        desk.wait(job)
        desk.block(job)
    desk.value("SELECT pgjobq.emit('paid')")
    desk.conn.execute(
        "INSERT INTO pgjobq.event_look (job, at) SELECT j, pgjobq.clock() FROM unnest(%s::bigint[]) j", (jobs,)
    )
    slow = desk.open()
    slow.execute("SELECT set_config('pgjobq.now', '2026-11-30 UTC', false)")
    slow.execute("SELECT pgjobq.deliver(2)")
    desk.deliver()
    slow.commit()
    desk.at(1)
    desk.deliver()
    assert desk.conn.execute("SELECT job FROM pgjobq.ready ORDER BY job").fetchall() == [(job,) for job in jobs]


def test_a_wait_that_was_overlooked_is_swept_up(desk: Desk) -> None:
    """Whoever failed to look: tend_events() finds it; so it does for one whose wait was forgotten."""
    desk.at(0)
    job, forgotten = desk.start(), desk.start()
    for one in (job, forgotten):
        desk.wait(one)
        desk.block(one)
    desk.conn.execute("INSERT INTO pgjobq.event (name, at, keep) VALUES ('paid', pgjobq.clock(), 'infinity')")
    desk.conn.execute("DELETE FROM pgjobq.step WHERE job = %s", (forgotten,))
    desk.conn.execute("DELETE FROM pgjobq.event_look")
    desk.deliver()
    assert desk.state(job) == "blocked"
    desk.conn.execute("SELECT pgjobq.tend_events()")
    desk.deliver()
    assert (desk.state(job), desk.state(forgotten)) == ("ready", "ready")


def test_how_long_events_are_kept(desk: Desk) -> None:
    """Until their time is over, and then for as long as somebody waits for one; a new one of the name may come
    after."""
    desk.at(0)
    job = desk.start()
    desk.wait(job)
    assert desk.value("SELECT pgjobq.emit('paid', '1', keep => '10 s')")
    assert desk.value("SELECT pgjobq.emit('packed', '1', keep => '10 s')")
    desk.deliver()
    desk.block(job)
    desk.at(9)
    assert not desk.value("SELECT pgjobq.emit('packed', '2')")
    desk.at(10)
    desk.conn.execute("SELECT pgjobq.tend_events()")
    assert desk.conn.execute("SELECT name FROM pgjobq.event").fetchall() == [("paid",)]
    assert desk.value("SELECT pgjobq.emit('packed', '2')")
    desk.deliver()
    assert desk.value("SELECT payload FROM pgjobq.event WHERE name = 'packed'") == 2
    desk.claim(job, 2)
    assert desk.wait(job, 2) == ("came", 1)
    desk.conn.execute("SELECT pgjobq.tend_events()")
    assert desk.value("SELECT count(*) FROM pgjobq.event WHERE name = 'paid'") == 0


def test_a_sleep_counts_from_its_first_attempt(desk: Desk) -> None:
    sleep = "SELECT pgjobq.sleep_step(%s, 1, %s, 'nap', 60)"
    desk.at(0)
    job = desk.start()
    assert desk.value(sleep, job, desk.worker) == 60
    desk.at(50)
    assert desk.value(sleep, job, desk.worker) == 10
    desk.at(60)
    assert desk.value(sleep, job, desk.worker) == 0
    assert desk.value(sleep, job, uuid4()) is None


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("emit('')", "the name of an event has 0 characters: wants 1 to 255"),
        ("emit(NULL)", "the name of an event has 0 characters: wants 1 to 255"),
        ("emit('x', keep => '0 s')", "keep is 00:00:00: wants more than no time"),
        ("remember_step(1, 1, gen_random_uuid(), repeat('x', 256))", "the name of a step has 256 characters"),
        ("sleep_step(1, 1, gen_random_uuid(), '', 1)", "the name of a step has 0 characters"),
    ],
)
def test_what_is_refused(desk: Desk, call: str, why: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=why):
        desk.conn.execute(f"SELECT pgjobq.{call}")


@pytest.mark.parametrize(
    "call",
    [
        "SELECT pgjobq.remember_step(%s, %s, %s, 'a', '1')",
        "SELECT pgjobq.keep_checkpoint(%s, %s, %s, '1')",
        "SELECT pgjobq.sleep_step(%s, %s, %s, 'a', 1)",
        "SELECT state FROM pgjobq.wait_step(%s, %s, %s, 'a', 'e', 1)",
    ],
)
def test_the_fence(desk: Desk, call: str) -> None:
    """Another attempt, another worker, or a job that does not run: nothing is written."""
    job = desk.start()
    for who in ((job, 2, desk.worker), (job, 1, uuid4()), (job + 1, 1, desk.worker)):
        assert desk.value(call, *who) in (None, False)
    for table in ("step", "checkpoint", "event_look"):
        assert desk.value(f"SELECT count(*) FROM pgjobq.{table}") == 0


def test_many_waits_are_delivered_in_portions(desk: Desk) -> None:
    jobs = [desk.start() for _ in range(7)]
    for job in jobs:
        desk.wait(job)
        desk.block(job)
    desk.value("SELECT pgjobq.emit('paid')")
    rounds = 0
    while desk.value("SELECT pgjobq.deliver(3)") >= 3:
        rounds += 1
    assert rounds >= 2
    assert desk.value("SELECT count(*) FROM pgjobq.ready") == 7


def _told(listener: psycopg.Connection[Any]) -> int:
    """How many notifications have come: those of transactions that have ended are all there after a round trip."""
    listener.execute("SELECT 1")
    return sum(1 for _ in listener.notifies(timeout=0.2))


def test_only_who_waits_is_a_reason_to_wake_upkeep(desk: Desk) -> None:
    listener = desk.open(autocommit=True)
    listener.execute('LISTEN "pgjobq:due"')
    desk.value("SELECT pgjobq.emit('nobody')")
    assert _told(listener) == 0
    job = desk.start()
    desk.wait(job, 1)
    desk.value("SELECT pgjobq.emit('other')")
    assert _told(listener) == 0
    desk.value("SELECT pgjobq.emit('paid')")
    assert _told(listener) == 1


def test_who_begins_to_wait_while_an_emitting_transaction_is_open_is_a_reason(desk: Desk) -> None:
    """The trigger is deferred: at emit() nobody waits yet."""
    listener = desk.open(autocommit=True)
    listener.execute('LISTEN "pgjobq:due"')
    emits = desk.open()
    emits.execute("SELECT pgjobq.emit('paid')")
    job = desk.start()
    desk.wait(job, 1)
    emits.commit()
    assert _told(listener) == 1
