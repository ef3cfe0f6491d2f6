"""Processes seen from outside: whose children they are and whether they still run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")


def list_children(parent: int) -> list[int]:
    """Process ids of the direct children of `parent`."""
    return [pid for pid, (above, _) in _read_table().items() if above == parent]


def is_alive(pid: int) -> bool:
    """Whether the process still runs. A zombie does not: in a container without an init nobody reaps it."""
    found = _read_table().get(pid)
    return found is not None and found[1] != "Z"


def wait_gone(pids: Iterable[int], timeout: float) -> list[int]:
    """Wait until none of them runs any more, at most `timeout` seconds; returns those that still do."""
    end = time.monotonic() + timeout
    left = [pid for pid in pids if is_alive(pid)]
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = [pid for pid in left if is_alive(pid)]
    return left


def kill_with_orphans(pid: int, grace: float) -> None:
    """SIGKILL a postmaster and wait for its children, who notice its death; after `grace` seconds kill them.

    It is stopped first, so that no child is born between the list and the kill.
    """
    os.kill(pid, signal.SIGSTOP)
    children = list_children(pid)
    os.kill(pid, signal.SIGKILL)
    for orphan in wait_gone(children, grace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(orphan, signal.SIGKILL)
    wait_gone(children, grace)


def _read_table() -> dict[int, tuple[int, str]]:
    """Every process: its parent and its state ("Z" is a zombie)."""
    return _read_proc() if (PROC / "self" / "stat").exists() else _read_ps()


def _read_proc() -> dict[int, tuple[int, str]]:
    table = {}
    for directory in PROC.iterdir():
        if directory.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                # "12 (a name) with) brackets) S 1 …": the fields begin behind the last bracket.
                fields = (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()
                table[int(directory.name)] = (int(fields[1]), fields[0])
    return table


def _read_ps() -> dict[int, tuple[int, str]]:
    shown = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,state="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in shown.stdout.splitlines())
    return {int(pid): (int(parent), state[:1]) for pid, parent, state in rows}
