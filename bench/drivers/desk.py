"""What all Python drivers share: reading the order, timing the loops, counting in handlers. Standard library only: it
runs in every peer's own environment.

    python on_NAME.py VERB JSON       VERB: prepare, one, bulk, probe, work; the last line of the output is JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

EMAIL = "user@example.com"
WARM_UP = 50

Send = Callable[[int], Awaitable[Any]]
Fill = Callable[[range], Awaitable[Any]]


def payload(order: int) -> dict[str, Any]:
    """What every job carries."""
    return {"order_id": order, "email": EMAIL}


class Count:
    """This process's count of handlers called, where the runner reads it without asking the database."""

    def __init__(self) -> None:
        path = Path(os.environ["BENCH_HOME"], f"count-{os.getpid()}")
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)
        self.cell = memoryview(self._map).cast("Q")


_count: Count | None = None
_lock = threading.Lock()
_marks = -1


def _cell() -> memoryview:
    """The counter of this very process."""
    global _count
    if _count is None:
        _count = Count()
    return _count.cell


def _forget() -> None:
    """Some workers fork: the child counts for itself. Asking for the process id in every handler cost 2 µs."""
    global _count, _lock, _marks
    _count, _lock, _marks = None, threading.Lock(), -1


os.register_at_fork(after_in_child=_forget)


def _mark(order: int) -> None:
    global _marks
    if _marks < 0:
        path = Path(os.environ["BENCH_HOME"], f"marks-{os.getpid()}")
        _marks = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(_marks, b"%d %d\n" % (order, time.monotonic_ns()))


async def handle(order_id: int, email: str) -> None:  # noqa: ARG001
    """The handler, as a coroutine: by BENCH_HANDLER `noop`, `mark`, or `sleep` for BENCH_MILLIS."""
    _cell()[0] += 1
    if HANDLER == "noop":
        return
    if HANDLER == "mark":
        _mark(order_id)
    else:
        await asyncio.sleep(SECONDS)


def handle_sync(order_id: int, email: str) -> None:  # noqa: ARG001
    """The same as a plain function; `cpu` keeps a core busy for BENCH_MILLIS."""
    with _lock:  # in threads two could read the same count
        _cell()[0] += 1
    if HANDLER == "mark":
        _mark(order_id)
    elif HANDLER == "sleep":
        time.sleep(SECONDS)
    elif HANDLER == "cpu":
        ends = time.thread_time() + SECONDS
        while time.thread_time() < ends:
            pass


HANDLER = os.environ.get("BENCH_HANDLER", "noop")
SECONDS = float(os.environ.get("BENCH_MILLIS", "0")) / 1000


def ready() -> None:
    """Say that this process is about to take jobs."""
    Path(os.environ["BENCH_HOME"], f"ready-{os.getpid()}").touch()


class Driver:
    """What a system's driver says about itself."""

    def __init__(self, options: SimpleNamespace) -> None:
        self.options = options
        self.dsn: str = options.dsn

    async def prepare(self) -> None:
        """Make the schema."""

    @contextlib.asynccontextmanager
    async def sender(self) -> AsyncIterator[Send]:
        """Give something that enqueues one order and returns once it is committed."""
        raise NotImplementedError
        yield

    @contextlib.asynccontextmanager
    async def filler(self) -> AsyncIterator[Fill]:
        """Give something that enqueues many orders the quickest documented way and returns once they are committed."""
        raise NotImplementedError
        yield

    async def work(self) -> None:
        """Work until killed, `options.concurrency` jobs at once."""
        raise NotImplementedError


async def _one(driver: Driver) -> dict[str, Any]:
    """Enqueue `jobs`, or for `seconds`."""
    jobs, limit = driver.options.jobs, driver.options.seconds
    async with driver.sender() as send:
        for order in range(WARM_UP):
            await send(order)
        await asyncio.sleep(max(0.0, driver.options.at - time.monotonic()))  # several clients begin together
        sent, begin = 0, time.perf_counter()
        ends = begin + limit if limit else float("inf")
        while (sent < jobs if jobs else True) and time.perf_counter() < ends:
            await send(sent)
            sent += 1
        return {"jobs": sent, "seconds": time.perf_counter() - begin}


async def _bulk(driver: Driver) -> dict[str, Any]:
    """Enqueue `jobs` in all; the first few, which connect and prepare, are not timed. `grown`: by how many megabytes
    the memory of this process was larger at its peak than before.
    """
    async with driver.filler() as fill:
        await fill(range(WARM_UP))
        before, begin = _most_memory(), time.perf_counter()
        await fill(range(WARM_UP, driver.options.jobs))
        seconds = time.perf_counter() - begin
        return {"jobs": driver.options.jobs - WARM_UP, "seconds": seconds, "grown": _most_memory() - before}


def _most_memory() -> float:
    """Megabytes of resident memory at the peak so far; the unit of the figure is a kilobyte on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


async def _probe(driver: Driver) -> dict[str, Any]:
    """Enqueue now and then; gives when each enqueue was called and when it had returned, nanoseconds."""
    sent = []
    async with driver.sender() as send:
        for order in range(-WARM_UP // 5, driver.options.jobs):
            await asyncio.sleep(driver.options.gap)
            before = time.monotonic_ns()
            await send(order)
            sent.append([order, before, time.monotonic_ns()])
    return {"sent": [entry for entry in sent if entry[0] >= 0]}


async def _prepare(driver: Driver) -> dict[str, Any]:
    await driver.prepare()
    return {}


async def _work(driver: Driver) -> dict[str, Any]:
    await driver.work()
    return {}


VERBS = {"prepare": _prepare, "one": _one, "bulk": _bulk, "probe": _probe, "work": _work}


def main(driver: type[Driver]) -> None:
    """Carry out what the command line asks for."""
    verb, options = sys.argv[1], json.loads(sys.argv[2])
    defaults = {"dsn": "", "jobs": 0, "seconds": 0.0, "gap": 0.03, "concurrency": 100, "at": 0.0, "batch": 0}
    flags = {"limited": False, "pool": False, "sync": False}
    order = SimpleNamespace(**{**defaults, **flags, **options})
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        answer = runner.run(VERBS[verb](driver(order)))
    print(json.dumps(answer))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop for everybody who may have it."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
