"""How many jobs may wait in a queue: the doors of a Queue to such limits. `Queue` inherits them."""

from __future__ import annotations

from typing import Literal

from pgjobq.doors import Doors
from pgjobq.overview import QueueLimit
from pgjobq.statements import limits as statements

__all__ = ["Limits"]


class Limits(Doors):
    """Back-pressure: who enqueues more than a queue's workers come to do hears of it."""

    def limit(
        self,
        queue: str,
        *,
        waiting: int,
        when_full: Literal["raise", "drop_oldest"] = "raise",
        by: str | None = None,
        conn: object = None,
    ) -> None:
        """Let no more than so many jobs wait (ready, scheduled or blocked) in a queue. Kept in the database.

        Args:
            queue: its name.
            waiting: how many, from 1; those that wait already stay.
            when_full: "raise": who enqueues gets QueueFull, and the transaction can only be rolled back; "drop_oldest":
                the oldest jobs that wait end as cancelled, about a hundredth of the limit at once.
            by: who wants this, for the audit; None: the database's role.
            conn: the connection whose transaction this joins; None: one of our own.
        """
        self._run(statements.limit(self.schema, queue, waiting, when_full, by), conn)

    async def alimit(
        self,
        queue: str,
        *,
        waiting: int,
        when_full: Literal["raise", "drop_oldest"] = "raise",
        by: str | None = None,
        conn: object = None,
    ) -> None:
        """The async twin of `limit`."""
        await self._arun(statements.limit(self.schema, queue, waiting, when_full, by), conn)

    def unlimit(self, queue: str, *, by: str | None = None, conn: object = None) -> bool:
        """Let any number of jobs wait in a queue. False: it had no limit."""
        return self._run(statements.unlimit(self.schema, queue, by), conn)

    async def aunlimit(self, queue: str, *, by: str | None = None, conn: object = None) -> bool:
        """The async twin of `unlimit`."""
        return await self._arun(statements.unlimit(self.schema, queue, by), conn)

    def limits(self, *, conn: object = None) -> list[QueueLimit]:
        """The queues that have a limit, by name, with how many jobs wait in each."""
        return self._run(statements.limits(self.schema), conn)

    async def alimits(self, *, conn: object = None) -> list[QueueLimit]:
        """The async twin of `limits`."""
        return await self._arun(statements.limits(self.schema), conn)
