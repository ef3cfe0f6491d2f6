"""Everybody at once on the same few jobs: nobody ever waits in a circle; the lock order that sees to it
stands at the head of schema.sql.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sql.support.gate import Gate, starts
from sql.support.hand import Hand
from support.waiting import eventually

SECONDS = 5.0
ROUNDS, PATIENCE = 11, 60.0
"""Everybody plays on until each role has had so many rounds, for so many seconds at most."""
JOBS = 60
"""So few that all meet on the same rows all the time."""
ORDERS: dict[str, dict[str, object]] = {"line": {"order": "fifo", "concurrency": 1}}
Hands = Callable[..., Hand]


class Crowd:
    """Everything that takes locks, on jobs from 1 to the last, until the time is over and everybody had his rounds."""

    def __init__(self, hands: Hands, seconds: float) -> None:
        self._hands, self._end, self._last_end = hands, time.monotonic() + seconds, time.monotonic() + PATIENCE
        self.did: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self.last = 0

    def run(self, *roles: Callable[[Hand, random.Random], None]) -> None:
        """Each role in two threads of its own."""
        self.did.update({role.__name__: 0 for role in roles})
        threads = [
            threading.Thread(target=self._play, args=(role, self._hands(), random.Random(number)), daemon=True)
            for number in range(2)
            for role in roles
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, self._last_end + 30 - time.monotonic()))
            assert not thread.is_alive(), "somebody waits for ever"

    def _play(self, role: Callable[[Hand, random.Random], None], hand: Hand, dice: random.Random) -> None:
        try:
            while self._goes_on() and not self.errors:
                role(hand, dice)
                self.did[role.__name__] += 1
        except BaseException as error:
            self.errors.append(error)

    def _goes_on(self) -> bool:
        now = time.monotonic()
        return now < self._end or (now < self._last_end and min(self.did.values()) < ROUNDS)

    def some(self, dice: random.Random, count: int) -> list[int]:
        """Jobs among the newest, sorted: the one thing that is asked of a caller who names several."""
        newest = max(self.last, JOBS)
        return sorted(dice.sample(range(newest - JOBS + 1, newest + 1), count))

    # ------------------------------------------------------------------------------------ roles

    def enqueue(self, hand: Hand, dice: random.Random) -> None:
        """Bulk, some of it for later, on lanes that may be new."""
        asked = [{"task": "send", "priority": dice.choice((0, 1)), "delay": dice.choice((None, "0.05 s"))}] * 20
        self.last = max(self.last, *hand.enqueue_many(asked))
        time.sleep(0.05)

    def work(self, hand: Hand, dice: random.Random) -> None:
        """Claim, and settle in every way there is."""
        leases = hand.claim(15)
        dice.shuffle(leases)
        cut = len(leases) // 2
        hand.complete(*leases[:cut])
        fates = ("s", "f", "c", "again", "again", "blocked")
        hand.settle(
            *(
                {
                    "job": lease.job,
                    "attempt": lease.attempt,
                    "fate": dice.choice(fates),
                    "delay": dice.choice((0, 0.05)),
                }
                | {"kind": "E", "message": "m", "waits_for": "task:send"}
                for lease in leases[cut:]
            )
        )
        hand.adopt(["send"], None, 5)

    def handle(self, hand: Hand, dice: random.Random) -> None:
        """A handler's own transaction: complete(conn), enqueue more, commit or not."""
        leases = hand.claim(1)
        hand.sql("BEGIN")
        for lease in leases:
            hand.value("SELECT pgjobq.complete($1, $2, $3)", lease.job, lease.attempt, hand.id)
            hand.enqueue()
        hand.sql(dice.choice(("COMMIT", "ROLLBACK")))
        hand.settle(*({"job": lease.job, "attempt": lease.attempt, "fate": "f"} for lease in leases))

    def cancel(self, hand: Hand, dice: random.Random) -> None:
        """Several in one transaction."""
        hand.sql("BEGIN")
        for job in self.some(dice, 5):
            hand.cancel(job)
        hand.sql("COMMIT")

    def retry(self, hand: Hand, dice: random.Random) -> None:
        """Several in one transaction."""
        hand.sql("BEGIN")
        for job in self.some(dice, 5):
            hand.retry(job)
        hand.sql("COMMIT")

    def keep_up(self, hand: Hand, dice: random.Random) -> None:
        """The chores."""
        hand.promote()
        hand.say("find_lanes")
        hand.say("tidy_lanes")
        hand.retain(5, 1.0, 1.0)
        hand.rescue([hand.id], started=[])
        hand.register()
        time.sleep(0.02)

    # ------------------------------------------------------------------------------------ what jobs share

    def share(self, hand: Hand, dice: random.Random) -> None:
        """Bulk with unique keys, gates and predecessors, each in any order."""
        keys = dice.sample(range(8), 5)
        asked: list[dict[str, Any]] = [{"task": "send", "unique": {"key": str(key)}} for key in keys]
        for _ in range(10):
            names = dice.sample(("one", "two", "line"), 2)
            gates = [{"key": name, "concurrency": 3} | ORDERS.get(name, {}) for name in names]
            asked.append({"task": "send", "gates": gates, "delay": dice.choice((None, "0.05 s"))})
        dice.shuffle(asked)
        hand.sql("BEGIN")
        hand.enqueue_many(asked)
        newest = [job for (job,) in hand.sql("SELECT id FROM pgjobq.job ORDER BY id DESC LIMIT $1", JOBS)]
        after = [{"task": "send", "depends_on": dice.sample(newest, 2)} for _ in range(3)]
        hand.sql("SELECT pgjobq.enqueue_after($1::text::jsonb)", json.dumps(after))
        hand.sql(dice.choice(("COMMIT", "COMMIT", "ROLLBACK")))
        self.last = max(self.last, *newest)
        time.sleep(0.05)

    def pass_on(self, hand: Hand, dice: random.Random) -> None:
        """Claim, settle, and give the places away, in one transaction as a worker does."""
        leases = hand.claim(15)
        dice.shuffle(leases)
        cut = len(leases) // 2
        hand.sql("BEGIN")
        hand.complete(*leases[:cut])
        fates = [{"job": e.job, "attempt": e.attempt, "fate": dice.choice(("s", "f", "again"))} for e in leases[cut:]]
        hand.settle(*(fate | {"delay": 0, "kind": "E", "message": "m"} for fate in fates))
        hand.say("after", [lease.job for lease in leases])
        hand.sql("COMMIT")

    def edit(self, hand: Hand, dice: random.Random) -> None:
        """Several in one transaction."""
        hand.sql("BEGIN")
        for job in self.some(dice, 5):
            hand.value("SELECT pgjobq.edit($1, priority => $2, delay => $3::interval)", job, dice.choice((0, 1)), "0 s")
        hand.sql("COMMIT")

    def see_to_it(self, hand: Hand, dice: random.Random) -> None:
        """The chores of what jobs share."""
        for chore, *most in (("promote", 1000), ("sweep_gates",), ("look_at_gates", 100), ("release", 100)):
            hand.say(chore, *most)
        for chore, *most in (("watch_dependencies",), ("expire", 100), ("drop_keys", 100), ("follow_orders",)):
            hand.say(chore, *most)
        hand.rescue([hand.id], started=[])
        hand.register()
        time.sleep(0.02)

    def die(self, hand: Hand, dice: random.Random) -> None:
        """Claim, be declared dead, and report all the same."""
        leases = hand.claim(5)
        hand.rescue([hand.id])
        hand.complete(*leases)
        hand.beat()
        hand.register()


def deadlocks(hand: Hand) -> int:
    """What the server has counted in this database."""
    hand.sql("SELECT pg_stat_force_next_flush()" if hand.conn.info.server_version >= 150000 else "SELECT 1")
    hand.sql("SELECT pg_stat_clear_snapshot()")
    return int(hand.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


def test_nobody_waits_in_a_circle(hands: Hands) -> None:
    crowd, onlooker = Crowd(hands, SECONDS), hands(lease=None)
    onlooker.sql("SET deadlock_timeout = '100ms'")
    crowd.run(crowd.enqueue, crowd.work, crowd.handle, crowd.cancel, crowd.retry, crowd.keep_up, crowd.die)
    print(dict(crowd.did))
    assert crowd.errors == []
    assert deadlocks(onlooker) == 0
    assert min(crowd.did.values()) >= ROUNDS
    assert onlooker.sql("SELECT * FROM pgjobq.misplaced") == []


def test_nobody_waits_in_a_circle_for_what_jobs_share(hands: Hands) -> None:
    """Unique keys, gates and predecessors, named in any order."""
    crowd, onlooker = Crowd(hands, SECONDS), hands(lease=None)
    onlooker.sql("SET deadlock_timeout = '100ms'")
    crowd.run(crowd.share, crowd.pass_on, crowd.handle, crowd.edit, crowd.cancel, crowd.retry, crowd.see_to_it)
    print(dict(crowd.did))
    assert crowd.errors == []
    assert deadlocks(onlooker) == 0
    assert min(crowd.did.values()) >= ROUNDS
    assert onlooker.sql("SELECT * FROM pgjobq.misplaced") == []


def test_a_deadlock_would_be_counted(hands: Hands, gate: Gate) -> None:
    """Callers who name the same jobs in opposite orders, in transactions of their own: theirs to sort."""
    one, other = hands(lease=None), hands(lease=None)
    first, second = one.enqueue(), one.enqueue()
    for hand in (one, other):
        hand.sql("BEGIN")
    one.cancel(first)
    other.cancel(second)
    waiting = starts(lambda: one.cancel(second))
    gate.wait_for(one, "transactionid")
    with pytest.raises(psycopg.errors.DeadlockDetected):
        other.cancel(first)
        waiting.result()
    other.sql("ROLLBACK")
    one.sql("ROLLBACK")
    onlooker = hands(lease=None)
    eventually(lambda: deadlocks(onlooker) == 1)  # PostgreSQL 14 counts with a delay
