"""Processes that own a server, for tests that kill them; each says on its standard output where it is."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"

# What an owner runs; {extra} comes between the start and the wait for its end.
PROGRAM = """
import json, os, sys
from pgjobq.devdb import Postgres
postgres = Postgres({datadir!r}, tcp={tcp!r}).start()
{extra}
print(json.dumps([postgres.dsn(), postgres.pid, str(postgres._home), postgres.attached]), flush=True)
sys.stdin.read()
postgres.stop()
"""


@dataclass(frozen=True)
class Owner:
    """One such process and its server."""

    process: subprocess.Popen[str]
    dsn: str
    pid: int
    home: Path
    attached: bool

    def leave(self) -> None:
        """Let it stop its server and end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0


def environment(**changes: str) -> dict[str, str]:
    """Ours, with the library's source on the path."""
    path = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **changes}


@contextlib.contextmanager
def own(
    datadir: Path | None = None,
    *,
    extra: str = "",
    tcp: bool = False,
    python: str = sys.executable,
    env: dict[str, str] | None = None,
    **popen: Any,
) -> Iterator[Owner]:
    """Start such a process and wait until its server runs; whatever happened, it is gone afterwards."""
    program = PROGRAM.format(datadir=str(datadir) if datadir else None, extra=extra, tcp=tcp)
    process = subprocess.Popen(
        [python, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=env or environment(),
        **popen,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"the owner ended with {process.wait(60)}"
            dsn, pid, home, attached = json.loads(line)
            yield Owner(process, dsn, pid, Path(home), attached)
        finally:
            process.kill()
