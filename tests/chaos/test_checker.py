"""The checker itself: a true history passes, and each way of doctoring it is found, under the promise it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker import Death, Evidence, Limits, check, recoveries
from chaos.history import Event
from chaos.ledger import Effect, Entry, Ledger, Move

ENDS = {"work": "succeeded", "transfer": "succeeded", "poison": "failed"}
ONE, TWO = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


def event(what: str, at: float, key: str = "", attempt: int = 0, **facts: Any) -> Event:
    return Event(what, at, key, attempt, facts)


def started(at: float, key: str, attempt: int, pid: int) -> Event:
    return event("started", at, key, attempt, pid=pid, at_worker=f"w{pid}", task="work", job=1)


def returned(at: float, key: str, attempt: int, pid: int) -> Event:
    return event("ended", at, key, attempt, how="returned", pid=pid)


def moves(job: int, *turns: tuple[int, str, int], ends: str = "finished") -> list[Move]:
    """Leases taken and given up, each as (attempt, worker, pid), the last one settled."""
    found = []
    for attempt, worker, pid in turns:
        found.append(Move("running", "INSERT", job, attempt, worker, f"pgjobq worker {pid}"))
        found.append(Move("running", "DELETE", job, attempt, worker, f"pgjobq worker {pid}"))
    last = turns[-1]
    return [*found, Move(ends, "INSERT", job, last[0], last[1], f"pgjobq worker {last[2]}")]


def true_evidence() -> Evidence:
    """A worker is killed with two jobs; another goes on. One was rolled back, one has an effect, one is poison."""
    history = [
        event("enqueued", 1, "a", fate="committed"),
        event("enqueued", 1, "t", fate="committed"),
        event("enqueued", 1, "p", fate="committed"),
        event("enqueued", 1, "gone", fate="rolled_back"),
        event("enqueued", 1, "perhaps", fate="unknown"),
        started(2, "a", 1, 1),
        started(2, "t", 1, 1),
        event("fault", 3, fault="SIGKILL", number=1, workers=["w2"], isolated=[], crash=False),
        event("worker_killed", 3, pid=1, worker="w1"),
        event("healed", 3, fault="SIGKILL", number=1, workers=["w2"], outage=0.0),
        started(5, "a", 2, 2),
        returned(6, "a", 2, 2),
        started(6, "t", 2, 2),
        event("ended", 7, "t", 2, how="returned", pid=2),
        started(8, "p", 1, 2),
        event("dies", 8, "p", 1, pid=2),
    ]
    jobs = [
        Entry(1, "a", "work", "succeeded", 2, 20),
        Entry(2, "t", "transfer", "succeeded", 2, 20),
        Entry(3, "p", "poison", "failed", 1, 1),
    ]
    rescue = Move("running", "DELETE", 1, 1, ONE, "pgjobq upkeep 7")
    found = moves(1, (1, ONE, 1), (2, TWO, 2)) + moves(2, (1, ONE, 1), (2, TWO, 2)) + moves(3, (1, TWO, 2))
    found[1] = rescue
    ledger = Ledger(jobs, found, [Effect("t", 2)], [])
    deaths = [Death("w1", 1, "SIGKILL"), Death("w2", 2, "SIGKILL")]
    return Evidence(history, ledger, ENDS, ("transfer",), deaths, Limits(lease=3, poll=0.5, slack=2))


def test_a_true_history_passes() -> None:
    assert check(true_evidence()) == []


def with_history(change: Callable[[list[Event]], None]) -> Callable[[Evidence], Evidence]:
    def doctor(evidence: Evidence) -> Evidence:
        history = list(evidence.history)
        change(history)
        return replace(evidence, history=sorted(history, key=lambda e: e.at))

    return doctor


def with_ledger(**changes: Callable[[list[Any]], Any]) -> Callable[[Evidence], Evidence]:
    def doctor(evidence: Evidence) -> Evidence:
        parts = {name: list(getattr(evidence.ledger, name)) for name in changes}
        for name, change in changes.items():
            change(parts[name])
        return replace(evidence, ledger=replace(evidence.ledger, **parts))

    return doctor


def stale(entries: list[Entry], at: int, **changes: Any) -> None:
    entries[at] = replace(entries[at], **changes)


DOCTORED: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "a committed job is gone": ("a", with_ledger(jobs=lambda jobs: jobs.pop(0))),
    "a committed job never ended": ("a", with_ledger(jobs=lambda jobs: stale(jobs, 0, state="ready"))),
    "a job failed with attempts to spare": ("a", with_ledger(jobs=lambda jobs: stale(jobs, 0, state="failed"))),
    "a job is there twice": ("a", with_ledger(jobs=lambda jobs: jobs.append(replace(jobs[0], job=9)))),
    "a job nobody enqueued": ("a", with_ledger(jobs=lambda jobs: jobs.append(Entry(9, "x", "poison", "failed", 1, 1)))),
    "a rolled back job is there": (
        "a",
        with_ledger(jobs=lambda jobs: jobs.append(Entry(9, "gone", "poison", "failed", 1, 1))),
    ),
    "a rolled back job ran": ("a", with_history(lambda history: history.append(started(9, "gone", 1, 2)))),
    "succeeded, and never executed": ("b", with_history(lambda history: history.remove(returned(6, "a", 2, 2)))),
    "completed twice": ("b", with_ledger(moves=lambda found: found.append(found[4]))),
    "finished without a trace": ("b", with_ledger(moves=lambda found: found.pop(4))),
    "an effect twice": ("b", with_ledger(effects=lambda effects: effects.append(Effect("t", 1)))),
    "an effect of a stale attempt": ("b", with_ledger(effects=lambda effects: effects.__setitem__(0, Effect("t", 1)))),
    "no effect": ("b", with_ledger(effects=lambda effects: effects.clear())),
    "a stale owner settles": (
        "c",
        with_ledger(moves=lambda found: found.__setitem__(3, replace(found[3], by="pgjobq worker 1"))),
    ),
    "a stale handler completes": (
        "c",
        with_ledger(moves=lambda found: found.__setitem__(3, replace(found[3], by="chaos handler 1"))),
    ),
    "one attempt started twice": ("d", with_history(lambda history: history.append(started(5.5, "a", 2, 2)))),
    "an attempt number goes back": ("d", with_history(lambda history: history.append(started(5.5, "a", 1, 2)))),
    "more starts than attempts": ("d", with_history(lambda history: history.append(started(8.5, "p", 2, 3)))),
    "a start the database does not know": ("d", with_ledger(jobs=lambda jobs: stale(jobs, 0, attempt=1))),
    "a worker does not come back for long": (
        "e",
        with_history(
            lambda history: history.__setitem__(slice(7, 10, 2), [replace(history[n], at=-1.0) for n in (7, 9)])
        ),
    ),
    "a job of the dead waits for long": (
        "e",
        with_history(
            lambda history: history.extend([started(2, "b", 1, 1), started(20, "b", 2, 2), returned(20, "b", 2, 2)])
        ),
    ),
    "a job is polled for": (
        "e",
        with_history(lambda history: history.__setitem__(0, event("enqueued", 1, "a", fate="committed", within=0.5))),
    ),
    "a process dies by itself": (
        "f",
        lambda evidence: replace(evidence, deaths=[*evidence.deaths, Death("w3", 3, "SIGSEGV")]),
    ),
    "a job is taken from the healthy": ("f", with_history(lambda history: history.append(started(5.5, "a", 3, 9)))),
    "the conservation law is broken": ("law", with_ledger(misplaced=lambda rows: rows.append((1, "nowhere")))),
}


@pytest.mark.parametrize("how", DOCTORED)
def test_a_doctored_history_is_found(how: str) -> None:
    promise, doctor = DOCTORED[how]
    assert promise in {finding.promise for finding in check(doctor(true_evidence()))}


def test_a_claim_lost_in_a_crash_is_excused_and_only_that() -> None:
    """The claim before a crash is committed asynchronously: its attempt number comes again."""
    crash = event("fault", 2.2, fault="crash", number=2, workers=[], isolated=[], crash=True)
    history = [
        event("enqueued", 1, "a", fate="committed"),
        started(2, "a", 1, 1),
        crash,
        event("healed", 3, fault="crash", number=2, workers=[], outage=0.8),
        started(4, "a", 1, 1),
        returned(5, "a", 1, 1),
    ]
    ledger = Ledger([Entry(1, "a", "work", "succeeded", 1, 20)], moves(1, (1, ONE, 1)))
    evidence = Evidence(history, ledger, ENDS, ())
    assert check(evidence) == []
    history[2:4] = [replace(crash, at=5.5)]
    assert {finding.promise for finding in check(evidence)} == {"d", "f"}


def test_recoveries_are_counted_from_the_end_of_the_last_fault() -> None:
    history = true_evidence().history
    assert recoveries(history) == [("SIGKILL", "w2", 2)]
    another = event("fault", 4, fault="reset", number=2, workers=["w2"], isolated=[], crash=False)
    healed = event("healed", 4.5, fault="reset", number=2, workers=["w2"], outage=0.0)
    assert recoveries([*history[:10], another, healed, *history[10:]]) == [
        ("SIGKILL", "w2", None),
        ("reset", "w2", 0.5),
    ]
