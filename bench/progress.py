"""Says what is being measured: with rich when it is installed, line by line otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Progress"]


class Progress:
    """A line at the bottom that says what is under way, and a line for everything found."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._status: Any = None
        self._console: Any = None
        try:
            from rich.console import Console
        except ImportError:
            return
        self._console = Console(stderr=True, highlight=False)
        if self._console.is_terminal:
            self._status = self._console.status("…")

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def doing(self, what: str) -> None:
        """What comes now."""
        if self._status is not None:
            self._status.update(f"{self._clock()}  {what}")
        else:
            self._print(what)

    def found(self, what: str) -> None:
        """What came of it."""
        self._print(f"  {what}")

    def _print(self, text: str) -> None:
        line = f"{self._clock()}  {text}"
        if self._console is not None:
            self._console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._begun)
        return f"{seconds // 60:2d}:{seconds % 60:02d}"
