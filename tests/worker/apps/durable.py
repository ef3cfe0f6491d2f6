"""Handlers that take steps, for worker processes that are killed."""

from __future__ import annotations

import os
import signal
from typing import Any

import psycopg

from apps.trace import mark, pass_gate_plainly
from pgjobq import Queue, Retry, current_job

queue = Queue()
task = queue.task(retry=Retry(wait=0.0))


def note(name: str) -> str:
    mark("step", name=name)
    return name


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task
def dies_between(steps: int) -> list[str]:
    """Its process is killed behind each step."""
    job = current_job()
    done = []
    for number in range(steps):
        name = f"step {number}"
        done.append(job.step(name, note, name))
        if job.attempt == number + 1:
            die()
    return done


@task
async def adies_between(steps: int) -> list[str]:
    job = current_job()
    done = []
    for number in range(steps):
        name = f"step {number}"
        done.append(await job.astep(name, note, name))
        if job.attempt == number + 1:
            die()
    return done


@task
def books(times: int) -> int:
    """Each booking and its memory are one transaction; the process is killed before and behind the commit."""
    job = current_job()
    with psycopg.connect(os.environ["STAGE_DSN"], autocommit=True) as conn:
        for number in range(times):
            with conn.transaction():
                job.using(conn=conn).step(f"book {number}", book, conn, number)
                if job.attempt == 2 * number + 1:
                    die()
            if job.attempt == 2 * number + 2:
                die()
    return times


def book(conn: psycopg.Connection[Any], number: int) -> None:
    conn.execute("INSERT INTO effect VALUES (%s)", (number,))


@queue.task(isolation="process", retry=Retry(wait=0.0))
def isolated(order: int) -> dict[str, Any]:
    job = current_job()
    job.progress(1, 2, "charging")
    charged = job.step("charge", note, f"charge {order}")
    job.sleep(0.05)
    paid = job.wait_for(f"order:{order}:paid", 60)
    if job.attempt < 4:
        raise ValueError("once more")
    job.progress(2, 2)
    return {"charged": charged, "paid": paid}


@queue.task(isolation="process", retry=Retry(wait=0.0))
def dies_isolated() -> str:
    job = current_job()
    done = job.step("charge", note, "charge")
    if job.attempt == 1:
        die()
    return done


@task
async def all_of_it() -> list[Any]:
    job = current_job()
    charged = await job.astep("charge", note, "charge")
    if job.attempt == 1:
        await job.acheckpoint(1)
    job.progress(1)
    await job.await_for("all", 60)
    return [await job.alast_checkpoint(), charged]


@task
def frozen() -> None:
    """Waits before its step, so that its worker may be stopped meanwhile."""
    job = current_job()
    mark("start")
    try:
        if job.attempt == 1:
            pass_gate_plainly()  # where it may be told that its job is no longer its own
        job.step("charge", note, f"charge {job.attempt}")
    except BaseException as error:
        mark("refused", by=type(error).__name__)
        raise
