"""The library as it was released, unpacked beside the present one: for tests in which both run on one database."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import psycopg

from chaos.site import Site
from chaos.workers import ChaosWorker, clean_environment
from pgjobq import migrate

__all__ = ["RELEASED", "Release"]

RELEASED = Path(__file__).parents[1] / "sql" / "released"
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11 knows filters since 3.11.4 only."""


class Release:
    """One released version: its schema, its library, and an application of its time.

    directory: where it is unpacked to.
    """

    def __init__(self, version: int, directory: Path) -> None:
        self.version, self._directory = version, directory
        self.library, self._schema = directory / "library", directory / "schema"
        with tarfile.open(RELEASED / f"{version:04d}.tar.xz") as archive:
            archive.extractall(self.library, **SAFELY)
        (self._schema / "migrations").mkdir(parents=True)
        (self._schema / "schema.sql").write_text((RELEASED / f"{version:04d}.sql").read_text())
        for step in (self.library / "pgjobq" / "migrations").glob("*.sql"):
            (self._schema / "migrations" / step.name).write_text(step.read_text())

    def install(self, dsn: str) -> None:
        """Its schema, in a database that has none."""
        with psycopg.connect(dsn) as conn:
            migrate.install(conn, directory=self._schema)

    def worker(self, site: Site, *flags: str) -> ChaosWorker:
        """A worker that runs its code."""
        return site.worker(*flags, name=f"v{self.version}w{len(site.workers) + 1}", PYTHONPATH=str(self.library))

    def producer(self, site: Site, stop: Path) -> subprocess.Popen[bytes]:
        """A process that enqueues with its library until the file `stop` is there; its complaints are in stop.log."""
        told = {"PYTHONPATH": str(self.library), "PGJOBQ_DSN": site.dsn, "CHAOS_HISTORY": str(site.history.path)}
        command = [sys.executable, "-m", "chaos.producer", site.dsn, str(stop)]
        with stop.with_suffix(".log").open("wb") as out:
            return subprocess.Popen(command, env=clean_environment() | told, cwd="/", stdout=out, stderr=out)
