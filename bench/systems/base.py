"""The protocol every measured system has: install, prepare, enqueue one, enqueue many, probe, work, count."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import Any

from bench.children import start_child
from bench.systems.environments import DRIVERS, Environment

__all__ = ["DriverFailed", "System"]

DRIVER_SECONDS = 180.0


class DriverFailed(Exception):
    """A driver ended badly; the message is the last line it wrote."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One system under test, as data; what it does stands in its driver.

    Attributes:
        name: as shown and as given to --systems.
        version: of the package, as installed.
        settings: the settings chosen, for the record.
        driver: the file in bench/drivers that runs in `environment`.
        unfinished: SQL that says whether a job is left; None: not in PostgreSQL.
        ended: SQL for the moment the last job finished, seconds since 1970; None: the system keeps no history.
        gate: a table without which no job can be claimed; None: workers cannot be held back, so their start is the
            moment they say that they are ready.
        pace, bulk_pace: jobs a second to expect when working and when enqueuing in bulk: what a cell of a slow system
            is cut down by.
        options: what its driver is told besides.
        skips: steps it takes no part in, and why.
        minor: left out of the narrow steps of a full run, to keep that short.
        fill: SQL that puts %(jobs)s ready jobs there without its library, for backlogs of millions.
        prunes: its workers delete jobs of a history that are old.
        lanes: the same in ten of a thousand lanes (100 queues with 10 priorities each), the others empty.
        history: SQL that puts %(jobs)s jobs there that succeeded %(days)s days ago.
    """

    name: str
    version: str
    settings: str
    environment: Environment
    driver: str
    unfinished: str | None
    ended: str | None = None
    gate: str | None = None
    pace: int = 5_000
    bulk_pace: int = 20_000
    options: dict[str, Any] = field(default_factory=dict)
    skips: dict[str, str] = field(default_factory=dict)
    fill: str | None = None
    history: str | None = None
    lanes: str | None = None
    supervised: bool = False
    keeps_history: bool = True
    has_sync: bool = False
    minor: bool = False
    prunes: bool = False

    @property
    def slow(self) -> bool:
        """Whether one round has to do, for the sake of a run's length: a peer's rate is not what ratios are made of."""
        return self.minor or self.pace < 60_000

    @property
    def slug(self) -> str:
        """The name as it may stand in a database's name."""
        return self.name.replace("-", "_").replace(" ", "_").lower()

    def install(self) -> None:
        """Make the environment; raises NotInstallable."""
        self.environment.install()

    def prepare(self, dsn: str) -> None:
        """Make the schema in an empty database."""
        self.call("prepare", dsn)

    def enqueue_one(self, dsn: str, *, jobs: int = 0, seconds: float = 0.0, **options: Any) -> dict[str, Any]:
        """Enqueue one by one, each committed, so many jobs or for so long; gives jobs and seconds."""
        return self.call("one", dsn, jobs=jobs, seconds=seconds, **options)

    def enqueue_bulk(self, dsn: str, jobs: int, **options: Any) -> dict[str, Any]:
        """Enqueue many at once; gives jobs and seconds."""
        return self.call("bulk", dsn, jobs=jobs, **options)

    def probe(self, dsn: str, jobs: int, gap: float) -> dict[str, Any]:
        """Enqueue one every `gap` seconds; gives when each was sent."""
        return self.call("probe", dsn, jobs=jobs, gap=gap)

    def worker_commands(self, dsn: str, processes: int, concurrency: int, **options: Any) -> list[list[str]]:
        """The commands that start so many worker processes.

        Options: `sync`: plain handlers; `limited`: `concurrency` is to be kept exactly, batches made to fit.
        """
        order = json.dumps({**self.options, "dsn": dsn, "concurrency": concurrency, **options})
        return [[self.environment.program(), str(DRIVERS / self.driver), "work", order]] * processes

    def variables(self, dsn: str) -> dict[str, str]:
        """The environment of its processes: ours without what would steer a library."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "PYTHON", "VIRTUAL_ENV"))}
        return {**kept, **self.environment.variables(), "BENCH_DSN": dsn}

    def start(self, verb: str, dsn: str, **options: Any) -> subprocess.Popen[str]:
        """Start the driver; `finish` waits for its answer."""
        order = json.dumps({**self.options, "dsn": dsn, **options})
        command = [self.environment.program(), str(DRIVERS / self.driver), verb, order]
        return start_child(
            command,
            env=self.variables(dsn),
            cwd=DRIVERS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, verb: str, dsn: str, **options: Any) -> dict[str, Any]:
        """Run the driver and give its answer; raises DriverFailed."""
        return finish(self.start(verb, dsn, **options))


def finish(driver: subprocess.Popen[str]) -> dict[str, Any]:
    """A started driver's answer; raises DriverFailed."""
    try:
        told, complained = driver.communicate(timeout=DRIVER_SECONDS)
    except subprocess.TimeoutExpired:
        raise DriverFailed(f"no answer within {DRIVER_SECONDS:g} s") from None
    finally:
        if driver.poll() is None:  # too slow, or we are interrupted
            driver.kill()
            driver.communicate()
    lines = told.strip().splitlines()
    if driver.returncode or not lines:
        last = [line for line in (complained or told).splitlines() if line.strip()][-1:]
        raise DriverFailed(last[0].strip()[:600] if last else f"it ended with exit code {driver.returncode}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
