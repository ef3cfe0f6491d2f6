"""What every door of a Queue stands on: where its statements are executed, and how found jobs are shown."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

from pgjobq import run
from pgjobq.encryption import Keyring
from pgjobq.job import Job
from pgjobq.run.pools import Pools
from pgjobq.statements import Statement
from pgjobq.task import Registry, shown

__all__ = ["Doors", "Saying"]

T = TypeVar("T")

Saying = Generator[Statement[Any], Any, T]
"""What is said to the server, one statement after the other: yields each and is sent what it gave; returns what comes
of it. So what takes several statements is written once, for both of its doors."""


class Doors:
    """The ground of the rooms that `Queue` is made of: each inherits it and adds doors, `x()` and awaited `ax()`."""

    schema: str
    max_payload_bytes: int
    encryption: Keyring | None
    registry: Registry
    pools: Pools

    def _run(self, statement: Statement[T], conn: object) -> T:
        return self.pools.execute(statement) if conn is None else run.execute(conn, statement)

    async def _arun(self, statement: Statement[T], conn: object) -> T:
        return await self.pools.aexecute(statement) if conn is None else await run.aexecute(conn, statement)

    def _say(self, saying: Saying[T], conn: object) -> T:
        found: Any = None
        while True:
            try:
                statement = saying.send(found)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            found = self._run(statement, conn)

    async def _asay(self, saying: Saying[T], conn: object) -> T:
        found: Any = None
        while True:
            try:
                statement = saying.send(found)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            found = await self._arun(statement, conn)

    def _seen(self, jobs: list[Job]) -> list[Job]:
        """With secrets hidden."""
        return [shown(job, self.registry) for job in jobs]

    def _shown(self, job: Job | None) -> Job | None:
        return None if job is None else shown(job, self.registry)
