"""A listing's filter: from a query string (or a form), and back into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from urllib.parse import urlencode

from pgjobq.job import JobState
from pgjobq.survey import Filter

__all__ = ["FIELDS", "BadFilter", "as_query", "is_empty", "read_filter", "without"]

FIELDS = tuple(field.name for field in fields(Filter))
LONGEST = 500


class BadFilter(Exception):
    """A filter that nobody can have meant; the text is for the visitor."""


def read_filter(given: Mapping[str, str]) -> Filter:
    """The filter that these parameters say; blanks around values and empty ones do not count."""
    values = {name: text for name in FIELDS if (text := given.get(name, "").strip())}
    for name, text in values.items():
        if len(text) > LONGEST:
            raise BadFilter(f"{name} has {len(text):,} characters; {LONGEST} is the most")
        if "\0" in text:
            raise BadFilter(f"{name} contains a character that no text in the database can have")
    state = values.pop("state", None)
    if state is not None and state not in list(JobState):
        raise BadFilter(f"there is no state {state!r}; the states are {', '.join(JobState)}")
    workflow = values.pop("workflow", None)
    if workflow is not None and not (workflow.isascii() and workflow.isdigit() and len(workflow) <= 18):
        raise BadFilter(f"workflow is {workflow[:40]!r}: wants the number of one")
    since, until = (_moment(name, values.pop(name)) if name in values else None for name in ("since", "until"))
    return replace(
        Filter(**values),  # type: ignore[arg-type]
        state=JobState(state) if state else None,
        since=since,
        until=until,
        workflow=int(workflow) if workflow else None,
    )


def _moment(name: str, text: str) -> datetime:
    """A time as a form gives it, in UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadFilter(f"{name} is {text!r}: wants a time such as 2026-12-24T18:00") from None


def as_query(wanted: Filter, **more: str | None) -> str:
    """The query string of a filter, with `?` in front; empty when there is nothing to say."""
    pairs = {name: getattr(wanted, name) for name in FIELDS} | more
    text = urlencode({name: str(value) for name, value in pairs.items() if value is not None})
    return f"?{text}" if text else ""


def without(wanted: Filter, name: str) -> Filter:
    """The filter with one condition less."""
    return replace(wanted, **{name: None})


def is_empty(wanted: Filter) -> bool:
    """Whether every job passes."""
    return wanted == Filter()
