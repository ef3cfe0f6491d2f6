"""Priorities that rise while a job waits: the doors of a Queue to such queues. `Queue` inherits them."""

from __future__ import annotations

from datetime import timedelta

from pgjobq.doors import Doors
from pgjobq.overview import QueueAgeing
from pgjobq.statements import ageing as statements

__all__ = ["Ageing"]


class Ageing(Doors):
    """So that jobs that are not urgent get their turn, however many urgent ones keep coming."""

    def set_ageing(
        self,
        queue: str,
        *,
        step: float | timedelta,
        up_to: int = -9,
        by: str | None = None,
        conn: object = None,
    ) -> None:
        """Let the jobs of a queue rise by one priority for each `step` they have waited. Kept in the database.

        Args:
            queue: its name.
            step: seconds or a timedelta, 1 second to 366 days.
            up_to: -9..9: they rise no higher; jobs more urgent than that are never overtaken by age.
            by: who wants this, for the audit; None: the database's role.
            conn: the connection whose transaction this joins; None: one of our own.

        Raises:
            InvalidOption: one of these is out of range.
        """
        self._run(statements.set_ageing(self.schema, queue, step, up_to, by), conn)

    async def aset_ageing(
        self,
        queue: str,
        *,
        step: float | timedelta,
        up_to: int = -9,
        by: str | None = None,
        conn: object = None,
    ) -> None:
        """The async twin of `set_ageing`."""
        await self._arun(statements.set_ageing(self.schema, queue, step, up_to, by), conn)

    def unset_ageing(self, queue: str, *, by: str | None = None, conn: object = None) -> bool:
        """Let jobs keep their priority; those that have risen stay where they are. False: they did not rise."""
        return self._run(statements.unset_ageing(self.schema, queue, by), conn)

    async def aunset_ageing(self, queue: str, *, by: str | None = None, conn: object = None) -> bool:
        """The async twin of `unset_ageing`."""
        return await self._arun(statements.unset_ageing(self.schema, queue, by), conn)

    def ageing(self, *, conn: object = None) -> list[QueueAgeing]:
        """The queues in which jobs rise, by name."""
        return self._run(statements.ageing(self.schema), conn)

    async def aageing(self, *, conn: object = None) -> list[QueueAgeing]:
        """The async twin of `ageing`."""
        return await self._arun(statements.ageing(self.schema), conn)
