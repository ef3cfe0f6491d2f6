"""Those who enqueue: several at once, with commits, rollbacks, savepoints, bulk and unique keys, each deed with its
outcome in the history. A commit whose answer is lost has the outcome `unknown`: it may have happened."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg

from chaos.app import queue
from chaos.history import History

__all__ = ["Enqueuer", "make_job", "running_load"]

WEIGHTS: dict[str, float] = {
    "quick": 30,
    "quick_plain": 10,
    "work": 14,
    "work_plain": 8,
    "stumble": 8,
    "nap_first": 6,
    "transfer": 10,
    "fail": 4,
    "decline": 4,
    "ring": 8,
    "book": 6,
    "post": 4,
}
DEADLY = {"die_once": 0.08, "poison": 0.04}
DEADLY_FATE = 0.01
"""Of the jobs in a line, one in so many dies: rarely, since each death hurts its neighbours."""
BULK = 12
SLOTS = 6
"""Unique keys, for which all of them compete."""
LINES = 2
"""Lines of each enqueuer, of either kind: it commits their jobs one after the other, so that ids tell the order."""


def make_job(task: str, key: str, dice: random.Random, deadly: bool = False) -> dict[str, Any]:
    """The arguments of one job; the key's first part says who enqueues it."""
    if task in ("ring", "book", "post"):
        fate = dice.choices(("", "stumble", "die"), (0.85, 0.15, DEADLY_FATE * deadly))[0]
        if task == "ring":
            return {"key": key, "till": dice.randrange(4), "seconds": round(dice.uniform(0, 0.2), 2), "fate": fate}
        return {"key": key, "line": f"{key.split('-')[0]}.{dice.randrange(LINES)}", "fate": fate}
    if task in ("work", "work_plain"):
        return {"key": key, "seconds": round(dice.choice((0.05, 0.2, 0.2, 1.5)), 2)}
    return {"key": key, "seconds": round(dice.uniform(0, 0.3), 2)} if task == "transfer" else {"key": key}


class Enqueuer(threading.Thread):
    """One of them, on a connection of its own; what it does follows from its seed.

    Args:
        name: begins all its keys.
        pause: seconds between transactions.
        queues: where single jobs go, at random; bulk goes to `default`.
        deadly: 0: no job kills its worker, 1: about one in a thousand.
    """

    def __init__(
        self, name: str, dsn: str, history: History, seed: int, *, pause: float, deadly: int, queues: Sequence[str]
    ) -> None:
        super().__init__(name=f"chaos-{name}", daemon=True)
        self._prefix, self._dsn, self._history, self._pause = name, dsn, history, pause
        self._dice, self._queues = random.Random(seed), queues
        weights = WEIGHTS | ({task: weight * deadly for task, weight in DEADLY.items()} if deadly else {})
        self._tasks, self._weights = list(weights), list(weights.values())
        self._deadly = bool(deadly)
        self._count = 0
        self._over = threading.Event()
        self._conn: psycopg.Connection[Any] | None = None

    def run(self) -> None:
        """Until stop()."""
        many = (self._commit,) * 3
        deeds = (*many, self._roll_back, self._with_savepoint, self._in_bulk, self._take_slot, self._take_slot)
        while not self._over.is_set():
            self._dice.choice(deeds)()
            self._over.wait(self._pause * self._dice.uniform(0.5, 1.5))
        self._hang_up()

    def stop(self) -> None:
        """Enqueue no more; returns when the last transaction has ended."""
        self._over.set()
        self.join(60)
        assert not self.is_alive(), f"enqueuer {self._prefix} hangs"

    # ------------------------------------------------------------------------------------ deeds

    def _commit(self) -> None:
        self._transact(lambda conn: [self._one(conn)], [])

    def _roll_back(self) -> None:
        self._transact(lambda conn: [], [self._one])

    def _with_savepoint(self) -> None:
        """One before, one in a savepoint that is rolled back, one after."""

        def deed(conn: psycopg.Connection[Any]) -> list[str]:
            kept = [self._one(conn)]
            with conn.transaction(force_rollback=True):
                self._undone.append(self._one(conn))
            return [*kept, self._one(conn)]

        self._transact(deed, [])

    def _in_bulk(self) -> None:
        def deed(conn: psycopg.Connection[Any]) -> list[str]:
            chosen = [(task, self._next_key()) for task in self._dice.choices(self._tasks, self._weights, k=BULK)]
            self._asked += [key for _, key in chosen]
            queue.enqueue_many(
                [queue.registry.get(task).call(**self._job(task, key)) for task, key in chosen], conn=conn
            )
            return [key for _, key in chosen]

        self._transact(deed, [])

    def _take_slot(self) -> None:
        """A job whose key others want too; now and then taken back, while others wait to see what becomes of it."""
        key, slot, keeps = self._next_key(), self._dice.randrange(SLOTS), self._dice.random() < 0.8
        args = {"key": key, "slot": slot, "seconds": round(self._dice.uniform(0, 0.5), 2)}
        pause, wall = self._dice.choice((0.0, 0.05)), time.time()
        held: list[int] = []

        def deed(conn: psycopg.Connection[Any]) -> list[str]:
            self._asked.append(key)
            job = queue.enqueue("once", args, conn=conn)
            time.sleep(pause)
            if not job.is_new:
                held.append(job.id)
            elif not keeps:
                self._undone.append(key)
            return [key] if job.is_new and keeps else []

        self._transact(deed, [])
        if held and key not in self._told:
            self._history.write("enqueued", key, fate="held", holder=held[0], unique=f"once:{slot}", wall=wall)

    def _job(self, task: str, key: str) -> dict[str, Any]:
        return make_job(task, key, self._dice, self._deadly)

    def _one(self, conn: psycopg.Connection[Any]) -> str:
        task = self._dice.choices(self._tasks, self._weights)[0]
        key = self._next_key()
        self._asked.append(key)
        delay = None if task in ("book", "post") else self._dice.choice((None, None, None, 0.3, 1.0))
        priority, where = self._dice.choice((0, 0, 5)), self._dice.choice(self._queues)
        args = self._job(task, key)
        queue.enqueue(task, args, conn=conn, delay=delay, priority=priority, queue=where)
        return key

    def _next_key(self) -> str:
        self._count += 1
        return f"{self._prefix}-{self._count}"

    # ------------------------------------------------------------------------------------ transactions

    def _transact(
        self,
        deed: Callable[[psycopg.Connection[Any]], list[str]],
        undone: list[Callable[[psycopg.Connection[Any]], str]],
    ) -> None:
        """Do it in one transaction; write down what became of every key that was asked for."""
        self._asked: list[str] = []
        self._undone: list[str] = []
        self._told: set[str] = set()
        kept: list[str] = []
        committing = False
        try:
            conn = self._connected()
            kept = deed(conn)
            self._undone += [one(conn) for one in undone]
            committing = True
            conn.commit() if kept else conn.rollback()
        except (psycopg.Error, OSError):
            fate = "unknown" if committing and kept else "rolled_back"
            self._tell([key for key in self._asked if key not in self._undone], fate)
            self._tell(self._undone, "rolled_back")
            self._hang_up()
            self._over.wait(0.3)
        else:
            self._tell(kept, "committed")
            self._tell(self._undone, "rolled_back")

    def _tell(self, keys: list[str], fate: str) -> None:
        for key in keys:
            self._told.add(key)
            self._history.write("enqueued", key, fate=fate)

    def _connected(self) -> psycopg.Connection[Any]:
        if self._conn is None or self._conn.closed:
            self._conn = psycopg.connect(self._dsn, connect_timeout=5, application_name=f"chaos {self._prefix}")
        return self._conn

    def _hang_up(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None


@contextlib.contextmanager
def running_load(
    dsn: str,
    history: History,
    seed: int,
    *,
    enqueuers: int = 3,
    pause: float = 0.15,
    deadly: int = 1,
    queues: Sequence[str] = ("default",),
) -> Iterator[list[Enqueuer]]:
    """Enqueuers that run for the block and end with it."""
    running = [
        Enqueuer(f"e{number}", dsn, history, seed * 100 + number, pause=pause, deadly=deadly, queues=queues)
        for number in range(enqueuers)
    ]
    for one in running:
        one.start()
    try:
        yield running
    finally:
        for one in running:
            one.stop()
