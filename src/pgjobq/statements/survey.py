"""What people look at (a dashboard's pages), as Statements, and the values they give."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from pgjobq.errors import InvalidOption
from pgjobq.job import Job, JobState
from pgjobq.statements.jobs import id_text, read_job
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text
from pgjobq.wording import quote

__all__ = [
    "Counts",
    "FailureGroup",
    "Failures",
    "Filter",
    "GateLimit",
    "Listed",
    "Page",
    "QueueFigures",
    "RunningJob",
    "WorkerFigures",
    "between",
    "counts",
    "failures",
    "gate_limits",
    "look",
    "pick",
    "pulse",
    "queues",
    "workers",
]

T = TypeVar("T")
_PLAIN_KEY = re.compile(r"\d{1,18}")
_TIMED_KEY = re.compile(r"\d{4,5}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?[+-]\d\d(?::\d\d){0,2}\|\d{1,18}")
_TIMED = frozenset({"scheduled", "failed", "cancelled"})
ALL_IDS = (0, 2**63 - 1)


class Counts(msgspec.Struct, frozen=True):
    """How many jobs stand in each state; a count that equals `cap` means that many or more."""

    ready: int
    running: int
    scheduled: int
    blocked: int
    succeeded: int
    failed: int
    cancelled: int
    ended: int
    """About how many have ended, whatever way: the planner's estimate."""
    cap: int


class QueueFigures(msgspec.Struct, frozen=True):
    """What stands in one queue; a count that equals `cap` means that many or more."""

    queue: str
    ready: int
    running: int
    scheduled: int
    blocked: int
    workers: int
    """Workers alive that serve it."""
    oldest: datetime | None
    """When the first of its ready jobs was enqueued."""
    cap: int


class RunningJob(msgspec.Struct, frozen=True):
    """A job that a worker runs now."""

    job: int
    task: str
    queue: str
    ref: str | None
    attempt: int
    started_at: datetime


class WorkerFigures(msgspec.Struct, frozen=True):
    """One worker process, and what it runs."""

    id: str
    host: str
    pid: int
    app: str
    version: str
    concurrency: int
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    started_at: datetime
    beat_at: datetime
    alive: bool
    busy: int
    running: tuple[RunningJob, ...]


class GateLimit(msgspec.Struct, frozen=True):
    """A gate's limit that somebody set: it goes before what its jobs say."""

    key: str
    """One key, or the name of a gate for all its keys."""
    concurrency: int | None
    rate: dict[str, Any] | None
    quota: dict[str, Any] | None
    weights: dict[str, int] | None
    set_at: datetime


class FailureGroup(msgspec.Struct, frozen=True):
    """Failed jobs of one task that failed for the same reason: the errors differ in numbers, ids and quoted texts."""

    fingerprint: str
    task: str
    kind: str
    message: str
    """Of the newest one."""
    jobs: int
    newest: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs; None: any. `text` is looked for in refs, arguments and errors, capitals or not."""

    state: JobState | None = None
    queue: str | None = None
    task: str | None = None
    ref: str | None = None
    tag: str | None = None
    text: str | None = None
    error: str | None = None
    """A FailureGroup's fingerprint."""
    argument: str | None = None
    """A path into the arguments, and what stands there, JSON or a plain text: `order_id=7`, `customer.name=Ada`."""
    worker: str | None = None
    """The id of the worker process that runs it, or ran it last."""
    since: datetime | None = None
    """Enqueued at this time or later."""
    until: datetime | None = None
    """Enqueued before this time."""
    workflow: int | None = None
    """The id of the workflow to which it belongs."""


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """What was found of a listing, and how it goes on."""

    jobs: list[T]
    after: str | None
    """What continues the list, None at its end."""
    searched: int
    """Jobs that were looked at for this; it may be short because there is a limit to that."""


Page = Listed[Job]


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed jobs by what went wrong, the largest groups first."""

    groups: list[FailureGroup]
    after: str | None
    """What goes on to older ones, None when there are none."""
    searched: int
    """Failed jobs that are told of."""


def counts(schema: str, cap: int) -> Statement[Counts]:
    """How many jobs stand in each state."""
    return Statement("survey_counts", statement_text("survey_counts", schema), (str(cap),), _one(Counts))


def queues(schema: str, cap: int) -> Statement[list[QueueFigures]]:
    """Every queue and what stands in it."""
    return Statement("survey_queues", statement_text("survey_queues", schema), (str(cap),), _each(QueueFigures))


def workers(schema: str, most_jobs: int) -> Statement[list[WorkerFigures]]:
    """Every worker, with at most so many of the jobs that it runs."""
    text = statement_text("survey_workers", schema)
    return Statement("survey_workers", text, (str(most_jobs),), _each(WorkerFigures))


def gate_limits(schema: str) -> Statement[list[GateLimit]]:
    """The limits of gates that were set, by key."""
    return Statement("survey_gate_limits", statement_text("survey_gate_limits", schema), (), _each(GateLimit))


def pulse(schema: str) -> Statement[str]:
    """A text that changes when anything does."""
    return Statement("survey_pulse", statement_text("survey_pulse", schema), (), lambda rows: str(rows[0][0]))


def failures(schema: str, newest: int, after: str | None, seconds: float) -> Statement[Failures]:
    """So many of the newest failed jobs, grouped; raises InvalidOption for an `after` that nobody gave."""
    _check_key(after, _TIMED_KEY)

    def decode(rows: Rows) -> Failures:
        *groups, (_, last, searched) = rows
        return Failures([_group(text) for text, _, _ in groups], last, int(searched))

    return Statement(
        "survey_failures", _composed("survey_failures", schema), (str(newest), after, repr(seconds)), decode
    )


def between(schema: str, since: datetime | None, until: datetime | None) -> Statement[tuple[int, int]]:
    """From which id until before which jobs of that time may be."""
    params = (_moment(since), _moment(until))
    text = statement_text("survey_between", schema)
    return Statement("survey_between", text, params, lambda rows: (int(rows[0][0]), int(rows[0][1])))


def look(
    schema: str,
    wanted: Filter,
    *,
    after: str | None,
    limit: int,
    window: int,
    unsearched: Mapping[str, list[str] | None] | None,
    ids: tuple[int, int] = ALL_IDS,
    seconds: float = 3600.0,
) -> Statement[Page]:
    """A page of jobs; raises InvalidOption for an `after` that no page gave.

    Args:
        after: Page.after of the page before.
        limit: jobs on the page.
        window: how many jobs are looked at for it.
        unsearched: arguments, by task, whose values are not searched (None: all of the task's); None: neither
            arguments nor errors are.
        ids: what `between` told of the filter's times.
        seconds: after which no more are looked at.
    """
    text, params = _asked(schema, wanted, after, limit, window, unsearched, ids, seconds, "shown_whole")
    return Statement("look", text, params, lambda rows: _listed(rows, limit, read_job))


def pick(
    schema: str,
    wanted: Filter,
    *,
    after: str | None,
    limit: int,
    window: int,
    unsearched: Mapping[str, list[str] | None] | None,
    ids: tuple[int, int] = ALL_IDS,
    seconds: float = 3600.0,
) -> Statement[Listed[int]]:
    """The same, and of each job its id only."""
    text, params = _asked(schema, wanted, after, limit, window, unsearched, ids, seconds, "shown_id")
    return Statement("pick", text, params, lambda rows: _listed(rows, limit, int))


def _asked(
    schema: str,
    wanted: Filter,
    after: str | None,
    limit: int,
    window: int,
    unsearched: Mapping[str, list[str] | None] | None,
    ids: tuple[int, int],
    seconds: float,
    shown: str,
) -> tuple[str, tuple[str | None, ...]]:
    """The statement of a search, and its parameters."""
    source = _source(wanted)
    _check_key(after, _TIMED_KEY if source in _TIMED else _PLAIN_KEY)
    params = (
        after,
        str(window),
        wanted.queue,
        wanted.task,
        wanted.ref,
        wanted.tag,
        wanted.text,
        None if unsearched is None else msgspec.json.encode(unsearched).decode(),
        wanted.error,
        str(limit + 1),
        None if wanted.workflow is None else id_text(wanted.workflow),
        None if wanted.argument is None else _contained(wanted.argument),
        None if wanted.worker is None else _worker(wanted.worker),
        _moment(wanted.since),
        _moment(wanted.until),
        *map(str, ids),
        repr(seconds),
    )
    state = wanted.state if source in ("ref", "workflow") else None
    return _composed("look", schema, f"source_{source}", f"state_{state or 'any'}", shown), params


def _source(wanted: Filter) -> str:
    """What leads: whatever finds the fewest."""
    if wanted.ref is not None:
        return "ref"
    if wanted.workflow is not None:
        return "workflow"
    if wanted.state in (JobState.FAILED, JobState.CANCELLED) and (wanted.since or wanted.until):
        return f"{wanted.state}_enqueued"
    return str(wanted.state or "any")


def _check_key(after: str | None, shape: re.Pattern[str]) -> None:
    if after is not None and not shape.fullmatch(after):
        raise InvalidOption(f"after={quote(after)}: wants what a page of this list gave")


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _contained(argument: str) -> str:
    """What arguments must contain, as JSON, for `customer.id=7`."""
    path, equals, text = argument.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise InvalidOption(
            f"argument={quote(argument)}: wants a path and a value, such as order_id=7 or customer.name=Ada"
        )
    try:
        value = msgspec.json.decode(text.strip())
    except msgspec.DecodeError:
        value = text.strip()
    for name in reversed(names):
        value = {name: value}
    return msgspec.json.encode(value).decode()


def _worker(worker: str) -> str:
    try:
        return str(UUID(worker))
    except ValueError:
        raise InvalidOption(f"worker={quote(worker)}: wants a worker's id, as the page of a job tells it") from None


@cache
def _composed(
    name: str, schema: str, source: str | None = None, state: str | None = None, shown: str | None = None
) -> str:
    """A statement with its parts put in: they are shared, and no driver can pass them as parameters."""
    text = statement_text(name, schema)
    for word, part in (("SOURCE", source), ("STATE", state), ("SHOWN", shown)):
        if part is not None:
            text = re.sub(rf"\b{word}\b", lambda _, part=part: statement_text(part, schema), text)  # type: ignore[misc]
    fault = statement_text("fault_of", schema)
    text = text.replace("FAULT_OF_L", fault.replace("FAILED", "l.job")).replace(
        "FAULT_OF_S", fault.replace("FAILED", "s.job")
    )
    return text.replace("FINGERPRINT", statement_text("fingerprint", schema))


def _listed(rows: Rows, limit: int, read: Callable[[Any], T]) -> Listed[T]:
    *found, (_, last, searched) = rows
    jobs = [read(text) for text, _, _ in found[:limit]]
    if len(found) > limit:
        return Listed(jobs, found[limit - 1][1], int(searched))
    return Listed(jobs, last, int(searched))


_group = msgspec.json.Decoder(FailureGroup).decode


def _one(kind: type[T]) -> Callable[[Rows], T]:
    decode = msgspec.json.Decoder(kind).decode
    return lambda rows: decode(rows[0][0])


def _each(kind: type[T]) -> Callable[[Rows], list[T]]:
    decode = msgspec.json.Decoder(kind).decode
    return lambda rows: [decode(text) for (text,) in rows]
