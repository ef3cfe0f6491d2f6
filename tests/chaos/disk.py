"""A small disk of its own for a server, which can be filled to the last block. Linux, and only as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Disk", "can_mount", "mount_disk"]


class Disk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave nothing. Block by block at the end, since the server goes on writing meanwhile."""
        with self._ballast.open("wb", buffering=0) as out:
            for size in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while True:
                        out.write(bytes(size))

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)


def can_mount() -> bool:
    """Whether this process may mount; asked by doing it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with contextlib.suppress(OSError, subprocess.CalledProcessError), mount_disk(1):
        return True
    return False


@contextlib.contextmanager
def mount_disk(megabytes: int) -> Iterator[Disk]:
    """A disk of this size for the block."""
    path = Path(tempfile.mkdtemp(prefix="pgjobq-disk-", dir="/tmp"))
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(path)]
        subprocess.run(mount, check=True, capture_output=True)
        try:
            yield Disk(path)
        finally:
            subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)
