"""Who is told of a worker's events besides its log: functions of the application, in a thread of their own."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

from pgjobq.errors import MiddlewareError
from pgjobq.events import Event, EventsDropped, ListenerFailed, ProcessEnding
from pgjobq.outcome import describe
from pgjobq.wording import quote

__all__ = ["Listener", "Listeners"]

Listener = Callable[[Any], object]

MOST_WAITING = 10_000
"""Events that wait for slow listeners; beyond that they are left out, and the log says how many."""
FAREWELL = 5.0
"""Seconds that listeners have at the end for what still waits."""


class Listeners:
    """Functions by the kinds of event they want; a worker opens them while it works."""

    def __init__(self) -> None:
        self._declared: list[tuple[tuple[type[Event], ...], Listener]] = []
        self._by_kind: dict[type[Event], tuple[Listener, ...]] = {}
        self._waiting: SimpleQueue[Event | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._report: Callable[[Event], None] = lambda _: None
        self._dropped = 0

    def add(self, kinds: Iterable[Any], function: Any) -> None:
        """Have `function` called with the events of these kinds, and of kinds derived from them."""
        kinds = tuple(kinds)
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, Event)):
                raise MiddlewareError(f"on({quote(kind)}): wants kinds of event from pgjobq.events, such as JobFailed")
        if not kinds:
            raise MiddlewareError("on(): name the kinds of event, such as on(JobFailed)")
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise MiddlewareError(
                f"on({kinds[0].__name__}): {quote(function)} is called in a thread of its own, where it may wait; "
                "write it with def"
            )
        self._declared.append((kinds, function))
        self._by_kind.clear()

    def wants(self, kind: type[Event]) -> bool:
        """Whether somebody wants events of this kind."""
        return bool(self._declared) and bool(self._listeners(kind))

    def tell(self, event: Event) -> None:
        """Hand an event on; from any thread, at once."""
        if self._thread is None or not self._listeners(type(event)):
            return
        if self._waiting.qsize() >= MOST_WAITING:
            self._dropped += 1
        else:
            self._waiting.put(event)

    def open(self, report: Callable[[Event], None]) -> None:
        """Begin to listen; `report` is told what goes wrong with listeners."""
        if not self._declared or self._thread is not None:
            return
        self._report = report
        self._waiting = SimpleQueue()  # a slow listener of an earlier worker may still be at the old one
        self._thread = threading.Thread(
            target=self._listen, args=(self._waiting,), name="pgjobq-listeners", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Tell that it ends, and wait a few seconds until all has been heard."""
        if self._thread is None:
            return
        self._waiting.put(ProcessEnding(pid=os.getpid()))
        self._waiting.put(None)
        self._thread.join(FAREWELL)
        self._thread = None

    def _listeners(self, kind: type[Event]) -> tuple[Listener, ...]:
        found = self._by_kind.get(kind)
        if found is None:
            found = tuple(function for kinds, function in self._declared if issubclass(kind, kinds))
            self._by_kind[kind] = found
        return found

    def _listen(self, waiting: SimpleQueue[Event | None]) -> None:
        while (event := waiting.get()) is not None:
            for listener in self._listeners(type(event)):
                try:
                    listener(event)
                except BaseException as error:
                    self._tell_failure(listener, event, error)
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._report(EventsDropped(events=dropped))

    def _tell_failure(self, listener: Listener, event: Event, error: BaseException) -> None:
        if isinstance(event, ListenerFailed):  # its own failure would be told to it for ever
            return
        told = describe(error)
        name = getattr(listener, "__qualname__", repr(listener))
        self._report(
            ListenerFailed(
                listener=name, about=event.name(), error=told.kind, error_message=told.message, traceback=told.traceback
            )
        )
