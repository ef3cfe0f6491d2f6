"""Coroutine handlers on the event loop: a few long-lived tasks that run one job after another.

A task per job costs more than many jobs do. So a slot takes the next job itself when one has ended, and a handler that
never suspends costs no task switch at all. What a handler leaves in its context variables must not reach the next job:
a slot whose context was changed ends, and the next job gets a fresh one.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable

from pgjobq.current import entered
from pgjobq.engine.attempt import SUCCEEDED, Attempt
from pgjobq.engine.threads import Interruption
from pgjobq.outcome import Outcome

__all__ = ["Slots"]

SHARE = 0.001
"""Seconds that all slots together may take before the loop looks after everybody else, the database above all."""

Ended = Callable[[Attempt, Outcome], None]
Next = Callable[[], Attempt | None]


class Slots:
    """Runs attempts whose handler is a coroutine function.

    Args:
        ended: called on the loop with each attempt and its outcome.
        next_up: gives another attempt to the slot that has just become free, or None.
    """

    def __init__(self, ended: Ended, next_up: Next) -> None:
        self._ended = ended
        self._next_up = next_up
        self._waiting: deque[asyncio.Future[Attempt]] = deque()
        self._tasks: dict[asyncio.Task[None], Attempt | None] = {}
        self._context = contextvars.copy_context()
        self._clean = [item for item in self._context.items() if item[0] is not _CURRENT]
        self._loop = asyncio.get_running_loop()
        self._turn_ends = 0.0

    def start(self, attempt: Attempt) -> None:
        """Run an attempt, in a slot that waits or in a new one."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(attempt)
                return
        context = self._context.copy()
        task = self._loop.create_task(self._slot(attempt, context), context=context)
        self._tasks[task] = attempt
        task.add_done_callback(self._tasks.pop)

    def interrupt(self, should: Callable[[Attempt], bool]) -> None:
        """Cancel the handlers for which `should` says so."""
        for task, attempt in list(self._tasks.items()):
            if attempt is not None and should(attempt):
                attempt.job.cancelled = True
                task.cancel()

    async def close(self) -> None:
        """End the slots; whatever still runs is cancelled."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=1.0)

    async def _slot(self, attempt: Attempt | None, context: contextvars.Context) -> None:
        me = asyncio.current_task()
        assert me is not None
        while attempt is not None:
            self._tasks[me] = attempt
            entered(attempt.job)
            attempt.started = time.perf_counter()
            # Not called by a function of its own: that would be one more coroutine a job.
            if attempt.task.timeout is not None:
                outcome = await _run_within(attempt, attempt.task.timeout)
            else:
                try:
                    result = await attempt.task.handler(**attempt.arguments)
                except BaseException as error:  # SystemExit and KeyboardInterrupt would end the loop
                    outcome = attempt.outcome(error, None, timed_out=False)
                else:
                    plain = result is None and not attempt.job.completing  # as nearly all jobs
                    outcome = SUCCEEDED if plain else attempt.outcome(None, result, timed_out=False)
            self._tasks[me] = None
            if me.cancelling():  # an interrupt that came when the handler had already ended
                me.uncancel()
            self._ended(attempt, outcome)
            if self._is_dirty(context):
                return
            attempt = self._next_up()
            if attempt is None:
                attempt = await self._wait()
            elif time.perf_counter() > self._turn_ends:
                await asyncio.sleep(0)
                self._turn_ends = max(self._turn_ends, time.perf_counter() + SHARE)

    def _is_dirty(self, context: contextvars.Context) -> bool:
        """Whether a slot's context holds anything but what it held, the current job apart."""
        if len(context) != len(self._clean) + 1:
            return True
        for variable, value in self._clean:  # noqa: SIM110 (a generator would cost more than all the rest)
            if context.get(variable, _ABSENT) is not value:
                return True
        return False

    async def _wait(self) -> Attempt:
        waiting: asyncio.Future[Attempt] = self._loop.create_future()
        self._waiting.append(waiting)
        return await waiting


async def _run_within(attempt: Attempt, seconds: float) -> Outcome:
    """Call the handler, for so long. Whatever it does, what comes back is an outcome."""
    try:
        async with asyncio.timeout(seconds) as limit:
            result = await attempt.task.handler(**attempt.arguments)
    except BaseException as error:
        # An Interruption comes only by SIGTERM, when the loop was held up and could not tell the time.
        timed_out = limit.expired() or isinstance(error, Interruption)
        attempt.job.cancelled = timed_out or attempt.job.cancelled
        return attempt.outcome(error, None, timed_out=timed_out)
    return attempt.outcome(None, result, timed_out=False)


_ABSENT = object()
_CURRENT = entered.__self__  # type: ignore[attr-defined]
