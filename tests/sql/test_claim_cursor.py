"""The claim cursor on a real database: looks that never start from zero still miss nothing; the naive ones do.

Looks from zero heal everything, so they are left out here: what is shown is the rule of `safe` alone.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pgjobq.engine.cursor import ClaimCursor, Look
from pgjobq.engine.lease import Lease
from sql.support.hand import Hand

pytestmark = pytest.mark.timeout(300)

SECONDS = 6.0
PATIENCE = 60.0
"""Seconds more for a busy machine, on which what is to happen takes longer."""
SEED = 20_260_301
QUEUES = ("default", "mail")


class NeverZero(ClaimCursor):
    """The cursor without its looks from zero."""

    def plan(self, now: float, *, idle: bool = False) -> Look:
        self._next_zero = float("inf")
        return super().plan(now, idle=idle)


class OnlySafe(NeverZero):
    """However dear, every look starts from `safe`."""

    def plan(self, now: float, *, idle: bool = False) -> Look:
        return super().plan(now, idle=True)


class Naive(ClaimCursor):
    """Greater than the last one seen: what one would write first."""

    def plan(self, now: float, *, idle: bool = False) -> Look:
        return Look("fast", self.lanes, tuple(self.fast.get(lane, 0) for lane in self.lanes))


def enqueue_for_a_while(
    dsn: str, seed: int, goes_on: Callable[[], bool], asked: list[int], errors: list[BaseException]
) -> None:
    """Transactions of all sorts: quick, slow after or before the xid, rolled back, with a savepoint undone."""
    chance = random.Random(seed)
    try:
        with psycopg.connect(dsn) as conn:
            while goes_on() and not errors:
                asked.append(_transact(conn, chance))
    except BaseException as error:
        errors.append(error)


def _transact(conn: psycopg.Connection[Any], chance: random.Random) -> int:
    """How many jobs were committed."""
    kind, jobs = chance.random(), chance.choice([1, 1, 1, 5, 20])
    if 0.6 <= kind < 0.75:
        conn.execute("SELECT 1")
        time.sleep(chance.random() * 0.05)
    if 0.75 <= kind < 0.9:
        conn.execute("SELECT pg_current_xact_id()")
        time.sleep(chance.random() * 0.05)
    if kind >= 0.95:
        conn.execute("SAVEPOINT s")
        _enqueue(conn, chance, jobs)
        time.sleep(0.01)
        conn.execute("ROLLBACK TO s")
    _enqueue(conn, chance, jobs)
    if 0.4 <= kind < 0.75:
        time.sleep(chance.random() * 0.05)
    if 0.9 <= kind < 0.95:
        conn.rollback()
        return 0
    conn.commit()
    return jobs


def _enqueue(conn: psycopg.Connection[Any], chance: random.Random, jobs: int) -> None:
    for _ in range(jobs):
        conn.execute(
            "SELECT pgjobq.enqueue('send', queue => %s, priority => %s)",
            [chance.choice(QUEUES), chance.choice([-1, 0, 0, 0, 5])],
        )


def claim_for_a_while(
    dsn: str, cursor: ClaimCursor, seed: int, over: threading.Event, errors: list[BaseException]
) -> None:
    """Claim, as a worker does, until `over` is set and ten looks after that were empty.

    Each turn settles the last batch and claims the next in one transaction. A tenth of the jobs goes back once.
    """
    chance, ended = random.Random(seed), 0
    held: list[Lease] = []
    try:
        with Hand(dsn) as hand:
            while ended < 10 or held:
                done = over.is_set()
                cursor.see(hand.lanes())
                limit = chance.choice([1, 7, 50])
                look = cursor.plan(time.monotonic(), idle=not held)
                with hand.conn.transaction():
                    again = [lease for lease in held if lease.attempt == 1 and chance.random() < 0.1]
                    if held:
                        hand.complete(*(lease for lease in held if lease not in again))
                        hand.settle(*({"job": lease.job, "attempt": 1, "fate": "again"} for lease in again))
                        time.sleep(chance.choice([0, 0, 0.01]))
                    claimed = hand.look_at(look, limit)
                held = claimed.leases
                taken = [((lease.queue, lease.priority), lease.seq) for lease in held]
                cursor.learn(
                    look,
                    taken,
                    limit=limit,
                    xmin=claimed.xmin,
                    xid=claimed.xid,
                    seconds=claimed.seconds,
                    now=time.monotonic(),
                )
                ended = ended + 1 if done and not held else 0
                if not held:
                    over.wait(0.005)
    except BaseException as error:
        errors.append(error)


def play(
    dsn: str, kind: type[ClaimCursor], seconds: float, seed: int, enough: Callable[[int], bool]
) -> tuple[int, int]:
    """(jobs committed, jobs still ready when nobody found any more).

    It lasts so many `seconds`, and on until so many jobs are `enough`.
    """
    print(f"seed {seed}")
    errors: list[BaseException] = []
    committed: list[int] = []
    over, until = threading.Event(), time.monotonic() + seconds

    def goes_on() -> bool:
        now = time.monotonic()
        return now < until or (now < until + PATIENCE and not enough(sum(committed)))

    enqueuers = [
        threading.Thread(target=enqueue_for_a_while, args=(dsn, seed + number, goes_on, committed, errors))
        for number in range(4)
    ]
    claimers = [
        threading.Thread(target=claim_for_a_while, args=(dsn, kind(), seed + 10 + number, over, errors))
        for number in range(3)
    ]
    for thread in (*enqueuers, *claimers):
        thread.start()
    for thread in enqueuers:
        thread.join(seconds + PATIENCE + 30)
    over.set()
    for thread in claimers:
        thread.join(60)
    assert errors == []
    with psycopg.connect(dsn) as conn:
        (asked,) = conn.execute("SELECT count(*) FROM pgjobq.job").fetchone() or (0,)
        (left,) = conn.execute("SELECT count(*) FROM pgjobq.ready").fetchone() or (0,)
        (ended,) = conn.execute("SELECT count(*) FROM pgjobq.finished WHERE outcome = 's'").fetchone() or (0,)
    assert asked == left + ended
    return asked, left


def test_nothing_is_missed(dsn: str) -> None:
    asked, missed = play(dsn, NeverZero, SECONDS, SEED, lambda asked: asked > 500)
    assert asked > 500
    assert missed == 0


def test_nothing_is_missed_without_fast_looks_either(dsn: str) -> None:
    """Every look from `safe`: each of them relies on the rule."""
    asked, missed = play(dsn, OnlySafe, SECONDS / 2, SEED + 100, lambda asked: asked > 200)
    assert asked > 200
    assert missed == 0


def age_for_a_while(dsn: str, over: threading.Event, errors: list[BaseException], risen: list[int]) -> None:
    """Let jobs rise all the time, by a clock that runs a hundred times as fast."""
    try:
        with Hand(dsn, lease=None) as hand:
            hand.sql("SELECT pgjobq.set_ageing(q, '1 second') FROM unnest($1::text[]) q", list(QUEUES))
            begun = time.monotonic()
            while not over.is_set():
                ahead = (time.monotonic() - begun) * 99
                hand.sql("SELECT set_config('pgjobq.now', (now() + make_interval(secs => $1))::text, false)", ahead)
                risen.append(hand.say("age", 50)[0][0])
    except BaseException as error:
        errors.append(error)


def test_nothing_is_missed_while_jobs_rise(dsn: str) -> None:
    """Their rows go from lane to lane under the claims that look for them."""
    over, errors, risen = threading.Event(), [], []  # type: ignore[var-annotated]
    ageing = threading.Thread(target=age_for_a_while, args=(dsn, over, errors, risen))
    ageing.start()
    try:
        asked, missed = play(
            dsn, NeverZero, SECONDS / 2, SEED + 200, lambda asked: bool(errors) or (asked > 200 and sum(risen) > 20)
        )
    finally:
        over.set()
        ageing.join(60)
    assert errors == []
    assert asked > 200
    assert missed == 0
    assert sum(risen) > 20, "few have risen: this shows nothing"


def test_the_naive_cursor_misses_jobs(dsn: str) -> None:
    """Or else the test above would show nothing."""
    for attempt in range(5):
        _, missed = play(dsn, Naive, SECONDS / 3, SEED + attempt, lambda asked: asked > 200)
        if missed:
            return
    pytest.fail("the naive cursor missed nothing in five tries: these transactions are too tame")
