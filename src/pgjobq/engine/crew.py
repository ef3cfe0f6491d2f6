"""The processes of a supervisor: what it knows of each, and what they report when they end."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from pgjobq.engine.board import Board, Entry
from pgjobq.engine.link import Link

__all__ = ["Process", "Sums"]


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
    ended: bool = False
    killed_for: str | None = None
    late: set[Entry] = field(default_factory=set)
    """What was past its deadline at the last look."""

    @property
    def frozen(self) -> bool:
        """Whether it is stopped (SIGSTOP): then its leases are not renewed, since nobody knows when it wakes."""
        try:
            stat = Path(f"/proc/{self.popen.pid}/stat").read_text()
        except OSError:
            return False  # no such file system: taken for running
        return stat.rpartition(")")[2].split()[0] in "Tt"


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
