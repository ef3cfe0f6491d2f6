"""A data directory that outlives the server and is shared by processes: the first runs it, others attach.

What lies in it: `data/` (the cluster), `lock` (held by the owner), `address.json` (while the server runs),
`password` and `log`. Removing the directory removes everything.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
import weakref
from pathlib import Path

from pgjobq.devdb.address import Address, StartFailed
from pgjobq.errors import ConfigError

_held: weakref.WeakSet[KeptDirectory] = weakref.WeakSet()


class KeptDirectory:
    """The directory, and this process's claim to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self.log = root / "log"
        self._address = root / "address.json"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Make the directory; refuse one that is a cluster of somebody else's making."""
        if (self.root / "PG_VERSION").exists():
            raise ConfigError(
                f"{self.root} is itself a PostgreSQL data directory: give a new or empty directory, "
                "in which one is made and kept"
            )
        self.root.mkdir(parents=True, exist_ok=True)

    def take(self, timeout: float) -> Address | None:
        """None: we own it now and run the server. An address: another process does, and this is where.

        The lock is the kernel's and goes with its process, so a killed owner blocks nobody. Waits up to
        `timeout` seconds for an owner that is still starting; then raises StartFailed.
        """
        end = time.monotonic() + timeout
        while not self._try_lock():
            with contextlib.suppress(OSError, ValueError, TypeError):  # not there yet, or half-written
                return Address.of_json(self._address.read_text())
            if time.monotonic() > end:
                raise StartFailed(
                    f"another process holds {self.root} but its server did not come up within {timeout:g} s: "
                    f"look at {self.log}, end that process, or use another directory"
                )
            time.sleep(0.05)
        self.withdraw()  # what a killed owner may have left
        return None

    def announce(self, address: Address) -> None:
        """Let other processes attach. Written aside and renamed: nobody reads half an address."""
        _write_private(self._address.with_suffix(".new"), address.as_json())
        self._address.with_suffix(".new").replace(self._address)

    def withdraw(self) -> None:
        """Nobody may attach any more."""
        self._address.unlink(missing_ok=True)

    def leave(self) -> None:
        """Give up the claim; the next process that comes owns the directory."""
        self.close_lock()
        _held.discard(self)

    def password(self) -> str:
        """The superuser's password, made once per directory."""
        path = self.root / "password"
        if not path.exists():
            _write_private(path, secrets.token_urlsafe(24))
        return path.read_text()

    def _try_lock(self) -> bool:
        if sys.platform == "win32":
            return True  # one process at a time there
        import fcntl  # only POSIX has it

        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        _held.add(self)
        return True

    def close_lock(self) -> None:
        """Close the descriptor; in a fork of the owner, because a copy would hold on to the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _close_all() -> None:
    for directory in list(_held):
        directory.close_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
