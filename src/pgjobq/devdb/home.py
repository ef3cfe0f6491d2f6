"""The temporary directory of one running server: its socket, its log and, when nothing is kept, its data."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pgjobq.devdb.account import Account
from pgjobq.errors import ConfigError

# `sun_path` takes 104 bytes on macOS and 108 on Linux, its closing NUL included.
LONGEST_SOCKET_PATH = 103


def make_home(account: Account) -> Path:
    """A fresh directory (mode 0700) which belongs to the account and is short enough for a unix socket.

    The system's temporary directory is taken where it will do, else /tmp or /var/tmp: TMPDIR may be long,
    hold a comma (which separates hosts in a DSN) or lie where the account cannot go. Raises ConfigError when
    none will do.
    """
    tried = list(dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]))  # noqa: S108 - mkdtemp follows
    for parent in tried:
        if not Path(parent).is_dir() or not os.access(parent, os.W_OK):
            continue
        home = Path(tempfile.mkdtemp(prefix="pgjobq-", dir=parent)).resolve()
        account.own(home)
        if _fits_socket(home) and account.reaches(home):
            return home
        home.rmdir()
    raise ConfigError(
        f"no temporary directory will do for a server (tried {', '.join(tried)}): set TMPDIR to a short path "
        f"which {account.name or 'you'} can enter"
    )


def _fits_socket(home: Path) -> bool:
    return len(os.fsencode(home / ".s.PGSQL.65535")) <= LONGEST_SOCKET_PATH and "," not in str(home)
