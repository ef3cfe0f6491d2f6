"""Somebody at a terminal: a program in a pseudo-terminal, what is typed to it, and what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

PATIENCE = 60.0
CODES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>]|\][^\x07]*\x07)")


class Typist:
    """A program that believes it is alone with a terminal of this size."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], *, columns: int = 80, lines: int = 24) -> None:
        self._master, self._slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._slave)
        self.shown = ""
        self.process = subprocess.Popen(
            argv, env=dict(env), stdin=self._slave, stdout=self._slave, stderr=self._slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C reaches it as a signal
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def resize(self, columns: int, lines: int) -> None:
        """The window gets this size; the program is told by SIGWINCH."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if process := getattr(self, "process", None):
            process.send_signal(28)

    def type(self, text: str) -> None:
        """These keys, one after the other."""
        os.write(self._master, text.encode())

    def read(self, seconds: float = 0.0) -> str:
        """All that has been shown so far."""
        while select.select([self._master], [], [], seconds)[0]:
            try:
                piece = os.read(self._master, 65536)
            except OSError:
                break
            self.shown += piece.decode("utf-8", "replace")
            seconds = 0.0
        return self.shown

    def wait_for(self, sight: str | Callable[[], object]) -> None:
        """Until this text is shown from here on, or that is true; fails after a minute."""
        until, start = time.monotonic() + PATIENCE, len(self.shown)
        while time.monotonic() < until:
            self.read(0.1)
            if sight() if callable(sight) else sight in CODES.sub("", self.shown[start:]):
                return
            assert self.process.poll() is None or self.read(0.1) is None or not isinstance(sight, str) or (
                sight in CODES.sub("", self.shown[start:])
            ), f"it ended with {self.process.returncode} without {sight!r}:\n{self.shown[-3000:]}"  # fmt: skip
        raise AssertionError(f"never seen: {sight!r} in\n{CODES.sub('', self.shown[start:])[-3000:]}")

    def end(self) -> int:
        """Wait until it has ended; its exit code. All it has shown is in `shown`."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            self.read(0.1)
            assert time.monotonic() < until, f"it does not end:\n{self.shown[-2000:]}"
        self.read(0.1)
        return self.process.returncode

    @property
    def is_restored(self) -> bool:
        """Whether the terminal's settings are what they were before."""
        return termios.tcgetattr(self._slave) == self.before
