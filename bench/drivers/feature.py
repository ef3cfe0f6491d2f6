"""One feature of pgjobq, as an application uses it: for bench/features.py. Runs with the library of version 1, too.

python feature.py VERB FEATURE JOBS DSN         VERB: prepare, one, bulk, run; the last line of the output is JSON
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

import pgjobq
from pgjobq import Queue
from pgjobq.settings import WorkerSettings
from pgjobq.worker import Worker

BATCH = 1_000
KEYS = 100
DSN = sys.argv[4] if __name__ == "__main__" else None

queue = Queue(DSN)

Asked = Callable[[int], tuple[Any, dict[str, Any]]]
"""The task of the nth job, and what `using` is told."""


@queue.task
async def confirm(order_id: int, email: str) -> None: ...


@queue.task
async def answer(order_id: int, email: str) -> dict[str, int]:  # noqa: ARG001
    return {"order_id": order_id}


def _arguments(number: int) -> dict[str, Any]:
    return {"order_id": number, "email": f"user{number % 10}@example.com"}


def _with(**options: Any) -> Asked:
    return lambda _: (confirm, options)


def _result() -> Asked:
    return lambda _: (answer, {})


def _priorities() -> Asked:
    return lambda number: (confirm, {"priority": number % 19 - 9})


def _unique(**more: Any) -> Asked:
    return lambda number: (confirm, {"unique": pgjobq.Unique(key=f"order:{number}", **more)})


def _gate(**limits: Any) -> Asked:
    return lambda number: (confirm, {"gates": [pgjobq.Gate(f"order:{number % KEYS}", **limits)]})


def _rate() -> Asked:
    return _with(gates=[pgjobq.Gate("orders", rate=pgjobq.Rate(1_000_000, burst=999_999))])


def _fair() -> Asked:
    return _with(gates=[pgjobq.Gate("orders", fair="{email}")])


def _chunk() -> Asked:
    @queue.task(chunk=pgjobq.Chunk(size=100))
    async def many(jobs: list[pgjobq.ChunkJob[dict[str, Any]]]) -> None: ...

    return lambda _: (many, {})


def _version() -> Asked:
    @queue.task(version=2, upcasts={1: dict})
    async def evolved(order_id: int, email: str) -> None: ...

    return lambda _: (evolved, {})


def _middleware() -> Asked:
    @queue.around_enqueue
    def noted(_: Any) -> Iterator[None]:
        yield

    @queue.around_run
    def timed(_: Any) -> Iterator[None]:
        yield

    return _with()


def _limit() -> Asked:
    queue.limit("default", waiting=10_000_000)
    return _with()


def _ageing() -> Asked:
    queue.set_ageing("default", step=3600)
    return _with()


FEATURES: dict[str, Callable[[], Asked]] = {
    "version1": _with,
    "nothing": _with,
    "labels": lambda: _with(ref="order:7", tags=["nightly"], headers={"tenant": "7"}),
    "result": _result,
    "priorities": _priorities,
    "ageing": _ageing,
    "delay": lambda: _with(delay=0.001),
    "expires": lambda: _with(expires=3600),
    "limit": _limit,
    "unique": _unique,
    "throttle": lambda: _unique(period=60),
    "gate": lambda: _gate(concurrency=10),
    "fifo": lambda: _gate(order="fifo"),
    "rate": _rate,
    "fair": _fair,
    "depends_on": _with,
    "chunk": _chunk,
    "version": _version,
    "middleware": _middleware,
}


def one(feature: str, jobs: int) -> float:
    """Enqueue one by one, each committed; gives seconds of CPU."""
    asked = FEATURES[feature]()
    with psycopg.connect(str(DSN), autocommit=True) as connection:
        before = None
        begun = time.process_time()
        for number in range(jobs):
            task, options = asked(number)
            if feature == "depends_on" and before is not None:
                options = {"depends_on": [before]}
            receipt = task.using(**options, conn=connection).enqueue(**_arguments(number))
            before = receipt.id if before is None else None
        return time.process_time() - begun


def bulk(feature: str, jobs: int) -> float:
    """Enqueue a thousand at a time, each thousand committed; gives seconds of CPU."""
    asked = FEATURES[feature]()
    before: list[int] = []

    def call(number: int) -> Any:
        task, options = asked(number)
        if before:
            options = {"depends_on": [before[number % BATCH]]}
        return (task.using(**options) if options else task).call(**_arguments(number))

    with psycopg.connect(str(DSN), autocommit=True) as connection:
        begun = time.process_time()
        for start in range(0, jobs, BATCH):
            ids = queue.enqueue_many(
                [call(number) for number in range(start, min(start + BATCH, jobs))], conn=connection
            )
            before = ids if feature == "depends_on" and not before else []
        return time.process_time() - begun


def run(feature: str) -> float:
    """Run all there is; gives seconds of CPU."""
    FEATURES[feature]()
    begun = time.process_time()
    Worker(queue, WorkerSettings(drain=True, concurrency=100, log_level="warning")).run_sync()
    return time.process_time() - begun


def main() -> None:
    """Do what the command line asks for."""
    verb, feature, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    spent = 0.0
    if verb == "prepare":
        queue.migrate()
    elif verb == "run":
        spent = run(feature)
    else:
        spent = {"one": one, "bulk": bulk}[verb](feature, jobs)
    queue.close()
    print(json.dumps({"seconds": spent}))


if __name__ == "__main__":
    main()
