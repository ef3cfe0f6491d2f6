"""The queue's own connections: pools given, pools shared by threads, pools after a fork, pools on event loops."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgjobq import ConfigError, Queue
from pgjobq.task import Task

SOURCE = Path(__file__).parents[2] / "src"


def send(number: int) -> None: ...


@pytest.fixture
def task(queue: Queue) -> Task[..., None]:
    return queue.task(send)


def test_twenty_threads_on_ten_connections(queue: Queue, task: Task[..., None], dsn: str) -> None:
    with ThreadPoolExecutor(20) as threads:
        ids = list(threads.map(lambda number: task.enqueue(number=number).id, range(400)))
    assert len(set(ids)) == 400
    with psycopg.connect(dsn) as conn:
        count = conn.execute("SELECT count(*) FROM pgjobq.job").fetchone()
        open_now = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        ).fetchone()
    assert count == (400,)
    assert open_now is not None
    assert 1 <= open_now[0] <= 10


def test_many_tasks_on_one_loop(queue: Queue, task: Task[..., None]) -> None:
    async def scene() -> list[int]:
        receipts = await asyncio.gather(*(task.aenqueue(number=number) for number in range(200)))
        await queue.aclose()
        return [receipt.id for receipt in receipts]

    for _ in range(2):  # a second event loop gets a pool of its own
        assert len(set(asyncio.run(scene()))) == 200
    assert len(queue.jobs(limit=1000)) == 400


def test_a_pool_of_ones_own(dsn: str) -> None:
    with ConnectionPool(dsn, min_size=1, max_size=2, open=True) as pool:
        mine = Queue(pool=pool)
        task = mine.task(send)
        ids = [task.enqueue(number=1).id, *mine.enqueue_many([task.call(number=2)])]
        assert [job.id for job in mine.jobs()] == ids[::-1], "each call has committed"
        with pool.connection() as conn:
            assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with pytest.raises(ConfigError, match="apool="):
            asyncio.run(task.aenqueue(number=3))  # type: ignore[arg-type]
        mine.close()
        assert not pool.closed, "who opened it closes it"
        assert task.enqueue(number=4).id


def test_an_async_pool_of_ones_own(dsn: str) -> None:
    async def scene() -> None:
        async with AsyncConnectionPool(dsn, min_size=1, max_size=2, open=False) as apool:
            mine = Queue(apool=apool)
            task = mine.task(send)
            one = (await task.aenqueue(number=1)).id
            (two,) = await mine.aenqueue_many([task.call(number=2)])
            assert [job.id for job in await mine.ajobs()] == [two, one]
            with pytest.raises(ConfigError, match="pool="):
                task.enqueue(number=3)
            await mine.aclose()
            assert not apool.closed

    asyncio.run(scene())


CHILD = """
import json, os, sys
from pgjobq import Queue

queue = Queue(sys.argv[1])

@queue.task
def send(number: int) -> None: ...

first = send.enqueue(number=0).id
reader, writer = os.pipe()
children = []
for number in range(1, 4):
    if (pid := os.fork()) == 0:
        os.close(reader)
        ids = [send.enqueue(number=number).id for _ in range(20)]
        queue.close()
        os.write(writer, (json.dumps(ids) + "\\n").encode())
        os._exit(0)
    children.append(pid)
own = [send.enqueue(number=4).id for _ in range(20)]
os.close(writer)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
lines = os.fdopen(reader).read().splitlines()
last = send.enqueue(number=5).id
queue.close()
print(json.dumps([codes, sorted([first, last, *own, *sum(map(json.loads, lines), [])])]))
"""


def test_after_a_fork_every_process_has_connections_of_its_own(queue: Queue, dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, dsn], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=100
    )
    assert done.stdout, done.stderr
    codes, ids = json.loads(done.stdout)
    assert codes == [0, 0, 0]
    assert sorted(job.id for job in queue.jobs(limit=1000)) == ids
    assert len(set(ids)) == 82


def test_a_pool_of_one_with_twenty_enqueuers(dsn: str) -> None:
    """They take turns; nobody needs a second connection while holding the one there is."""
    with ConnectionPool(dsn, min_size=1, max_size=1, timeout=60, open=True) as pool:
        mine = Queue(pool=pool)
        task = mine.task(send)

        def enqueue(number: int) -> list[int]:
            one = task.enqueue(number=number).id
            assert mine.get(one) is not None
            return [one, *mine.enqueue_many([task.call(number=number), task.call(number=number)])]

        with ThreadPoolExecutor(20) as threads:
            ids = [job for found in threads.map(enqueue, range(100)) for job in found]
        assert len(set(ids)) == 300
        with pool.connection() as conn:
            assert conn.execute("SELECT count(*) FROM pgjobq.job").fetchone() == (300,)


def test_an_async_pool_of_one_with_twenty_enqueuers(dsn: str) -> None:
    async def scene() -> list[int]:
        async with AsyncConnectionPool(dsn, min_size=1, max_size=1, timeout=60, open=False) as pool:
            mine = Queue(apool=pool)
            task = mine.task(send)

            async def enqueue(number: int) -> list[int]:
                one = (await task.aenqueue(number=number)).id
                assert await mine.aget(one) is not None
                return [one, *await mine.aenqueue_many([task.call(number=number), task.call(number=number)])]

            return [job for found in await asyncio.gather(*map(enqueue, range(20))) for job in found]

    assert len(set(asyncio.run(scene()))) == 60


def test_a_pool_of_one_that_is_held_by_its_caller(dsn: str) -> None:
    """Inside the caller's own transaction the connection is given, and no other is asked for."""
    with ConnectionPool(dsn, min_size=1, max_size=1, timeout=5, open=True) as pool:
        mine = Queue(pool=pool)
        task = mine.task(send)
        with pool.connection() as conn:
            first = task.using(conn=conn).enqueue(number=1).id
            assert len(mine.enqueue_many([task.call(number=2)], conn=conn)) == 1
            assert mine.get(first, conn=conn) is not None
