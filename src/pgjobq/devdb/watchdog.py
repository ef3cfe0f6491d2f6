"""Ends the server when its owner dies, however it dies: kill -9 leaves nothing running and nothing behind.

A shell waits on a pipe of which only the owner holds the other end. While the owner lives it is told which
process to end; when the pipe closes without a goodbye, it ends that process and removes the temporary
directory.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pgjobq.devdb.account import Account

# $1 the signal, $2 what to remove. A shutdown of over 30 s is made an immediate one, which loses nothing
# either.
WATCH = r"""
trap "" INT TERM HUP QUIT
runs() {
  kill -0 "$1" 2>/dev/null || return 1
  case $(cat "/proc/$1/stat" 2>/dev/null) in *") Z "*) return 1 ;; esac
}
end() {
  kill -s "$2" "$1" 2>/dev/null
  tries=0
  while runs "$1" && [ $tries -lt 600 ]; do sleep 0.05; tries=$((tries + 1)); done
}
pid=
while read -r word value; do
  case $word in
    pid) pid=$value ;;
    bye) exit 0 ;;
  esac
done
if [ -n "$pid" ]; then
  end "$pid" "$1"
  runs "$pid" && end "$pid" QUIT
fi
rm -rf "$2"
"""

# A child that waits for the word before it becomes the program: if the owner dies before the watchdog knows
# of the child, the pipe closes and the program never starts.
GATE = 'read -r go && exec "$@" </dev/null'

_alive: weakref.WeakSet[Watchdog] = weakref.WeakSet()


class Watchdog:
    """Watches over one server at a time for this process; `release()` when all was ended in order.

    end_with: the signal that stops the process, such as "INT"; rubbish: the directory removed afterwards.
    On Windows there is none: there a killed owner leaves its server running.
    """

    def __init__(self, end_with: str, rubbish: Path) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        if sys.platform != "win32":
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", WATCH, "pgjobq-watchdog", end_with, rubbish],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
            _alive.add(self)

    def spawn(
        self,
        command: Sequence[str | Path],
        account: Account,
        cwd: Path,
        env: dict[str, str],
        output: IO[bytes],
    ) -> subprocess.Popen[bytes]:
        """Start a program that ends when we do; Ctrl-C at our terminal does not reach it."""
        if self._shell is None:
            return subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        child = subprocess.Popen(
            ["/bin/sh", "-c", GATE, "sh", *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **account.popen,
        )
        self._tell(f"pid {child.pid}")
        with contextlib.suppress(BrokenPipeError):
            assert child.stdin is not None
            child.stdin.write(b"go\n")
            child.stdin.close()
        return child

    def forget(self) -> None:
        """The process has ended and its number may be given to another: signal nobody."""
        self._tell("pid")

    def release(self) -> None:
        """All is in order: go without touching anything."""
        if self._shell is not None:
            self._tell("bye")
            self.abandon()
            self._shell.wait()
            self._shell = None
            _alive.discard(self)

    def abandon(self) -> None:
        """Close our end of the pipe; in a fork of the owner, because a copy would keep the shell waiting."""
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                self._shell.stdin.close()

    def _tell(self, line: str) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # the shell is gone, or we let go of it
                self._shell.stdin.write(f"{line}\n".encode())
                self._shell.stdin.flush()


def _abandon_all() -> None:
    for watchdog in list(_alive):
        watchdog.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
