"""Heart and upkeep together: what keeps a worker's leases and its database in order, away from user code."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from pgjobq.engine.heart import Heart
from pgjobq.engine.upkeep import Burial, Upkeep
from pgjobq.logs import Journal
from pgjobq.settings import WorkerSettings

__all__ = ["Keeper"]


class Keeper:
    """Renews leases and does the chores, in two threads with a connection each.

    Args:
        lost: called (from a thread) with each worker id that was declared dead.
        alive: asked whether an id still deserves its lease.
        listens: whether upkeep listens for jobs that are due before it would look; else it is told (`look_at_due`).
    """

    def __init__(
        self,
        dsn: str,
        schema: str,
        settings: WorkerSettings,
        journal: Journal,
        *,
        lost: Callable[[UUID], None],
        alive: Callable[[UUID], bool] = lambda _: True,
        listens: bool = True,
    ) -> None:
        session = not settings.poll_only
        self._heart = Heart(
            dsn,
            schema,
            lease=settings.lease,
            heartbeat=settings.heartbeat,
            session=session,
            journal=journal,
            lost=lost,
            alive=alive,
        )
        self._upkeep = Upkeep(
            dsn,
            schema,
            settings,
            session=session,
            journal=journal,
            contact=lambda: self._heart.contact,
            listens=listens,
        )

    def start(self) -> None:
        """Begin."""
        self._heart.start()
        self._upkeep.start()

    def watch(self, worker: UUID) -> None:
        """Renew this worker's lease from now on."""
        self._heart.watch(worker)

    def forget(self, worker: UUID) -> None:
        """Renew it no longer."""
        self._heart.forget(worker)

    def bury(self, burial: Burial) -> None:
        """Take back at once what a worker held that is known to be dead."""
        self._heart.forget(burial.worker)
        self._upkeep.bury(burial)

    def look_at_due(self) -> None:
        """A job is due before upkeep would look."""
        self._upkeep.look()

    def churn(self, jobs: int) -> None:
        """So many jobs were settled: each has left a dead row where its lease was."""
        self._upkeep.churn(jobs)

    @property
    def failed(self) -> int:
        """Jobs that have failed for good by the death of a process of ours."""
        return self._upkeep.failed

    def stop(self) -> None:
        """End both; a few seconds at the most."""
        self._upkeep.stop()
        self._heart.stop()
