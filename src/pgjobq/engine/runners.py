"""Where handlers run: coroutine functions on the event loop, plain functions in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pgjobq.engine.attempt import Attempt
from pgjobq.engine.discipline import OTHERS_MAY_FINISH
from pgjobq.engine.slots import Slots
from pgjobq.engine.threads import Threads
from pgjobq.outcome import Outcome

__all__ = ["Runners"]


class Runners:
    """Starts attempts where they belong.

    Args:
        concurrency: the most that run at once.
        ended: called on the loop with each attempt and its outcome.
        next_up: gives another attempt for the loop to whoever has just become free there, or None.
    """

    def __init__(
        self, concurrency: int, ended: Callable[[Attempt, Outcome], None], next_up: Callable[[], Attempt | None]
    ) -> None:
        self._slots = Slots(ended, next_up)
        self._threads = Threads(concurrency, ended)
        self.abandoned: set[Attempt] = set()
        """Handlers that nobody waits for any more: they end with the process."""

    def start(self, attempt: Attempt) -> None:
        """Have the handler called."""
        if attempt.task.is_async:
            self._slots.start(attempt)
        else:
            self._threads.start(attempt)

    def interrupt(self, should: Callable[[Attempt], bool]) -> None:
        """Make those handlers end for which `should` says so, as far as they can be made to."""
        self._slots.interrupt(should)
        self._threads.interrupt(should)

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
