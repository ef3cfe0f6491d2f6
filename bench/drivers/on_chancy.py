"""chancy with its asyncio executor and eager polling."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import desk
from chancy import Chancy, Queue, Worker, job


@job(queue="default")
async def confirm(*, order_id: int, email: str) -> None:
    await desk.handle(order_id, email)


class ChancyDriver(desk.Driver):
    async def prepare(self) -> None:
        async with Chancy(self.dsn) as chancy:
            await chancy.migrate()

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[desk.Send]:
        async with Chancy(self.dsn) as chancy:

            async def send(order: int) -> None:
                await chancy.push(confirm.job.with_kwargs(order_id=order, email=desk.EMAIL))

            yield send

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[desk.Fill]:
        async with Chancy(self.dsn) as chancy:

            async def fill(orders: range) -> None:
                jobs = [confirm.job.with_kwargs(order_id=order, email=desk.EMAIL) for order in orders]
                async for _ in chancy.push_many(jobs, batch_size=5000):
                    pass

            yield fill

    async def work(self) -> None:
        queue = Queue(
            "default",
            concurrency=self.options.concurrency,
            executor="chancy.executors.asyncex.AsyncExecutor",
            polling_interval=1,
            eager_polling=True,
        )
        async with Chancy(self.dsn, plugins=[]) as chancy:
            await chancy.declare(queue, upsert=True)
            async with Worker(chancy, register_signal_handlers=True) as worker:
                desk.ready()
                await worker.wait_for_shutdown()


if __name__ == "__main__":
    import on_chancy  # chancy imports handlers by name: not from __main__

    desk.main(on_chancy.ChancyDriver)
