"""Handlers with middleware, carried context and listeners around them."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from apps.trace import _fd, mark
from pgjobq import CurrentJob, Outgoing, Queue, Retry, Snooze, current_job
from pgjobq.events import JobFailed, JobRetried, JobSucceeded, ProcessEnding

queue = Queue()
tenant: ContextVar[str] = ContextVar("tenant")
request: ContextVar[str] = ContextVar("request")
queue.carry(tenant=tenant, request=request)
once = queue.task(retry=Retry(max_attempts=1))


@queue.around_run
def outer(job: CurrentJob) -> Iterator[None]:
    mark("outer in", tenant=tenant.get(None))
    try:
        result = yield
    except BaseException as error:
        mark("outer error", error=type(error).__name__)
        raise
    mark("outer out", result=result)


@queue.middleware
class Inner:
    def enqueue(self, job: Outgoing) -> None:
        job.headers["seen"] = job.task

    def run(self, job: CurrentJob) -> Iterator[None]:
        if job.headers.get("trouble") == "before":
            raise KeyError("no such tenant")
        if job.headers.get("trouble") == "snooze" and job.attempt == 1:
            raise Snooze(0.01)
        mark("inner in")
        _die_at("before", job)
        while job.headers.get("trouble") == "hang":
            time.sleep(0.01)
        yield
        mark("inner out")
        _die_at("after", job)
        if job.headers.get("trouble") == "after":
            raise ConnectionError("the commit failed")


@once
async def on_loop(more: bool = False) -> str:
    return _work(more)


@once
def in_thread(more: bool = False) -> str:
    return _work(more)


@queue.task(retry=Retry(max_attempts=1), isolation="process")
def in_cell(more: bool = False) -> str:
    return _work(more)


@queue.task(retry=Retry(max_attempts=1), timeout=3)
def limited() -> None: ...


@queue.task(retry=Retry(max_attempts=1), timeout=3, isolation="process")
def limited_in_cell() -> None: ...


@once
async def fail(again: bool = False) -> None:
    raise ValueError("it does")


@queue.task(retry=Retry(max_attempts=2, wait=0.01))
async def fail_once() -> None:
    if current_job().attempt == 1:
        raise OSError("for now")


def _die_at(place: str, job: CurrentJob) -> None:
    if job.headers.get("dies") == place and job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def _work(more: bool) -> str:
    mark("start", tenant=tenant.get(None), request=request.get(None))
    logging.getLogger("shop.orders").info("in the handler")
    if more:  # a job enqueues a job: the context goes on
        on_loop.enqueue()
    return f"tenant {tenant.get(None)}"


def _note(event: Any) -> None:
    line = {"what": f"heard {event.name()}", "job": getattr(event, "job", None), "pid": os.getpid()}
    os.write(_fd, json.dumps(line).encode() + b"\n")


queue.on(JobSucceeded, JobRetried, ProcessEnding)(_note)


@queue.on(JobFailed)
def stumble(event: JobFailed) -> None:
    _note(event)
    raise RuntimeError("the listener's own")
