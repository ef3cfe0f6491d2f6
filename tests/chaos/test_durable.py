"""The rules of what lasts longer than an attempt, of rates and of shares, as the checker sees them: true evidence
passes, each way of doctoring it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker import Evidence, Limits, check
from chaos.history import Event
from chaos.ledger import Entry, Ledger, Limit, Memory, Move

WIRE = Limit("wire", 0, rate=2.0, burst=1)
ENDS = {"work": "succeeded", "fail": "failed"}
MAILS = "abaabab"
"""Whose mails pass, in their order; there are two places, so up to four of one may pass while another waits."""


def event(what: str, at: float, key: str = "", attempt: int = 0, **facts: Any) -> Event:
    return Event(what, at, key, attempt, facts)


class Story:
    """Jobs and what becomes of them, one after the other; each deed takes a tenth of a second."""

    def __init__(self) -> None:
        self.jobs: dict[str, Entry] = {}
        self.moves: list[Move] = []
        self.history: list[Event] = []

    @property
    def now(self) -> float:
        return len(self.moves) / 10

    def move(self, key: str, place: str, deed: str = "INSERT", at: float | None = None) -> None:
        entry = self.jobs[key]
        by, at = "pgjobq worker 1", 100 + self.now if at is None else at
        self.moves.append(Move(place, deed, entry.job, entry.attempt, "w", by, at))

    def write(self, key: str, task: str = "work", **facts: Any) -> None:
        """A job is enqueued."""
        self.jobs[key] = Entry(len(self.jobs) + 1, key, task, "ready", 0, 20, **facts)
        self.move(key, "job")
        self.history.append(event("enqueued", self.now, key, fate="committed", wall=100 + self.now))

    def start(self, key: str, at: float | None = None) -> None:
        """Its next attempt starts."""
        self.jobs[key] = replace(self.jobs[key], attempt=self.jobs[key].attempt + 1)
        self.move(key, "running", at=at)
        self.tell("started", key, pid=1, at_worker="w", task="work", job=self.jobs[key].job)

    def tell(self, what: str, key: str, **facts: Any) -> None:
        self.history.append(event(what, self.now, key, self.jobs[key].attempt, **facts))

    def leave(self, key: str) -> None:
        """It sleeps, or waits."""
        self.tell("ended", key, how="Suspension", pid=1)
        self.move(key, "running", "DELETE")

    def end(self, key: str, state: str = "succeeded") -> None:
        """It comes to its end; one that was cancelled had not started."""
        if state != "cancelled":
            self.tell("ended", key, how="returned" if state == "succeeded" else "ValueError", pid=1)
            self.move(key, "running", "DELETE")
        self.jobs[key] = replace(self.jobs[key], state=state)
        self.move(key, "finished")


def true_story() -> Evidence:
    story = Story()
    story.write("trip")
    story.start("trip")
    story.tell("did", "trip", name="leg", value="one")
    story.move("trip", "step")
    story.tell("kept", "trip", name="leg", value="one")
    story.tell("asleep", "trip", seconds=0.2)
    story.leave("trip")
    for key in ("early", "late"):
        story.write(key)
        story.start(key)
    story.leave("early")
    story.history += [
        event("emitted", 1.1, "news", payload="no", fate="rolled_back", began=1.0),
        event("emitted", 1.2, "news", payload="first", fate="committed", began=1.1),
        event("emitted", 1.4, "news", payload="second", fate="committed", began=1.3),
    ]
    story.start("early")
    story.start("trip")
    story.tell("kept", "trip", name="leg", value="one")
    story.tell("awake", "trip")
    story.end("trip")
    for key in ("early", "late"):
        story.tell("met", key, event="news", payload="first")
        story.end(key)
    for key, task in {"m1": "work", "m2": "fail", "both": "", "all": "", "bad": "", "good": ""}.items():
        story.write(key, task or "work")
    waits = {
        "both": {"needs": "success", "for": ["m1", "m2"]},
        "bad": {"needs": "failure", "for": ["m1", "m2"]},
        "all": {"needs": "any", "for": ["m1", "m2"]},
        "good": {"needs": "success", "for": ["m1"]},
    }
    story.history.append(event("flow", story.now, waits=waits))
    story.start("m2")
    story.jobs["m2"] = replace(story.jobs["m2"], max_attempts=1)
    story.end("m2", "failed")
    story.end("both", "cancelled")
    story.start("bad")
    story.end("bad")
    story.start("m1")
    story.end("m1")
    for key in ("all", "good"):
        story.start(key)
        story.end(key)
    for n in range(4):
        story.write(f"t{n}", limits=[WIRE])
        story.start(f"t{n}", at=200 + n / 2)
        story.end(f"t{n}")
    mails = [f"{share}{n}" for n, share in enumerate(MAILS)]
    for key in mails:
        story.write(key, limits=[Limit("mail", 2, share=key[0])])
    for key in mails:
        story.move(key, "gate_pass")
        story.start(key)
        story.end(key)
    memories = [Memory(1, "leg", "step", 1, "one")]
    ledger = Ledger(list(story.jobs.values()), story.moves, memories=memories)
    history = sorted(story.history, key=lambda e: e.at)
    return Evidence(history, ledger, ENDS, (), limits=Limits(lease=3, poll=0.5, slack=2))


def test_a_true_story_passes() -> None:
    assert check(true_story()) == []


Doctor = Callable[[Evidence], Evidence]


def with_event(what: str, key: str, attempt: int = 0, **changes: Any) -> Doctor:
    """That event with another time, or with other facts."""

    def doctor(evidence: Evidence) -> Evidence:
        at = changes.get("at")
        facts = {name: value for name, value in changes.items() if name != "at"}
        history = [
            replace(e, at=e.at if at is None else at, facts=e.facts | facts)
            if (e.what, e.key) == (what, key) and attempt in (0, e.attempt)
            else e
            for e in evidence.history
        ]
        assert history != evidence.history
        return replace(evidence, history=sorted(history, key=lambda e: e.at))

    return doctor


def with_more(*events: Event) -> Doctor:
    return lambda evidence: replace(evidence, history=sorted([*evidence.history, *events], key=lambda e: e.at))


def with_ledger(change: Callable[[Ledger], Ledger]) -> Doctor:
    return lambda evidence: replace(evidence, ledger=change(evidence.ledger))


def job_of(ledger: Ledger, key: str) -> int:
    return next(entry.job for entry in ledger.jobs if entry.key == key)


def earlier(key: str, before: str) -> Doctor:
    """The first job is leased before the other one ends."""

    def change(ledger: Ledger) -> Ledger:
        moves, job, other = list(ledger.moves), job_of(ledger, key), job_of(ledger, before)
        lease = next(m for m in moves if (m.job, m.place) == (job, "running"))
        moves.remove(lease)
        moves.insert(next(n for n, m in enumerate(moves) if (m.job, m.place) == (other, "finished")), lease)
        return replace(ledger, moves=moves)

    return with_ledger(change)


def ended_as(key: str, state: str) -> Doctor:
    return with_ledger(
        lambda ledger: replace(ledger, jobs=[replace(e, state=state) if e.key == key else e for e in ledger.jobs])
    )


def started_at(key: str, at: float) -> Doctor:
    def change(ledger: Ledger) -> Ledger:
        job = job_of(ledger, key)
        moves = [replace(m, at=at) if (m.job, m.place) == (job, "running") else m for m in ledger.moves]
        return replace(ledger, moves=moves)

    return with_ledger(change)


def unfairly(ledger: Ledger) -> Ledger:
    """Of the mails that wait the oldest pass first, and there are many of one shop."""
    moves = list(ledger.moves)
    (place,) = (n for n, m in enumerate(moves) if (m.job, m.place) == (job_of(ledger, "b4"), "gate_pass"))
    return replace(
        ledger, moves=[*moves[:place], *[replace(moves[place], job=job_of(ledger, "a2"))] * 3, *moves[place:]]
    )


DOCTORED: dict[str, tuple[str, Doctor]] = {
    "a step is done again": ("step", with_more(event("did", 1.15, "trip", 2, name="leg", value="two"))),
    "a step gives another value": ("step", with_event("kept", "trip", 2, value="two")),
    "a step is told of that nobody remembers": ("step", with_ledger(lambda ledger: replace(ledger, memories=[]))),
    "a step is remembered by who has lost the job": (
        "c",
        with_ledger(lambda ledger: replace(ledger, moves=[*ledger.moves, Move("step", "INSERT", 1, 1, "", "", 199.0)])),
    ),
    "a checkpoint is kept by an earlier attempt": (
        "c",
        with_ledger(
            lambda ledger: replace(
                ledger,
                moves=[
                    one
                    for move in ledger.moves
                    for one in (move, *[Move("checkpoint", "INSERT", 1, 1, "", "", 1.0)] * (move == lease(ledger)))
                ],
            )
        ),
    ),
    "somebody wakes too early": ("sleep", with_event("asleep", "trip", seconds=5.0)),
    "somebody sleeps twice": ("sleep", with_more(event("ended", 1.6, "trip", 3, how="Suspension", pid=1))),
    "two are told different things": ("event", with_event("met", "late", payload="second")),
    "somebody is told what was rolled back": ("event", with_event("met", "late", payload="no")),
    "the last one counts": (
        "event",
        lambda evidence: with_event("met", "late", payload="second")(
            with_event("met", "early", payload="second")(evidence)
        ),
    ),
    "a callback comes before the end of all": ("flow", earlier("all", "m1")),
    "a callback comes before the failure": ("flow", earlier("bad", "m2")),
    "a job comes before its predecessor's end": ("flow", earlier("good", "m1")),
    "a job is cancelled in vain": ("flow", ended_as("good", "cancelled")),
    "a callback for failures is cancelled in vain": ("flow", ended_as("bad", "cancelled")),
    "a job runs though its predecessor failed": ("flow", ended_as("both", "succeeded")),
    "a callback comes to no end": ("a", ended_as("all", "blocked")),
    "two start too soon after one another": ("rate", started_at("t1", 200.3)),
    "four start in a time for three": ("rate", started_at("t3", 201.2)),
    "one shop's mails overtake another's": ("fair", with_ledger(unfairly)),
}


def lease(ledger: Ledger) -> Move:
    """The second one of the trip."""
    return next(m for m in ledger.moves if (m.job, m.place, m.attempt) == (1, "running", 2))


@pytest.mark.parametrize("how", DOCTORED)
def test_a_doctored_story_is_found(how: str) -> None:
    promise, doctor = DOCTORED[how]
    assert promise in {finding.promise for finding in check(doctor(true_story()))}


def test_a_lease_that_was_given_back_has_used_no_token() -> None:
    """Of two leases with one number only the last one was an attempt."""
    evidence = true_story()
    ledger = evidence.ledger
    job = job_of(ledger, "t1")
    taken = Move("running", "INSERT", job, 1, "w", "pgjobq worker 1", 200.1)
    moves = list(ledger.moves)
    place = next(n for n, m in enumerate(moves) if (m.job, m.place) == (job, "running"))
    moves[place:place] = [taken, replace(taken, deed="DELETE")]
    assert check(replace(evidence, ledger=replace(ledger, moves=moves))) == []


def test_who_does_a_step_after_he_has_lost_the_job_is_excused() -> None:
    """What it does it does in vain: nobody remembers it."""
    stale = event("did", 9.0, "trip", 0, name="leg", value="none")
    assert check(with_more(stale)(true_story())) == []
