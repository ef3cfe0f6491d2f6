"""Tasks that take many jobs in one call: jobs are gathered until there are enough or the first has waited long enough.

A job that is gathered is claimed and not started: it takes no place and no entry on the board, and goes back as if it
had not been claimed when the worker stops. A chunk that runs takes one place, and looks like one attempt to whoever
runs it; what became of its jobs is settled for each by itself, so lease, retry, cancel and errors are as for any job.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import inf
from typing import Any

import msgspec

from pgjobq.current import ChunkJob
from pgjobq.engine.attempt import SUCCEEDED, Attempt
from pgjobq.engine.board import Board
from pgjobq.engine.orders import cancelled
from pgjobq.errors import TaskError
from pgjobq.outcome import Discarded, Outcome, Snoozed

__all__ = ["ChunkAttempt", "Chunks"]

MOST_GATHERED = 5_000
"""Jobs that may be gathered at once, of all tasks and keys together, before no more are claimed."""


class ChunkAttempt(Attempt, eq=False, gc=False):
    """One call for many jobs. To whoever runs it it always succeeds; `ends` says what became of each job."""

    ends: list[tuple[Attempt, Outcome]] = msgspec.field(default_factory=list)
    left: tuple[Attempt, ...] = ()
    """Jobs to be tried once more, each alone."""
    called: bool = False

    @classmethod
    def of(cls, members: Sequence[Attempt]) -> ChunkAttempt:
        """A call for these, which are of one task."""
        first = members[0]
        assert first.task.jobs_argument is not None
        arguments = {first.task.jobs_argument: [member.job for member in members]}
        return cls(first.lease, first.task, arguments, first.job, members=tuple(members))

    def outcome(self, error: BaseException | None, result: Any, *, timed_out: bool) -> Outcome:
        """What becomes of each job, from what the handler did, said and marked."""
        self.called, timed_out = True, timed_out or self.timed_out
        marks = [member.job.mark if isinstance(member.job, ChunkJob) else None for member in self.members]
        unmarked = [member for member, mark in zip(self.members, marks, strict=True) if mark is None]
        if error is None:
            error = self._misfit(result)
        elif self._is_isolating(error, timed_out) and len(unmarked) > 1:
            self.left = tuple(unmarked)
        results = result if isinstance(result, list | tuple) and error is None else [None] * len(marks)
        left = set(self.left)
        self.ends = [
            (member, self._end(member, mark, error, its, timed_out=timed_out))
            for member, mark, its in zip(self.members, marks, results, strict=True)
            if member not in left
        ]
        return SUCCEEDED

    def _misfit(self, result: object) -> TaskError | None:
        many = len(self.members)
        if result is None or (isinstance(result, list | tuple) and len(result) == many):
            return None
        given = f"{len(result)} outcomes" if isinstance(result, list | tuple) else f"a {type(result).__name__}"
        return TaskError(f"the handler returned {given} for {many} jobs: wants None, or a list with one for each job")

    def _is_isolating(self, error: BaseException, timed_out: bool) -> bool:
        chunk = self.task.chunk
        assert chunk is not None
        return chunk.isolate and not (timed_out or self.interrupted) and isinstance(error, Exception)

    def _end(
        self,
        member: Attempt,
        mark: tuple[Any, BaseException | None] | None,
        error: BaseException | None,
        result: Any,
        *,
        timed_out: bool,
    ) -> Outcome:
        member.interrupted = self.interrupted
        if mark is not None:
            return member.outcome(mark[1], mark[0], timed_out=False)
        if error is not None:
            return member.outcome(error, None, timed_out=timed_out)
        if isinstance(result, BaseException):
            return member.outcome(result, None, timed_out=False)
        return member.outcome(None, result, timed_out=False)


class Chunks:
    """What is gathered, and what is to be called next.

    Args:
        board: where started jobs are noted.
        carried: names of the headers that must be the same in all jobs of a call, because they are its context.
        ripe: called when there is something to start.
    """

    def __init__(self, board: Board, carried: Callable[[], Iterable[str]], ripe: Callable[[], None]) -> None:
        self._board, self._carried, self._tell = board, carried, ripe
        self._gathering: dict[Hashable, list[Attempt]] = {}
        self.ripe: deque[list[Attempt]] = deque()
        """What is to be called next; first what is tried alone, whose jobs have their entries on the board already."""

    def __bool__(self) -> bool:
        return bool(self._gathering or self.ripe)

    def __len__(self) -> int:
        return sum(map(len, self._gathering.values())) + sum(map(len, self.ripe))

    @property
    def is_full(self) -> bool:
        """Whether no more should be claimed for now."""
        return len(self) >= MOST_GATHERED

    @property
    def attempts(self) -> list[Attempt]:
        """All that are here."""
        return [attempt for some in (*self._gathering.values(), *self.ripe) for attempt in some]

    def each_of(self, running: Iterable[Attempt]) -> list[Attempt]:
        """The jobs of these calls, and all that are here."""
        return [one for attempt in running for one in attempt.members or (attempt,)] + self.attempts

    def add(self, attempt: Attempt) -> None:
        """Put a job to the others that it goes with."""
        chunk = attempt.task.chunk
        assert chunk is not None
        key = (attempt.task.name, _value(attempt, chunk.by), tuple(map(attempt.job.headers.get, self._carried())))
        gathered = self._gathering.get(key)
        if gathered is None:
            gathered = self._gathering[key] = []
            asyncio.get_running_loop().call_later(chunk.seconds, self._time_over, key, gathered)
        gathered.append(attempt)
        if len(gathered) >= chunk.size:
            self._ripen(key, gathered)

    def _ripen(self, key: Hashable, gathered: list[Attempt]) -> None:
        del self._gathering[key]
        self.ripe.append(gathered)

    def _time_over(self, key: Hashable, gathered: list[Attempt]) -> None:
        if self._gathering.get(key) is gathered:  # else there were enough before, or they went back
            self._ripen(key, gathered)
            self._tell()

    def take(self) -> ChunkAttempt | None:
        """The next one to call, noted on the board; None when that has no room for it."""
        members = self.ripe[0]
        if len(members) > self._board.room:
            return None
        self.ripe.popleft()
        for one in members:
            if one.place >= 0:
                self._board.end(one.place)
            one.place = self._board.start(one.lease.job, one.lease.attempt, one.deadline)
        return ChunkAttempt.of(members)

    def ended(self, chunk: Attempt) -> list[tuple[Attempt, Outcome]]:
        """What became of its jobs; those that are to be tried alone come back here."""
        assert isinstance(chunk, ChunkAttempt)
        if not chunk.called:  # it returned None, and whoever ran it knew what that means
            chunk.outcome(None, None, timed_out=False)
        for member in reversed(chunk.left):
            self._board.end(member.place)  # their time begins anew
            member.place = self._board.start(member.lease.job, member.lease.attempt, inf)
            self.ripe.appendleft([member])
        for member, _ in chunk.ends:
            member.ran = chunk.ran
        return [(member, cancelled(member, outcome)) for member, outcome in chunk.ends]

    def is_stale(self, freshness: float) -> bool:
        """Whether something gathered is past its time: this process was stopped, and others may have been given it."""
        now = time.monotonic()
        return any(
            now - some[0].lease.claimed_at > freshness + (some[0].task.chunk.seconds if some[0].task.chunk else 0)
            for some in (*self._gathering.values(), *self.ripe)
            if some[0].place < 0
        )

    def remove_cancelled(self) -> list[tuple[Attempt, Outcome]]:
        """Those that somebody wants cancelled and that wait to be called, with what becomes of them."""
        halted = [attempt for attempt in self.attempts if attempt.halted is not None]
        if halted:
            self._keep(lambda attempt: attempt.halted is None)
        return [(one, Discarded(one.halted or "", started=one.place >= 0)) for one in halted]

    def unstarted(self) -> list[Attempt]:
        """Take out what has not been called yet."""
        found = [attempt for attempt in self.attempts if attempt.place < 0]
        self._keep(lambda attempt: attempt.place >= 0)
        return found

    def interrupt(self) -> list[tuple[Attempt, Outcome]]:
        """Take out what was to be tried alone: it runs again later."""
        found: list[tuple[Attempt, Outcome]] = [(one, Snoozed(0.0)) for one in self.attempts if one.place >= 0]
        self._keep(lambda attempt: attempt.place < 0)
        return found

    def _keep(self, should: Callable[[Attempt], bool]) -> None:
        for some in (*self._gathering.values(), *self.ripe):
            some[:] = filter(should, some)
        kept = [some for some in self.ripe if some]
        self.ripe.clear()
        self.ripe.extend(kept)
        self._gathering = {key: some for key, some in self._gathering.items() if some}


def _value(attempt: Attempt, by: str | None) -> Hashable:
    """What jobs of one call must have in common, as something to compare by."""
    return None if by is None else msgspec.json.encode(attempt.arguments.get(by), order="sorted", enc_hook=repr)
