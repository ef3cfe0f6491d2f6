"""Waiting for what another process does to the database. Where there is a signal, wait for that instead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Between two looks: short at first for what is nearly there, longer later so that waiting costs the machine
# little.
SHORTEST, LONGEST = 0.005, 0.1


def eventually(
    condition: Callable[[], T],
    timeout: float = 30,
    *,
    ignoring: tuple[type[Exception], ...] = (AssertionError,),
) -> T:
    """Call `condition` until it returns something true, and return that.

    timeout: seconds after which an AssertionError tells the last answer. ignoring: exceptions that mean "not
    yet", such as psycopg.OperationalError while a server restarts; an `assert` in the condition is one of
    them by default.
    """
    last: object = None
    for pause in _pauses(timeout):
        try:
            answer = condition()
        except ignoring as error:
            last = error
        else:
            if answer:
                return answer
            last = answer
        time.sleep(pause)
    raise AssertionError(_complain(condition, timeout, last))


async def aeventually(
    condition: Callable[[], Awaitable[T]],
    timeout: float = 30,
    *,
    ignoring: tuple[type[Exception], ...] = (AssertionError,),
) -> T:
    """The async twin of eventually(): awaits `condition()`, and the event loop goes on in between."""
    last: object = None
    for pause in _pauses(timeout):
        try:
            answer = await condition()
        except ignoring as error:
            last = error
        else:
            if answer:
                return answer
            last = answer
        await asyncio.sleep(pause)
    raise AssertionError(_complain(condition, timeout, last))


def _pauses(timeout: float) -> Iterator[float]:
    """How long to sleep after each look; the last look comes after the time is over."""
    end, pause = time.monotonic() + timeout, SHORTEST
    while (left := end - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.5, LONGEST)
    yield 0


def _complain(condition: Callable[[], object], timeout: float, last: object) -> str:
    name = getattr(condition, "__qualname__", repr(condition))
    return f"{name} did not become true within {timeout:g} s; its last answer was {last!r}"
