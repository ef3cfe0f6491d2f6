"""What a search for jobs may ask for, and its check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

import msgspec

from pgjobq.errors import InvalidOption, NaiveDatetime
from pgjobq.job import JobState
from pgjobq.wording import did_you_mean, quote

__all__ = ["Filters", "conditions"]


class Filters(TypedDict, total=False):
    """Filters for `queue.find`, `count`, `retry_all`, …; a job must pass all that are given, None passes every job."""

    state: JobState | str | None
    queue: str | None
    task: str | None
    ref: str | None
    tag: str | None
    """One of its tags."""
    worker: str | UUID | None
    """The id of the worker process that runs it, or ran it last."""
    since: datetime | None
    """Enqueued at this time or later."""
    until: datetime | None
    """Enqueued before this time."""
    finished_before: datetime | None
    error: str | None
    """A piece of an error of its attempts, `KeyError` or `no such customer`; upper and lower case are the same."""
    args: Mapping[str, Any] | None
    """Arguments that it has, at any depth: {"customer": {"id": 7}}. Sealed payloads are never found."""
    ids: Iterable[int] | None
    workflow: int | None
    """The id of the workflow that it belongs to."""


def conditions(filters: Filters) -> dict[str, str]:
    """The filters as text for the statements. Raises InvalidOption, NaiveDatetime."""
    found: dict[str, str] = {}
    for name, value in filters.items():
        if name not in Filters.__annotations__:
            raise InvalidOption(f"there is no filter {quote(name)}.{did_you_mean(name, Filters.__annotations__)}")
        if value is not None:
            found[name] = _text(name, value)
    return found


def _text(name: str, value: Any) -> str:
    if name == "args":
        return msgspec.json.encode(value).decode()
    if name == "ids":
        return "{" + ",".join(str(int(job)) for job in value if 0 < int(job) < 2**63) + "}"
    if name == "workflow":
        if type(value) is not int:
            raise InvalidOption(f"workflow={quote(value)}: wants the id of one, as queue.workflows() tells it")
        return str(value) if 0 < value < 2**63 else "0"
    if name in ("since", "until", "finished_before"):
        if not isinstance(value, datetime):
            raise InvalidOption(f"{name}={quote(value)}: wants a datetime")
        if value.utcoffset() is None:
            raise NaiveDatetime(f"{name}={value!r} has no time zone: datetime.now(UTC) has one")
        return value.isoformat()
    if name == "worker":
        try:
            return str(UUID(str(value)))
        except ValueError:
            raise InvalidOption(f"worker={quote(value)}: wants a worker's id, as queue.workers() tells it") from None
    if name == "state":
        try:
            return JobState(value).value
        except ValueError:
            raise InvalidOption(f"state={quote(value)}: wants one of {', '.join(JobState)}") from None
    if not isinstance(value, str) or "\0" in value:
        raise InvalidOption(f"{name}={quote(value)}: wants a text")
    return value
