"""What a worker process has at hand and what it runs: from claimed leases to calls of handlers, and to outcomes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from pgjobq.engine.attempt import Attempt
from pgjobq.engine.board import Board
from pgjobq.engine.chunks import Chunks
from pgjobq.engine.contact import Contact
from pgjobq.engine.intake import Intake
from pgjobq.engine.lease import Lease
from pgjobq.engine.orders import Orders, cancelled
from pgjobq.engine.outbox import Outbox
from pgjobq.engine.report import Report
from pgjobq.outcome import Outcome, Returned

if TYPE_CHECKING:
    from pgjobq.queue import Queue
    from pgjobq.settings import WorkerSettings

__all__ = ["Floor"]

STALE = 2.0
"""Seconds for which a claimed job may wait for a place; a third of the lease when that is shorter."""
STARTS_AT_ONCE = 8
GONE: dict[str, Any] = {}
"""For the arguments of an attempt that has ended: thousands may wait to be settled, and memory is better used again."""
UNREAD = ""
"""The same for the text of its arguments."""


class Floor:
    """Starts what there are places for, and takes what became of it.

    Args:
        queue, settings: whose jobs, and how many at once.
        report, board, intake, orders, outbox: who hears of starts, where they are noted, who counts them, who prepares
            a lease, who takes the outcomes.
        contact: knows the worker id under which jobs are held now.
        start: has the handler of an attempt called.
        stir: called when there is something for the next exchange.
    """

    def __init__(
        self,
        queue: Queue,
        settings: WorkerSettings,
        report: Report,
        board: Board,
        intake: Intake,
        orders: Orders,
        outbox: Outbox,
        *,
        contact: Contact,
        start: Callable[[Attempt], None],
        stir: Callable[[], None],
    ) -> None:
        self._places, self._lease = settings.concurrency, settings.lease
        self._report, self._board = report, board
        self._orders, self._outbox, self._pace = orders, outbox, intake.pace
        self._contact, self._start, self._stir = contact, start, stir
        self._freshness = min(STALE, settings.lease / 3)
        self.buffer: deque[Lease] = deque()
        self.running: set[Attempt] = set()
        self.chunks = Chunks(board, lambda: queue.surroundings.carried, self.feed)
        self._ripe = self.chunks.ripe
        self._waits_for_room = False

    @property
    def waits(self) -> bool:
        """Whether there is something that is not running."""
        return bool(self.buffer or self.chunks)

    @property
    def jobs(self) -> list[int]:
        """All jobs that are here."""
        return [one.lease.job for one in self.attempts] + [lease.job for lease in self.buffer]

    @property
    def attempts(self) -> list[Attempt]:
        """Those that are prepared: running, or gathered for a chunk."""
        return self.chunks.each_of(self.running)

    def store(self, leases: list[Lease], sent_at: float) -> None:
        """Take what was claimed, and start what there are places for.

        A slow server is no reason to mistrust a claim; an answer that took a good part of the lease is, since this
        process may have been stopped meanwhile, and the lease have run out.
        """
        now = time.monotonic()
        since = now if now - sent_at <= self._lease / 3 else sent_at
        queue = task = ""
        for lease in leases:
            lease.claimed_at = since
            # Every row brings names of its own, and thousands of leases are there at once: they share those that are
            # the same as in the row before. (Half as dear as interning them.)
            if lease.queue == queue:
                lease.queue = queue
            else:
                queue = lease.queue
            if lease.task == task:
                lease.task = task
            else:
                task = lease.task
        self._report.claimed(len(leases))
        self.buffer.extend(leases)
        if leases:
            self._pace.fill(now)
        self.feed()

    def resume(self) -> None:
        """Outcomes were settled, so the board has room again: start what waited for it."""
        if self._waits_for_room or self._ripe:
            self._waits_for_room = False
            self.feed()

    def is_stale(self) -> bool:
        """Whether what is at hand has waited for too long: behind jobs that turned out long, or while this process was
        stopped, when others may have been given it. Nothing stale is started; it goes back through the fence."""
        if self.chunks and self.chunks.is_stale(self._freshness):
            return True
        return bool(self.buffer) and time.monotonic() - self.buffer[0].claimed_at > self._freshness

    def feed(self) -> None:
        """Start what there are places for, a few at a time: a slot whose handler never suspends takes the next ones
        itself, which is cheaper than to wake a slot for each."""
        for _ in range(STARTS_AT_ONCE):
            attempt = self._next()
            if attempt is None:
                return
            self._start(attempt)
        asyncio.get_running_loop().call_soon(self.feed)

    def next_for_slot(self) -> Attempt | None:
        """Another attempt for a slot that has just become free; plain functions on the way go to their threads."""
        while (attempt := self._next()) is not None:
            if attempt.task.on_loop:
                return attempt
            self._start(attempt)
        return None

    def _next(self) -> Attempt | None:
        """The next attempt to start, noted on the board; None when there is no place or no job."""
        worker = self._contact.worker
        assert worker is not None, "nothing is claimed before the worker is registered"
        while len(self.running) < self._places:
            if not self._board.free:
                self._waits_for_room = True
                break
            if self._ripe and (chunk := self.chunks.take()) is not None:
                return self._begin(chunk)
            if not self.buffer:
                break
            now = time.monotonic()
            if now - self.buffer[0].claimed_at > self._freshness:  # as is_stale() says
                self._stir()
                break
            lease = self.buffer.popleft()
            attempt = self._orders.prepare(lease, worker)
            if not isinstance(attempt, Attempt):
                self._outbox.put_unstarted(lease, attempt)
                self._stir()
                continue
            if attempt.task.chunk is not None:
                self.chunks.add(attempt)
                continue
            deadline = inf if attempt.task.timeout is None else attempt.deadline
            attempt.place = self._board.start(lease.job, lease.attempt, deadline)
            self.running.add(attempt)
            if self._report.tells_starts:
                self._report.started(attempt)
            return attempt
        else:
            return None
        self._pace.starve(time.monotonic(), len(self.running))
        return None

    def _begin(self, chunk: Attempt) -> Attempt:
        for one in chunk.members:
            if self._report.tells_starts:
                self._report.started(one)
        self.running.add(chunk)
        return chunk

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """A handler has ended, whatever it did."""
        attempt.ran = time.perf_counter() - attempt.started
        attempt.arguments, attempt.lease.args = GONE, UNREAD
        self.running.discard(attempt)
        self._pace.ended += len(attempt.members) or 1
        if self._pace.starves:
            self._pace.starve(time.monotonic(), len(self.running))
        if attempt.members:
            for one, its in self.chunks.ended(attempt):
                self.put(one, its)
        elif attempt.job._worker is not self._contact.worker:
            self._outbox.drop_one(attempt, cancelled(attempt, outcome))
        else:
            self._outbox.put(attempt, outcome if attempt.halted is None else cancelled(attempt, outcome))
        if not attempt.task.on_loop:
            self.feed()
        self._stir()

    def put(self, attempt: Attempt, outcome: Outcome) -> None:
        """This became of it, if it is still ours."""
        if attempt.job._worker is not self._contact.worker:
            self._outbox.drop_one(attempt, outcome)
        else:
            self._outbox.put(attempt, outcome)

    def give_back(self) -> None:
        """What was claimed but not started goes back as if it had not been claimed."""
        while self.buffer:
            self._outbox.put_unstarted(self.buffer.popleft(), Returned())
        self._pace.starve(time.monotonic(), len(self.running))
        for attempt in self.chunks.unstarted():
            self._outbox.put_unstarted(attempt.lease, Returned())
