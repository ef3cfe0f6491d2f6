"""Why a job is where it is, in sentences, from what the database knows of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pgjobq.job import Explanation, JobState
from pgjobq.overview import Pause, QuotaFigures, RateFigures

__all__ = ["Facts", "brief", "explained", "span", "span_of"]

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
class OtherJob:
    """A job that another one waits for: one that holds a place at its gate, or one that it was enqueued to follow."""

    job: int
    task: str
    ref: str | None
    state: JobState
    needs: Literal["s", "a", "f"] = "a"
    """What it has to do for that: succeed, end, or fail."""


@dataclass(frozen=True, slots=True)
class GateFacts:
    """The gate that a job waits at."""

    key: str
    limit: int | None
    in_order: bool
    """One at a time, in the order of the calls."""
    holders: tuple[OtherJob, ...]
    """Those that hold its places, a hundred at most."""
    before: int
    """How many wait there that were enqueued earlier."""
    share: str | None = None
    rate: RateFigures | None = None
    quota: QuotaFigures | None = None
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class WorkflowFacts:
    """A workflow that it belongs to, or waits for as a whole."""

    id: int
    name: str


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
    gate: GateFacts | None = None
    after: tuple[OtherJob, ...] = ()
    level: int | None = None
    """The priority that it has come to by its age, while it is ready."""
    workflow: WorkflowFacts | None = None
    wholes: tuple[WorkflowFacts, ...] = ()
    """The workflows that it waits for."""


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
    sentences = [*tellers[facts.job.state](facts), *_expiring(facts), *_belonging(facts)]
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
    return f"; at the pace of the last minute that is about {span_of(facts.ahead / facts.pace)}"


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
    until = f", for another {span_of((pause.until - now).total_seconds())}" if pause.until else " until it is resumed"
    return f"The {pause.kind} {pause.name!r} was paused by {pause.who} {span(now, pause.since)} ago{until}{why}."


def _scheduled(facts: Facts) -> Iterator[str]:
    job = facts.job
    assert job.run_at is not None
    late = (facts.now - job.run_at).total_seconds()
    if late > 0:
        yield f"It was due {span_of(late)} ago: a live worker makes it ready within a second."
        yield from _hindrances(facts)
        return
    yield f"It is due in {span_of(-late)}, at {job.run_at.isoformat(timespec='seconds')}."
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
    elif kind == "event":
        until = facts.job.run_at
        for_how_long = f" until {until.isoformat(timespec='seconds')}" if until else ""
        yield f"It waits for the event {name!r}{for_how_long}, in the midst of its work: `emit` lets it go on."
    elif kind == "gate":
        yield from _at_gate(facts, name)
    elif kind == "jobs":
        yield from _after(facts)
    elif kind != "paused":
        yield f"It waits for {facts.waits_for}."
    elif not facts.pauses:
        yield f"The task {name!r} was paused; it is no longer, and a worker with a free place takes this job."
    yield from _hindrances(facts)


def _at_gate(facts: Facts, name: str) -> Iterator[str]:
    gate = facts.gate
    if gate is None:  # somebody let it through between two looks
        yield f"It waits at the gate {name!r}."
        return
    if gate.pause is not None:
        yield _paused(gate.pause, facts.now)
    short = _short_of(gate, facts.now)
    held, most = len(gate.holders), f"{gate.limit} place{'s' * (gate.limit != 1)}"
    if gate.limit == 0:
        yield f"It waits at the gate {gate.key!r}, which is closed: its limit was set to 0."
    elif short is not None:
        yield f"It waits at the gate {gate.key!r}: {short}."
    elif gate.limit is None:
        yield f"It waits at the gate {gate.key!r}: a live worker lets jobs through as others start."
    elif held >= gate.limit:
        yield f"It waits at the gate {gate.key!r}, of whose {most} {_are(held)} taken, by {_named(gate.holders)}."
    else:
        yield f"It waits at the gate {gate.key!r}, of whose {most} {_are(held)} taken: a live worker lets it in soon."
    if gate.before:
        order = " The gate keeps the order of the calls." if gate.in_order else ""
        yield f"{gate.before:,} older {'job waits' if gate.before == 1 else 'jobs wait'} at it too.{order}"
    if gate.share is not None:
        yield f"Those of its share {gate.share!r} take turns with those of the others."


def _short_of(gate: GateFacts, now: datetime) -> str | None:
    """What but a place is missing, if anything is."""
    if gate.quota is not None and gate.quota.used >= gate.quota.limit:
        left = span_of((gate.quota.ends - now).total_seconds())
        return f"its quota of {gate.quota.limit:,} is spent, and begins anew in {left}"
    if gate.rate is not None and gate.rate.next > 0:
        return f"the next token comes in {_exact(gate.rate.next)}"
    return None


def _are(number: int) -> str:
    return f"{number or 'none'} {'are' if number > 1 else 'is'}"


_NEEDED = {"s": "to succeed", "a": "to end", "f": "to fail or be cancelled"}


def _after(facts: Facts) -> Iterator[str]:
    for whole in facts.wholes:
        yield f"It waits for all of workflow {whole.id} ({whole.name!r})."
    if not facts.after and not facts.wholes:
        yield "The jobs that it waited for have ended: a live worker lets it go on within a moment."
    for needs, wanted in _NEEDED.items():
        if others := [one for one in facts.after if one.needs == needs]:
            yield f"It waits for {_named(others)} {wanted}."


def _named(others: Sequence[OtherJob], most: int = 5) -> str:
    """`job 51 (pay, order:7, running) and 3 more`."""
    texts = [f"{one.job} ({', '.join(filter(None, (one.task, one.ref, one.state)))})" for one in others[:most]]
    if rest := len(others) - len(texts):
        texts.append(f"{rest if len(others) < 100 else 'many'} more")
    listed = " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
    return f"job{'s' * (len(others) > 1)} {listed}"


def _belonging(facts: Facts) -> Iterator[str]:
    """The whole it is part of."""
    if facts.workflow is not None:
        yield f"It belongs to workflow {facts.workflow.id} ({facts.workflow.name!r})."


def _expiring(facts: Facts) -> Iterator[str]:
    """When nobody needs it any more, if it may still come to that."""
    expires = facts.job.expires_at
    if expires is None or facts.job.state.final:
        return
    left = (expires - facts.now).total_seconds()
    if facts.job.state is JobState.RUNNING:
        yield f"No attempt of it starts after {expires.isoformat(timespec='seconds')}; this one may go on."
    elif left > 0:
        yield f"It expires in {span_of(left)}: unless an attempt starts before then, it ends as cancelled."
    else:
        yield f"It expired {span_of(-left)} ago: a live worker ends it as cancelled within seconds."


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
    return span_of((now - then).total_seconds())


def _exact(seconds: float) -> str:
    return f"{seconds:.1g} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else span_of(seconds)


_UNITS: tuple[tuple[float, Literal["s", "min", "h"]], ...] = ((120, "s"), (7200, "min"), (172_800, "h"))


def span_of(seconds: float) -> str:
    """So many seconds, roughly."""
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
