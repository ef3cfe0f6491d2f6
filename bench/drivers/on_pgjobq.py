"""pgjobq: what an application would write. `queue` is what `python -m pgjobq.worker on_pgjobq:queue` loads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

import desk
import psycopg

from pgjobq import Queue

queue = Queue(os.environ.get("BENCH_DSN"))


@queue.task
async def confirm(order_id: int, email: str) -> None:
    await desk.handle(order_id, email)


@queue.task
def confirm_sync(order_id: int, email: str) -> None:
    desk.handle_sync(order_id, email)


class Pgjobq(desk.Driver):
    async def prepare(self) -> None:
        Queue(self.dsn).migrate()

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[desk.Send]:
        if self.options.pool:  # the library's own pool, without conn=

            async def send_pooled(order: int) -> None:
                confirm.enqueue(order_id=order, email=desk.EMAIL)

            yield send_pooled
            queue.close()
            return
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            bound = confirm.using(conn=connection)

            async def send(order: int) -> None:
                bound.enqueue(order_id=order, email=desk.EMAIL)

            yield send

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[desk.Fill]:
        task = confirm_sync if self.options.sync else confirm

        async def fill(orders: range) -> None:
            queue.enqueue_many(task.call(order_id=order, email=desk.EMAIL) for order in orders)

        yield fill
        queue.close()


if __name__ == "__main__":
    desk.main(Pgjobq)
