"""Handlers that do one thing each, for tests that need a worker process."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path

from apps.trace import mark, pass_gate, pass_gate_plainly
from pgjobq import Discard, Queue, Retry, Snooze, current_job

queue = Queue()


@queue.task
async def note() -> None:
    mark("start")


@queue.task
def note_plain() -> None:
    mark("start")


@queue.task
async def hold() -> None:
    """Runs until the test opens the gate."""
    mark("start")
    try:
        await pass_gate()
    except BaseException as error:
        mark("out", by=type(error).__name__, cancelled=current_job().cancelled)
        raise
    mark("end")


@queue.task
def hold_plain() -> None:
    mark("start")
    try:
        pass_gate_plainly()
    except BaseException as error:
        mark("out", by=type(error).__name__, cancelled=current_job().cancelled)
        raise
    mark("end")


@queue.task(retry=Retry(give_up_on=(ValueError,)))
async def nap_or_fail(seconds: float, fails: bool) -> None:
    await asyncio.sleep(seconds)
    if fails:
        raise ValueError("as it was asked to")


@queue.task
async def nap(seconds: float) -> None:
    mark("start")
    await asyncio.sleep(seconds)
    mark("end")


@queue.task
def nap_plain(seconds: float) -> None:
    mark("start")
    time.sleep(seconds)
    mark("end")


@queue.task
async def fail() -> None:
    mark("start")
    raise ValueError("as asked")


@queue.task
async def fail_once() -> None:
    mark("start")
    if current_job().attempt == 1:
        raise ValueError("the first time")


@queue.task(retry=Retry(wait=3600))
async def fail_and_wait() -> None:
    """Is not tried again while the test lasts."""
    mark("start")
    raise ValueError("as asked")


@queue.task
async def snooze_once(seconds: float) -> None:
    mark("start")
    if current_job().attempt == 1:
        raise Snooze(seconds)


@queue.task
async def discard() -> None:
    mark("start")
    raise Discard("nobody wants it")


@queue.task
async def die() -> None:
    """Takes its process with it."""
    mark("start")
    os.kill(os.getpid(), signal.SIGKILL)


@queue.task
def die_once() -> None:
    mark("start")
    if current_job().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@queue.task
def leave_once() -> None:
    """Ends its process the other way: by an exit code."""
    mark("start")
    if current_job().attempt == 1:
        os._exit(7)


@queue.task
def fork_and_die_once() -> None:
    """Dies and leaves a fork behind, which has inherited every descriptor."""
    mark("start")
    if current_job().attempt == 1:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(40,))
        child.start()
        mark("forked", child=child.pid)
        os.kill(os.getpid(), signal.SIGKILL)


@queue.task(timeout=0.3)
def deaf_once() -> None:
    """Does not hear its time-out: it sleeps in C code and catches everything."""
    mark("start")
    if current_job().attempt > 1:
        return
    while True:
        try:
            while True:
                time.sleep(0.05)
        except BaseException:
            mark("deaf")


@queue.task
def sleep_in_c(seconds: float) -> None:
    """An interruption reaches it only when the call is over."""
    mark("start")
    time.sleep(seconds)
    mark("end")


@queue.task
def hold_gil(seconds: int) -> None:
    """No other thread of this process moves for so long."""
    mark("start")
    ctypes.PyDLL(None).sleep(seconds)
    mark("end")


@queue.task
async def block_loop(seconds: float) -> None:
    mark("start")
    time.sleep(seconds)
    mark("end")


@queue.task
def run_program() -> None:
    """A program of the job's own, which tells how it was started and lives until the gate opens."""
    program = subprocess.Popen(["sleep", "50"])
    status = Path(f"/proc/{program.pid}/status").read_text()
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    descriptors = 0
    for _ in range(20):  # while it loads its libraries it has them open, one at a time
        time.sleep(0.02)
        descriptors = len(list(Path(f"/proc/{program.pid}/fd").iterdir()))
        if descriptors == 3:
            break
    mark("start", program=program.pid, ignored=ignored, descriptors=descriptors)
    try:
        pass_gate_plainly()
        mark("end", code=program.poll())
    finally:
        program.kill()
        program.wait()
