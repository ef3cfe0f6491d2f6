"""One system on one fresh database: fill it, set workers to work, wait for the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.server import Server
from bench.systems import System
from bench.systems.celery import run_redis
from bench.workers import Workers, run_workers

__all__ = ["Drained", "Stage", "TookTooLong", "set_stage"]

GLANCE = 0.005


class TookTooLong(Exception):
    """The system did not get through its jobs; the message says how far it came."""


@dataclass(frozen=True)
class Drained:
    """A backlog that was worked off. `tail`: (jobs, seconds) of its last part; `counts`: jobs of each process; `cpu`:
    microseconds of CPU a job, in the workers and in the database (None: it runs elsewhere)."""

    jobs: int
    seconds: float
    tail: tuple[int, float] | None = None
    counts: Sequence[int] = ()
    cpu: tuple[float, float | None] = (0.0, None)

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds


@contextlib.contextmanager
def set_stage(server: Server, system: System) -> Iterator[Stage]:
    """A fresh copy of the system's prepared database (or a fresh Redis); gone at the end."""
    if system.unfinished is None:
        with run_redis():
            yield Stage(server, system, "")
        return
    dsn = server.recreate(system.slug, f"{system.slug}_made")
    server.settle()
    try:
        yield Stage(server, system, dsn)
    finally:
        server.drop(system.slug)


class Stage:
    """A system with a database to itself."""

    def __init__(self, server: Server, system: System, dsn: str) -> None:
        self.server, self.system, self.dsn = server, system, dsn

    @contextlib.contextmanager
    def workers(
        self, processes: int = 1, concurrency: int = 100, handler: str = "noop", millis: float = 0, **options: Any
    ) -> Iterator[Workers]:
        """So many worker processes, whose handlers do nothing, `mark` the time, `sleep` or burn `cpu`."""
        commands = self.system.worker_commands(self.dsn, processes, concurrency, **options)
        environment = {**self.system.variables(self.dsn), "BENCH_HANDLER": handler, "BENCH_MILLIS": str(millis)}
        with run_workers(commands, environment, supervised=self.system.supervised) as workers:
            yield workers

    def drain(
        self,
        jobs: int,
        processes: int = 1,
        tail: int = 0,
        until: Callable[[Stage], None] | None = None,
        **options: Any,
    ) -> Drained:
        """Work off `jobs` that stand there. The clock runs from the moment the workers, started and connected, are let
        at them, to the last completion that the database has.

        Where workers cannot be held back, the clock runs from the moment all are ready, and what they had begun by then
        does not count. `tail`: time the last so many jobs separately (None when they went by between two looks).
        `until`: returns once something else is done that is part of the work, too.
        """
        limit = 30 + 8 * jobs / self.system.pace + jobs * options.get("millis", 0) / 1000
        with (
            self.server.gate(self.dsn, self.system.gate) if self.dsn else contextlib.nullcontext() as gate,
            self.workers(processes, **options) as workers,
        ):
            if gate is not None and gate.closed:
                gate.wait_for(processes)
                begun, early = gate.open(), 0
            else:
                _wait_until(lambda: workers.ready() >= processes, limit, workers, "no worker said it was ready")
                begun, early = time.time(), workers.started()
            mine, used = time.monotonic(), self._cpu(workers)
            half: float | None = None
            while (done := workers.started()) < jobs:
                if tail and half is None and done >= jobs - tail:
                    half = time.monotonic() - mine
                if time.monotonic() - mine > limit:
                    raise TookTooLong(f"{done:,} of {jobs:,} jobs within {limit:.0f} s")
                workers.check()
                time.sleep(GLANCE)
            seconds = self._ended(limit, workers) - begun
            if until is not None:
                before = time.monotonic()
                until(self)
                waited = time.monotonic() - before
                seconds += waited if waited > 0.05 else 0  # less is what asking takes
            (mine_now, theirs_now), (mine_then, theirs_then) = self._cpu(workers), used
            theirs = None if theirs_now is None or theirs_then is None else theirs_now - theirs_then
            each = 1e6 / (jobs - early)
            cpu = (mine_now - mine_then) * each, None if theirs is None else theirs * each
            last = (tail, seconds - half) if half is not None else None
            return Drained(jobs - early, seconds, last, workers.counts(), cpu)

    def _cpu(self, workers: Workers) -> tuple[float, float | None]:
        """Seconds of CPU used so far by the workers and by the database."""
        return workers.cpu(), self.server.cpu() if self.dsn else None

    def _ended(self, limit: float, workers: Workers) -> float:
        """When the last job was finished, by the database; every handler has been called."""
        if self.system.unfinished is None:
            return time.time()
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            unfinished, ended = self.system.unfinished, self.system.ended
            _wait_until(lambda: not _value(connection, unfinished), limit, workers, "jobs were left unfinished")
            return float(_value(connection, ended) if ended else time.time())


def _wait_until(condition: Any, limit: float, workers: Workers, otherwise: str) -> None:
    ends = time.monotonic() + limit
    while not condition():
        workers.check()
        if time.monotonic() > ends:
            raise TookTooLong(f"{otherwise} within {limit:.0f} s")
        time.sleep(GLANCE)


def _value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
