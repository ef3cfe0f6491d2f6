"""A long run: random faults from a seed over a running load, then the promises, as a table."""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from chaos.bouncer import open_bouncer
from chaos.checker import Evidence, Finding, check, recoveries
from chaos.faults import FAULTS, Fault
from chaos.load import running_load
from chaos.proxy import Proxy
from chaos.site import Site, open_server
from chaos.workers import SHORT, ChaosWorker
from support.bouncer import find_pgbouncer

__all__ = ["Result", "run_mixed"]

PAUSE = (1.0, 2.5)
"""Seconds between a fault's end and the next fault."""
SETTLE = 120.0
"""Seconds for all jobs to come to their end once the faults and the load are over."""


@dataclass
class Result:
    """What a run came to."""

    seed: int
    seconds: float
    findings: list[Finding]
    faults: Counter[str]
    jobs: Counter[str]
    starts: int
    rolled_back: int
    unknown: int
    lost: int
    doubled: int
    refused: int
    ticks: int
    deaths: Counter[str]
    recovered: list[float]
    slowest: list[tuple[float, str]]
    exits: dict[str, int]
    logs: str = field(default="", repr=False)

    @property
    def valid(self) -> bool:
        """Whether every promise was kept and every worker stopped in order."""
        return not self.findings and not any(self.exits.values())


def run_mixed(
    seconds: float, seed: int, say: Callable[[str], None] = lambda _: None, keep: Path | None = None
) -> Result:
    """Run for `seconds`, choosing faults, jobs and times from `seed`; `say` hears the progress.

    keep: a directory in which history and logs stay.
    """
    dice = random.Random(seed)
    with open_site(keep) as site:
        workers = [_start(site, "direct", "--processes", "2"), _start(site, "proxied")]
        if site.bouncer is not None:
            workers.append(_start(site, "pooled"))
        for worker in workers:
            worker.ready()
        began = time.monotonic()
        queues = ["default", "default", *(worker.name for worker in workers)]
        with site.ticking(), running_load(site.dsn, site.history, seed, queues=queues):
            _torment(site, dice, began, seconds, say)
        say(f"{time.monotonic() - began:5.0f} s  the load is over: {site.unfinished()} jobs to go")
        site.settle_down(SETTLE)
        exits = {worker.name: worker.stop() for worker in workers if worker.alive}
        return judge(seed, time.monotonic() - began, site.evidence(), exits, site.logs())


def _start(site: Site, way: str, *flags: str) -> ChaosWorker:
    """A worker that serves the common queue, and one of its own: there its absence cannot be made up for by others."""
    return site.worker(*SHORT, "--queues", f"default,{way}", *flags, way=way, name=way)


@contextlib.contextmanager
def open_site(keep: Path | None) -> Iterator[Site]:
    """A server of our own with a proxy and, where it is installed, PgBouncer in front of it."""
    with contextlib.ExitStack() as stack:
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgjobq-chaos-")))
        directory.mkdir(parents=True, exist_ok=True)
        postgres, dsn = stack.enter_context(open_server())
        site = Site(dsn, directory, postgres)
        stack.callback(site.destroy)
        parts = conninfo_to_dict(dsn)
        site.proxy = stack.enter_context(Proxy(str(parts["host"]), int(parts["port"] or 5432)))
        if program := find_pgbouncer():
            site.bouncer = stack.enter_context(open_bouncer(program, dsn))
        stack.callback(site.destroy)  # the workers go before what they are connected to
        yield site


def _torment(site: Site, dice: random.Random, began: float, seconds: float, say: Callable[[str], None]) -> None:
    usable = [fault for fault in FAULTS if getattr(site, fault.needs) is not None]
    bag: list[Fault] = []
    while (now := time.monotonic() - began) < seconds:
        if not bag:  # every fault before any comes again
            bag = [fault for fault in usable for _ in range(fault.weight)]
            dice.shuffle(bag)
        fault = bag.pop()
        hold = dice.uniform(*fault.hold)
        with fault.deed(site, dice):
            struck = next(e for e in reversed(site.history.read()) if e.what == "fault")
            at = ", ".join(struck.facts["workers"])
            say(
                f"{now:5.0f} s  {struck.facts['fault']} for {hold:.1f} s ({at}); {site.unfinished_or_none()} jobs to go"
            )
            time.sleep(hold)
        time.sleep(dice.uniform(*PAUSE))


def judge(seed: int, seconds: float, evidence: Evidence, exits: dict[str, int], logs: str) -> Result:
    """Make the figures of the evidence."""
    findings = check(evidence)
    history, fates = evidence.history, Counter(e.facts["fate"] for e in evidence.history if e.what == "enqueued")
    causes = {e.facts["pid"]: e.what for e in history if e.what in ("dies", "worker_killed")}
    names = {"dies": "killed by its job", "worker_killed": "killed by a fault"}
    recovered = [(after, f"{fault} ({worker})") for fault, worker, after in recoveries(history) if after is not None]
    return Result(
        seed=seed,
        seconds=seconds,
        findings=findings,
        faults=Counter(e.facts["fault"] for e in history if e.what == "fault"),
        jobs=Counter(entry.state for entry in evidence.ledger.jobs),
        starts=sum(1 for e in history if e.what == "started"),
        rolled_back=fates["rolled_back"],
        unknown=fates["unknown"],
        lost=sum(1 for finding in findings if finding.promise in ("a", "law")),
        doubled=sum(1 for finding in findings if finding.promise == "b"),
        refused=fates["held"],
        ticks=sum(1 for entry in evidence.ledger.jobs if entry.schedule),
        deaths=Counter(names.get(causes.get(death.pid, ""), f"by itself: {death.how}") for death in evidence.deaths),
        recovered=sorted(after for after, _ in recovered),
        slowest=sorted(recovered, reverse=True)[:3],
        exits=exits,
        logs=logs,
    )
