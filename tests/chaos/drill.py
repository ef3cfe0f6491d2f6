"""Short runs with fixed faults. Each gives a site in which every promise can be checked; on the engine as it is none is
broken, and every mutant (see mutants) breaks one."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

import psycopg
from psycopg.conninfo import conninfo_to_dict

from chaos import app, load
from chaos.checker import Finding, Limits, check
from chaos.proxy import Proxy
from chaos.site import Site
from support.waiting import eventually

__all__ = ["DRILLS", "LIMITS", "run"]

FLAGS = ("--lease", "4", "--heartbeat", "0.5", "--poll-interval", "0.3", "--grace", "3", "--concurrency", "8")
LIMITS = Limits(lease=4.0, poll=0.3, slack=5.0)
HELD: tuple[tuple[str, dict[str, str]], ...] = (
    ("hold", {}),
    ("hold_and_fail", {}),
    ("hold_and_transfer", {}),
    ("hold_and_do", {"deed": "step"}),
    ("hold_and_do", {"deed": "checkpoint"}),
)
BOUND = LIMITS.lease + LIMITS.poll + LIMITS.slack
"""Seconds after which what has not recovered will not."""
IRREPARABLE = ("c", "d", "law", "limit", "order", "unique", "step", "sleep", "event", "flow", "rate", "fair")
"""Promises that stay broken once they are; the others may only not have been kept yet."""
LONGER = ("--lease", "3", "--heartbeat", "0.5", "--poll-interval", "0.3", "--grace", "3", "--concurrency", "4")
OTHERS = """SELECT count(*) FROM pgjobq.job j
WHERE task <> 'beat' AND NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = j.id)"""
"""Jobs that have not ended, but for those that the clock makes."""
MUTE_POLL = ("--lease", "10", "--heartbeat", "1", "--poll-interval", "120", "--grace", "3")
LAST_LOOK = r"""SELECT date_part('epoch', max(query_start)) FROM pg_stat_activity
WHERE datname = current_database() AND starts_with(application_name, 'pgjobq worker ')
AND query ~ '^(WITH taken AS .\s*DELETE|SELECT p.name) FROM pgjobq[.](ready|paused) '"""
"""When the worker's last statement was begun, if it was one of those that look for jobs."""


def run(name: str, site: Site, mutant: str = "") -> list[Finding]:
    """Run a drill; gives the promises that were broken, after its workers have ended."""
    environ = {"CHAOS_MUTANT": mutant} if mutant else {}
    try:
        with contextlib.suppress(Enough):
            DRILLS[name](site, environ)
            _settle(site)
        evidence = site.evidence(LIMITS)
    finally:
        site.destroy()
    return check(evidence)


def _storm(site: Site, environ: dict[str, str]) -> None:
    """An owner sleeps past its lease and wakes; a process is killed; a worker goes."""
    first = site.worker(*FLAGS, **environ).ready()
    held = [site.enqueue(task, **more)[0] for task, more in HELD]
    deeds = sum(1 for task, _ in HELD if task == "hold_and_do")
    _wait(site, lambda: len(site.starts()) >= len(HELD) and site.holding() >= deeds)
    second = site.worker(*FLAGS, **environ).ready()
    site.one_of_each(2)
    with site.fault("frozen past the lease", workers=[first], isolated=first.children()):
        for pid in first.children():
            os.kill(pid, signal.SIGSTOP)
        _wait(site, lambda: {event.key for event in site.starts(worker=second.name)} >= set(held), BOUND + 2)
        os.kill(first.pid, signal.SIGSTOP)
    _wake_without_a_word(site, held, first.children())
    os.kill(first.pid, signal.SIGCONT)
    site.open_gate(2)
    site.enqueue("die_once")
    site.enqueue("poison")
    site.enqueue("work", 6, seconds=0.6)
    _wait(site, lambda: len([e for e in site.starts() if e.facts["task"] == "work"]) >= 4)
    for pid in second.children():
        second.kill_process(pid)
    _settle(site)
    second.stop()
    site.enqueue("quick", 5)


def _wake_without_a_word(site: Site, held: list[str], pids: list[int]) -> None:
    """The process goes on while its supervisor sleeps, so that nobody tells it that its leases are lost."""
    site.open_gate(1)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    _wait(site, lambda: {e.key for e in site.history.read() if e.what == "ended" and e.attempt == 1} >= set(held))
    time.sleep(0.5)  # it settles what it takes for its own; nothing tells of a settlement that is refused


def _outage(site: Site, environ: dict[str, str]) -> None:
    """The server crashes and stays away for longer than a lease while jobs run on and some end; one worker finds its
    way back a little later than the other."""
    assert site.postgres is not None
    parts = conninfo_to_dict(site.dsn)
    with Proxy(str(parts["host"]), int(parts["port"] or 5432)) as site.proxy:
        workers = [site.worker(*LONGER, way=way, **environ).ready() for way in ("direct", "proxied")]
        ending = site.enqueue("work", 2, seconds=2)
        site.enqueue("hold", 6)  # so that either worker, with its four places, holds at least two of them
        _wait(site, lambda: len(site.starts()) >= 8)
        site.query("CREATE TABLE flush ()")  # what was committed asynchronously is on disk with this commit
        with site.fault("server crash", workers=workers, outage=True):
            site.proxy.set("refuse")
            site.postgres.crash()
            began = time.monotonic()
            _wait(site, lambda: {e.key for e in site.history.read() if e.what == "ended"} >= set(ending))
            time.sleep(max(0.0, 3.5 - (time.monotonic() - began)))
            site.postgres.restart()
            eventually(lambda: site.query("SELECT true"), 20, ignoring=(psycopg.OperationalError,))
            time.sleep(1.3)
            site.proxy.set("pass")
        site.enqueue("quick", 3)
        time.sleep(4)  # a rescue without reason has come by then
        site.open_gate(1)
        site.open_gate(2)
        _settle(site)
        site.destroy()


def _late(site: Site, environ: dict[str, str]) -> None:
    """A transaction takes its numbers early and commits late, after others have been claimed from the same lane."""
    site.worker(*FLAGS, **environ).ready()
    for number in range(3):
        with psycopg.connect(site.dsn) as late:
            app.queue.enqueue("quick", {"key": f"late-{number}"}, conn=late)
            keys = site.enqueue("quick", 5)
            _wait(site, lambda keys=keys: all(site.starts(key) for key in keys))  # type: ignore[misc]
        site.history.write("enqueued", f"late-{number}", fate="committed")
    site.enqueue("quick", 5)


def _quiet(site: Site, environ: dict[str, str]) -> None:
    """A worker that has just gone to sleep for long: a job starts because somebody tells it of the job.

    Each nap is as long as it has slept by then: once it looks after eleven seconds it will not look by itself for as
    long again.
    """
    site.worker(*MUTE_POLL, **environ).ready()
    ready = site.query("SELECT date_part('epoch', clock_timestamp())")[0][0]
    _wait(site, lambda: (site.query(LAST_LOOK)[0][0] or 0) > ready + 11, 40)
    time.sleep(0.5)  # a look may be several statements
    site.enqueue("quick", within=8.0)


def _shared(site: Site, environ: dict[str, str]) -> None:
    """Limits, orders, unique keys and ticks, while workers sleep past their leases and a job kills its process."""
    workers = [site.worker(*FLAGS, **environ).ready() for _ in range(2)]
    with site.ticking():
        site.take(1, seconds=0.6)
        site.take(1)
        site.enqueue("ring", 12, till=1, seconds=0.2)
        for task in ("book", "post"):
            site.enqueue(task, 2, line="a")
            site.enqueue(task, 1, line="a", fate="stumble")
            site.enqueue(task, 3, line="a")
        _wait(site, lambda: {"ring", "book", "post", "beat"} <= {e.facts["task"] for e in site.starts()})
        children = [pid for worker in workers for pid in worker.children()]
        with site.fault("all of them frozen past their leases", workers=workers, isolated=children, outage=True):
            for worker in workers:
                worker.send_group(signal.SIGSTOP)
            time.sleep(LIMITS.lease + 1)
            for worker in workers:
                worker.send_group(signal.SIGCONT)
        site.enqueue("book", 1, line="a", fate="die")
        site.enqueue("book", 2, line="a")
        site.enqueue("ring", 6, till=1, seconds=0.2)
        _wait(site, lambda: site.query(OTHERS)[0][0] == 0, BOUND + 2)
        over = [e.at for e in site.history.read() if e.what == "ended" and e.key == "s-1"]
        time.sleep(max(0.0, max(over, default=0.0) + LIMITS.most + 0.5 - time.monotonic()))
        site.take(1)


def _lasting(site: Site, environ: dict[str, str]) -> None:
    """Steps, sleeps, events, workflows, rates and shares, while jobs kill their processes."""
    workers = [site.worker(*FLAGS, **environ).ready() for _ in range(2)]
    one = load.Enqueuer("e0", site.dsn, site.history, 7, pause=0.1, deadly=0, queues=("default",))
    site.enqueue("trip", 3, seconds=1.0)
    site.enqueue("trip", 2, fate="die")
    site.enqueue("text", 24, wire=1)
    site.query("SELECT pgjobq.set_gate('mail', 0)")  # until all of them wait
    for _ in range(3):
        site.enqueue("mail", 1, shop="b")
        site.enqueue("mail", 9, shop="a")
    site.query("SELECT pgjobq.unset_gate('mail')")
    for tasks in (("decline", "trip", "fail"), ("quick", "stumble")):
        one.plan_batch(tasks)
        one.plan_tour(("trip", "work"))
    one.hang_up()
    _meet_twice(site)
    _wait(site, lambda: {"trip", "text", "mail", "meet", "follow"} <= {e.facts["task"] for e in site.starts()})
    for worker in workers:
        worker.kill_process(eventually(worker.children)[0])  # a job may have killed it just before


def _meet_twice(site: Site) -> None:
    """One event is emitted by two at once; some met it when the first had come, others come after the second."""
    name, (early,) = "twice", site.enqueue("meet", event="twice")
    _wait(site, lambda: site.query("SELECT true FROM pgjobq.blocked WHERE waits_for = 'event:twice'"))
    began = time.monotonic()
    with psycopg.connect(site.dsn) as late:
        app.queue.emit(name, "late", conn=late)
        with psycopg.connect(site.dsn) as conn:
            app.queue.emit(name, "soon", conn=conn)
        site.history.write("emitted", name, payload="soon", fate="committed", began=began)
        _wait(site, lambda: any(e.what == "met" and e.key == early for e in site.history.read()))
    site.history.write("emitted", name, payload="late", fate="committed", began=began)
    _wait(site, lambda: not site.query("SELECT true FROM pgjobq.emission WHERE event = 'twice'"))
    site.enqueue("meet", 2, event=name)


class Enough(Exception):
    """A promise is broken beyond repair: no need to go on."""


def _wait(site: Site, condition: Callable[[], object], timeout: float = BOUND) -> None:
    """Until it is so or cannot be any more: a mutant may never come there, and the checker says what that means."""
    end, next_check = time.monotonic() + timeout, time.monotonic() + 1
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
        if time.monotonic() > next_check:
            next_check = time.monotonic() + 1
            with contextlib.suppress(psycopg.OperationalError):
                if any(finding.promise in IRREPARABLE for finding in check(site.evidence(LIMITS))):
                    raise Enough


def _settle(site: Site) -> None:
    """Until every job has ended; as long as that may take."""
    _wait(site, lambda: site.unfinished_or_none() == 0, BOUND + 2)


DRILLS: dict[str, Callable[[Site, dict[str, str]], None]] = {
    "storm": _storm,
    "outage": _outage,
    "late": _late,
    "quiet": _quiet,
    "shared": _shared,
    "lasting": _lasting,
}
