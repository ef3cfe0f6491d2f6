"""Limits of waiting jobs, as Statements."""

from __future__ import annotations

import re

import msgspec

from pgjobq.errors import InvalidOption, QueueFull
from pgjobq.overview import QueueLimit
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text
from pgjobq.task.options import label_fault
from pgjobq.wording import quote

__all__ = ["full", "limit", "limits", "unlimit"]

MOST_WAITING = 2**31 - 1
WHEN_FULL = ("raise", "drop_oldest")

_decode = msgspec.json.Decoder(QueueLimit).decode


def limit(schema: str, queue: str, waiting: int, when_full: str, by: str | None) -> Statement[object]:
    """Set a limit, or change it."""
    _check(queue)
    if type(waiting) is not int or not 1 <= waiting <= MOST_WAITING:
        raise InvalidOption(f"waiting={quote(waiting)}: wants a whole number from 1 to {MOST_WAITING:,}.")
    if when_full not in WHEN_FULL:
        raise InvalidOption(f"when_full={quote(when_full)}: wants one of {', '.join(WHEN_FULL)}.")
    params = (queue, str(waiting), when_full, by)
    return Statement("limit_queue", statement_text("limit_queue", schema), params, lambda _: None)


def unlimit(schema: str, queue: str, by: str | None) -> Statement[bool]:
    """Take a limit away; False when there was none."""
    _check(queue)
    return Statement("unlimit_queue", statement_text("unlimit_queue", schema), (queue, by), _flag)


def limits(schema: str) -> Statement[list[QueueLimit]]:
    """All limits, by queue."""
    return Statement("limits", statement_text("limits", schema), (), lambda rows: [_decode(text) for (text,) in rows])


_FULL = re.compile(r"the queue (?:E?'(.*)') is full: (\d+) jobs wait, and its limit is (\d+)")


def full(refusal: BaseException) -> QueueFull | None:
    """The refusal of pgjobq.make_room, whatever driver brings it; None when it is another error."""
    found = _FULL.search(str(refusal))
    if found is None:
        return None
    queue, waiting, most = found[1].replace("''", "'"), int(found[2]), int(found[3])
    return QueueFull(
        f"the queue {quote(queue)} is full: {waiting:,} jobs wait in it, and its limit is {most:,}. Try again later; "
        "the transaction can only be rolled back.",
        queue=queue,
        limit=most,
        waiting=waiting,
    )


def _check(queue: object) -> None:
    fault = label_fault("queue", queue)
    if fault is not None:
        raise InvalidOption(fault)


def _flag(rows: Rows) -> bool:
    return bool(rows[0][0] == "true")
