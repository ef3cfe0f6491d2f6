"""Handlers that run in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from typing import Any

import psycopg

from apps.basic import hold, nap, note
from apps.trace import GATE, mark, pass_gate_plainly
from pgjobq import Discard, Queue, Retry, Snooze, current_job

queue = Queue()
for harmless in (hold, nap, note):
    queue.task(harmless.function)
isolated = queue.task(isolation="process")


@isolated
def tell(words: list[str]) -> dict[str, Any]:
    job = current_job()
    mark("start", parent=os.getppid())
    print("printed by", job.task)
    logging.getLogger("shop").warning("logged by %s", job.task)
    facts = {"id": job.id, "attempt": job.attempt, "ref": job.ref, "tags": job.tags, "headers": job.headers}
    return facts | {"words": words, "cancelled": job.cancelled, "queue": job.queue}


@isolated
async def atell(words: list[str]) -> list[str]:
    mark("start", parent=os.getppid())
    await asyncio.sleep(0.01)
    return [*words, current_job().task]


@isolated
def burn() -> None:
    """Keeps a processor busy until the test opens the gate."""
    mark("start")
    while not GATE.exists():
        sum(range(100_000))
    mark("end")


@isolated
def hold_isolated() -> None:
    mark("start", parent=os.getppid())
    try:
        pass_gate_plainly()
    except BaseException as error:
        mark("out", by=type(error).__name__, cancelled=current_job().cancelled)
        raise
    mark("end")


@isolated
def snooze_once() -> None:
    mark("start")
    if current_job().attempt == 1:
        raise Snooze(0.1)


@isolated
async def discard() -> None:
    raise Discard("nobody wants it")


@queue.task(isolation="process", retry=Retry(max_attempts=9, give_up_on=(KeyError,)))
def give_up() -> None:
    raise KeyError("k")


@queue.task(isolation="process", timeout=3)
def late() -> None:
    mark("start")
    try:
        time.sleep(60)
    finally:
        mark("tidied", cancelled=current_job().cancelled)


@queue.task(isolation="process", timeout=3)
async def alate() -> None:
    mark("start")
    try:
        await asyncio.sleep(60)
    finally:
        mark("tidied", cancelled=current_job().cancelled)


@queue.task(isolation="process", timeout=3)
async def late_and_blocking() -> None:
    mark("start")
    time.sleep(60)


@queue.task(isolation="process", timeout=3)
def late_and_deaf() -> None:
    mark("start")
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(0.05)


@queue.task(isolation="process", memory_limit="200MB")
def grow(mib: int) -> int:
    mark("start")
    return len(bytearray(b"x") * (mib * 2**20)) // 2**20


@isolated
def complete(and_then: str) -> None:
    """Finishes in its own transaction."""
    mark("start")
    with psycopg.connect(os.environ["STAGE_DSN"]) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS effect (job bigint)")
        conn.execute("INSERT INTO effect VALUES (%s)", (current_job().id,))
        current_job().complete(conn)
        if and_then == "roll back":
            conn.rollback()
    if and_then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
