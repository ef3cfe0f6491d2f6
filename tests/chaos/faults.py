"""What can be done to a site. Each fault is a context: it strikes, holds for as long as the block lasts, and heals; the
history has it with what it touches, so that the checker knows which rescues are lawful."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from chaos.proxy import Mode
from chaos.site import Site
from chaos.workers import ChaosWorker
from support.waiting import eventually

__all__ = ["FAULTS", "Fault", "backends_of", "terminate_backends"]

Deed = Callable[[Site, random.Random], contextlib.AbstractContextManager[None]]

STRICT = {
    "statement_timeout": "'500ms'",
    "lock_timeout": "'500ms'",
    "idle_in_transaction_session_timeout": "'500ms'",
    "default_transaction_isolation": "'serializable'",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`hold`: seconds, from and to; `weight`: how often it is chosen; `needs`: an attribute of Site."""

    deed: Deed
    hold: tuple[float, float]
    weight: int = 2
    needs: str = "dsn"


# --- processes


@contextlib.contextmanager
def kill_process(site: Site, dice: random.Random) -> Iterator[None]:
    """SIGKILL of a worker process; its supervisor replaces it."""
    worker = dice.choice(site.workers)
    with site.fault("SIGKILL of a worker process", workers=[worker]):
        for pid in worker.children()[:1]:
            worker.kill_process(pid)
        yield


@contextlib.contextmanager
def kill_supervisor(site: Site, dice: random.Random) -> Iterator[None]:
    """SIGKILL of a supervisor; its processes must die with it, and the process manager starts another."""
    worker = dice.choice(site.workers)
    with site.fault("SIGKILL of a supervisor", workers=[worker]):
        worker.kill()
        yield
        worker.start()
        worker.ready()  # a first start is not tormented: it ends when it meets no server, and that is documented


@contextlib.contextmanager
def freeze(site: Site, dice: random.Random) -> Iterator[None]:
    """SIGSTOP past the lease, of a process, of its supervisor, or of both."""
    worker = dice.choice(site.workers)
    children = worker.children()
    stopped = dice.choice((children, [worker.pid], [worker.pid, *children]))
    with site.fault("SIGSTOP past the lease", workers=[worker], isolated=children):
        _signal(stopped, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(stopped, signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


# --- the server


def terminate_backends(site: Site, like: str = "pgjobq %") -> int:
    """End the server's side of sessions with such an application_name; how many."""
    sql = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE %s AND pid <> pg_backend_pid()"""
    return int(site.query(sql, like)[0][0])


@contextlib.contextmanager
def terminate(site: Site, dice: random.Random) -> Iterator[None]:
    """pg_terminate_backend of every connection of every worker."""
    with site.fault("pg_terminate_backend", workers=site.workers):
        terminate_backends(site)
        yield


@contextlib.contextmanager
def crash_server(site: Site, dice: random.Random) -> Iterator[None]:
    """An immediate shutdown, as a crash; back after recovery."""
    assert site.postgres is not None
    with site.fault("server crash", workers=site.workers, isolated=pooled(site), crash=True, outage=True):
        site.postgres.crash()
        yield
        _back(site)


@contextlib.contextmanager
def kill_server(site: Site, dice: random.Random) -> Iterator[None]:
    """SIGKILL of the postmaster."""
    assert site.postgres is not None
    with site.fault("SIGKILL of the postmaster", workers=site.workers, isolated=pooled(site), crash=True, outage=True):
        site.postgres.kill()
        yield
        _back(site)


@contextlib.contextmanager
def restart_server(site: Site, dice: random.Random) -> Iterator[None]:
    """An orderly restart."""
    assert site.postgres is not None
    with site.fault("server restart", workers=site.workers, isolated=pooled(site), outage=True):
        _back(site)
        yield


def _back(site: Site) -> None:
    assert site.postgres is not None
    site.postgres.restart()
    eventually(lambda: site.query("SELECT true"), 30, ignoring=(psycopg.OperationalError,))


@contextlib.contextmanager
def make_read_only(site: Site, dice: random.Random) -> Iterator[None]:
    """Every transaction is refused with 25006, as after a failover to a server that is still a standby."""
    with site.fault("read-only server", workers=site.workers, isolated=pooled(site), outage=True):
        _set_server(site, "default_transaction_read_only = on")
        try:
            terminate_backends(site)
            yield
        finally:
            _set_server(site, "default_transaction_read_only = off")


@contextlib.contextmanager
def tighten(site: Site, dice: random.Random) -> Iterator[None]:
    """Time-outs of 500 ms and a stricter isolation as defaults of the database."""
    name = site.query("SELECT current_database()")[0][0]
    with site.fault("time-outs of 500 ms, serializable by default", workers=site.workers):
        for setting, value in STRICT.items():
            site.query(f'ALTER DATABASE "{name}" SET {setting} = {value}')
        try:
            terminate_backends(site)
            yield
        finally:
            for setting in STRICT:
                site.query(f'ALTER DATABASE "{name}" RESET {setting}')
            terminate_backends(site)


@contextlib.contextmanager
def exhaust(site: Site, dice: random.Random) -> Iterator[None]:
    """Somebody takes every connection there is; the workers have lost theirs."""
    taken: list[psycopg.Connection[object]] = []

    def take_all() -> None:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                taken.append(psycopg.connect(site.dsn, autocommit=True, connect_timeout=5))

    with site.fault("connections exhausted", workers=site.workers, isolated=everybody(site), outage=True):
        take_all()
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgjobq %%'"
        taken[0].execute(sql)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            take_all()
            time.sleep(0.01)
        try:
            yield
        finally:
            for conn in taken:
                conn.close()


@contextlib.contextmanager
def stop_backends(site: Site, dice: random.Random) -> Iterator[None]:
    """The server's side of every connection of one worker hangs: its packets are acknowledged, its LISTEN and its
    questions are not answered. The processes of a server of our own can be stopped."""
    worker = dice.choice([worker for worker in site.workers if worker.way != "pooled"])
    with site.fault("server processes hang", workers=[worker], isolated=worker.children()):
        stopped = backends_of(site, worker)
        _signal(stopped, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(stopped, signal.SIGCONT)


def backends_of(site: Site, worker: ChaosWorker) -> list[int]:
    """The server's processes that serve this worker's."""
    names = [f"pgjobq % {pid}" for pid in (worker.pid, *worker.children())]
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE ANY (%s)"
    return [pid for (pid,) in site.query(sql, names)]


def _set_server(site: Site, setting: str) -> None:
    site.query(f"ALTER SYSTEM SET {setting}")
    site.query("SELECT pg_reload_conf()")


# --- what lies in between


def break_network(mode: Mode) -> Deed:
    """A fault of the proxy, as a deed."""

    @contextlib.contextmanager
    def deed(site: Site, dice: random.Random) -> Iterator[None]:
        assert site.proxy is not None
        touched = [worker for worker in site.workers if worker.way == "proxied"]
        isolated = [] if mode == "latency" else [pid for worker in touched for pid in worker.children()]
        with site.fault(f"network: {mode.replace('_', ' ')}", workers=touched, isolated=isolated):
            site.proxy.set(mode)
            try:
                yield
            finally:
                site.proxy.set("pass")

    return deed


@contextlib.contextmanager
def kill_bouncer(site: Site, dice: random.Random) -> Iterator[None]:
    """PgBouncer goes with all its connections, and comes back."""
    assert site.bouncer is not None
    touched = [worker for worker in site.workers if worker.way == "pooled"]
    with site.fault("PgBouncer killed and started", workers=touched, isolated=pooled(site)):
        site.bouncer.kill()
        yield
        site.bouncer.start()


@contextlib.contextmanager
def fill_disk(site: Site, dice: random.Random) -> Iterator[None]:
    """No space is left for the server's data; a server that gave up over that is started again."""
    assert site.disk is not None
    assert site.postgres is not None
    with site.fault("disk full", workers=site.workers, isolated=everybody(site), crash=True, outage=True):
        site.disk.fill()
        try:
            yield
        finally:
            site.disk.free()
            if site.postgres.pid is None:
                _back(site)


def pooled(site: Site) -> list[int]:
    """Processes behind PgBouncer: after an outage it lets nobody through for a while longer."""
    return [pid for worker in site.workers if worker.way == "pooled" for pid in worker.children()]


def everybody(site: Site) -> list[int]:
    """All processes: some may get through and some not, so that leases may run out lawfully."""
    return [pid for worker in site.workers for pid in worker.children()]


FAULTS: tuple[Fault, ...] = (
    Fault(kill_process, (0.2, 0.5), weight=4),
    Fault(kill_supervisor, (0.2, 1.0)),
    Fault(freeze, (4.0, 6.0), weight=3),
    Fault(terminate, (0.1, 0.3), weight=3),
    Fault(crash_server, (0.2, 4.0), needs="postgres"),
    Fault(kill_server, (0.2, 2.0), weight=1, needs="postgres"),
    Fault(restart_server, (0.1, 0.2), weight=1, needs="postgres"),
    Fault(make_read_only, (2.0, 4.0), needs="postgres"),
    Fault(tighten, (2.0, 4.0), weight=1),
    Fault(exhaust, (1.0, 2.0), weight=1, needs="postgres"),
    Fault(stop_backends, (3.0, 6.0), weight=1, needs="postgres"),
    Fault(break_network("latency"), (2.0, 3.0), weight=1, needs="proxy"),
    Fault(break_network("black_hole"), (4.0, 6.0), weight=1, needs="proxy"),
    Fault(break_network("deaf"), (2.0, 5.0), weight=1, needs="proxy"),
    Fault(break_network("mute"), (2.0, 5.0), weight=1, needs="proxy"),
    Fault(break_network("hush"), (2.0, 5.0), weight=1, needs="proxy"),
    Fault(break_network("half_open"), (0.2, 0.3), needs="proxy"),
    Fault(break_network("reset"), (0.2, 1.5), weight=1, needs="proxy"),
    Fault(break_network("refuse"), (0.5, 2.0), weight=1, needs="proxy"),
    Fault(kill_bouncer, (0.2, 2.0), needs="bouncer"),
    Fault(fill_disk, (2.0, 4.0), weight=1, needs="disk"),
)
"""All of them; a site without what a fault needs goes without that fault."""
