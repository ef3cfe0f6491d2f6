"""The journal of a worker: events in, log lines out.

Everything goes through the standard library's logger `pgjobq`, so that an application that embeds a worker
routes it like any other; `record.event` is the event itself. `sentences` says how each event reads, `formats`
how a line looks, `banner` how a start looks.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any, TextIO

from pgjobq.events import Event, MoreSucceeded
from pgjobq.logs.banner import banner
from pgjobq.logs.formats import JsonFormatter, TextFormatter, formatter_for
from pgjobq.logs.sentences import read, span

__all__ = ["LOGGER", "Journal", "JsonFormatter", "TextFormatter", "banner", "span"]

LOGGER = "pgjobq"
SHOWN_A_SECOND = 20


class Journal:
    """Writes events to the logger `pgjobq`.

    May be used from several threads.

    Args:
        format: `text` or `json`.
        level: `debug`, `info`, `warning` or `error`.
        stream: where the lines go; None: no handler is installed and the level is left alone, because the
            application that embeds the worker has its own logging.
    """

    def __init__(self, format: str = "text", level: str = "info", stream: TextIO | None = None) -> None:  # noqa: A002
        self._logger = logging.getLogger(LOGGER)
        self._handler: logging.Handler | None = None
        self._root_level: int | None = None
        self._propagated = self._logger.propagate
        self._level = self._logger.level
        self._crowd = Lock()
        self._window_ends = 0.0
        self._left = 0
        self._folded = 0
        self._folding_since = 0.0
        self._hear: tuple[Callable[[Event], None], ...] = ()
        if stream is not None:
            self._handler = _Output(stream)
            self._handler.setFormatter(formatter_for(format, stream))
            self._logger.addHandler(self._handler)
            self._logger.setLevel(level.upper())
            self._logger.propagate = False
        self._shows_success = self._logger.isEnabledFor(logging.INFO)

    def emit(self, event: Event) -> None:
        """Write one event. A JobSucceeded is emitted only when `note_success` asked for it."""
        if self._folded:
            self.tick()
        self._write(event)
        for hear in self._hear:
            hear(event)

    def listen(self, hear: Callable[[Event], None]) -> None:
        """Have every event that is emitted told to `hear` too, at once and in the thread where it is emitted."""
        self._hear += (hear,)

    def adorn(self, filter: Callable[[logging.LogRecord], bool]) -> None:  # noqa: A002
        """Have every record that is written here pass this filter, which may add to it."""
        if self._handler is not None:
            self._handler.addFilter(filter)

    def note_success(self) -> bool:
        """Count one succeeded job; True: it is to be shown, by `emit(JobSucceeded(…))`.

        The first 20 in a second are shown one by one; the others are folded into one line, so that a busy
        worker neither drowns its log nor pays for it.
        """
        if not self._shows_success:
            return False
        if self._left > 0 and monotonic() < self._window_ends:
            self._left -= 1
            return True
        return self._note_crowd()

    def tick(self) -> None:
        """Write the folded line when its second is over; call it about once a second."""
        self._shows_success = self._logger.isEnabledFor(logging.INFO)
        if self._folded and monotonic() >= self._window_ends:
            self._fold()

    def adopt_root(self, level: int = logging.INFO) -> bool:
        """Let the application's own records (its `logging.getLogger(__name__)`) look the same.

        Call it after the app was imported. Does nothing, and returns False, when there is no handler here or
        the application has set up the root logger itself.
        """
        root = logging.getLogger()
        if self._handler is None or root.handlers:
            return False
        self._root_level = root.level
        root.addHandler(self._handler)
        if root.level == logging.WARNING:  # what it is when nobody has set it
            root.setLevel(level)
        return True

    def close(self) -> None:
        """Write what is folded and take the handler away again."""
        if self._folded:
            self._fold()
        if self._handler is not None:
            self._logger.removeHandler(self._handler)
            self._logger.propagate = self._propagated
            self._logger.setLevel(self._level)
            if self._root_level is not None:
                logging.getLogger().removeHandler(self._handler)
                logging.getLogger().setLevel(self._root_level)
            self._handler.flush()
            self._handler = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _note_crowd(self) -> bool:
        """The slower half of note_success: a new second begins, or this one's twenty are spent."""
        now = monotonic()
        with self._crowd:
            if now < self._window_ends:
                self._folded += 1
                return False
        if self._folded:
            self._fold()
        self._window_ends = now + 1.0
        self._folding_since = now
        self._left = SHOWN_A_SECOND - 1
        return True

    def _fold(self) -> None:
        with self._crowd:
            jobs, self._folded = self._folded, 0
        if jobs:
            self._write(MoreSucceeded(jobs=jobs, seconds=max(1.0, monotonic() - self._folding_since)))

    def _write(self, event: Event) -> None:
        reading = read(type(event))
        if self._logger.isEnabledFor(reading.level):
            self._logger.log(reading.level, "%s", reading.say(event), extra={"event": event})


class _Output(logging.StreamHandler[Any]):
    """A stream that may go away: a reader that left (`| head`) is no reason to stop working."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)
