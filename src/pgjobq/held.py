"""What is known of a job while it runs: its facts, and how its attempt stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from pgjobq.errors import LeaseLost
from pgjobq.outcome import Suspension
from pgjobq.steps import Ledger

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Held", "HeldJob"]


class Held(Protocol):
    """What the engine knows of the attempt (engine.lease.Lease)."""

    job: int
    task: str
    args: str
    queue: str
    attempt: int
    max_attempts: int
    priority: int
    ref: str | None
    tags: list[str] | None
    headers: str | None
    hooks: int | None
    enqueued_at: float


class HeldJob(msgspec.Struct, eq=False, gc=False):
    """A job that an attempt holds. (Without the garbage collector: nothing it holds leads back to it.)"""

    _held: Held
    _schema: str
    _worker: UUID
    cancelled: bool = False
    """True once this attempt should end early (time-out, hurried shutdown, lost lease): for handlers that loop."""
    completing: bool = False
    """True once the handler has called complete(); whether that counts, its transaction decides."""
    is_lost: bool = False
    """True once it is known that this attempt no longer holds its job."""
    suspension: Suspension | None = None
    """What the handler was left with, when it sleeps or waits for an event."""
    _task: Any = None
    _ledger: Ledger | None = None

    @property
    def id(self) -> int:
        """The job's id."""
        return self._held.job

    @property
    def task(self) -> str:
        """The task's name."""
        return self._held.task

    @property
    def queue(self) -> str:
        """The queue it was taken from."""
        return self._held.queue

    @property
    def attempt(self) -> int:
        """The number of this start, from 1."""
        return self._held.attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts the job has in all."""
        return self._held.max_attempts

    @property
    def ref(self) -> str | None:
        """The business thing it belongs to, such as `order:42`."""
        return self._held.ref

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return tuple(self._held.tags or ())

    @property
    def headers(self) -> dict[str, Any]:
        """What the enqueuer sent along besides the arguments."""
        return msgspec.json.decode(self._held.headers) if self._held.headers else {}

    @property
    def schedule(self) -> str | None:
        """The schedule that made this job; None when none did."""
        made = self.headers.get("schedule")
        return made if isinstance(made, str) else None

    @property
    def scheduled_for(self) -> datetime | None:
        """The tick for which its schedule made it, in UTC; None for a job that no schedule made. A tick that was missed
        and is made up for keeps its own time here, so that a report covers the day it is meant for."""
        tick = self.headers.get("scheduled_for")
        try:
            return datetime.fromisoformat(tick) if isinstance(tick, str) else None
        except ValueError:  # somebody else's header
            return None

    @property
    def enqueued_at(self) -> datetime:
        """When it was enqueued, by the database's clock."""
        return datetime.fromtimestamp(self._held.enqueued_at, UTC)

    def lose(self, lost: LeaseLost) -> LeaseLost:
        """For the library: note that this attempt no longer holds its job; gives the error to raise."""
        self.cancelled = self.is_lost = True
        return lost
