"""The rules of what jobs share, as the checker sees them: true evidence passes, each way of doctoring it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker import Evidence, Limits, check
from chaos.history import Event
from chaos.ledger import Entry, Ledger, Limit, Move

TILL, LINE, LETTERS = Limit("till", 2), Limit("line", 1, True, True), Limit("letters", 1, True, False)
KEYS = {1: "r1", 2: "r2", 3: "r3", 4: "b1", 5: "b2", 6: "p1", 7: "p2", 8: "u1", 9: "u2", 10: "tick 1", 11: "tick 2"}
TICKED = 10
"""When the first tick was."""


def true_ledger() -> Ledger:
    """Three at a till for two; a line in which one is tried again, one that lets the other pass; a key had in turn."""
    limits = {1: TILL, 2: TILL, 3: TILL, 4: LINE, 5: LINE, 6: LETTERS, 7: LETTERS}
    again = (4, 6)
    jobs = [Entry(job, key, "work", "succeeded", 1 + (job in again), 20) for job, key in KEYS.items()]
    for at, entry in enumerate(jobs):
        if entry.job in limits:
            jobs[at] = replace(entry, limits=[limits[entry.job]])
        elif entry.job in (8, 9):
            jobs[at] = replace(entry, unique="once:1")
        elif entry.job >= 10:
            jobs[at] = replace(entry, schedule="tick", tick=float(TICKED + entry.job - 10))
    deeds = "j1 j2 j3 j4 j5 j6 j7 +1 +2 -1! +3 -2! -3! +4 -4 +4 -4! +5 -5! +6 -6 +7 -7! +6 -6! j8 +8 -8! j9 +9 -9!"
    deeds += " j10 +10 -10! j11 +11 -11!"
    moves: list[Move] = []
    made = dict.fromkeys(KEYS, 0)
    for n, deed in enumerate(deeds.split()):
        kind, job = deed[0], int(deed.strip("j+-!"))
        made[job] += kind == "+"
        place, what = ("job", "INSERT") if kind == "j" else ("running", "INSERT" if kind == "+" else "DELETE")
        moves.append(Move(place, what, job, made[job], "w", "pgjobq worker 1", 100.0 + n))
        if deed.endswith("!"):
            moves.append(Move("finished", "INSERT", job, made[job], "w", "pgjobq worker 1", 100.0 + n))
    return Ledger(jobs, moves)


def true_evidence() -> Evidence:
    """With a history in which everybody does as the ledger says, and one was refused while the key was held."""
    ledger, history = true_ledger(), []
    for n, move in enumerate(ledger.moves):
        key, at = KEYS[move.job], float(n)
        if move.place == "job" and move.job < TICKED:
            history.append(Event("enqueued", at, key, 0, {"fate": "committed"}))
        elif move.place == "running" and move.deed == "INSERT":
            facts = {"pid": 1, "at_worker": "w", "task": "work", "job": move.job}
            history.append(Event("started", at, key, move.attempt, facts))
        elif move.place == "running":
            history.append(Event("ended", at - 0.5, key, move.attempt, {"how": "returned", "pid": 1}))
    held = {"fate": "held", "holder": 8, "unique": "once:1", "wall": 120.0}
    history.append(Event("enqueued", 90.0, "u3", 0, held))
    history.append(Event("schedule", 91.0, "tick", 0, {"every": 1.0, "since": 9.0, "until": 11.5}))
    ends = {"work": "succeeded"}
    return Evidence(sorted(history, key=lambda e: e.at), ledger, ends, (), limits=Limits(lease=3, poll=0.5, slack=2))


def test_true_evidence_passes() -> None:
    assert check(true_evidence()) == []


Doctor = Callable[[Evidence], Evidence]


def with_moves(change: Callable[[list[Move]], Any]) -> Doctor:
    def doctor(evidence: Evidence) -> Evidence:
        moves = list(evidence.ledger.moves)
        change(moves)
        return replace(evidence, ledger=replace(evidence.ledger, moves=moves))

    return doctor


def with_jobs(change: Callable[[list[Entry]], Any]) -> Doctor:
    def doctor(evidence: Evidence) -> Evidence:
        jobs = list(evidence.ledger.jobs)
        change(jobs)
        return replace(evidence, ledger=replace(evidence.ledger, jobs=jobs))

    return doctor


def with_event(what: str, key: str, **changes: Any) -> Doctor:
    """That event with another time, or with other facts."""

    def doctor(evidence: Evidence) -> Evidence:
        at = changes.pop("at", None)
        history = [
            replace(e, at=e.at if at is None else at, facts=e.facts | changes) if (e.what, e.key) == (what, key) else e
            for e in evidence.history
        ]
        return replace(evidence, history=sorted(history, key=lambda e: e.at))

    return doctor


def earlier(moves: list[Move], job: int, place: str, before: int) -> None:
    """The first such move of the job comes before the first lease of another."""
    move = next(m for m in moves if (m.job, m.place, m.deed) == (job, place, "INSERT"))
    moves.remove(move)
    moves.insert(next(n for n, m in enumerate(moves) if m.job == before and m.place == "running"), move)


DOCTORED: dict[str, tuple[str, Doctor]] = {
    "three leases at a till for two": ("limit", with_moves(lambda moves: earlier(moves, 3, "running", 2))),
    "three handlers at a till for two": ("limit", with_event("ended", "r1", at=12.0)),
    "two leases of a line": ("limit", with_moves(lambda moves: earlier(moves, 5, "running", 4))),
    "a job overtakes another": ("order", with_moves(lambda moves: earlier(moves, 5, "running", 4))),
    "a job overtakes one that is to be tried again": (
        "order",
        with_moves(lambda moves: moves.append(moves.pop(moves.index(_end(moves, 4))))),
    ),
    "a job overtakes one that lets pass, before its first try": (
        "order",
        with_moves(lambda moves: earlier(moves, 7, "running", 6)),
    ),
    "two have a key at once": ("unique", with_moves(lambda moves: earlier(moves, 9, "job", 8))),
    "refused for a job that was rolled back": ("unique", with_event("enqueued", "u3", holder=77)),
    "refused for a job with another key": ("unique", with_event("enqueued", "u3", holder=1)),
    "refused for a job that had ended long before": ("unique", with_event("enqueued", "u3", wall=200.0)),
    "refused, and written all the same": (
        "a",
        with_jobs(lambda jobs: jobs.append(Entry(12, "u3", "work", "succeeded", 1, 20))),
    ),
    "a tick has two jobs": ("cron", with_jobs(lambda jobs: jobs.append(replace(jobs[-1], job=12)))),
    "a tick in the middle has none": (
        "cron",
        with_jobs(lambda jobs: jobs.__setitem__(10, replace(jobs[10], tick=12.0))),
    ),
    "the last ticks have none": ("cron", with_event("schedule", "tick", until=14.0)),
    "the first ticks have none": ("cron", with_event("schedule", "tick", since=0.0)),
    "no tick has one": ("cron", with_jobs(lambda jobs: jobs.__delitem__(slice(9, 11)))),
}


def _end(moves: list[Move], job: int) -> Move:
    return next(move for move in moves if move.job == job and move.place == "finished")


@pytest.mark.parametrize("how", DOCTORED)
def test_doctored_evidence_is_found(how: str) -> None:
    promise, doctor = DOCTORED[how]
    assert promise in {finding.promise for finding in check(doctor(true_evidence()))}


def test_what_runs_on_without_its_lease_is_excused_and_only_that() -> None:
    """A process is frozen at the till; its job is taken from it, and it goes on when it wakes."""
    evidence = with_event("ended", "r1", at=12.0)(true_evidence())
    frozen = {"fault": "frozen", "number": 1, "workers": [], "isolated": [1], "crash": False}
    healed = {"fault": "frozen", "number": 1, "workers": [], "outage": 0.0}

    def told(pid: int, at: float) -> set[str]:
        more = [Event("fault", at, "", 0, frozen | {"isolated": [pid]}), Event("healed", at + 1, "", 0, healed)]
        history = sorted([*evidence.history, *more], key=lambda e: e.at)
        return {finding.promise for finding in check(replace(evidence, history=history))}

    assert "limit" not in told(1, 8.5)
    assert "limit" in told(2, 8.5), "another process"
    assert "limit" in told(1, 12.5), "too late"
