"""How a job is enqueued: the options of `using(...)`, checked once, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypedDict, get_args

from pgjobq.durations import to_seconds
from pgjobq.errors import InvalidOption, NaiveDatetime
from pgjobq.job import EnqueuedJob, Job
from pgjobq.task.gate import Gate, gates_fault
from pgjobq.task.unique import Unique
from pgjobq.wording import did_you_mean, quote
from pgjobq.workflow import PlannedJob, Workflow

__all__ = ["Options", "UsingOptions", "label_fault", "priority_fault", "tags_fault"]

LONGEST_LABEL: Final = 255
"""Characters of a queue's, task's, ref's or tag's name."""
MOST_TAGS: Final = 50
MOST_PREDECESSORS: Final = 10_000
LOWEST_PRIORITY, HIGHEST_PRIORITY = -9, 9


Needs = Literal["success", "any", "failure"]
Predecessor = int | EnqueuedJob | Job | PlannedJob | Workflow
Predecessors = Predecessor | Iterable[Predecessor]


class UsingOptions(TypedDict, total=False):
    """What `task.using(...)` takes; see Options."""

    conn: Any
    queue: str | None
    priority: int | None
    delay: float | timedelta | None
    run_at: datetime | None
    ref: str | None
    tags: list[str] | tuple[str, ...]
    headers: Mapping[str, str]
    gates: list[Gate] | tuple[Gate, ...] | None
    unique: Unique | None
    depends_on: Predecessors
    needs: Needs
    expires: float | timedelta | datetime | None


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one enqueue; None means: as the task says, or none.

    Args:
        queue: the queue's name, 1 to 255 characters; None: the task's own.
        priority: -9..9, lower runs first; None: the task's own.
        delay: seconds (or a timedelta) to wait, counted by the database's clock; 0 to 100 years.
        run_at: the instant to wait for, with a time zone; not together with delay. One in the past is due.
        ref: the business thing the job belongs to, such as "order:42"; 1 to 255 characters.
        tags: up to 50 labels of 1 to 255 characters, beside the task's own.
        headers: texts that travel with the job, such as a trace id.
        unique: what only one job of the task may have; None: as the task says.
        depends_on: the jobs (or their ids), up to 10,000, that must have ended before it may start; a workflow stands
            for all its jobs. A `delay` counts from when they have ended; a `run_at` is the earliest time all the same.
        needs: what of them. "success": all succeed, else it is cancelled; "any": all end; "failure": one fails or is
            cancelled, and it is cancelled when none does.
        conn: the connection, cursor or session whose transaction the job joins; None: one of our own.
        gates: the limits it shares with other jobs, up to 8; (): none; None: as the task says.
        expires: when nobody needs it any more: seconds (or a timedelta) above 0 from now, or an instant with a time
            zone. No attempt of it starts from then on; it ends as cancelled.

    Raises:
        InvalidOption: a value is out of its range; the sentence says which and what fits.
        NaiveDatetime: `run_at` has no time zone.
    """

    queue: str | None = None
    priority: int | None = None
    delay: float | None = None
    run_at: datetime | None = None
    ref: str | None = None
    tags: tuple[str, ...] = ()
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    conn: Any = None
    gates: tuple[Gate, ...] | None = None
    unique: Unique | None = None
    depends_on: tuple[int, ...] = ()
    needs: Needs = "success"
    expires: float | datetime | None = None

    def __post_init__(self) -> None:
        for name in ("queue", "ref"):
            value = getattr(self, name)
            if value is not None:
                _refuse(label_fault(name, value))
        if self.priority is not None:
            _refuse(priority_fault(self.priority))
        if self.delay is not None:
            object.__setattr__(self, "delay", _seconds(self.delay))
        if self.run_at is not None:
            _check_run_at(self.run_at)
            if self.delay is not None:
                raise InvalidOption(
                    f"delay={self.delay!r} and run_at={self.run_at.isoformat()!r} are two answers to one "
                    f"question; give one of them."
                )
        _refuse(tags_fault(self.tags))
        object.__setattr__(self, "tags", tuple(dict.fromkeys(self.tags)))
        _check_headers(self.headers)
        object.__setattr__(self, "depends_on", _job_ids(self.depends_on))
        _check_needs(self)
        object.__setattr__(self, "headers", dict(self.headers))
        if self.gates is not None:
            _refuse(gates_fault(self.gates))
            object.__setattr__(self, "gates", tuple(self.gates))
        if self.expires is not None:
            object.__setattr__(self, "expires", _expiry(self))
        if self.unique is not None and not isinstance(self.unique, Unique):
            raise InvalidOption(f"unique={quote(self.unique)}: wants a Unique(…), as in Unique(key='digest:7').")

    @property
    def are_plain(self) -> bool:
        """Whether they say nothing but where the job goes (and on which connection)."""
        return not (
            self.ref
            or self.tags
            or self.headers
            or self.delay is not None
            or self.run_at
            or self.depends_on
            or self.expires is not None
        )

    def merged(self, **changes: Any) -> Options:
        """These options with some replaced.

        Raises:
            InvalidOption: there is no such option, or its value is out of range.
            NaiveDatetime: `run_at` has no time zone.
        """
        for name in changes:
            if name not in _NAMES:
                raise InvalidOption(
                    f"there is no option {name!r}; using() takes {', '.join(_NAMES)}."
                    f"{did_you_mean(name, _NAMES)} The task's own arguments go to enqueue()."
                )
        return dataclasses.replace(self, **changes)


_NAMES = tuple(field.name for field in dataclasses.fields(Options))


def label_fault(name: str, value: object) -> str | None:
    """What is wrong with a queue's, task's, ref's or tag's text; None when nothing is."""
    if not isinstance(value, str):
        return f"{name}={quote(value)} is no text; wants a str of 1 to {LONGEST_LABEL} characters."
    if not value:
        return f"{name}='' is empty; wants 1 to {LONGEST_LABEL} characters."
    if len(value) > LONGEST_LABEL:
        return f"{name}={quote(value)} has {len(value)} characters; {LONGEST_LABEL} is the most."
    return _text_fault(f"{name}={quote(value)}", value)


def priority_fault(value: object) -> str | None:
    """What is wrong with a priority; None when nothing is."""
    if isinstance(value, bool) or not isinstance(value, int) or not LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        span = f"{LOWEST_PRIORITY} (runs first) to {HIGHEST_PRIORITY}"
        return f"priority={quote(value)}: wants a whole number from {span}."
    return None


def tags_fault(tags: object) -> str | None:
    """What is wrong with a collection of tags; None when nothing is."""
    if isinstance(tags, str) or not isinstance(tags, list | tuple | set | frozenset):
        return f"tags={quote(tags)}: wants a list of texts, such as ['nightly']."
    if len(tags) > MOST_TAGS:
        return f"tags has {len(tags)} entries; {MOST_TAGS} is the most."
    return next((fault for tag in tags if (fault := label_fault("tag", tag))), None)


def _text_fault(what: str, value: str) -> str | None:
    if "\0" in value:
        return f"{what} contains the character U+0000, which PostgreSQL cannot store."
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{what} contains a lone surrogate, which is no character and cannot be stored."
    return None


def _refuse(fault: str | None) -> None:
    if fault is not None:
        raise InvalidOption(fault)


def _seconds(delay: object) -> float:
    seconds = to_seconds(delay)
    if seconds is None:
        raise InvalidOption(
            f"delay={quote(delay)}: wants seconds or a timedelta up to 100 years; run_at takes an instant."
        )
    return seconds


def _check_run_at(run_at: object) -> None:
    if not isinstance(run_at, datetime):
        raise InvalidOption(f"run_at={quote(run_at)}: wants a datetime with a time zone; for a span of time use delay.")
    if run_at.utcoffset() is None:
        raise NaiveDatetime(
            f"run_at={quote(run_at)} has no time zone; use datetime.now(timezone.utc) + …, or "
            f".replace(tzinfo=…) with the zone that is meant."
        )


def _expiry(options: Options) -> float | datetime:
    """Seconds or an instant, later than the job is due as far as can be told here."""
    expires: object = options.expires
    if isinstance(expires, datetime):
        if expires.utcoffset() is None:
            raise NaiveDatetime(f"expires={quote(expires)} has no time zone; use datetime.now(timezone.utc) + ….")
        late = options.run_at is not None and options.run_at >= expires
    else:
        seconds = to_seconds(expires)
        if not seconds:
            raise InvalidOption(
                f"expires={quote(expires)}: wants seconds or a timedelta above 0, up to 100 years, or a datetime."
            )
        late = options.delay is not None and options.delay >= seconds
        expires = seconds
    if late:
        due = options.run_at if options.delay is None else options.delay
        raise InvalidOption(
            f"expires={quote(options.expires)} comes before it is due ({quote(due)}): it would never run."
        )
    return expires


def _check_headers(headers: object) -> None:
    if not isinstance(headers, Mapping):
        raise InvalidOption(f"headers={quote(headers)}: wants a dict of text to text.")
    for key, value in headers.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidOption(f"headers[{quote(key)}]={quote(value)}: names and values of headers are texts.")
        _refuse(_text_fault(f"headers[{quote(key)}]", key + value))


_NAMED = EnqueuedJob | Job | PlannedJob | Workflow


def _job_ids(given: object) -> tuple[int, ...]:
    jobs = [given] if isinstance(given, int | _NAMED) else given
    if isinstance(jobs, str | bytes | Mapping) or not isinstance(jobs, Iterable):
        raise InvalidOption(f"depends_on={quote(given)}: wants jobs or their ids, such as [first, second].")
    ids = tuple(dict.fromkeys(job.id if isinstance(job, _NAMED) else job for job in jobs))
    for job in ids:
        if type(job) is not int or not 0 < job < 2**63:
            raise InvalidOption(f"depends_on holds {quote(job)}: wants jobs or their ids, from 1.")
    if len(ids) > MOST_PREDECESSORS:
        raise InvalidOption(f"depends_on has {len(ids):,} jobs; {MOST_PREDECESSORS:,} is the most.")
    return ids


def _check_needs(options: Options) -> None:
    needs: object = options.needs
    if needs not in get_args(Needs):
        near = did_you_mean(needs, get_args(Needs)) if isinstance(needs, str) else ""
        raise InvalidOption(f"needs={quote(needs)}: wants one of {', '.join(get_args(Needs))}.{near}")
