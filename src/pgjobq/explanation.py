"""Why a job is where it is, in sentences, from what the database knows of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pgjobq.job import Explanation, JobState, Pause

__all__ = ["Facts", "explained"]

MOST_AHEAD = 100_000
"""Where the count of the jobs ahead stops."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Of the job's row in the view `jobs`, what matters here."""

    id: int
    task: str
    queue: str
    state: JobState
    attempt: int
    max_attempts: int
    priority: int
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    reason: str | None
    args: Any = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the statement `explain` finds."""

    job: JobFacts
    now: datetime
    waits_for: str | None
    pauses: tuple[Pause, ...]
    alive: int
    serving: int
    knowing: int
    ahead: int
    pace: float
    """Jobs that end in a second, of all queues."""
    holder: str | None
    lease_over: bool | None
    cancel_requested: bool
    failures: int
    error: str | None
    level: int | None = None
    """The priority that it has come to by its age, while it is ready."""


def explained(facts: Facts) -> Explanation:
    """The sentences for these facts."""
    tellers = {
        JobState.READY: _ready,
        JobState.SCHEDULED: _scheduled,
        JobState.BLOCKED: _blocked,
        JobState.RUNNING: _running,
        JobState.FAILED: _failed,
        JobState.CANCELLED: _cancelled,
        JobState.SUCCEEDED: _succeeded,
    }
    sentences = [*tellers[facts.job.state](facts), *_expiring(facts)]
    return Explanation(facts.job.id, facts.job.state, tuple(sentences))


def _ready(facts: Facts) -> Iterator[str]:
    job = facts.job
    yield f"It has been ready for {span(facts.now, job.run_at or job.created_at)} and may start at any time."
    if facts.level is not None and facts.level < job.priority:
        yield f"By waiting it has risen from priority {job.priority} to {facts.level}."
    hindered = list(_hindrances(facts))
    yield from hindered
    if facts.ahead:
        count = f"{facts.ahead:,}" if facts.ahead < MOST_AHEAD else f"{MOST_AHEAD:,} or more"
        older = "job is" if facts.ahead == 1 else "jobs are"
        yield f"{count} {older} ahead of it in queue {job.queue!r}{_about(facts)}."
    elif not hindered:
        yield f"Nothing is ahead of it in queue {job.queue!r}: a worker with a free place takes it next."


def _about(facts: Facts) -> str:
    if facts.pace <= 0 or facts.ahead >= MOST_AHEAD:
        return ""
    return f"; at the pace of the last minute that is about {_span(facts.ahead / facts.pace)}"


def _hindrances(facts: Facts) -> Iterator[str]:
    """What keeps it from being started, whoever comes."""
    job = facts.job
    for pause in facts.pauses:
        yield _paused(pause, facts.now)
    if not facts.alive:
        yield "No worker is alive: start one with `pgjobq worker`."
    elif not facts.serving:
        yield f"No live worker serves queue {job.queue!r}: of {facts.alive} none has it among its --queues."
    elif not facts.knowing:
        yield f"No live worker of queue {job.queue!r} knows the task {job.task!r}: deploy one that does."


def _paused(pause: Pause, now: datetime) -> str:
    why = f": {pause.reason}" if pause.reason else ""
    until = f", for another {_span((pause.until - now).total_seconds())}" if pause.until else " until it is resumed"
    return f"The {pause.kind} {pause.name!r} was paused by {pause.who} {span(now, pause.since)} ago{until}{why}."


def _scheduled(facts: Facts) -> Iterator[str]:
    job = facts.job
    assert job.run_at is not None
    late = (facts.now - job.run_at).total_seconds()
    if late > 0:
        yield f"It was due {_span(late)} ago: a live worker makes it ready within a second."
        yield from _hindrances(facts)
        return
    yield f"It is due in {_span(-late)}, at {job.run_at.isoformat(timespec='seconds')}."
    if facts.error is not None:
        yield f"Attempt {job.attempt} of {job.max_attempts} failed with {brief(facts.error)}."
    yield from _hindrances(facts)


def _blocked(facts: Facts) -> Iterator[str]:
    kind, _, name = (facts.waits_for or "").partition(":")
    task, _, version = name.partition(" version:")
    if kind == "task" and version:
        yield f"It waits for a worker that knows version {version} of the arguments of {task!r}: deploy one that does."
    elif kind == "task":
        yield f"It waits for a worker that knows {name!r}: the last one that took it did not."
    elif kind == "gate":
        yield f"It waits at the gate {name!r}: others have all its places, or come before it."
    elif kind != "paused":
        yield f"It waits for {facts.waits_for}."
    elif not facts.pauses:
        yield f"The task {name!r} was paused; it is no longer, and a worker with a free place takes this job."
    yield from _hindrances(facts)


def _expiring(facts: Facts) -> Iterator[str]:
    """When nobody needs it any more, if it may still come to that."""
    expires = facts.job.expires_at
    if expires is None or facts.job.state.final:
        return
    left = (expires - facts.now).total_seconds()
    if facts.job.state is JobState.RUNNING:
        yield f"No attempt of it starts after {expires.isoformat(timespec='seconds')}; this one may go on."
    elif left > 0:
        yield f"It expires in {_span(left)}: unless an attempt starts before then, it ends as cancelled."
    else:
        yield f"It expired {_span(-left)} ago: a live worker ends it as cancelled within seconds."


def _running(facts: Facts) -> Iterator[str]:
    job = facts.job
    where = facts.holder or "a worker that is no longer on the list"
    began = f" for {span(facts.now, job.started_at)}" if job.started_at else ""
    yield f"It has been running{began} on {where}, attempt {job.attempt} of {job.max_attempts}."
    if facts.lease_over:
        yield "Its worker has stopped renewing the lease: a live worker takes the job back within a lease."
    if facts.cancel_requested:
        yield "Somebody wants it cancelled; its handler has been told to end."


def _failed(facts: Facts) -> Iterator[str]:
    job = facts.job
    after = "attempt" if facts.failures == 1 else "attempts"
    yield f"It failed for good {_ago(facts)}, after {facts.failures} failed {after} of {job.max_attempts}."
    if facts.error is not None:
        yield f"The last error: {brief(facts.error)}."
    if facts.failures < job.max_attempts:
        yield "It had attempts left: a rule of its task gave up on this error."
    yield f"`pgjobq jobs retry {job.id}` runs it again, with a fresh budget of attempts."


def _cancelled(facts: Facts) -> Iterator[str]:
    yield f"It was cancelled {_ago(facts)}: {facts.job.reason or 'no reason was given'}."


def _succeeded(facts: Facts) -> Iterator[str]:
    job = facts.job
    tries = "its first attempt" if job.attempt <= 1 else f"attempt {job.attempt}"
    yield f"It succeeded {_ago(facts)}, in {tries}."


def _ago(facts: Facts) -> str:
    return f"{span(facts.now, facts.job.finished_at or facts.now)} ago"


def span(now: datetime, then: datetime) -> str:
    """The time between the two, roughly: `12 s`, `4 min`, `3 h`, `2 days`."""
    return _span((now - then).total_seconds())


_UNITS: tuple[tuple[float, Literal["s", "min", "h"]], ...] = ((120, "s"), (7200, "min"), (172_800, "h"))


def _span(seconds: float) -> str:
    divisor = 1.0
    for below, unit in _UNITS:
        if seconds < below:
            return f"{max(0, round(seconds / divisor))} {unit}"
        divisor *= 60
    return f"{round(seconds / 86_400)} days"


def brief(text: str, limit: int = 200) -> str:
    """The first line of an error, cut."""
    line = text.strip().partition("\n")[0].rstrip(".")
    return line if len(line) <= limit else line[: limit - 1] + "…"
