"""What lasts longer than an attempt, held against history and ledger: steps, sleeps, events, workflows. Pure.

step    a step whose memory is committed is not done again, and every attempt is given what that one gave
sleep   nobody wakes before his time, or sleeps twice
event   everybody who waits for an event is given the same, which was emitted and was not preceded by another
flow    a job that waits for others starts after they have ended as it needs it, or is cancelled and never starts
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from chaos.evidence import Evidence, Finding
from chaos.history import Event
from chaos.ledger import Entry

__all__ = ["check_events", "check_flows", "check_sleeps", "check_steps", "followers"]

BLINK = 0.05
"""Seconds by which the clocks of the history and of the server may differ."""


def followers(history: list[Event]) -> set[str]:
    """The keys of jobs that wait for others: whether they run, those decide."""
    return {key for event in history if event.what == "flow" for key in event.facts["waits"]}


def check_steps(evidence: Evidence) -> Iterator[Finding]:
    """The memory says which attempt has done it: no later one did."""
    keys = {entry.job: entry.key for entry in evidence.ledger.jobs}
    memories = {(keys.get(m.job, ""), m.name): m for m in evidence.ledger.memories if m.kind == "step"}
    for event in evidence.history:
        if event.what not in ("did", "kept"):
            continue
        name, value = event.facts["name"], event.facts["value"]
        memory = memories.get((event.key, name))
        if event.what == "did" and memory is not None and event.attempt > memory.attempt:
            text = f"attempt {event.attempt} of {event.key} did {name} once more, which attempt {memory.attempt} had"
            yield Finding("step", text)
        elif event.what == "kept" and (memory is None or memory.value != value):
            told = "nothing" if memory is None else repr(memory.value)
            text = f"attempt {event.attempt} of {event.key} was given {value!r} for {name}; remembered is {told}"
            yield Finding("step", text)


def check_sleeps(evidence: Evidence) -> Iterator[Finding]:
    """By the history: from the first time that an attempt came to the sleep to the first that got beyond it."""
    asleep: dict[str, Event] = {}
    awake: dict[str, Event] = {}
    for event in evidence.history:
        if event.what == "asleep":
            asleep.setdefault(event.key, event)
        elif event.what == "awake" and event.key not in awake:
            awake[event.key] = event
            slept, wanted = event.at - asleep[event.key].at, asleep[event.key].facts["seconds"]
            if slept < wanted - BLINK:
                yield Finding("sleep", f"{event.key} slept {slept:.2f} s of {wanted:g} s")
        elif event.facts.get("how") == "Suspension" and event.key in awake and event.attempt > awake[event.key].attempt:
            yield Finding("sleep", f"{event.key} fell asleep again, in attempt {event.attempt}")


def check_events(evidence: Evidence) -> Iterator[Finding]:
    """Of those that were emitted at the same time any may be the one; but it is the same for all."""
    emitted: dict[str, list[Event]] = defaultdict(list)
    met: dict[str, dict[str, Event]] = defaultdict(dict)
    for event in evidence.history:
        if event.what == "emitted":
            emitted[event.key].append(event)
        elif event.what == "met":
            met[event.facts["event"]].setdefault(event.facts["payload"], event)
    for name, payloads in met.items():
        if len(payloads) > 1:
            one, other = list(payloads.values())[:2]
            text = (
                f"{one.key} was given {one.facts['payload']!r} for {name}, and {other.key} {other.facts['payload']!r}"
            )
            yield Finding("event", text)
        for payload, event in payloads.items():
            sources = [e for e in emitted[name] if e.facts["payload"] == payload]
            if any(e.facts["fate"] == "rolled_back" for e in sources):
                yield Finding("event", f"{event.key} was given {payload!r} for {name}, which was rolled back")
            elif sources and any(
                e.facts["fate"] == "committed" and e.at < sources[0].facts["began"] for e in emitted[name]
            ):
                yield Finding("event", f"{event.key} was given {payload!r} for {name}, and another had come before")


def check_flows(evidence: Evidence) -> Iterator[Finding]:
    """By the leases and the outcomes: `success` of all it waits for, the end of `any`, the first `failure`."""
    entries = {entry.key: entry for entry in evidence.ledger.jobs}
    first: dict[int, int] = {}
    over: dict[int, int] = {}
    for n, move in enumerate(evidence.ledger.moves):
        if move.deed == "INSERT" and move.place in ("running", "finished"):
            (first if move.place == "running" else over).setdefault(move.job, n)
    never = len(evidence.ledger.moves)
    for flow in evidence.history:
        for key, wait in flow.facts["waits"].items() if flow.what == "flow" else ():
            if key in entries:
                before = [entries[one] for one in wait["for"] if one in entries]
                yield from _followed(entries[key], wait["needs"], before, first, over, never)


def _followed(
    entry: Entry, needs: str, before: list[Entry], first: dict[int, int], over: dict[int, int], never: int
) -> Iterator[Finding]:
    start = first.get(entry.job, never)
    ends = [over.get(one.job, never) for one in before]
    bad = [over.get(one.job, never) for one in before if one.state in ("failed", "cancelled")]
    earliest = max(ends, default=0) if needs != "failure" else min(bad, default=never)
    if start < earliest:
        yield Finding("flow", f"{entry.key} started before what it waits for had come to its end ({needs})")
    if needs == "any" or never in ends:
        return
    is_needed = bool(bad) == (needs == "failure")
    if entry.state == "cancelled" and (is_needed or start < never):
        yield Finding("flow", f"{entry.key} was cancelled; it was to run ({needs})")
    elif entry.state in ("succeeded", "failed") and not is_needed:
        yield Finding("flow", f"{entry.key} ran; it was to be cancelled ({needs})")
