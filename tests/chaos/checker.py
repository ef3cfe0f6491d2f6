"""The promises, held against history and ledger. Pure: the same evidence always gives the same findings.

a   what was committed runs to its final state; what was rolled back never runs
b   at least once executed, exactly once completed; effects of complete(conn) exactly once
c   an owner that lost its lease changes nothing
d   every start spends an attempt: attempt numbers grow, and max_attempts is kept
e   recovery within one lease and one poll
f   no worker needed a restart by hand, none died but those that were killed, and no healthy one lost a job
law each job stands in exactly one table

and limit, order, unique, cron: see rules
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from chaos.evidence import Death, Evidence, Finding, Limits, gone, lost_in_crash
from chaos.history import Event
from chaos.ledger import Entry
from chaos.rules import check_limits, check_orders, check_ticks, check_unique

__all__ = ["Death", "Evidence", "Finding", "Limits", "check", "recoveries"]

FINAL = ("succeeded", "failed", "cancelled")
CUT_SHORT = ("CancelledError", "Interruption")
"""How handlers end that were told to: not of themselves."""
PROCESS = re.compile(r"^(?:pgjobq worker|chaos handler) (\d+)$")


def check(evidence: Evidence) -> list[Finding]:
    """All findings; none is what is promised."""
    checks = (_fates, _completions, _fence, _attempts, _recovery, _survival, _law)
    rules = (check_limits, check_orders, check_unique, check_ticks)
    return [finding for one in (*checks, *rules) for finding in one(evidence)]


def _fates(evidence: Evidence) -> Iterator[Finding]:
    fates = {event.key: event for event in evidence.history if event.what == "enqueued"}
    started = {event.key for event in evidence.history if event.what == "started"}
    entries: dict[str, list[Entry]] = defaultdict(list)
    for entry in evidence.ledger.jobs:
        entries[entry.key].append(entry)
    for key, event in fates.items():
        fate, found = event.facts["fate"], entries.get(key, [])
        if fate in ("rolled_back", "held") and (found or key in started):
            why = "rolled back" if fate == "rolled_back" else "refused"
            yield Finding("a", f"{key} was {why}, and yet it {'is there' if found else 'was started'}")
        elif fate == "committed" and not found:
            yield Finding("a", f"{key} was committed and is gone")
        if len(found) > 1:
            yield Finding("a", f"{key} was enqueued once and is there {len(found)} times")
    for key, found in entries.items():
        if key not in fates and not found[0].schedule:
            yield Finding("a", f"{key} is there, and nobody enqueued it")
        for entry in found:
            yield from _ending(entry, evidence)


def _ending(entry: Entry, evidence: Evidence) -> Iterator[Finding]:
    wanted = evidence.ends.get(entry.task, "succeeded")
    if entry.state not in FINAL:
        yield Finding("a", f"{entry.key} ({entry.task}, job {entry.job}) came to no end: {entry.state}")
    elif entry.state != wanted:
        spared = sum(1 for event in evidence.history if event.key == entry.key and event.facts.get("how") == "Snooze")
        if entry.state != "failed" or entry.attempt - spared < entry.max_attempts:
            text = f"{entry.key} ({entry.task}) must be {wanted} and is {entry.state} after {entry.attempt} attempts"
            yield Finding("a", text)


def _completions(evidence: Evidence) -> Iterator[Finding]:
    finishes: dict[int, int] = defaultdict(int)
    for move in evidence.ledger.moves:
        if move.place == "finished":
            finishes[move.job] += 1 if move.deed == "INSERT" else -1
    ended = {(event.key, event.attempt) for event in evidence.history if event.facts.get("how") == "returned"}
    effects: dict[str, list[int]] = defaultdict(list)
    for effect in evidence.ledger.effects:
        effects[effect.key].append(effect.attempt)
    for entry in evidence.ledger.jobs:
        if entry.state in FINAL and finishes[entry.job] != 1:
            yield Finding("b", f"{entry.key} was completed {finishes[entry.job]} times")
        wrote = effects.get(entry.key, [])
        if entry.task in evidence.effective:
            if wrote != ([entry.attempt] if entry.state == "succeeded" else []):
                text = f"{entry.key} is {entry.state} by attempt {entry.attempt}, and its effects are of {wrote}"
                yield Finding("b", text)
        elif entry.state == "succeeded" and (entry.key, entry.attempt) not in ended:
            yield Finding("b", f"{entry.key} succeeded by attempt {entry.attempt}, which nobody executed to its end")


def _fence(evidence: Evidence) -> Iterator[Finding]:
    owners: dict[tuple[int, int, str], str] = {}
    for move in evidence.ledger.moves:
        process = PROCESS.match(move.by)
        if move.place != "running" or process is None:
            continue
        lease = (move.job, move.attempt, move.worker)
        if move.deed == "INSERT":
            owners[lease] = process[1]
        elif owners.get(lease, process[1]) != process[1]:
            text = f"job {move.job}, attempt {move.attempt} was held by process {owners[lease]}, and ended by {move.by}"
            yield Finding("c", text)


def _attempts(evidence: Evidence) -> Iterator[Finding]:
    budgets = {entry.key: entry.max_attempts for entry in evidence.ledger.jobs}
    made = {entry.key: entry.attempt for entry in evidence.ledger.jobs}
    starts: dict[str, list[Event]] = defaultdict(list)
    spared: dict[str, int] = defaultdict(int)
    for event in evidence.history:
        if event.what == "started":
            starts[event.key].append(event)
        elif event.facts.get("how") == "Snooze":
            spared[event.key] += 1
    for key, events in starts.items():
        again = 0
        for before, event in pairwise(events):
            if event.attempt > before.attempt:
                continue
            if lost_in_crash(evidence.history, before, event):
                again += 1
            else:
                yield Finding("d", f"{key} was started as attempt {event.attempt} after attempt {before.attempt}")
        if key in budgets and len(events) > budgets[key] + spared[key] + again:
            yield Finding("d", f"{key} was started {len(events)} times; it has {budgets[key]} attempts")
        if key in made and made[key] < max(event.attempt for event in events):
            yield Finding("d", f"{key} was started as attempt {events[-1].attempt}; the database knows of {made[key]}")


def recoveries(history: list[Event]) -> list[tuple[str, str, float | None]]:
    """For each fault and each worker it touched: the seconds from its end to that worker's next start of a job, None
    if there was none, or if another fault came first: then that one's end counts."""
    found: list[tuple[str, str, float | None]] = []
    for n, event in enumerate(history):
        if event.what == "healed":
            for worker in event.facts["workers"]:
                found.append((event.facts["fault"], worker, _back_after(event, history[n + 1 :], worker)))
    return found


def _back_after(healed: Event, later: list[Event], worker: str) -> float | None:
    for event in later:
        if event.what == "started" and event.facts["at_worker"] == worker:
            return event.at - healed.at
        if event.what == "fault" and worker in event.facts["workers"]:
            return None
    return None


def _recovery(evidence: Evidence) -> Iterator[Finding]:
    limits, history = evidence.limits, evidence.history
    most = limits.most
    for fault, worker, seconds in recoveries(history):
        if seconds is not None and seconds > most:
            yield Finding(
                "e", f"after {fault} worker {worker} took {seconds:.1f} s to start a job (at most {most:.1f})"
            )
    starts: dict[str, list[Event]] = defaultdict(list)
    for event in history:
        if event.what == "started":
            starts[event.key].append(event)
        elif "within" in event.facts:
            first = next((e.at for e in history if e.what == "started" and e.key == event.key), float("inf"))
            if first - event.at > event.facts["within"]:
                yield Finding("e", f"{event.key} waited {first - event.at:.1f} s; it is to be told of, not polled for")
    lined_up = {e.key for e in evidence.ledger.jobs if not all(limit.holds for limit in e.limits)}
    for taken, until, cut_off in _cut_off(history):
        if cut_off.key in lined_up:  # it waits at its gate again, behind others
            continue
        again = next((e for e in starts[cut_off.key] if e.at > taken.at and e.attempt > cut_off.attempt), None)
        came = until if again is None else again.at
        waited = came - taken.at - _outage(history, taken.at, came) - (_backoff(cut_off, again) if again else 0.0)
        if waited > most:
            yield Finding("e", f"{cut_off.key} was cut off and waited {waited:.1f} s to start again (of {most:.1f})")


def _backoff(cut_off: Event, again: Event) -> float:
    """What the rescues in between made it wait on purpose: a death can spend an attempt that had hardly begun."""
    return sum(min(2.0 ** min(attempt - 1, 10) - 1, 60.0) for attempt in range(cut_off.attempt, again.attempt))


def _cut_off(history: list[Event]) -> Iterator[tuple[Event, float, Event]]:
    """Each start that had not ended when its process died or was isolated: by what, until when, and the start."""
    ended = {(event.key, event.attempt): event.at for event in history if event.what == "ended"}
    started: dict[int, list[Event]] = defaultdict(list)
    healed = {event.facts["number"]: event.at for event in history if event.what == "healed"}
    for event in history:
        if event.what == "started":
            started[event.facts["pid"]].append(event)
        for pid in gone(event):
            until = healed.get(event.facts.get("number", -1), 0.0)  # dead: then (a) tells of what never came back
            for start in started.pop(pid, []):
                if ended.get((start.key, start.attempt), float("inf")) > max(event.at, until):
                    yield event, until, start


def _outage(history: list[Event], since: float, until: float) -> float:
    """Seconds in between in which the server was away for everybody, and the lease that each such outage costs."""
    healed = [event for event in history if event.what == "healed" and event.facts["outage"] > 0]
    return float(sum(event.facts["outage"] for event in healed if since <= event.at <= until))


def _survival(evidence: Evidence) -> Iterator[Finding]:
    killed = {event.facts["pid"] for event in evidence.history if event.what in ("dies", "worker_killed")}
    for death in evidence.deaths:
        if death.pid not in killed:
            yield Finding("f", f"process {death.pid} of worker {death.worker} ended by itself: {death.how}")
    ends = (event for event in evidence.history if event.what == "ended" and event.facts["how"] not in CUT_SHORT)
    ended = {(event.key, event.attempt): event.at for event in ends}
    lost: set[int] = set()
    running: dict[str, Event] = {}
    for event in evidence.history:
        lost.update(gone(event))
        if event.what == "started":
            before = running.get(event.key)
            running[event.key] = event
            if before is None or before.facts["pid"] in lost or lost_in_crash(evidence.history, before, event):
                continue
            if ended.get((before.key, before.attempt), float("inf")) > event.at:
                yield Finding("f", f"{event.key} was taken from process {before.facts['pid']}, which was well")


def _law(evidence: Evidence) -> Iterator[Finding]:
    for job, places in evidence.ledger.misplaced:
        yield Finding("law", f"job {job} stands in {places}")
