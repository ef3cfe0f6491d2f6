"""What an application and its operators say to schedules, as Statements."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from pgjobq.errors import UnknownSchedule
from pgjobq.job import EnqueuedJob
from pgjobq.schedule import Schedule
from pgjobq.statements.jobs import entry
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text
from pgjobq.task import Call
from pgjobq.wording import quote

__all__ = ["declare", "definition", "delete", "pause", "put", "reset", "resume", "run", "schedules"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Schedule).decode


def definition(expression: str, tz: str, missed: str, overlap: str, call: Call) -> dict[str, Any]:
    """What a schedule is, as the table keeps it; what equals a default is left out, so that equal ones are equal."""
    made: dict[str, Any] = {"expression": expression} | msgspec.json.decode(entry(call, on_conflict="return"))
    policies = [("tz", tz, "UTC"), ("missed", missed, "latest"), ("overlap", overlap, "allow")]
    made |= {name: value for name, value, usual in policies if value != usual}
    if not made["args"]:
        del made["args"]
    return made


def put(schema: str, name: str, made: dict[str, Any], by: str | None) -> Statement[None]:
    """Create a schedule or change it."""
    params = (name, _encode(made).decode(), by)
    return Statement("put_schedule", statement_text("put_schedule", schema), params, lambda _: None)


def declare(schema: str, app: str | None, declarations: str) -> Statement[None]:
    """What the code declares."""
    return Statement(
        "declare_schedules", statement_text("declare_schedules", schema), (app, declarations), lambda _: None
    )


def schedules(schema: str, name: str | None) -> Statement[list[Schedule]]:
    """All schedules, or the one of that name."""
    return Statement("schedules", statement_text("schedules", schema), (name,), _schedules)


def pause(schema: str, name: str, reason: str | None, by: str | None) -> Statement[bool]:
    """Pause it; False when it was."""
    params = (name, reason, by)
    return Statement("pause_schedule", statement_text("pause_schedule", schema), params, _flag_of(name))


def resume(schema: str, name: str, by: str | None) -> Statement[bool]:
    """Resume it; False when it was not paused."""
    return Statement("resume_schedule", statement_text("resume_schedule", schema), (name, by), _flag_of(name))


def reset(schema: str, name: str, by: str | None) -> Statement[bool]:
    """As the code declares it; False when it is, or when no code does."""
    return Statement("reset_schedule", statement_text("reset_schedule", schema), (name, by), _flag_of(name))


def delete(schema: str, name: str, by: str | None) -> Statement[bool]:
    """Delete it."""
    return Statement("delete_schedule", statement_text("delete_schedule", schema), (name, by), _flag_of(name))


def run(schema: str, name: str, by: str | None) -> Statement[EnqueuedJob | None]:
    """Make a job now; None when its last one has not ended and must not be overlapped."""

    def made(rows: Rows) -> EnqueuedJob | None:
        ((job, task, queue),) = rows
        if job is None:
            raise _unknown(name)
        return EnqueuedJob(int(job), task, queue) if int(job) else None

    return Statement("run_schedule", statement_text("run_schedule", schema), (name, by), made)


def _unknown(name: str) -> UnknownSchedule:
    return UnknownSchedule(f"there is no schedule {quote(name)}; queue.schedules() lists them.")


def _flag_of(name: str) -> Any:
    def flag(rows: Rows) -> bool:
        if rows[0][0] is None:
            raise _unknown(name)
        return bool(rows[0][0] == "true")

    return flag


def _schedules(rows: Rows) -> list[Schedule]:
    return [_decode(text) for (text,) in rows]


class Due(msgspec.Struct):
    """A row of `due_schedules`."""

    name: str
    revision: int
    next_at: datetime
    since: datetime
    now: datetime
    definition: dict[str, Any]
