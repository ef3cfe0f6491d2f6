"""procrastinate over psycopg 3."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import desk
import procrastinate


class Procrastinate(desk.Driver):
    def app(self) -> procrastinate.App:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self.dsn))
        body = desk.handle_sync if self.options.sync else desk.handle
        self.task = app.task(name="confirm")(body)
        return app

    async def prepare(self) -> None:
        async with self.app().open_async() as app:
            await app.schema_manager.apply_schema_async()

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[desk.Send]:
        async with self.app().open_async():

            async def send(order: int) -> None:
                await self.task.defer_async(order_id=order, email=desk.EMAIL)

            yield send

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[desk.Fill]:
        async with self.app().open_async():

            async def fill(orders: range) -> None:
                for start in range(0, len(orders), 1000):
                    part = orders[start : start + 1000]
                    await self.task.batch_defer_async(*[desk.payload(order) for order in part])

            yield fill

    async def work(self) -> None:
        async with self.app().open_async() as app:
            desk.ready()
            await app.run_worker_async(concurrency=self.options.concurrency, install_signal_handlers=True)


if __name__ == "__main__":
    desk.main(Procrastinate)
