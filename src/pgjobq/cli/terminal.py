"""The terminal as a whole screen: keys one by one, its size, and everything put back however it ends."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["Terminal", "is_interactive"]

# The other screen, no cursor, no line breaks of the terminal's own; and back.
ENTER, LEAVE = "\033[?1049h\033[?25l\033[?7l", "\033[?7h\033[?25h\033[?1049l"
_KEYS = {
    "\033[A": "up", "\033OA": "up", "k": "up", "\033[B": "down", "\033OB": "down", "j": "down",
    "\r": "enter", "\n": "enter", "\033": "escape", "\x04": "q",
}  # fmt: skip


_KEY = re.compile(r"\033[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
"""What a key sends: several of them may arrive at once."""


def is_interactive() -> bool:
    """Whether somebody sits at a terminal that can be drawn on."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "")


class Terminal:
    """A terminal in whole-screen use, inside a `with`.

    It is given back at the end, after an exception, a Ctrl-C, a SIGTERM or SIGHUP (which end the process with 128 and
    their number) and while the process is stopped by Ctrl-Z.
    """

    def __init__(self) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._before: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._woken, self._wake = os.pipe()
        self._typed: list[str] = []
        self._encoding = sys.stdout.encoding or "utf-8"

    def __enter__(self) -> Self:
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        self._before = termios.tcgetattr(self._in)
        handlers = {
            signal.SIGTERM: _end,
            signal.SIGHUP: _end,
            signal.SIGWINCH: self._resized,
            signal.SIGTSTP: self._stop,
        }
        self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            self._take()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError, termios.error):  # a SIGHUP says that there is no terminal any more
            self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._woken)
        os.close(self._wake)

    def _take(self) -> None:
        tty.setcbreak(self._in)
        self._write(ENTER)

    def _give_back(self) -> None:
        self._write(LEAVE)
        termios.tcsetattr(self._in, termios.TCSADRAIN, self._before)

    def wake(self) -> None:
        """End `key()` at once; from any thread or signal."""
        try:
            os.write(self._wake, b".")
        except (BlockingIOError, OSError):  # it is awake already, or the screen is gone
            return

    def key(self, seconds: float) -> str | None:
        """The next key: a letter, or up, down, enter, escape; None after so many seconds, or when woken."""
        if self._typed:
            return self._typed.pop(0)
        ready, _, _ = select.select([self._in, self._woken], [], [], max(0.0, seconds))
        if self._woken in ready:
            os.read(self._woken, 4096)
        if self._in not in ready:
            return None
        text = os.read(self._in, 4096).decode("utf-8", "replace")
        if not text:  # the other side has closed it
            return "q"
        self._typed = [_KEYS.get(one, one) for one in _KEY.findall(text) if one in _KEYS or one.isprintable()]
        return self._typed.pop(0) if self._typed else None

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        size = os.get_terminal_size(self._out)
        return size.columns or 80, size.lines or 24

    def show(self, lines: Sequence[str]) -> None:
        """Draw the lines over what was there, in one write, so that nothing flickers."""
        # Each line is wiped first: wiped after it, a terminal that stands at its last cell would lose that one.
        self._write("\033[H" + "\r\n".join(f"\033[2K{line}" for line in lines) + "\033[J")

    def _write(self, text: str) -> None:
        rest = memoryview(text.encode(self._encoding, "replace"))
        while rest:
            rest = rest[os.write(self._out, rest) :]

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        self.wake()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: leave the terminal to the shell until it says `fg`."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stop)
        self._take()
        self.wake()


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
