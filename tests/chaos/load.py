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

from chaos.app import follow, queue
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
    "trip": 8,
    "text": 3,
    "mail": 4,
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
    if task in ("ring", "book", "post", "trip", "text", "mail"):
        fate = dice.choices(("", "stumble", "die"), (0.85, 0.15, DEADLY_FATE * deadly))[0]
        if task == "ring":
            return {"key": key, "till": dice.randrange(4), "seconds": round(dice.uniform(0, 0.2), 2), "fate": fate}
        if task == "trip":
            return {"key": key, "seconds": round(dice.uniform(0.05, 0.6), 2), "fate": fate}
        if task == "text":
            return {"key": key, "wire": dice.randrange(2), "fate": fate}
        if task == "mail":
            return {"key": key, "shop": dice.choice("aaaaab"), "seconds": round(dice.uniform(0, 0.1), 2), "fate": fate}
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
        self._owed: list[str] = []
        self._over, self._given_up = threading.Event(), threading.Event()
        self._conn: psycopg.Connection[Any] | None = None

    def run(self) -> None:
        """Until stop()."""
        many = (self._commit,) * 3
        deeds = (*many, self._roll_back, self._with_savepoint, self._in_bulk, self._take_slot, self._take_slot)
        deeds += (self._in_a_burst, self._meet, self._meet, self._emit, self._emit, self._batch, self._tour)
        while not self._over.is_set():
            self._dice.choice(deeds)()
            self._over.wait(self._pause * self._dice.uniform(0.5, 1.5))
        while self._owed and not self._given_up.is_set():
            self._emit()
        self.hang_up()

    def stop(self) -> None:
        """Enqueue no more; returns when the last transaction has ended."""
        self._over.set()
        self.join(60)
        self._given_up.set()
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

    def _in_a_burst(self) -> None:
        """Many at once of those that may not all start at once."""
        task = self._dice.choice(("text", "mail"))

        def deed(conn: psycopg.Connection[Any]) -> list[str]:
            keys = [self._next_key() for _ in range(BULK)]
            self._asked += keys
            queue.enqueue_many([queue.registry.get(task).call(**self._job(task, key)) for key in keys], conn=conn)
            return keys

        self._transact(deed, [])

    def _meet(self) -> None:
        """Some who wait for an event, which is owed to them from now on; now and then it is there before them."""
        event = self._next_key()
        self._owed.append(event)
        if self._dice.random() < 0.2:
            self._emit()

        def deed(conn: psycopg.Connection[Any]) -> list[str]:
            keys = [self._next_key() for _ in range(self._dice.randrange(1, 4))]
            self._asked += keys
            for key in keys:
                fate = self._dice.choices(("", "stumble"), (0.85, 0.15))[0]
                queue.enqueue("meet", {"key": key, "event": event, "fate": fate}, conn=conn)
            return keys

        self._transact(deed, [])

    def _emit(self) -> None:
        """One that is owed, and now and then another of the same name just after it; some of them are rolled back."""
        if not self._owed:
            return
        event = self._owed.pop(self._dice.randrange(len(self._owed)))
        fates = [self._emit_once(event, keeps=self._dice.random() < 0.9)]
        if self._dice.random() < 0.3:
            fates.append(self._emit_once(event, keeps=True))
        if "committed" not in fates:
            self._owed.append(event)

    def _emit_once(self, event: str, *, keeps: bool) -> str:
        payload, began = self._next_key(), time.monotonic()
        fate = "rolled_back"
        try:
            conn = self._connected()
            queue.emit(event, payload, conn=conn)
            if keeps:
                fate = "unknown"
                conn.commit()
                fate = "committed"
            else:
                conn.rollback()
        except (psycopg.Error, OSError):
            self.hang_up()
            time.sleep(0.3)  # also once it is over: what is owed is paid
        self._history.write("emitted", event, payload=payload, fate=fate, began=began)
        return fate

    def _batch(self) -> None:
        kinds = ("quick", "stumble", "fail", "decline")
        self.plan_batch(self._dice.choices(kinds, (6, 3, 1, 1), k=self._dice.randrange(1, 5)))

    def plan_batch(self, tasks: Sequence[str]) -> None:
        """Jobs of these tasks, and three that wait for all of them."""

        def deed(conn: psycopg.Connection[Any]) -> list[str]:
            keys = [self._next_key() for _ in (*tasks, 1, 2, 3)]
            self._asked += keys
            members, (success, failure, complete) = keys[:-3], keys[-3:]
            with queue.batch(
                "batch",
                [queue.registry.get(task).call(key=key) for task, key in zip(tasks, members, strict=True)],
                on_success=follow.call(key=success),
                on_failure=follow.call(key=failure),
                on_complete=follow.call(key=complete),
                conn=conn,
            ):
                pass
            self._note_flow({success: ("success", members), failure: ("failure", members), complete: ("any", members)})
            return keys

        self._transact(deed, [])

    def _tour(self) -> None:
        self.plan_tour(self._dice.choices(("quick", "stumble", "trip", "fail"), (4, 4, 4, 1), k=2))

    def plan_tour(self, sides: Sequence[str]) -> None:
        """A workflow: jobs of two tasks, one more, one that needs all, one that does not mind, one after the whole."""

        def deed(conn: psycopg.Connection[Any]) -> list[str]:
            keys = [self._next_key() for _ in range(6)]
            self._asked += keys
            left, right, single, both, either, last = keys
            with queue.workflow("tour", conn=conn) as flow:
                first = [
                    flow.add(queue.registry.get(task).call(**self._job(task, key)))
                    for task, key in zip(sides, (left, right), strict=True)
                ]
                second = flow.add(follow.call(key=single), after=first[0])
                flow.add(follow.call(key=both), after=[*first, second])
                flow.add(follow.call(key=either), after=[*first, second], needs="any")
                flow.when_done(follow.call(key=last), needs="any")
            before = [left, right, single]
            after_two = {both: ("success", before), either: ("any", before)}
            self._note_flow({single: ("success", [left]), last: ("any", keys[:-1])} | after_two)
            return keys

        self._transact(deed, [])

    def _note_flow(self, waits: dict[str, tuple[str, list[str]]]) -> None:
        """Before the commit: if that fails, there are no such jobs."""
        self._history.write(
            "flow", waits={key: {"needs": needs, "for": before} for key, (needs, before) in waits.items()}
        )

    def _job(self, task: str, key: str) -> dict[str, Any]:
        return make_job(task, key, self._dice, self._deadly)

    def _one(self, conn: psycopg.Connection[Any]) -> str:
        task = self._dice.choices(self._tasks, self._weights)[0]
        key = self._next_key()
        self._asked.append(key)
        delay = None if task in ("book", "post", "mail") else self._dice.choice((None, None, None, 0.3, 1.0))
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
            self.hang_up()
            self._over.wait(0.3)
        else:
            self._tell(kept, "committed")
            self._tell(self._undone, "rolled_back")

    def _tell(self, keys: list[str], fate: str) -> None:
        for key in keys:
            self._told.add(key)
            self._history.write("enqueued", key, fate=fate, wall=time.time())

    def _connected(self) -> psycopg.Connection[Any]:
        if self._conn is None or self._conn.closed:
            self._conn = psycopg.connect(self._dsn, connect_timeout=5, application_name=f"chaos {self._prefix}")
        return self._conn

    def hang_up(self) -> None:
        """Close its connection; it takes another one when it needs it."""
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
