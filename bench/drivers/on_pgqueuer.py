"""PgQueuer over asyncpg, its quickest driver."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import desk
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries


class PgQueuerDriver(desk.Driver):
    async def prepare(self) -> None:
        await Queries(AsyncpgDriver(await asyncpg.connect(self.dsn))).install()

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[desk.Send]:
        queries = Queries(AsyncpgDriver(await asyncpg.connect(self.dsn)))

        async def send(order: int) -> None:
            await queries.enqueue("confirm", json.dumps(desk.payload(order)).encode())

        yield send

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[desk.Fill]:
        queries = Queries(AsyncpgDriver(await asyncpg.connect(self.dsn)))

        async def fill(orders: range) -> None:
            for start in range(0, len(orders), 5000):
                part = orders[start : start + 5000]
                payloads = [json.dumps(desk.payload(order)).encode() for order in part]
                await queries.enqueue(["confirm"] * len(part), payloads, [0] * len(part))

        yield fill

    async def work(self) -> None:
        app = PgQueuer(AsyncpgDriver(await asyncpg.connect(self.dsn)))

        async def confirm(job: Job) -> None:
            await desk.handle(**json.loads(job.payload or b"{}"))

        async def confirm_sync(job: Job) -> None:  # what its error message tells users of plain functions to write
            await asyncio.to_thread(desk.handle_sync, **json.loads(job.payload or b"{}"))

        app.entrypoint("confirm")(confirm_sync if self.options.sync else confirm)
        desk.ready()
        at_once = self.options.concurrency
        await app.run(
            dequeue_timeout=timedelta(seconds=30),
            batch_size=max(1, at_once // 2) if self.options.limited else self.options.batch,
            max_concurrent_tasks=at_once if self.options.limited else None,
        )


if __name__ == "__main__":
    desk.main(PgQueuerDriver)
