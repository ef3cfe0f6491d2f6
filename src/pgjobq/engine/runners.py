"""Where handlers run: coroutine functions on the event loop, plain functions in threads, isolated ones in processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from pgjobq.engine.app import find_app
from pgjobq.engine.attempt import Attempt
from pgjobq.engine.slots import Slots
from pgjobq.engine.threads import Threads
from pgjobq.outcome import Outcome

if TYPE_CHECKING:
    from pgjobq.engine.cells import Cells
    from pgjobq.engine.crossing import Setup
    from pgjobq.queue import Queue
    from pgjobq.settings import WorkerSettings

__all__ = ["Runners"]

OTHERS_MAY_FINISH = 2.0
"""Seconds, of those between SIGTERM and SIGKILL, in which the other jobs of a process with an overdue one may come to
their end, before they are interrupted to be run elsewhere."""


class Runners:
    """Starts attempts where they belong.

    Args:
        queue, settings: whose handlers, and how many at once.
        app: `module:queue`, or anything without a colon for an embedded worker.
        ended: called on the loop with each attempt and its outcome.
        next_up: gives another attempt for the loop to whoever has just become free there, or None.
    """

    def __init__(
        self,
        queue: Queue,
        settings: WorkerSettings,
        app: str,
        ended: Callable[[Attempt, Outcome], None],
        next_up: Callable[[], Attempt | None],
    ) -> None:
        self._slots = Slots(ended, next_up)
        self._threads = Threads(settings.concurrency, ended)
        self._make_cells: Callable[[], Cells] = lambda: _cells(queue, settings, app, ended)
        self._cells: Cells | None = None
        self.abandoned: set[Attempt] = set()
        """Handlers that nobody waits for any more: they end with the process."""

    def start(self, attempt: Attempt) -> None:
        """Have the handler called."""
        if attempt.task.on_loop:
            self._slots.start(attempt)
        elif attempt.task.isolation is None:
            self._threads.start(attempt)
        else:
            self._cells = self._cells or self._make_cells()
            self._cells.start(attempt)

    def interrupt(self, should: Callable[[Attempt], bool]) -> None:
        """Make those handlers end for which `should` says so, as far as they can be made to."""
        self._slots.interrupt(should)
        self._threads.interrupt(should)
        if self._cells is not None:
            self._cells.interrupt(should)

    def abandon(self, overdue: set[Attempt], give_up: Callable[[], None]) -> None:
        """Try once more to end these, which are past their time-out; if that is in vain, soon call `give_up`."""
        self.interrupt(overdue.__contains__)
        asyncio.get_running_loop().call_later(OTHERS_MAY_FINISH, self._go_without, overdue, give_up)

    def _go_without(self, overdue: set[Attempt], give_up: Callable[[], None]) -> None:
        self.abandoned |= {attempt for attempt in overdue if not attempt.ran}
        if self.abandoned:
            give_up()

    async def close(self) -> None:
        """Let go what waits, and leave behind what does not end."""
        self._threads.close()
        await self._slots.close()
        if self._cells is not None:
            await self._cells.close()


def _cells(queue: Queue, settings: WorkerSettings, app: str, ended: Callable[[Attempt, Outcome], None]) -> Cells:
    """Imported for the first isolated job: most workers never meet one."""
    from pgjobq.engine.cells import Cells

    return Cells(lambda: _setup(queue, settings, app), settings.max_jobs_per_process, ended)


def _setup(queue: Queue, settings: WorkerSettings, app: str) -> Setup | None:
    """What a new cell is told; None when nobody knows from where to import the queue."""
    from pgjobq.engine.crossing import Setup

    found = app if ":" in app else find_app(queue)
    if found is None:
        return None
    return Setup(found, queue.stores.dsn(), queue.schema, list(sys.path), settings.log_format, settings.log_level)
