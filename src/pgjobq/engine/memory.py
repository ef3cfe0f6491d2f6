"""A limit to the memory that a handler may take, set on its process by the kernel."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from pgjobq.settings import show_size

__all__ = ["limited"]


@contextlib.contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Let this process grow to `limit` bytes of resident memory within the block; what asks for more gets MemoryError.

    What the kernel limits is writable private memory (RLIMIT_DATA, Linux): what is resident now is counted in, and
    memory that was reserved and is not used is not. Elsewhere than on Linux nothing is limited.

    Raises MemoryError: the application by itself has taken more.
    """
    if limit is None or sys.platform != "linux":
        yield
        return
    resident, reserved = _used()
    if resident >= limit:
        raise MemoryError(f"the application alone uses {show_size(resident)}; memory_limit is {show_size(limit)}")
    former, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = reserved + limit - resident
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (former, most))


def _used() -> tuple[int, int]:
    """Bytes resident, and bytes of writable private memory."""
    facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return tuple(int(facts[name].split()[0]) * 1024 for name in ("VmRSS", "VmData"))  # type: ignore[return-value]
