"""How somebody waits for a job who is told by notifications: when to look by oneself, and when to ask to be told
again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from psycopg import AsyncConnection, Connection

from pgjobq.durations import to_seconds
from pgjobq.errors import InvalidOption
from pgjobq.wording import quote

__all__ = ["WATCHED", "Look", "acommit", "commit", "deadline", "looks"]

FIRST_LOOK, LOOK_EVERY = 0.1, 2.0
"""Seconds until a look of our own. What was being written while we began to listen tells nobody; and behind a pooler,
or while the worker is of version 1, nothing is told at all."""
WATCHED = 30.0
"""Seconds for which the database is asked to tell; asked again after half of them."""


class Look(NamedTuple):
    """One look at a job."""

    asks: bool
    """Whether the database is to be asked (again) to tell."""
    seconds: float
    """Until the next look."""


def looks() -> Iterator[Look]:
    """One look after the other, without end."""
    asked = -math.inf
    seconds = FIRST_LOOK
    while True:
        asks = time.monotonic() - asked > WATCHED / 2
        if asks:
            asked = time.monotonic()
        yield Look(asks, seconds)
        seconds = LOOK_EVERY


def deadline(timeout: float | timedelta | None) -> float:
    """When the time is over, on time.monotonic(); raises InvalidOption."""
    if timeout is None:
        return math.inf
    seconds = to_seconds(timeout)
    if seconds is None:
        raise InvalidOption(f"timeout={quote(timeout)}: wants seconds or a timedelta, up to 100 years, or None.")
    return time.monotonic() + seconds


def commit(conn: Connection[object], _: object = None) -> None:
    """A given pool's connections may not be in autocommit: nothing is heard, and nothing new seen, in a transaction."""
    if not conn.autocommit:
        conn.commit()


async def acommit(conn: AsyncConnection[object], _: object = None) -> None:
    """The async twin of `commit`."""
    if not conn.autocommit:
        await conn.commit()
