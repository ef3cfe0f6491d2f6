"""The jobs of a chaos run. Each writes its start before anything else, and its end as the last thing it does."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from chaos.history import History
from pgjobq import Discard, Gate, Queue, Rate, Retry, Snooze, Unique, current_job
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
    "trip": "succeeded",
    "meet": "succeeded",
    "text": "succeeded",
    "mail": "succeeded",
    "follow": "succeeded",
    "hold_and_do": "succeeded",
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


def _fare(key: str, fate: str, at: int = 1) -> None:
    """The first attempt (or that one) goes as `fate` says: well, `stumble` or `die`."""
    if current_job().attempt == at and fate == "stumble":
        raise ValueError("the first time")
    if current_job().attempt == at and fate == "die":
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


@queue.task(retry=OFTEN, gates=[Gate("wire:{wire}", rate=Rate(8, per=1.0, burst=2))])
async def text(key: str, wire: int, fate: str = "") -> None:
    with told(key):
        _fare(key, fate)


@queue.task(retry=OFTEN, gates=[Gate("mail", fair="{shop}", concurrency=1)])
async def mail(key: str, shop: str, seconds: float = 0.02, fate: str = "") -> None:
    with told(key):
        _fare(key, fate)
        await asyncio.sleep(seconds)


# --- what lasts longer than an attempt: see durable

LEGS = 3


@queue.task(retry=OFTEN)
def trip(key: str, seconds: float = 0.3, fate: str = "") -> None:
    """Steps, and a sleep between them; its first attempts stumble or die behind one, as `fate` says."""
    with told(key) as job:
        for leg in range(LEGS):
            name = f"leg {leg}"
            value = job.step(name, _take_leg, key, name)
            history().write("kept", key, job.attempt, name=name, value=value)
            if job.attempt == leg + 1:
                _fare(key, fate, leg + 1)
            if leg == 0:
                history().write("asleep", key, job.attempt, seconds=seconds)
                job.sleep(seconds)
                history().write("awake", key, job.attempt)


def _take_leg(key: str, name: str) -> str:
    attempt = current_job().attempt
    value = f"attempt {attempt} in {os.getpid()}"
    history().write("did", key, attempt, name=name, value=value)
    return value


@queue.task(retry=OFTEN)
async def meet(key: str, event: str, fate: str = "") -> None:
    """Waits for an event, and tells what came with it."""
    with told(key) as job:
        payload = await job.await_for(event)
        history().write("met", key, job.attempt, event=event, payload=payload)
        _fare(key, fate)


@queue.task(retry=OFTEN)
async def follow(key: str) -> None:
    """Waits for other jobs, or for a workflow as a whole; it is cancelled if it was not needed."""
    with told(key):
        await asyncio.sleep(0)


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


@queue.task(retry=OFTEN)
def hold_and_do(key: str, deed: str) -> None:
    """The first attempt then does what only the owner of a job may do; the others leave it alone."""
    with told(key) as job:
        job.last_checkpoint()  # what was left is read while the job is still its own: the deed is to be refused
        history().write("holds", key, job.attempt)
        while not _gate().exists():
            time.sleep(0.02)
        if job.attempt == 1:
            DEEDS[deed](job)


def _beat_until_told(job: CurrentJob) -> None:
    while True:
        job.heartbeat()
        time.sleep(0.02)


DEEDS: dict[str, Callable[[CurrentJob], object]] = {
    "step": lambda job: job.step("deed", lambda: "done"),
    "sleep": lambda job: job.sleep(0.2),
    "wait": lambda job: job.wait_for("nothing", timeout=0.2, default=None),
    "checkpoint": lambda job: job.checkpoint("far"),
    "progress": lambda job: job.progress(1, 2),
    "heartbeat": _beat_until_told,
}
"""What a job's owner does in the midst of its work."""


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
