"""A bar on stderr for what takes longer than a second: on a terminal only, gone when it is over."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Self

from pgjobq.explanation import span_of

__all__ = ["Progress", "bar_line"]

PATIENCE = 1.0
"""Seconds that pass without a bar: what is done by then needs none."""
EVERY = 0.2
BAR = 20


class Progress:
    """Draw how far it has come, from the second second on; call it with what is done so far.

    Args:
        what: in a word or two.
        total: what will be done at the end; None: nobody knows.
        quiet: draw nothing, whatever stderr is (`--json`).
    """

    def __init__(self, what: str, total: int | None = None, *, quiet: bool = False) -> None:
        self.what, self.total, self.done = what, total, 0
        self._draws = not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="pgjobq-progress", daemon=True)
        self._drawn = False

    def __call__(self, done: int) -> None:
        self.done = done

    def __enter__(self) -> Self:
        if self._draws:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._draws:
            self._over.set()
            self._thread.join()
        if self._drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _draw(self) -> None:
        began, wait = time.monotonic(), PATIENCE
        while not self._over.wait(wait):
            wait = EVERY
            line = bar_line(self.what, self.done, self.total, time.monotonic() - began)
            self._drawn = True
            sys.stderr.write(f"\r\033[K{line[: _columns() - 1]}")
            sys.stderr.flush()


def bar_line(what: str, done: int, total: int | None, seconds: float) -> str:
    """`retry  ████████░░░░░░░░░░░░  40%  400,000 of 1,000,000  12,300/s  48 s left`"""
    if not total:
        return f"{what}  {span_of(seconds)}"
    share = min(1.0, done / total)
    full = round(share * BAR)
    pace = done / seconds if seconds > 0 else 0.0
    left = f"  {pace:,.0f}/s  {span_of((total - done) / pace)} left" if pace > 0 and done < total else ""
    return f"{what}  {'█' * full}{'░' * (BAR - full)}  {share:.0%}  {done:,} of {total:,}{left}"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80
