"""What this machine is, and what its processes have used so far (Linux: /proc)."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["cpu_seconds", "descendants", "describe", "load", "resident_mb"]

_TICK = os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, Any]:
    """Processor, cores, memory, kernel and load: what a figure means nothing without."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": load(),
    }


def load() -> float:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cpu_seconds(pids: Iterable[int]) -> float:
    """Seconds of CPU that these processes, and those children of theirs that have ended, have used in all."""
    total = 0
    for pid in pids:
        fields = _stat(pid)
        if fields:
            total += sum(map(int, fields[11:15]))  # utime, stime and those of children waited for
    return total / _TICK


def resident_mb(pid: int) -> float:
    """Resident memory of one process, megabytes; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def descendants(root: int) -> list[int]:
    """The processes below this one, itself not included."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (field 3); the name before them may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
