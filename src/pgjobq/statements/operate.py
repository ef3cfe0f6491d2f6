"""What operators do and look at, as Statements."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from pgjobq.job import AuditEntry, Pause
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text

__all__ = ["audit", "cancel_running", "pause", "paused", "resume"]

T = TypeVar("T")


def pause(
    schema: str, kind: str, name: str, reason: str | None, until: datetime | None, by: str | None
) -> Statement[bool]:
    """Pause a queue or a task; False when it was paused already."""
    params = (kind, name, reason, until.isoformat() if until else None, by)
    return Statement("pause", statement_text("pause", schema), params, _flag)


def resume(schema: str, kind: str, name: str, by: str | None) -> Statement[bool]:
    """Resume it; False when it was not paused."""
    return Statement("resume", statement_text("resume", schema), (kind, name, by), _flag)


def paused(schema: str) -> Statement[list[Pause]]:
    """What is paused now."""
    return Statement("paused", statement_text("paused", schema), (), lambda rows: _read(Pause, rows))


def cancel_running(schema: str, job: int, reason: str | None, by: str | None) -> Statement[bool]:
    """Cancel a job even if it runs; False when it has ended or does not exist."""
    params = (str(job) if 0 < job < 2**63 else "0", reason, by)
    return Statement("cancel_running", statement_text("cancel_running", schema), params, _flag)


def audit(schema: str, before: int | None, limit: int) -> Statement[list[AuditEntry]]:
    """What operators did, newest first."""
    params = (None if before is None else str(before), str(limit))
    return Statement("audit", statement_text("audit", schema), params, lambda rows: _read(AuditEntry, rows))


def _flag(rows: Rows) -> bool:
    return bool(rows[0][0] == "true")


def _read(kind: type[T], rows: Rows) -> list[T]:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
    return [decoder.decode(text) for (text,) in rows]
