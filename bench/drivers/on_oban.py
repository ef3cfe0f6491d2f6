"""oban for Python: needs Python 3.12."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import desk
from oban import Oban, worker
from oban.schema import install
from psycopg_pool import AsyncConnectionPool


@worker(queue="default")
class Confirm:
    async def process(self, job: Any) -> None:
        await desk.handle(**job.args)


class ObanDriver(desk.Driver):
    @contextlib.asynccontextmanager
    async def pool(self) -> AsyncIterator[Any]:
        async with AsyncConnectionPool(self.dsn, min_size=1, max_size=10, open=False) as pool:
            yield pool

    async def prepare(self) -> None:
        async with self.pool() as pool:
            await install(pool)

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[desk.Send]:
        async with self.pool() as pool, Oban(pool=pool):

            async def send(order: int) -> None:
                await Confirm.enqueue(desk.payload(order))

            yield send

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[desk.Fill]:
        async with self.pool() as pool, Oban(pool=pool) as oban:

            async def fill(orders: range) -> None:
                for start in range(0, len(orders), 1000):
                    part = orders[start : start + 1000]
                    await oban.enqueue_many(*[Confirm.new(desk.payload(order)) for order in part])

            yield fill

    async def work(self) -> None:
        async with self.pool() as pool, Oban(pool=pool, queues={"default": self.options.concurrency}):
            desk.ready()
            await asyncio.Event().wait()


if __name__ == "__main__":
    desk.main(ObanDriver)
