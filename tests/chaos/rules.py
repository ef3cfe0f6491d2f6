"""What jobs share, held against history and ledger: limits, orders, unique keys, ticks. Pure, like the checker.

limit   no more jobs of a key at once than its gate allows: by the leases, and by what the handlers wrote
order   in a line one job after the other; one that will be tried again holds the others up, where it should
unique  a key has one job that has not ended; and who was refused was refused for such a one
cron    each tick makes one job
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from chaos.evidence import Evidence, Finding, crashes, gone
from chaos.history import Event
from chaos.ledger import Entry, Limit, Move

__all__ = ["check_limits", "check_orders", "check_ticks", "check_unique"]

AWAKE = 5.0
"""Seconds after a process woke up within which it may start what it had taken before and does not hold any more."""


def check_limits(evidence: Evidence) -> Iterator[Finding]:
    """Exactly, by the leases; and by what ran, but for what ran on in processes that had lost theirs."""
    limits: dict[str, int] = {}
    held: dict[int, list[Limit]] = {}
    keyed: dict[str, list[Limit]] = {}
    for entry in evidence.ledger.jobs:
        if entry.limits:
            held[entry.job] = keyed[entry.key] = entry.limits
            limits |= {limit.key: limit.most for limit in entry.limits}
    for key, most, n in _too_many(_leases(evidence.ledger.moves, held), limits):
        yield Finding("limit", f"{most} jobs of {key} were held at once, from move {n:.0f} on; {limits[key]} may be")
    for key, most, at in _too_many(_runs(evidence.history, keyed), limits):
        yield Finding("limit", f"{most} jobs of {key} ran at once, at {at:.2f}; {limits[key]} may")


def _leases(moves: list[Move], held: dict[int, list[Limit]]) -> Iterator[tuple[str, float, int]]:
    """How many are held of which key: (key, number of the move, one more or one less)."""
    for n, move in enumerate(moves):
        if move.place == "running":
            for limit in held.get(move.job, ()):
                yield limit.key, n, 1 if move.deed == "INSERT" else -1


def _runs(history: list[Event], keyed: dict[str, list[Limit]]) -> Iterator[tuple[str, float, int]]:
    """How many run of which key: (key, time, one more or one less).

    What a process ran counts until it was killed or isolated, and what may have been claimed in a commit that a crash
    of the server undid counts until the crash: from then on somebody else may have it.
    """
    ended = {(e.key, e.attempt, e.facts["pid"]): e.at for e in history if e.what == "ended"}
    healed = {e.facts["number"]: e.at for e in history if e.what == "healed"}
    away: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for event in history:
        for pid in gone(event):
            away[pid].append((event.at, healed.get(event.facts.get("number", -1), event.at) + AWAKE))
    lost = crashes(history)
    last = history[-1].at if history else 0.0
    for start in history:
        if start.what != "started" or start.key not in keyed:
            continue
        pid = start.facts["pid"]
        until = ended.get((start.key, start.attempt, pid), last)
        cuts = [since for since, over in away[pid] if since < until and start.at < over]
        cuts += [at for since, at, over in lost if since <= start.at <= over]
        until = min([until, *cuts])
        if until > start.at:
            for limit in keyed[start.key]:
                yield from ((limit.key, start.at, 1), (limit.key, until, -1))


def _too_many(changes: Iterable[tuple[str, float, int]], limits: dict[str, int]) -> Iterator[tuple[str, int, float]]:
    """The keys of which there were too many: how many at the most, and since when there were."""
    by_key: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for key, at, change in changes:
        by_key[key].append((at, change))
    for key, of_key in by_key.items():
        count, most, since = 0, 0, 0.0
        for at, change in sorted(of_key):
            count += change
            if count > max(most, limits[key]):
                most, since = count, since or at
        if most:
            yield key, most, since


def check_orders(evidence: Evidence) -> Iterator[Finding]:
    """By the leases: the jobs of a line come from one who commits one after the other, so that ids tell the order.

    Where a failed job holds up the others, all before it have ended when a job starts; where it lets them pass, all
    before it have started.
    """
    lines: dict[tuple[str, bool], list[Entry]] = defaultdict(list)
    for entry in evidence.ledger.jobs:
        for limit in entry.limits:
            if limit.in_order:
                lines[limit.key, limit.holds].append(entry)
    first: dict[int, int] = {}
    over: dict[int, int] = {}
    for n, move in enumerate(evidence.ledger.moves):
        if move.deed == "INSERT" and move.place == "running":
            first.setdefault(move.job, n)
        elif move.deed == "INSERT" and move.place == "finished":
            over.setdefault(move.job, n)
    for (key, holds), entries in lines.items():
        passed = over if holds else first
        verb = "ended" if holds else "started"
        for before, entry in pairwise(sorted(entries, key=lambda entry: entry.job)):
            if entry.job in first and first[entry.job] < passed.get(before.job, len(evidence.ledger.moves)):
                yield Finding("order", f"in {key} {entry.key} started before {before.key} had {verb}")


def check_unique(evidence: Evidence) -> Iterator[Finding]:
    """Of jobs with one key none is written while another has not ended, and nobody is refused without such a one."""
    entries = {entry.job: entry for entry in evidence.ledger.jobs}
    open_jobs: dict[str, int] = {}
    over: dict[int, float] = {}
    for move in evidence.ledger.moves:
        entry = entries.get(move.job)
        if entry is None or not entry.unique or move.deed != "INSERT":
            continue
        if move.place == "job":
            if entry.unique in open_jobs:
                text = f"{entry.key} was written while job {open_jobs[entry.unique]} had not ended"
                yield Finding("unique", f"{text}; both are {entry.unique}")
            open_jobs[entry.unique] = move.job
        elif move.place == "finished":
            over[move.job] = move.at
            if open_jobs.get(entry.unique) == move.job:
                del open_jobs[entry.unique]
    for event in evidence.history:
        if event.facts.get("fate") == "held":
            holder, wall = event.facts["holder"], event.facts["wall"]
            if holder not in entries or entries[holder].unique != event.facts["unique"]:
                yield Finding("unique", f"{event.key} was refused for job {holder}, which is not there")
            elif wall - over.get(holder, wall) > evidence.limits.most:
                late = wall - over[holder]
                yield Finding(
                    "unique", f"{event.key} was refused for job {holder}, which had ended {late:.1f} s before"
                )


def check_ticks(evidence: Evidence) -> Iterator[Finding]:
    """From the first tick to the last each has its job, one; and the last one came before the schedule was paused."""
    made: dict[str, list[float]] = defaultdict(list)
    for entry in evidence.ledger.jobs:
        if entry.schedule:
            made[entry.schedule].append(entry.tick)
    for name, ticks in made.items():
        for tick, number in Counter(ticks).items():
            if number > 1:
                yield Finding("cron", f"{name} made {number} jobs for its tick {tick:.0f}")
    for event in evidence.history:
        if event.what != "schedule":
            continue
        every, since, until = event.facts["every"], event.facts["since"], event.facts["until"]
        distinct = sorted(set(made[event.key]))
        if not distinct or distinct[0] > since + every + evidence.limits.most or distinct[-1] <= until - every - 1:
            seen = f"{distinct[0]:.0f} to {distinct[-1]:.0f}" if distinct else "no tick"
            yield Finding("cron", f"{event.key} was to tick from {since:.0f} to {until:.0f}, and made jobs for {seen}")
        for before, tick in pairwise(distinct):
            if tick - before != every:
                yield Finding("cron", f"{event.key} made no job between its ticks {before:.0f} and {tick:.0f}")
