"""Tasks behind gates, whose handlers say when they run."""

from __future__ import annotations

import asyncio
import time

from apps.trace import mark
from pgjobq import Gate, Queue, Quota, Rate, Retry, current_job

queue = Queue()


@queue.task(gates=[Gate("merchant:{merchant}", concurrency=2), Gate("all", concurrency=5)], retry=Retry(wait=0.0))
async def pay(merchant: int, seconds: float = 0.02, fails: int = 0) -> None:
    mark("start", key=f"merchant:{merchant}")
    await asyncio.sleep(seconds)
    mark("end", key=f"merchant:{merchant}")
    if current_job().attempt <= fails:
        raise RuntimeError("not yet")


@queue.task(gates=[Gate("account:{account}", order="fifo")], retry=Retry(wait=0.05, jitter=0.0))
def book(account: int, number: int, fails: int = 0) -> None:
    mark("start", key=f"account:{account}", number=number)
    time.sleep(0.005)
    mark("end", key=f"account:{account}", number=number)
    if current_job().attempt <= fails:
        raise RuntimeError("not yet")


@queue.task(gates=[Gate("one", concurrency=1)])
async def step() -> None:
    mark("start")
    await asyncio.sleep(0.01)
    mark("end")


@queue.task
async def free() -> None:
    mark("start")


@queue.task(gates=[Gate("sms:{country}", rate=Rate(20, per=1.0, burst=3))], retry=Retry(wait=0.0))
async def text(country: str, seconds: float = 0.01, fails: int = 0) -> None:
    mark("start", key=country)
    await asyncio.sleep(seconds)
    mark("end", key=country)
    if current_job().attempt <= fails:
        raise RuntimeError("not yet")


@queue.task(gates=[Gate("mail", fair="{tenant}", weights={"heavy": 3})])
async def mail(tenant: str, seconds: float = 0.05) -> None:
    mark("start", key=tenant)
    await asyncio.sleep(seconds)
    mark("end", key=tenant)


@queue.task(gates=[Gate("desk:{desk}", quota=Quota(6, per=2))], retry=Retry(wait=0.0))
async def ask(desk: int, seconds: float = 0.01) -> None:
    mark("start", key=f"desk:{desk}")
    await asyncio.sleep(seconds)
    mark("end", key=f"desk:{desk}")


@queue.task(queue="narrow", retry=Retry(wait=0.0))
async def keyed(key: str, seconds: float = 0.02) -> None:
    mark("start", key=key)
    await asyncio.sleep(seconds)
    mark("end", key=key)
