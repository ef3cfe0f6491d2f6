"""The jobs of a chaos run. Each writes its start before anything else, and its end as the last thing it does."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

import psycopg

from chaos.history import History
from pgjobq import Discard, Queue, Retry, Snooze, current_job

queue = Queue()

ENDS = {
    "quick": "succeeded",
    "quick_plain": "succeeded",
    "work": "succeeded",
    "work_plain": "succeeded",
    "stumble": "succeeded",
    "nap_first": "succeeded",
    "transfer": "succeeded",
    "die_once": "succeeded",
    "fail": "failed",
    "poison": "failed",
    "decline": "cancelled",
}
"""How each task's jobs must end."""
OFTEN = Retry(max_attempts=40, wait=0.1, factor=1.5, cap=1.0, jitter=0.1)
"""Deaths spend attempts too, and a chaos run has many."""
THRICE = Retry(max_attempts=3, wait=0.1, factor=1.0, jitter=0.0)


@functools.cache
def history() -> History:
    """The run's history, of which the environment tells."""
    return History(Path(os.environ["CHAOS_HISTORY"]))


def begin(key: str) -> None:
    job = current_job()
    facts = {"job": job.id, "pid": os.getpid(), "at_worker": os.environ.get("CHAOS_WORKER", ""), "task": job.task}
    history().write("started", key, job.attempt, **facts)


def end(key: str, how: str) -> None:
    history().write("ended", key, current_job().attempt, how=how, pid=os.getpid())


@queue.task(retry=OFTEN)
async def quick(key: str) -> None:
    begin(key)
    await asyncio.sleep(0)
    end(key, "returned")


@queue.task(retry=OFTEN)
def quick_plain(key: str) -> None:
    begin(key)
    end(key, "returned")


@queue.task(retry=OFTEN)
async def work(key: str, seconds: float) -> None:
    begin(key)
    await asyncio.sleep(seconds)
    end(key, "returned")


@queue.task(retry=OFTEN)
def work_plain(key: str, seconds: float) -> None:
    begin(key)
    time.sleep(seconds)
    end(key, "returned")


@queue.task(retry=OFTEN)
async def stumble(key: str) -> str:
    begin(key)
    if current_job().attempt == 1:
        end(key, "raised")
        raise ValueError("the first time")
    end(key, "returned")
    return "a result, so that it is settled the long way"


@queue.task(retry=OFTEN)
async def nap_first(key: str) -> None:
    begin(key)
    if current_job().attempt == 1:
        end(key, "snoozed")
        raise Snooze(seconds=0.3)
    end(key, "returned")


@queue.task(retry=OFTEN)
def transfer(key: str, seconds: float) -> None:
    """Its effect and its completion are one transaction; what becomes of that, the ledger says."""
    begin(key)
    name = f"chaos handler {os.getpid()}"
    with psycopg.connect(os.environ["CHAOS_DSN"], application_name=name, connect_timeout=5) as conn:
        conn.execute("INSERT INTO chaos.effect (key, attempt) VALUES (%s, %s)", (key, current_job().attempt))
        time.sleep(seconds)
        current_job().complete(conn)
    end(key, "completed")


@queue.task(retry=OFTEN)
def die_once(key: str) -> None:
    begin(key)
    if current_job().attempt == 1:
        _die(key)
    end(key, "returned")


@queue.task(retry=THRICE)
def poison(key: str) -> None:
    begin(key)
    _die(key)


@queue.task(retry=THRICE)
async def fail(key: str) -> None:
    begin(key)
    end(key, "raised")
    raise ValueError("as asked")


@queue.task(retry=OFTEN)
async def decline(key: str) -> None:
    begin(key)
    end(key, "discarded")
    raise Discard("as asked")


@queue.task(retry=OFTEN)
async def hold(key: str) -> None:
    """Runs until the test opens the gate."""
    begin(key)
    while not Path(os.environ["CHAOS_GATE"]).exists():
        await asyncio.sleep(0.02)
    end(key, "returned")


def _die(key: str) -> Any:
    history().write("dies", key, current_job().attempt, pid=os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)
