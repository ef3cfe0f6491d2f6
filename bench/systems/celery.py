"""Celery on Redis, for orientation only."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.children import start_child
from bench.systems.base import System
from bench.systems.environments import NotInstallable, Python

_PORT: list[int] = []


@dataclass(frozen=True, kw_only=True)
class _Celery(System):
    def install(self) -> None:
        if shutil.which("redis-server") is None:
            raise NotInstallable("needs redis-server on PATH")
        super().install()

    def prepare(self, dsn: str) -> None:
        """Nothing to make: Redis is started empty for each cell."""

    def variables(self, dsn: str) -> dict[str, str]:
        port = _PORT[-1] if _PORT else 6379
        return {**super().variables(dsn), "BENCH_REDIS": f"redis://127.0.0.1:{port}/0"}


@contextlib.contextmanager
def run_redis() -> Iterator[None]:
    """A Redis of our own, with its defaults (RDB snapshots, no append-only file), while the block runs."""
    with socket.socket() as probe, tempfile.TemporaryDirectory(prefix="bench-redis-") as home:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", home]
        server = start_child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                    break
                time.sleep(0.02)
            _PORT.append(port)
            yield
        finally:
            _PORT.clear()
            server.terminate()
            server.wait()


SYSTEM = _Celery(
    name="celery",
    version="5.7.0",
    settings="Redis broker, prefork with one child, prefetch 16, results off; acknowledged before it runs (default)",
    environment=Python("celery", ("celery[redis]==5.7.0",)),
    driver="on_celery.py",
    unfinished=None,
    ended=None,
    pace=1_000,
    bulk_pace=2_000,
    skips=dict.fromkeys("fijkm", "not in PostgreSQL"),
)
