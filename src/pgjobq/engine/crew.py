"""The processes of a supervisor: what it knows of each, and what they report when they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pgjobq.engine.board import Board, Entry
from pgjobq.engine.link import Link

if TYPE_CHECKING:
    from pgjobq.engine.switchboard import Seat

__all__ = ["Process", "Sums"]

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Process:
    """One worker process and what the supervisor knows of it."""

    number: int
    popen: subprocess.Popen[bytes]
    link: Link
    board: Board
    started_at: float
    workers: set[UUID] = field(default_factory=set)
    greeted: bool = False
    replaces: bool = False
    """Whether it was started in the place of another one."""
    refused: bool = False
    """It met no database when it started, though a sibling had before."""
    claims_no_more: bool = False
    """It was told to stop, and no claim of its is under way."""
    ended: bool = False
    place: int | None = None
    """At the switchboard, if it has one."""
    max_jobs: int | None = None
    """How many jobs it may take in all, of what a drain was told."""
    retired: str | None = None
    """Why it takes no more jobs: another process has its place, and it ends with the jobs it has."""
    overdue: frozenset[int] = frozenset()
    """Jobs for which it was sent SIGTERM: they had not ended well after their time-out."""
    kill_at: float = 0.0
    """When SIGKILL follows, if they are still there."""
    killed_for: str | None = None
    late: set[Entry] = field(default_factory=set)
    """What was past its deadline at the last look."""

    @classmethod
    def spawn(cls, number: int, board: Board, seat: Seat | None, *, max_jobs: int | None, replaces: bool) -> Process:
        """Start one. Its ends of the line to us and of that to the switchboard are inherited, and closed here."""
        ours, theirs = socket.socketpair()
        numbers = [theirs.fileno(), board.fd, board.size, *(seat.numbers if seat else ())]
        fds = [theirs.fileno(), board.fd, *(seat.fds if seat else ())]
        command = [sys.executable, "-m", "pgjobq.engine.process", *map(str, numbers)]
        # A signal to the whole group must not meet a process that has no handlers yet; it unblocks them itself.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=fds)
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
        theirs.close()
        if seat is not None:
            seat.line.close()
        place = None if seat is None else seat.place
        return cls(
            number, popen, Link(ours), board, time.monotonic(), replaces=replaces, place=place, max_jobs=max_jobs
        )

    @property
    def frozen(self) -> bool:
        """Whether it is stopped (SIGSTOP): then its leases are not renewed, since nobody knows when it wakes."""
        try:
            stat = Path(f"/proc/{self.popen.pid}/stat").read_text()
        except OSError:
            return False  # no such file system: taken for running
        return stat.rpartition(")")[2].split()[0] in "Tt"

    @property
    def memory(self) -> int:
        """Bytes of memory it has in use (resident); 0 where the system does not tell."""
        try:
            return int(Path(f"/proc/{self.popen.pid}/statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            return 0


@dataclass(slots=True)
class Sums:
    """What the processes report when they end."""

    succeeded: int = 0
    retried: int = 0
    failed: int = 0
    returned: int = 0
    ended_by: str = "nothing left"

    def add(self, summary: dict[str, Any]) -> None:
        """One process's share."""
        for name in ("succeeded", "retried", "failed", "returned"):
            setattr(self, name, getattr(self, name) + summary[name])
        self.ended_by = summary["ended_by"]
