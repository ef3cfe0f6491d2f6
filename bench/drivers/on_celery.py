"""Celery on Redis, for orientation: not durable in the same way, and not in your transaction."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator

import desk
from celery import Celery
from celery.signals import worker_ready

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=16,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_store_errors_even_if_ignored=False,
)


@app.task(name="confirm")
def confirm(order_id: int, email: str) -> None:
    desk.handle_sync(order_id, email)


@worker_ready.connect
def _ready(**_: object) -> None:
    desk.ready()


class CeleryDriver(desk.Driver):
    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[desk.Send]:
        with app.producer_pool.acquire(block=True) as producer:

            async def send(order: int) -> None:
                confirm.apply_async(kwargs=desk.payload(order), producer=producer)

            yield send

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[desk.Fill]:
        with app.producer_pool.acquire(block=True) as producer:

            async def fill(orders: range) -> None:
                for order in orders:
                    confirm.apply_async(kwargs=desk.payload(order), producer=producer)

            yield fill


if __name__ == "__main__":
    if sys.argv[1] == "work":
        import on_celery

        on_celery.app.worker_main(
            ["worker", "--pool=prefork", "--concurrency=1", "--loglevel=error", "--without-mingle"]
        )
    else:
        desk.main(CeleryDriver)
