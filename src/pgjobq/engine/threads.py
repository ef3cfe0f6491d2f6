"""Plain handlers in threads. A thread takes one job after another and reports without a hop per statement."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import inspect
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any

from pgjobq.current import entered
from pgjobq.engine.attempt import Attempt
from pgjobq.outcome import Outcome

__all__ = ["Interruption", "Threads"]

SOON = 0.01
"""Seconds after which an interruption is tried again that could not be aimed, or a time-out that came before the
thread."""
AIMS = 100
"""After so many tries it is sent off as it is."""
MISAIMS = sys.version_info < (3, 12)
"""Until a new thread runs Python 3.11 knows it by its starter's ident: what is aimed at the starter meets the new one,
and the starter waits for ever for it to begin."""

Ended = Callable[[Attempt, Outcome], None]


class Interruption(BaseException):
    """Raised inside a plain handler whose time is over; not an Exception, so that a broad except does not eat it."""


class Threads:
    """Runs attempts whose handler is a plain function, in up to `most` threads made as they are needed.

    They are daemons: a handler that never returns must not keep the process from ending.
    """

    def __init__(self, most: int, ended: Ended) -> None:
        self._most = most
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[Attempt | None] = SimpleQueue()
        self._outbox: deque[tuple[Attempt, Outcome]] = deque()
        self._called = False
        self._idle = 0
        self._alive = 0
        self._running: dict[Attempt, int] = {}
        self._lock = threading.Lock()
        self._timers: dict[Attempt, asyncio.TimerHandle] = {}

    def start(self, attempt: Attempt) -> None:
        """Run an attempt in a thread that waits, or in a new one."""
        with self._lock:
            grow = self._idle == 0 and self._alive < self._most
            if grow:
                self._alive += 1
            else:
                self._idle -= 1
        if attempt.task.timeout is not None:
            self._timers[attempt] = self._loop.call_later(attempt.task.timeout, self._time_out, attempt)
        self._inbox.put(attempt)
        if grow:
            threading.Thread(target=self._serve, name=f"pgjobq-job-{self._alive}", daemon=True).start()

    def interrupt(self, should: Callable[[Attempt], bool]) -> None:
        """Raise Interruption in the handlers for which `should` says so; one that waits in C gets it afterwards."""
        with self._lock:
            for attempt in [attempt for attempt in self._running if should(attempt)]:
                attempt.job.cancelled = True
                self._hit(attempt)

    def close(self) -> None:
        """Let the threads go that wait."""
        for _ in range(self._alive):
            self._inbox.put(None)

    # ---------------------------------------------------------------------------------------- on the loop

    def _time_out(self, attempt: Attempt) -> None:
        with self._lock:
            if attempt in self._running:
                attempt.timed_out = True
                attempt.job.cancelled = True
                self._hit(attempt)
            elif attempt in self._timers:  # its thread has not come to it yet, or has just done with it
                self._timers[attempt] = self._loop.call_later(SOON, self._time_out, attempt)

    def _hit(self, attempt: Attempt, aims: int = AIMS) -> None:
        """With the lock: interrupt its handler, if it still runs, as soon as nobody else can be hit."""
        ident = self._running.get(attempt)
        if ident is not None and not _raise_in(ident, whoever=aims == 0):
            self._loop.call_later(SOON, self._hit_again, attempt, aims - 1)

    def _hit_again(self, attempt: Attempt, aims: int) -> None:
        with self._lock:
            self._hit(attempt, aims)

    def _collect(self) -> None:
        self._called = False
        while self._outbox:
            attempt, outcome = self._outbox.popleft()
            timer = self._timers.pop(attempt, None)
            if timer is not None:
                timer.cancel()
            self._ended(attempt, outcome)

    # ---------------------------------------------------------------------------------------- in a thread

    def _serve(self) -> None:
        while (attempt := self._inbox.get()) is not None:
            outcome = contextvars.copy_context().run(self._run, attempt)
            self._outbox.append((attempt, outcome))
            with self._lock:
                self._idle += 1
            if not self._called:
                self._called = True
                try:
                    self._loop.call_soon_threadsafe(self._collect)
                except RuntimeError:
                    return  # the loop is closed: the worker has given up on this handler

    def _await(self, awaitable: Awaitable[Any]) -> Any:
        """A plain wrapper around a coroutine function: what it gave runs on the worker's loop, as this job."""
        result, error = asyncio.run_coroutine_threadsafe(_outcome_of(awaitable), self._loop).result()
        if error is not None:
            raise error
        return result

    def _run(self, attempt: Attempt) -> Outcome:
        entered(attempt.job)
        ident = threading.get_ident()
        result, error = None, None
        try:
            with self._lock:
                self._running[attempt] = ident
            attempt.begin()
            if attempt.interrupted or attempt.halted is not None:  # while it waited for this thread
                raise Interruption
            result = attempt.task.handler(**attempt.arguments)
            if inspect.isawaitable(result):
                result = self._await(result)
        except BaseException as raised:
            error = raised
        while True:
            try:
                with self._lock:  # from here on nobody aims at this thread, and what was aimed and not yet met is gone
                    self._running.pop(attempt, None)
                    _aim(ident, ctypes.py_object())
                break
            except Interruption as late:
                error = error or late
        return attempt.outcome(error, result, timed_out=attempt.timed_out and error is not None)


async def _outcome_of(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """What it came to, as values: a SystemExit that left a task would end the loop."""
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error


def _raise_in(ident: int, *, whoever: bool) -> bool:
    """False: not now, since a thread is being started, and it is not to be done to `whoever` it meets."""
    internals = vars(threading)
    with internals["_active_limbo_lock"] if MISAIMS else contextlib.nullcontext():
        if MISAIMS and internals["_limbo"] and not whoever:
            return False
        _aim(ident, ctypes.py_object(Interruption))
        return True


def _aim(ident: int, exception: ctypes.py_object[type[BaseException]]) -> None:
    """Have `exception` raised in that thread at its next step; an empty py_object takes that back."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), exception)
