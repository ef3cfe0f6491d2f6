"""Programs that run beside us, each a process of the operating system, and all gone at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..ports import ANNOUNCEMENT

ROOT = Path(__file__).resolve().parents[3]
"""Where `examples` lies: the programs are started from there."""


class NotStarted(Exception):
    """A program ended, or did not say that it listens; the text ends with what it printed."""


class Process:
    """`python -m MODULE …` in a session of its own: Ctrl-C reaches only us, a kill reaches its children.

    Args:
        name: for people.
        arguments: what stands after `python -m`.
        environ: added to our own environment.
        folder: where its output goes, as `NAME.log`.
        root: where it is started.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environ: Mapping[str, str], folder: Path, root: Path = ROOT
    ) -> None:
        self.name = name
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self.killed = False
        source = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
        with self.log.open("wb") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={**os.environ, "PYTHONPATH": source, "PYTHONUNBUFFERED": "1", **environ},
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id, and that of its session."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def address(self, timeout: float = 20.0) -> str:
        """Wait until it says where it listens, such as `http://127.0.0.1:8000`. Raises NotStarted."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for line in self.log.read_text(errors="replace").splitlines(keepends=True):
                if line.startswith(ANNOUNCEMENT) and line.endswith("\n"):
                    return line.removeprefix(ANNOUNCEMENT).strip()
            self.check()
            time.sleep(0.02)
        raise NotStarted(f"{self.name} did not say within {timeout:g} s where it listens.\n{self.last_words()}")

    def check(self) -> None:
        """Raises NotStarted when it has ended although nobody told it to."""
        if not self.running and not self.killed:
            raise NotStarted(f"{self.name} ended with exit status {self._popen.returncode}.\n{self.last_words()}")

    def last_words(self, lines: int = 15) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL to it and all its children at once: none of them gets to say anything."""
        self.killed = True
        self._kill_session()
        self._popen.wait()

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """Stop it and its children (SIGSTOP) while we look at what they have in hand; go on afterwards, if alive."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            if not self.killed:
                os.killpg(self.pid, signal.SIGCONT)

    def owns(self, pid: int) -> bool:
        """Whether that process is it, or one of its children."""
        try:
            return os.getsid(pid) == self.pid
        except ProcessLookupError:
            return False

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        if self.running:
            self._popen.terminate()

    def stop(self, grace: float = 8.0) -> None:
        """SIGTERM, and SIGKILL to whatever is left after `grace` seconds."""
        self.killed = True
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(grace)
        self._kill_session()
        self._popen.wait()

    def _kill_session(self) -> None:
        # The session outlives its leader while a child is left; its id cannot be given to anybody else
        # meanwhile.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
