"""One site of a chaos run: a server (or somebody else's), a history, a ledger, workers; and what there is to ask."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

from chaos import app, ledger
from chaos.bouncer import Bouncer
from chaos.cable import Cable
from chaos.checker import Death, Evidence, Finding, Limits, check
from chaos.disk import Disk
from chaos.history import History
from chaos.proxy import Proxy
from chaos.workers import SHORT, ChaosWorker, clean_environment
from pgjobq.devdb import Postgres
from pgjobq.migrate import install
from support.dsn import as_url
from support.waiting import eventually

__all__ = ["Site", "open_server"]

SERVER = {"max_connections": 60, "max_wal_size": "256MB", "superuser_reserved_connections": 3}


class Site:
    """Everything around one database.

    Args:
        dsn: of a database with pgjobq's schema; the enqueuers and handlers use it directly.
        directory: where history and logs go.
        postgres: the server, if it is ours to crash.

    `proxy`, `bouncer` and `cable` are further ways to it, `disk` is what it stands on; to be set before
    workers are started.
    """

    def __init__(self, dsn: str, directory: Path, postgres: Postgres | None = None) -> None:
        self.dsn, self.directory, self.postgres = dsn, directory, postgres
        self.history = History(directory / "history")
        self.gate = directory / "gate"
        self.workers: list[ChaosWorker] = []
        self.proxy: Proxy | None = None
        self.bouncer: Bouncer | None = None
        self.disk: Disk | None = None
        self.cable: Cable | None = None
        self._count = 0
        self._faults = 0
        ledger.install(dsn)

    # ------------------------------------------------------------------------------------ workers

    def worker(self, *flags: str, way: str = "direct", name: str = "", **env: str) -> ChaosWorker:
        """Start one; `way` to the database: direct, proxied, pooled or cabled."""
        ways = {"direct": self._direct, "proxied": self._proxied, "pooled": self._pooled, "cabled": self._cabled}
        dsn, through = ways[way](), self.cable.argv if way == "cabled" and self.cable is not None else []
        environ = (
            clean_environment(PGJOBQ_DSN=dsn, CHAOS_DSN=dsn if through else self.dsn, CHAOS_GATE=str(self.gate)) | env
        )
        name = name or f"w{len(self.workers) + 1}"
        worker = ChaosWorker(name, way, self.history, self.directory, environ, *(flags or SHORT), through=through)
        self.workers.append(worker)
        return worker

    def _direct(self) -> str:
        return self.dsn

    def _proxied(self) -> str:
        assert self.proxy is not None
        return as_url(self.dsn, host="127.0.0.1", port=self.proxy.port)

    def _pooled(self) -> str:
        assert self.bouncer is not None
        return self.bouncer.dsn

    def _cabled(self) -> str:
        assert self.cable is not None
        return as_url(self.dsn, host=self.cable.here)

    def destroy(self) -> None:
        """End all workers, whatever state they are in."""
        for worker in self.workers:
            worker.destroy()

    def open_gate(self, number: int) -> None:
        """1: let the first attempts go that wait in `hold`; 2: the others."""
        Path(f"{self.gate}{number}").touch()

    @contextlib.contextmanager
    def fault(
        self,
        name: str,
        *,
        workers: Iterable[ChaosWorker] = (),
        isolated: Iterable[int] = (),
        crash: bool = False,
        outage: bool = False,
    ) -> Iterator[None]:
        """Write down that something is wrong for the block.

        workers: which are touched, and have to come back; isolated: processes that cannot renew their leases, so that
        it is right to take their jobs; crash: claims of the last moments may be lost; outage: nobody gets through.
        """
        self._faults += 1
        number, names, began = self._faults, [worker.name for worker in workers], time.monotonic()
        facts: dict[str, Any] = {
            "fault": name,
            "number": number,
            "workers": names,
            "isolated": list(isolated),
            "crash": crash,
        }
        self.history.write("fault", **facts)
        try:
            yield
        finally:
            away = time.monotonic() - began if outage else 0.0
            self.history.write("healed", fault=name, number=number, workers=names, outage=away)

    # ------------------------------------------------------------------------------------ jobs

    def enqueue(self, task: str, count: int = 1, within: float | None = None, **more: Any) -> list[str]:
        """Committed jobs; their keys. `within`: seconds in which they must be started."""
        keys = self._keys(count)
        with psycopg.connect(self.dsn) as conn:
            for key in keys:
                args = {"key": key} | more
                app.queue.enqueue(task, args, conn=conn)
        promised: dict[str, Any] = {"within": within} if within else {}
        for key in keys:
            self.history.write("enqueued", key, fate="committed", wall=time.time(), **promised)
        return keys

    def _keys(self, count: int) -> list[str]:
        self._count += count
        return [f"s-{self._count - count + number}" for number in range(1, count + 1)]

    def take(self, slot: int, seconds: float = 0.0) -> bool:
        """A committed job with a unique key, unless another holds it."""
        (key,), wall = self._keys(1), time.time()
        with psycopg.connect(self.dsn) as conn:
            job = app.queue.enqueue("once", {"key": key, "slot": slot, "seconds": seconds}, conn=conn)
        if job.is_new:
            self.history.write("enqueued", key, fate="committed")
        else:
            self.history.write("enqueued", key, fate="held", holder=job.id, unique=f"once:{slot}", wall=wall)
        return job.is_new

    @contextlib.contextmanager
    def ticking(self, name: str = "tick") -> Iterator[None]:
        """For the block a schedule makes a job each second; when it ends, none of its ticks is owed."""
        with psycopg.connect(self.dsn) as conn:
            since = self.query("SELECT date_part('epoch', clock_timestamp())")[0][0]
            app.queue.schedule(name, timedelta(seconds=1), app.beat, conn=conn, missed="all")
        yield
        owes = "SELECT next_at IS NULL OR next_at <= pgjobq.clock() FROM pgjobq.schedules WHERE name = %s"
        eventually(lambda: not self.query(owes, name)[0][0], 60)
        pause = "SELECT date_part('epoch', clock_timestamp()), pgjobq.pause_schedule(%s)"
        self.history.write("schedule", name, every=1.0, since=since, until=self.query(pause, name)[0][0])

    def one_of_each(self, count: int) -> list[str]:
        """`count` jobs of every task that harms nobody but itself."""
        keys = []
        for task in ("quick", "work", "work_plain", "stumble", "nap_first", "transfer", "fail", "decline"):
            more = {"seconds": 0.2} if task in ("work", "work_plain", "transfer") else {}
            keys += self.enqueue(task, count, **more)
        return keys

    def query(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """Ask the server directly."""
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=10) as conn:
            cursor = conn.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    # ------------------------------------------------------------------------------------ waiting

    def starts(self, key: str = "", worker: str = "") -> list[Any]:
        """Starts so far; of one key, at one worker."""
        return [
            event
            for event in self.history.read()
            if event.what == "started" and key in ("", event.key) and worker in ("", event.facts["at_worker"])
        ]

    def wait_starts(self, count: int = 1, key: str = "", worker: str = "", timeout: float = 60) -> list[Any]:
        """Wait for so many of them."""

        def there() -> list[Any]:
            starts = self.starts(key, worker)
            assert len(starts) >= count, f"{len(starts)} of {count} starts; {self.logs()}"
            return starts

        return eventually(there, timeout)

    def holding(self) -> int:
        """How many `hold_and_do` have read what was left to them, and wait: to be frozen in the midst of their deed."""
        return sum(1 for event in self.history.read() if event.what == "holds")

    def unfinished(self) -> int:
        """Jobs that have not come to their end."""
        sql = "SELECT count(*) FROM pgjobq.job j WHERE NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = j.id)"
        return int(self.query(sql)[0][0])

    def unfinished_or_none(self) -> int | None:
        """The same; None while the server does not answer."""
        with contextlib.suppress(psycopg.OperationalError):
            return self.unfinished()
        return None

    def settle_down(self, timeout: float = 90) -> bool:
        """Wait until every job has ended; False when they do not."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.unfinished_or_none() == 0:
                return True
            time.sleep(0.2)
        return False

    def logs(self) -> str:
        """The workers' last words."""
        return "\n---\n".join(f"{worker.name}: {worker.text[-2500:]}" for worker in self.workers)

    # ------------------------------------------------------------------------------------ judgement

    def deaths(self) -> list[Death]:
        """Of all workers."""
        return [death for worker in self.workers for death in worker.deaths()]

    def evidence(self, limits: Limits | None = None) -> Evidence:
        """History and ledger as they are now. Stopped and destroyed workers are asked for deaths before."""
        limits = limits or Limits()
        return Evidence(self.history.read(), ledger.read(self.dsn), app.ENDS, app.EFFECTS, self.deaths(), limits)

    def check(self, limits: Limits | None = None) -> list[Finding]:
        """The promises that were not kept."""
        return check(self.evidence(limits))

    def demand_kept_promises(self, limits: Limits | None = None) -> None:
        """AssertionError with all findings, if there are any."""
        findings = self.check(limits)
        shown = "\n".join(map(str, findings[:20]))
        assert not findings, f"{len(findings)} promises broken:\n{shown}\n{self.logs()}"


@contextlib.contextmanager
def open_server(data: Path | None = None, **settings: object) -> Iterator[tuple[Postgres, str]]:
    """A server of our own that may be crashed, with pgjobq's schema in it; and its DSN."""
    with Postgres(data, tcp=True, settings=SERVER | settings, timeout=60) as postgres:
        with psycopg.connect(postgres.dsn()) as conn:
            install(conn)
        yield postgres, postgres.dsn()
