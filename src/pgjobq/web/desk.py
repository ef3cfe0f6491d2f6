"""What every page is made from: the queue, its survey, and the figures that are kept for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from starlette.requests import HTTPConnection

from pgjobq.history import Minute, Trend
from pgjobq.queue import Queue
from pgjobq.survey import Counts, Survey
from pgjobq.web.charts import SPANS, Span
from pgjobq.web.veil import Veil

__all__ = ["Desk", "Kept", "desk_of"]

T = TypeVar("T")


class Kept(Generic[T]):
    """A value that is fetched anew when it is older than so many seconds, once for all who ask at the same time."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._pending: asyncio.Future[T] | None = None
        self._until = 0.0

    async def get(self) -> T:
        loop = asyncio.get_running_loop()
        pending = self._pending
        stale = (
            pending is None or pending.get_loop() is not loop or (pending.done() and time.monotonic() >= self._until)
        )
        if stale or pending is None:
            pending = self._pending = asyncio.ensure_future(self._fetched())
        return await asyncio.shield(pending)  # one visitor who leaves does not spoil it for the others

    async def _fetched(self) -> T:
        self._until = 0.0
        value = await self._fetch()
        self._until = time.monotonic() + self._seconds
        return value


class Desk:
    """One dashboard's parts; `app.state.desk`."""

    def __init__(self, queue: Queue, survey: Survey, veil: Veil, title: str, read_only: bool) -> None:
        self.queue = queue
        self.survey = survey
        self.veil = veil
        self.title = title
        self.read_only = read_only
        self.closing = False
        self.counts: Kept[Counts] = Kept(survey.acounts, 1.0)
        self.history: dict[str, Kept[list[Minute]]] = {
            name: Kept(_reading(queue, span), span.kept) for name, span in SPANS.items()
        }
        self.trends: Kept[list[Trend]] = Kept(queue.atrends, 15.0)
        self.pulse: Kept[str] = Kept(survey.apulse, 1.0)


def _reading(queue: Queue, span: Span) -> Callable[[], Awaitable[list[Minute]]]:
    return lambda: queue.ahistory(span.minutes, span=span.step)


def desk_of(request: HTTPConnection) -> Desk:
    """The dashboard that a request is for."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk
