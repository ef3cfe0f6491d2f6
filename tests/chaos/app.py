"""The jobs of a chaos run. Each writes its start before anything else, and its end as the last thing it does."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from chaos.history import History
from pgjobq import Discard, Gate, Queue, Retry, Snooze, Unique, current_job
from pgjobq.current import CurrentJob

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
    "hold": "succeeded",
    "hold_and_fail": "succeeded",
    "hold_and_nap": "succeeded",
    "hold_and_transfer": "succeeded",
    "fail": "failed",
    "poison": "failed",
    "poison_isolated": "failed",
    "decline": "cancelled",
    "ring": "succeeded",
    "book": "succeeded",
    "post": "succeeded",
    "once": "succeeded",
    "beat": "succeeded",
}
"""How each task's jobs must end."""
EFFECTS = ("transfer", "hold_and_transfer")
"""Tasks that write a row in the transaction in which they complete."""
OFTEN = Retry(max_attempts=40, wait=0.1, factor=1.5, cap=1.0, jitter=0.1)
"""Deaths spend attempts too, and a chaos run has many."""
THRICE = Retry(max_attempts=3, wait=0.1, factor=1.0, jitter=0.0)


@functools.cache
def history() -> History:
    """The run's history, of which the environment tells."""
    return History(Path(os.environ["CHAOS_HISTORY"]))


@contextlib.contextmanager
def told(key: str) -> Iterator[CurrentJob]:
    """The start of this attempt, and how it ended: `returned`, or the name of what left the handler."""
    job, pid = current_job(), os.getpid()
    at_worker = os.environ.get("CHAOS_WORKER", "")
    history().write("started", key, job.attempt, job=job.id, pid=pid, at_worker=at_worker, task=job.task)
    try:
        yield job
    except BaseException as error:
        history().write("ended", key, job.attempt, how=type(error).__name__, pid=pid)
        raise
    history().write("ended", key, job.attempt, how="returned", pid=pid)


@queue.task(retry=OFTEN)
async def quick(key: str) -> None:
    with told(key):
        await asyncio.sleep(0)


@queue.task(retry=OFTEN)
def quick_plain(key: str) -> None:
    with told(key):
        pass


@queue.task(retry=OFTEN)
async def work(key: str, seconds: float) -> None:
    with told(key):
        await asyncio.sleep(seconds)


@queue.task(retry=OFTEN)
def work_plain(key: str, seconds: float) -> None:
    with told(key):
        time.sleep(seconds)


@queue.task(retry=OFTEN)
async def stumble(key: str) -> str:
    with told(key) as job:
        if job.attempt == 1:
            raise ValueError("the first time")
        return "a result, so that it is settled the long way"


@queue.task(retry=OFTEN)
async def nap_first(key: str) -> None:
    with told(key) as job:
        if job.attempt == 1:
            raise Snooze(seconds=0.3)


@queue.task(retry=OFTEN)
def transfer(key: str, seconds: float) -> None:
    """Its effect and its completion are one transaction; what becomes of that, the ledger says."""
    with told(key), _transaction() as conn:
        _take_effect(conn, key)
        time.sleep(seconds)
        current_job().complete(conn)


@queue.task(retry=OFTEN)
def die_once(key: str) -> None:
    with told(key) as job:
        if job.attempt == 1:
            _die(key)


@queue.task(retry=THRICE)
def poison(key: str) -> None:
    with told(key):
        _die(key)


@queue.task(retry=THRICE, isolation="process")
def poison_isolated(key: str) -> None:
    with told(key):
        _die(key)


@queue.task(retry=THRICE)
async def fail(key: str) -> None:
    with told(key):
        raise ValueError("as asked")


@queue.task(retry=OFTEN)
async def decline(key: str) -> None:
    with told(key):
        raise Discard("as asked")


# --- what jobs share: see rules


def _fare(key: str, fate: str) -> None:
    """The first attempt goes as `fate` says: well, `stumble` or `die`."""
    if current_job().attempt == 1 and fate == "stumble":
        raise ValueError("the first time")
    if current_job().attempt == 1 and fate == "die":
        _die(key)


@queue.task(retry=OFTEN, gates=[Gate("till:{till}", concurrency=2), Gate("tills", concurrency=5)])
async def ring(key: str, till: int, seconds: float = 0.05, fate: str = "") -> None:
    with told(key):
        _fare(key, fate)
        await asyncio.sleep(seconds)


@queue.task(retry=OFTEN, gates=[Gate("account:{line}", order="fifo")])
def book(key: str, line: str, fate: str = "") -> None:
    """One that is to be tried again holds up the others of its line."""
    with told(key):
        _fare(key, fate)


@queue.task(retry=OFTEN, gates=[Gate("letters:{line}", order="fifo", on_failure="pass")])
async def post(key: str, line: str, fate: str = "") -> None:
    """One that is to be tried again lets the others of its line pass."""
    with told(key):
        _fare(key, fate)


@queue.task(retry=OFTEN, unique=Unique(args=("slot",)))
async def once(key: str, slot: int, seconds: float = 0.0) -> None:
    with told(key):
        await asyncio.sleep(seconds)


@queue.task(retry=OFTEN)
async def beat() -> None:
    """Made by a schedule: its key is the tick."""
    headers = current_job().headers
    with told(f"{headers['schedule']} {headers['scheduled_for']}"):
        pass


# --- for drills: the first attempt runs until the first gate is open, every other one until the second is


@queue.task(retry=OFTEN)
async def hold(key: str) -> None:
    with told(key):
        while not _gate().exists():
            await asyncio.sleep(0.02)


@queue.task(retry=OFTEN)
async def hold_and_fail(key: str) -> None:
    with told(key) as job:
        while not _gate().exists():
            await asyncio.sleep(0.02)
        if job.attempt == 1:
            raise ValueError("the first time")


@queue.task(retry=OFTEN)
async def hold_and_nap(key: str) -> None:
    with told(key) as job:
        while not _gate().exists():
            await asyncio.sleep(0.02)
        if job.attempt == 1:
            raise Snooze(seconds=0.1)


@queue.task(retry=OFTEN)
def hold_and_transfer(key: str) -> None:
    with told(key) as job:
        while not _gate().exists():
            time.sleep(0.02)
        with _transaction() as conn:
            _take_effect(conn, key)
            job.complete(conn)


def _gate() -> Path:
    return Path(os.environ["CHAOS_GATE"] + ("1" if current_job().attempt == 1 else "2"))


def _transaction() -> psycopg.Connection[Any]:
    name = f"chaos handler {os.getpid()}"
    return psycopg.connect(os.environ["CHAOS_DSN"], application_name=name, connect_timeout=5)


def _take_effect(conn: psycopg.Connection[Any], key: str) -> None:
    conn.execute("INSERT INTO chaos.effect (key, attempt) VALUES (%s, %s)", (key, current_job().attempt))


def _die(key: str) -> None:
    history().write("dies", key, current_job().attempt, pid=os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)
