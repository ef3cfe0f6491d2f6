"""What attempts of a job remember, and events, as Statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from pgjobq.job import Step
from pgjobq.statements.jobs import _flag, id_text
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text

__all__ = [
    "Attempt",
    "Memory",
    "Met",
    "Remembered",
    "Report",
    "emit",
    "forget_steps",
    "keep_checkpoint",
    "recall",
    "remember_step",
    "report_progress",
    "retry_anew",
    "sleep_step",
    "steps",
    "wait_step",
]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who says so: the fence. Only the attempt that holds its job is listened to."""

    job: int
    attempt: int
    worker: UUID

    @property
    def params(self) -> tuple[str, str, str]:
        """As every fenced function takes them."""
        return id_text(self.job), str(self.attempt), str(self.worker)


class Remembered(msgspec.Struct):
    """A step that an earlier attempt has left."""

    kind: str
    ended_at: str | None
    timed_out: bool = False
    event: str | None = None
    value: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def text(self) -> str:
        """What it gave, as JSON text."""
        return bytes(self.value).decode()


class _Checkpoint(msgspec.Struct):
    value: msgspec.Raw


class Memory(msgspec.Struct):
    """All that earlier attempts have left."""

    steps: dict[str, Remembered]
    checkpoint: _Checkpoint | None

    @property
    def checkpoint_text(self) -> str | None:
        """The checkpoint, as JSON text; None: there is none."""
        return None if self.checkpoint is None else bytes(self.checkpoint.value).decode()


class Met(msgspec.Struct):
    """How a wait stands: `came`, `late`, `waits`, or None for an attempt that no longer holds its job."""

    state: str | None
    text: str = "null"


class Report(msgspec.Struct):
    """How far a job has come, as its attempt says."""

    job: int
    attempt: int
    worker: UUID
    done: float
    total: float | None
    message: str | None


_encode = msgspec.json.Encoder().encode
_decode_memory = msgspec.json.Decoder(Memory).decode
_decode_step = msgspec.json.Decoder(Step).decode


def recall(schema: str, who: Attempt) -> Statement[Memory | None]:
    """What earlier attempts have left; None: this attempt no longer holds the job."""
    return Statement("recall", statement_text("recall", schema), who.params, _memory)


def remember_step(schema: str, who: Attempt, name: str, value: str, seconds: float) -> Statement[bool]:
    """Remember what a step gave, and how long it took; False: this attempt no longer holds the job."""
    params = (*who.params, name, value, repr(float(seconds)))
    return Statement("remember_step", statement_text("remember_step", schema), params, _flag)


def sleep_step(schema: str, who: Attempt, name: str, seconds: float) -> Statement[float | None]:
    """Begin a sleep, or go on with it: the seconds that are left; None: this attempt no longer holds the job."""
    params = (*who.params, name, repr(float(seconds)))
    return Statement("sleep_step", statement_text("sleep_step", schema), params, _seconds)


def wait_step(schema: str, who: Attempt, name: str, event: str, seconds: float | None) -> Statement[Met]:
    """Begin to wait for an event, or go on with it."""
    params = (*who.params, name, event, None if seconds is None else repr(float(seconds)))
    return Statement("wait_step", statement_text("wait_step", schema), params, _met)


def keep_checkpoint(schema: str, who: Attempt, value: str) -> Statement[bool]:
    """Keep a value for the next attempt; False: this attempt no longer holds the job."""
    return Statement("keep_checkpoint", statement_text("keep_checkpoint", schema), (*who.params, value), _flag)


def report_progress(schema: str, reports: Sequence[Report]) -> Statement[set[int]]:
    """Write down how far jobs have come; gives those whose attempt is still listened to."""
    text = _encode(reports).decode()
    return Statement("report_progress", statement_text("report_progress", schema), (text,), _jobs)


def emit(schema: str, event: str, payload: str | None, keep: float) -> Statement[bool]:
    """Let an event happen, and remember it for so many seconds; False: it has happened already."""
    return Statement("emit", statement_text("emit", schema), (event, payload, repr(float(keep))), _flag)


def steps(schema: str, job: int) -> Statement[list[Step]]:
    """What attempts of a job have done, first thing first."""
    return Statement("steps", statement_text("steps", schema), (id_text(job),), _steps)


def forget_steps(schema: str, job: int, name: str | None, by: str | None) -> Statement[int]:
    """Forget one step of a job, or all and its checkpoint; gives how many steps were forgotten."""
    params = (id_text(job), name, by)
    return Statement("forget_steps", statement_text("forget_steps", schema), params, _number)


def retry_anew(schema: str, job: int, by: str | None) -> Statement[bool]:
    """Run a job again that had failed or was cancelled, with nothing remembered; False when it was neither."""
    array = f"{{{job}}}" if 0 < job < 2**63 else "{}"
    params = (array, _encode({"job": str(job)}).decode(), by)
    return Statement("retry", statement_text("retry_anew", schema), params, lambda rows: _number(rows) > 0)


def _memory(rows: Rows) -> Memory | None:
    return _decode_memory(rows[0][0]) if rows else None


def _seconds(rows: Rows) -> float | None:
    text: Any = rows[0][0]
    return None if text is None else float(text)


def _met(rows: Rows) -> Met:
    state, text = rows[0]
    return Met(state, "null" if text is None else text)


def _jobs(rows: Rows) -> set[int]:
    return {int(job) for (job,) in rows}


def _number(rows: Rows) -> int:
    return int(rows[0][0])


def _steps(rows: Rows) -> list[Step]:
    return [_decode_step(text) for (text,) in rows]
