"""As whom the server runs: PostgreSQL refuses root, so as root it runs as somebody with fewer rights."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgjobq.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system; `uid` is None when the server runs as ourselves."""

    name: str = ""
    uid: int | None = None
    gid: int | None = None

    @property
    def popen(self) -> dict[str, Any]:
        """Arguments for subprocess that make a child run as this user, in none of our groups."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or directory to this user."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Whether this user can enter a directory or run a program; asked of the system as that user, because
        modes, groups and access lists of every parent have a say."""
        if self.uid is None:
            return os.access(path, os.X_OK)
        asked = subprocess.run(["/bin/sh", "-c", 'test -x "$1"', "sh", path], cwd="/", check=False, **self.popen)
        return asked.returncode == 0


def choose_account(data: Path | None = None) -> Account:
    """Ourselves, or when we are root: whoever owns `data` already, else `PGJOBQ_PG_USER` (default `nobody`).

    Raises ConfigError when that user does not exist or is root as well.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return Account()
    import pwd  # only POSIX has it

    if data is not None and data.exists() and data.stat().st_uid != 0:
        owner = data.stat()
        return Account(f"user {owner.st_uid}", owner.st_uid, owner.st_gid)
    name = os.environ.get("PGJOBQ_PG_USER") or "nobody"
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f"PostgreSQL refuses to run as root, and there is no user {name!r} to run it as: "
            "set PGJOBQ_PG_USER to an unprivileged user of this machine"
        ) from None
    if found.pw_uid == 0:
        raise ConfigError(f"PGJOBQ_PG_USER={name!r} is root, as which PostgreSQL refuses to run: name another user")
    return Account(name, found.pw_uid, found.pw_gid)
