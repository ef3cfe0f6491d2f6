"""Gates while jobs pass them: the doors of a Queue to their limits and figures. `Queue` inherits them."""

from __future__ import annotations

from collections.abc import Mapping

from pgjobq.doors import Doors
from pgjobq.overview import GateFigures
from pgjobq.statements import gates as statements
from pgjobq.task import Quota, Rate

__all__ = ["Gates"]

CAP = 10_000
"""Counts end here."""


class Gates(Doors):
    """What is declared by `Gate(...)`, changed and looked at; paused by `pause(gate=...)`."""

    def set_gate(
        self,
        key: str,
        *,
        concurrency: int | None = None,
        rate: Rate | str | None = None,
        quota: Quota | str | None = None,
        weights: Mapping[str, int] | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> None:
        """Set limits of a gate in place of what its jobs were enqueued with, from now on and until `unset_gate`.

        What is None stays as it is. Also a limit that the jobs do not name can be set.

        Args:
            key: one key (`merchant:42`), or the name of a gate (`merchant:{merchant_id}`) for all its keys.
            concurrency: how many jobs of a key may run at once; 0: none is started. What runs goes on.
            rate: how often they may start, such as "10/s"; what was used before still counts.
            quota: how many may start in a period, such as "1000/day".
            weights: of shares by value, in place of all that the jobs say: {"acme": 3}, the others 1.
            by: who wants this, for the audit; None: the database's role.
            conn: the connection whose transaction this joins; None: one of our own.

        Raises InvalidOption when a value is out of its range, or nothing is given.
        """
        self._run(statements.set_gate(self.schema, key, concurrency, rate, quota, weights, by), conn)

    async def aset_gate(
        self,
        key: str,
        *,
        concurrency: int | None = None,
        rate: Rate | str | None = None,
        quota: Quota | str | None = None,
        weights: Mapping[str, int] | None = None,
        by: str | None = None,
        conn: object = None,
    ) -> None:
        """The async twin of `set_gate`."""
        await self._arun(statements.set_gate(self.schema, key, concurrency, rate, quota, weights, by), conn)

    def unset_gate(self, key: str, *, by: str | None = None, conn: object = None) -> bool:
        """Back to the limits that the jobs were enqueued with. False: none was set."""
        return self._run(statements.unset_gate(self.schema, key, by), conn)

    async def aunset_gate(self, key: str, *, by: str | None = None, conn: object = None) -> bool:
        """The async twin of `unset_gate`."""
        return await self._arun(statements.unset_gate(self.schema, key, by), conn)

    def gates(self, *, limit: int = 200, conn: object = None) -> list[GateFigures]:
        """The gates where jobs wait or hold places, at most `limit` keys (1..10,000), those where most wait first."""
        return self._run(statements.gates(self.schema, limit, CAP), conn)

    async def agates(self, *, limit: int = 200, conn: object = None) -> list[GateFigures]:
        """The async twin of `gates`."""
        return await self._arun(statements.gates(self.schema, limit, CAP), conn)
