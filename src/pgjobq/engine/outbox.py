"""Outcomes on their way to the database. Nothing is dropped: what could not be written is kept and written later, for
as long as the lease stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from pgjobq.current import JOINED
from pgjobq.engine.attempt import SUCCEEDED, Attempt
from pgjobq.engine.board import Board
from pgjobq.engine.lease import Lease
from pgjobq.engine.report import Report
from pgjobq.outcome import Outcome, Returned

__all__ = ["Batch", "Entry", "Outbox"]

LOCKED_PAUSE = 0.2
"""Seconds before asking again about a job that its handler's own, unfinished transaction completes."""


class Entry(NamedTuple):
    """An outcome other than plain success; `attempt` is None when the handler was never called."""

    lease: Lease
    outcome: Outcome
    attempt: Attempt | None


class Batch(NamedTuple):
    """What one exchange settles."""

    done: list[Attempt]
    others: list[Entry]

    def __bool__(self) -> bool:
        return bool(self.done or self.others)


class Outbox:
    """Gathers outcomes, and makes of the database's answer what is to be told and forgotten.

    It is true when there is something to write now. `stir`: called when there is again.
    """

    def __init__(self, board: Board, report: Report, stir: Callable[[], None]) -> None:
        self._board = board
        self._report = report
        self._stir = stir
        self._done: list[Attempt] = []
        self._others: list[Entry] = []
        self._locked: list[Entry] = []
        self.uncertain = False
        """An answer was lost: outcomes may have been written already, so a missing lease proves nothing."""

    def __bool__(self) -> bool:
        return bool(self._done or self._others)

    @property
    def jobs(self) -> list[int]:
        """The jobs whose outcomes are not written yet, those included that cannot be written now."""
        return [attempt.lease.job for attempt in self._done] + [
            entry.lease.job for entry in self._others + self._locked
        ]

    def put(self, attempt: Attempt, outcome: Outcome) -> None:
        """A handler has ended. What its own transaction may have in hand goes where nobody waits for that."""
        if outcome is SUCCEEDED and not (attempt.lease.hooks or 0) & JOINED:
            self._done.append(attempt)
        else:
            self._others.append(Entry(attempt.lease, outcome, attempt))

    def put_unstarted(self, lease: Lease, outcome: Outcome) -> None:
        """A job whose handler is not called."""
        self._others.append(Entry(lease, outcome, None))

    def take(self) -> Batch:
        """All that is waiting."""
        batch = Batch(self._done, self._others)
        self._done, self._others = [], []
        return batch

    def keep(self, batch: Batch) -> None:
        """It could not be written: back to the front."""
        self._done[:0] = batch.done
        self._others[:0] = batch.others

    def account(self, batch: Batch, settled: set[int], locked: set[int]) -> None:
        """Tell and forget what is settled or lost. What is locked waits until its handler's own transaction has ended:
        then the database can say how."""
        self._report.batch(len(batch.done) + len(batch.others))
        for attempt in batch.done:
            if attempt.lease.job in settled:
                self._report.succeeded_plainly(attempt)
            else:
                self._missing(Entry(attempt.lease, SUCCEEDED, attempt))
            if attempt.place >= 0:
                self._board.end(attempt.place)
                attempt.place = -1
        for entry in batch.others:
            if entry.lease.job in locked:
                if not self._locked:
                    asyncio.get_running_loop().call_later(LOCKED_PAUSE, self._ask_again)
                self._locked.append(entry)
                continue
            if entry.lease.job in settled:
                self._report.settled(*entry)
            else:
                self._missing(entry)
            self._release(entry.attempt)
        self.uncertain = False

    def _ask_again(self) -> None:
        self.keep(Batch([], self._locked))
        self._locked = []
        self._stir()

    def drop(self, worker: UUID) -> None:
        """This worker id was declared dead: its outcomes count no more."""
        batch, locked = self.take(), self._locked
        self._locked = []
        for attempt in batch.done:
            self._lost(Entry(attempt.lease, SUCCEEDED, attempt), worker)
        for entry in batch.others + locked:
            self._lost(entry, worker)

    def drop_one(self, attempt: Attempt, outcome: Outcome) -> None:
        """A handler has ended whose lease was lost meanwhile."""
        self._report.lost(attempt.lease, outcome)
        self._release(attempt)

    def _lost(self, entry: Entry, worker: UUID) -> None:
        if entry.attempt is not None and entry.attempt.worker != worker:
            self._others.append(entry)
            return
        if not isinstance(entry.outcome, Returned):
            self._report.lost(entry.lease, entry.outcome)
        self._release(entry.attempt)

    def _missing(self, entry: Entry) -> None:
        """Not held any more: completed by its handler's own transaction, written by an exchange whose answer was
        lost, or indeed lost."""
        attempt = entry.attempt
        if attempt is not None and attempt.job.completing:
            self._report.settled(entry.lease, SUCCEEDED, attempt)
        elif self.uncertain:
            self._report.settled(*entry)
        else:
            self._report.lost(entry.lease, entry.outcome)

    def _release(self, attempt: Attempt | None) -> None:
        if attempt is not None and attempt.place >= 0:
            self._board.end(attempt.place)
            attempt.place = -1
