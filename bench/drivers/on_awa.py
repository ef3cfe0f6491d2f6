"""awa-pg: the Python face of a Rust core, with its queue storage and COPY."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import awa
import desk


@dataclass
class Confirm:
    order_id: int
    email: str


class Awa(desk.Driver):
    async def prepare(self) -> None:
        async with awa.AsyncClient(self.dsn) as client:
            await client.migrate()
            await client.install_queue_storage()

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[desk.Send]:
        async with awa.AsyncClient(self.dsn) as client:

            async def send(order: int) -> None:
                await client.insert(Confirm(order, desk.EMAIL))

            yield send

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[desk.Fill]:
        async with awa.AsyncClient(self.dsn) as client:

            async def fill(orders: range) -> None:
                for start in range(0, len(orders), 5000):
                    part = orders[start : start + 5000]
                    await client.enqueue_many_copy([Confirm(order, desk.EMAIL) for order in part])

            yield fill

    async def work(self) -> None:
        client = awa.AsyncClient(self.dsn, max_connections=20)

        @client.task(Confirm, queue="default")
        async def confirm(job: Any) -> None:
            await desk.handle(job.args.order_id, job.args.email)

        await client.start([("default", self.options.concurrency)])
        desk.ready()
        await asyncio.Event().wait()


if __name__ == "__main__":
    desk.main(Awa)
