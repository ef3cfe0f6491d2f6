"""Queues in which jobs rise while they wait, as Statements."""

from __future__ import annotations

import msgspec

from pgjobq.durations import to_seconds
from pgjobq.errors import InvalidOption
from pgjobq.overview import QueueAgeing
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text
from pgjobq.task.options import label_fault, priority_fault
from pgjobq.wording import quote

__all__ = ["ageing", "set_ageing", "unset_ageing"]

LONGEST_STEP = 366 * 86_400

_decode = msgspec.json.Decoder(QueueAgeing).decode


def set_ageing(schema: str, queue: str, step: object, up_to: int, by: str | None) -> Statement[object]:
    """Let jobs rise, or change how."""
    _check(queue)
    seconds = to_seconds(step)
    if seconds is None or not 1 <= seconds <= LONGEST_STEP:
        raise InvalidOption(f"step={quote(step)}: wants seconds or a timedelta, from 1 second to 366 days.")
    fault = priority_fault(up_to)
    if fault is not None:
        raise InvalidOption(fault.replace("priority=", "up_to=", 1))
    params = (queue, str(seconds), str(up_to), by)
    return Statement("set_ageing", statement_text("set_ageing", schema), params, lambda _: None)


def unset_ageing(schema: str, queue: str, by: str | None) -> Statement[bool]:
    """Let them rise no more; False when they did not."""
    _check(queue)
    return Statement("unset_ageing", statement_text("unset_ageing", schema), (queue, by), _flag)


def ageing(schema: str) -> Statement[list[QueueAgeing]]:
    """All of them, by queue."""
    return Statement("ageing", statement_text("ageing", schema), (), lambda rows: [_decode(text) for (text,) in rows])


def _check(queue: object) -> None:
    fault = label_fault("queue", queue)
    if fault is not None:
        raise InvalidOption(fault)


def _flag(rows: Rows) -> bool:
    return bool(rows[0][0] == "true")
