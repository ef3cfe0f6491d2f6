"""Worker processes of the system under test: started, watched, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.children import start_child
from bench.machine import cpu_seconds, descendants, resident_mb

__all__ = ["Workers", "WorkersDied", "run_workers"]

STOP_SECONDS = 0.7
"""Longer than a worker without jobs needs; what it had to say is known by then."""


class WorkersDied(Exception):
    """A worker process ended by itself; the message ends with what it wrote."""


class Workers:
    """The running worker processes of one system."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], home: Path, supervised: bool) -> None:
        self._processes = processes
        self._home = home
        self._supervised = supervised

    def started(self) -> int:
        """Handlers called so far."""
        return sum(self.counts())

    def counts(self) -> list[int]:
        """The same by worker process: each keeps its own count in a file of eight bytes."""
        contents = [file.read_bytes() for file in self._home.glob("count-*")]
        return [struct.unpack("<Q", content)[0] for content in contents if len(content) == 8]

    def marks(self) -> dict[int, int]:
        """When each order's handler was called, nanoseconds of the monotonic clock."""
        lines = [line for file in self._home.glob("marks-*") for line in file.read_text().splitlines()]
        return {int(order): int(at) for order, at in (line.split() for line in lines)}

    def ready(self) -> int:
        """Processes that have said that they are ready to work."""
        return len(list(self._home.glob("ready-*")))

    def pids(self) -> list[int]:
        """Every process of the system, with its children."""
        roots = [process.pid for process in self._processes]
        return roots + [pid for root in roots for pid in descendants(root)]

    def resident(self) -> float:
        """Resident memory of the largest process that runs jobs, megabytes; a supervisor above it not included."""
        roots = {process.pid for process in self._processes} if self._supervised else set()
        return max((resident_mb(pid) for pid in self.pids() if pid not in roots), default=0.0)

    def cpu(self) -> float:
        """Seconds of CPU used so far, supervisors included."""
        return cpu_seconds(self.pids())

    def check(self) -> None:
        """Raise WorkersDied when one of them has ended."""
        for number, process in enumerate(self._processes):
            if process.poll() is not None:
                told = (self._home / f"log-{number}").read_text(errors="replace").strip()
                raise WorkersDied(f"a worker ended with {process.returncode}: {told[-600:] or '(it said nothing)'}")

    def stop(self) -> None:
        """Ask them to end, and end them."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        ends = time.monotonic() + STOP_SECONDS
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.05, ends - time.monotonic()))
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # a group of its own: what it started goes with it
            process.wait()


@contextlib.contextmanager
def run_workers(
    commands: Sequence[Sequence[str]], environment: dict[str, str], *, supervised: bool
) -> Iterator[Workers]:
    """Start each command in a process group of its own; all are gone at the end."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        home = Path(name)
        environment = {**environment, "BENCH_HOME": name}
        processes: list[subprocess.Popen[bytes]] = []
        workers = Workers(processes, home, supervised)
        try:
            for number, command in enumerate(commands):
                with (home / f"log-{number}").open("wb") as log:
                    processes.append(
                        start_child(
                            command,
                            env=environment,
                            cwd=name,
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                            start_new_session=True,
                        )
                    )
            yield workers
        finally:
            workers.stop()
