"""One claimed job, as the worker holds it."""

from __future__ import annotations

from typing import Any

import msgspec

from pgjobq.outcome import Awaiting, Discarded, Failed, Failure, Outcome, Parked, Retried, Returned, Snoozed, Succeeded

__all__ = ["SILENT", "Lease", "settlement"]

SILENT = "its worker stopped renewing the lease"
"""Why a job was taken back from a worker of which no more is known."""


class Lease(msgspec.Struct, eq=False, gc=False):
    """The right to one attempt, in the order of the claim statement's columns.

    A Struct, because there is one per job: it is made in a tenth of the time and costs the garbage collector nothing.
    """

    seq: int
    job: int
    queue: str
    priority: int
    attempt: int
    spared: int
    max_attempts: int
    task: str
    args: str
    ref: str | None
    tags: list[str] | None
    headers: str | None
    hooks: int | None
    """What its end concerns (schema.sql); None or 0: nothing, as for nearly all jobs."""
    version: int | None
    """Of its arguments, None: 1; or 0: it has expired."""
    enqueued_at: float
    """Seconds since 1970, by the server's clock."""
    claimed_at: float = 0.0
    """time.monotonic(): what has been at hand for long may be somebody else's by now."""


_encode = msgspec.json.Encoder().encode


def settlement(lease: Lease, outcome: Outcome) -> dict[str, Any]:
    """The object that the statement `settle` takes for this outcome."""
    fence = {"job": lease.job, "attempt": lease.attempt}
    match outcome:
        case Succeeded(result):
            return fence | {"fate": "s"} | ({} if result is None else {"result": msgspec.Raw(result.encode())})
        case Retried(delay, failure):
            return fence | {"fate": "again", "delay": delay} | _told(failure)
        case Failed(failure):
            return fence | {"fate": "f"} | _told(failure)
        case Discarded(reason, started):
            return fence | {"fate": "c", "reason": reason} | ({} if started else {"back": 1})
        case Snoozed(delay):
            return fence | {"fate": "again", "delay": delay, "spare": 1}
        case Awaiting(event):
            return fence | {"fate": "blocked", "spare": 1, "waits_for": f"event:{event}"}
        case Returned():
            return fence | {"fate": "again", "back": 1}
        case Parked(waits_for):
            return fence | {"fate": "blocked", "back": 1, "waits_for": waits_for}


def _told(failure: Failure) -> dict[str, Any]:
    return {"kind": failure.kind, "message": failure.message, "traceback": failure.traceback}
