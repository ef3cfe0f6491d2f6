"""What becomes of a job after an attempt: one pure decision over values, and the values it may decide on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

import msgspec

from pgjobq.codec import Veil
from pgjobq.codec.natives import lower
from pgjobq.durations import to_seconds
from pgjobq.errors import TaskError, UnstorableResult
from pgjobq.outcome.failure import Failure, describe, storable
from pgjobq.retry import Retry

__all__ = [
    "Awaiting",
    "Discard",
    "Discarded",
    "Failed",
    "Outcome",
    "Parked",
    "Retried",
    "Returned",
    "Snooze",
    "Snoozed",
    "Succeeded",
    "Suspension",
    "decide",
    "json_text",
    "result_text",
]

LONGEST_REASON = 10_000
"""Characters of a Discard's reason that are kept."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""U+0000 in JSON; a backslash that is itself escaped begins no escape."""
LARGEST_RESULT = 1_048_576
"""Bytes that the result of a handler or of a step may have as JSON; it is a note, not a place to store documents in."""


class Snooze(Exception):
    """Raised by a handler: run this job again later, and spend no attempt of its budget.

    Args:
        seconds: how long to wait, as seconds or as a timedelta; 0 to 100 years.

    Raises:
        TaskError: the time is negative, not finite, over 100 years, or not a time at all.
    """

    def __init__(self, seconds: float | timedelta) -> None:
        given = to_seconds(seconds)
        if given is None:
            raise TaskError(f"Snooze({seconds!r}): wants seconds or a timedelta, from 0 to 100 years.")
        super().__init__(seconds)
        self.seconds = given

    def __str__(self) -> str:
        return f"again in {self.seconds:g} s"


class Discard(Exception):
    """Raised by a handler: this job is pointless by now; end it as cancelled, without another try.

    Args:
        reason: why, for the people who look at the job later; up to 10,000 characters are kept.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Succeeded(msgspec.Struct, frozen=True):
    """The handler returned; `result` is its value as JSON text, None when it returned None."""

    result: str | None = None


class Retried(msgspec.Struct, frozen=True):
    """The attempt failed; the next one is due in `delay` seconds."""

    delay: float
    failure: Failure


class Failed(msgspec.Struct, frozen=True):
    """The attempt failed and was the last one."""

    failure: Failure


class Discarded(msgspec.Struct, frozen=True):
    """The handler ended the job as pointless: it counts as cancelled."""

    reason: str
    started: bool = True
    """Or it was found pointless before its handler was called."""


class Snoozed(msgspec.Struct, frozen=True):
    """The handler asked to be run again in `delay` seconds; the attempt is spared."""

    delay: float


class Awaiting(msgspec.Struct, frozen=True):
    """The handler waits for an event in the midst of its work; the attempt is spared."""

    event: str


class Returned(msgspec.Struct, frozen=True):
    """The job was claimed but never started, and goes back as if it had not been claimed."""


class Parked(msgspec.Struct, frozen=True):
    """This worker has no such task; the job waits, and `waits_for` says for what."""

    waits_for: str


Outcome: TypeAlias = Succeeded | Retried | Failed | Discarded | Snoozed | Awaiting | Returned | Parked


class Suspension(BaseException):
    """Leaves a handler that sleeps or waits for an event, so that nobody has to hold a worker for it. Not an
    Exception, so that a broad except does not eat it; `finally` blocks run as ever."""

    def __init__(self, outcome: Snoozed | Awaiting) -> None:
        super().__init__()
        self.outcome = outcome

    def __str__(self) -> str:
        if isinstance(self.outcome, Awaiting):
            return f"waits for the event {self.outcome.event!r}"
        return f"sleeps for {self.outcome.delay:g} s"


def decide(
    error: BaseException | None,
    *,
    attempt: int,
    spared: int,
    max_attempts: int,
    retry: Retry,
    random: Callable[[], float],
    result: Any = None,
    task_timeout: float | None = None,
    veil: Veil | None = None,
) -> Outcome:
    """What becomes of a job whose handler ended like this.

    Args:
        error: what the handler raised, whatever its class; None when it returned.
        attempt: the number of this attempt, from 1.
        spared: how many earlier attempts were spared (Snoozes); `attempt - spared` is what was spent.
        max_attempts: the job's own limit, as stored with it; a rule's Retry may lower it.
        retry: the task's Retry.
        random: gives a number in [0, 1), such as `random.random`.
        result: what the handler returned.
        task_timeout: the time-out in seconds, given only when the engine ended this attempt because of it:
            then the failure is a TimeoutError, whichever exception the handler left with.
        veil: takes the job's secret arguments out of the texts that are kept.

    Returns:
        Succeeded, Retried, Failed, Discarded, Snoozed or Awaiting. A result that cannot be stored is a failure like
        any other (UnstorableResult): the work may have been done, but what it gave is lost, and nobody should think it
        kept.
    """
    if error is None:
        try:
            return Succeeded(result_text(result))
        except UnstorableResult as refusal:
            error = refusal
    match error:
        case Suspension():
            return error.outcome
        case Snooze():
            return Snoozed(error.seconds)
        case Discard():
            return Discarded(storable(error.reason, LONGEST_REASON, veil))
    if task_timeout is not None:
        error = _timed_out(error, task_timeout)
    failure = describe(error, veil)
    rule = retry.rule_for(error)
    spent = attempt - spared
    if rule is False or spent >= max_attempts:
        return Failed(failure)
    if isinstance(rule, Retry):
        if spent >= rule.max_attempts and rule is not retry:
            return Failed(failure)
        return Retried(rule.delay(spent, random), failure)
    return Retried(to_seconds(rule) or 0.0, failure)


def result_text(value: Any) -> str | None:
    """A handler's result as JSON text; None for None.

    Raises UnstorableResult: it is no JSON, holds U+0000 or a lone surrogate (which PostgreSQL cannot store), or is too
    large. The sentence says which; it does not show the value, which may be large or secret.
    """
    return None if value is None else json_text(value, "the handler returned", "as the job's result")


def json_text(value: Any, who: str, where: str) -> str:
    """A value as JSON text that can be stored, up to 1 MiB.

    `who` and `where` make the sentence of the UnstorableResult that is raised otherwise: "WHO a value of type … that
    cannot be kept WHERE".
    """
    why = None
    try:
        data = msgspec.json.encode(value, enc_hook=lower)
        text = data.decode()
    except BaseException as error:
        why = describe(error).summary
    else:
        if len(data) > LARGEST_RESULT:
            why = f"it has {len(data):,} bytes as JSON, and {LARGEST_RESULT:,} is the most"
        elif _NUL.search(text):
            why = "it contains the character U+0000, which PostgreSQL cannot store"
    if why is None:
        return text
    kind = storable(type(value).__qualname__, 200)
    raise UnstorableResult(
        f"{who} a value of type {kind} that cannot be kept {where}: {storable(why, 500)}. "
        "Return None, or something that JSON can hold."
    )


def _timed_out(error: BaseException, seconds: float) -> TimeoutError:
    """The handler's way out (usually a cancellation) as the time-out it was; the way out stays the cause."""
    span = f"{seconds:g}" if math.isfinite(seconds) else str(seconds)
    timeout = TimeoutError(f"the attempt ran longer than its time-out of {span} s")
    timeout.__cause__ = error
    return timeout
