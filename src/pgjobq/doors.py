"""What every door of a Queue stands on: where its statements are executed, and how found jobs are shown."""

from __future__ import annotations

from typing import TypeVar

from pgjobq import run
from pgjobq.encryption import Keyring
from pgjobq.job import Job
from pgjobq.run.pools import Pools
from pgjobq.statements import Statement
from pgjobq.task import Registry, shown

__all__ = ["Doors"]

T = TypeVar("T")


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

    def _seen(self, jobs: list[Job]) -> list[Job]:
        """With secrets hidden."""
        return [shown(job, self.registry) for job in jobs]

    def _shown(self, job: Job | None) -> Job | None:
        return None if job is None else shown(job, self.registry)
