"""The queue's own connections, for calls without conn=."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg import sql

from kinds.caller import Shop
from pgjobq import ConfigError, MissingDsn, Queue
from pgjobq.run import loop_pool, pools
from pgjobq.run.pools import Pools
from support.dsn import as_url
from support.waiting import eventually

OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgjobq'"
NAMES = ("PGJOBQ_DSN", "DATABASE_URL", "PGHOST", "PGSERVICE", "PGDATABASE", "PGSERVICEFILE")


@pytest.fixture
def shop(dsn: str) -> Iterator[Shop]:
    """A shop on a database of the test's own: here the sessions are counted."""
    with psycopg.connect(dsn, autocommit=True, application_name="onlooker") as onlooker:
        shop = Shop(dsn, onlooker)
        yield shop
        shop.queue.close()


def sessions(shop: Shop) -> list[int]:
    """The process ids of our sessions on the server."""
    return [pid for (pid,) in shop.onlooker.execute(f"SELECT pid {OURS} ORDER BY pid").fetchall()]


def test_each_call_commits_by_itself(shop: Shop) -> None:
    assert sessions(shop) == []
    shop.ship.enqueue(order=1)
    assert shop.jobs() == [1]
    asyncio.run(shop.ship.aenqueue(order=2))
    assert shop.jobs() == [1, 2]
    eventually(lambda: len(sessions(shop)) == 1)  # the loop's own is gone, the sync one stays


def test_one_enqueue_connects_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection that shows whether there is a database is the pool's first, and closed with it."""
    made = []
    connect = psycopg.Connection.connect

    def note(*given: Any, **named: Any) -> psycopg.Connection[Any]:
        made.append(connect(*given, **named))
        return made[-1]

    monkeypatch.setattr(psycopg.Connection, "connect", note)
    for order in range(3):
        shop.ship.enqueue(order=order)
    assert [conn.info.backend_pid for conn in made] == sessions(shop)
    shop.queue.close()
    assert [conn.closed for conn in made] == [True]
    shop.ship.enqueue(order=3)
    assert len(made) == 2, "and the next pool begins anew"


def test_many_at_once_share_ten_connections(shop: Shop) -> None:
    with ThreadPoolExecutor(30) as threads:
        list(threads.map(lambda order: shop.ship.enqueue(order=order), range(60)))
    assert shop.jobs() == list(range(60))
    assert len(sessions(shop)) <= 10
    shop.queue.close()
    eventually(lambda: not sessions(shop))  # closing does not wait for the server's processes

    async def all_at_once() -> int:
        await asyncio.gather(*(shop.ship.aenqueue(order=order) for order in range(60, 120)))
        return len(sessions(shop))

    assert asyncio.run(all_at_once()) <= 10
    assert shop.jobs() == list(range(120))


def test_transactions_of_several_statements(shop: Shop) -> None:
    own = shop.queue.pools
    with pytest.raises(ZeroDivisionError), own.transaction() as conn:
        assert shop.ship.using(conn=conn).enqueue(order=1).id / 0
    with own.transaction() as conn:
        shop.ship.using(conn=conn).enqueue(order=2)
        assert shop.jobs() == []
    assert shop.jobs() == [2]

    async def awaited() -> None:
        with pytest.raises(ZeroDivisionError):
            async with own.atransaction() as conn:
                assert (await shop.ship.using(conn=conn).aenqueue(order=3)).id / 0
        async with own.atransaction() as conn:
            await shop.ship.using(conn=conn).aenqueue(order=4)
        await shop.queue.aclose()

    asyncio.run(awaited())
    assert shop.jobs() == [2, 4]


def test_connections_that_died_are_replaced(shop: Shop) -> None:
    """After a restart of the server the next call works: a pooled connection is tried before it is used."""

    async def scene() -> None:
        for order in (1, 2):
            shop.ship.enqueue(order=order)
            await shop.ship.aenqueue(order=order)
            assert shop.onlooker.execute(f"SELECT pg_terminate_backend(pid, 20000) {OURS}").fetchall()
        shop.ship.enqueue(order=3)
        await shop.ship.aenqueue(order=3)

    asyncio.run(scene())
    assert shop.jobs() == [1, 1, 2, 2, 3, 3]


def test_cancelled_calls_give_their_connection_back(shop: Shop) -> None:
    """Time-outs around enqueues: whoever is cancelled, waiting, connecting or talking, leaves nothing behind."""

    async def scene() -> None:
        for round_ in range(20):
            calls = [asyncio.ensure_future(shop.ship.aenqueue(order=0)) for _ in range(15)]
            await asyncio.sleep(round_ / 1000)
            for call in calls[round_ % 2 :: 2]:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.gather(*(shop.ship.aenqueue(order=1) for _ in range(30)))
        eventually(lambda: len(sessions(shop)) <= 10)  # those of the cancelled calls take a moment to end
        mine = shop.queue.pools._loops[asyncio.get_running_loop()]
        assert mine._free._value == loop_pool.MAX_SIZE

    asyncio.run(asyncio.wait_for(scene(), 60))
    assert shop.jobs().count(1) == 30
    eventually(lambda: not sessions(shop))


def test_loop_that_ends_amid_a_call(shop: Shop) -> None:
    """asyncio.run cancels what still runs; it must not wait for it for ever."""

    async def scene() -> None:
        for order in range(20):
            asyncio.ensure_future(shop.ship.aenqueue(order=order))  # noqa: RUF006 - forgotten on purpose
        await asyncio.sleep(0.01)

    asyncio.run(scene())
    eventually(lambda: not sessions(shop))


def test_closing_and_going_on(shop: Shop) -> None:
    shop.ship.enqueue(order=1)
    shop.queue.close()
    shop.queue.close()
    eventually(lambda: not sessions(shop))

    async def scene() -> None:
        shop.ship.enqueue(order=2)
        await shop.ship.aenqueue(order=3)
        await shop.queue.aclose()
        await shop.queue.aclose()
        eventually(lambda: not sessions(shop))
        await shop.ship.aenqueue(order=4)

    asyncio.run(scene())
    assert shop.jobs() == [1, 2, 3, 4]


def test_event_loops_come_and_go(shop: Shop) -> None:
    """Nobody calls aclose(): each loop takes its pool with it."""
    for order in range(5):
        asyncio.run(shop.ship.aenqueue(order=order))
    eventually(lambda: not sessions(shop))
    assert shop.queue.pools._loops == {}
    assert shop.jobs() == [0, 1, 2, 3, 4]


def test_loop_that_is_closed_without_a_goodbye(shop: Shop) -> None:
    """A loop closed by hand, its async generators not ended: the next call sweeps up after it."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(shop.ship.aenqueue(order=1))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    left = sessions(shop)
    loop.close()
    assert left
    asyncio.run(shop.ship.aenqueue(order=2))
    eventually(lambda: not sessions(shop))
    assert shop.jobs() == [1, 2]


def test_loops_in_several_threads(shop: Shop) -> None:
    def run(order: int) -> None:
        asyncio.run(shop.ship.aenqueue(order=order))

    threads = [threading.Thread(target=run, args=(order,)) for order in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert shop.jobs() == [0, 1, 2, 3]
    eventually(lambda: not sessions(shop))


FORKING = """
import os, sys, time, pgjobq
queue = pgjobq.Queue(sys.argv[1])
@queue.task
def ship(order: int, pid: int) -> None: ...
def backend():
    with queue.pools.connection() as conn:
        return conn.info.backend_pid
before = backend()
child = os.fork()
if child == 0:
    ship.enqueue(order=1, pid=backend())
    sys.exit(0)  # with everything that a normal exit does
assert os.waitpid(child, 0)[1] == 0
waits = []
for _ in range(3):
    idle = os.fork()
    if idle == 0:
        sys.exit(0)  # without a look at the queue
    began = time.monotonic()
    assert os.waitpid(idle, 0)[1] == 0
    waits.append(time.monotonic() - began)
assert min(waits) < 4, "the child waited for threads that it does not have"  # 5 s each time
ship.enqueue(order=2, pid=before)
assert backend() == before, "the child ended its parent's session"
print("parent ends")
"""


def test_fork(shop: Shop) -> None:
    """A forked child opens its own connections, and its end leaves its parent's alone."""
    done = _run(FORKING, shop.dsn)
    assert (done.returncode, done.stdout, done.stderr) == (0, "parent ends\n", "")
    query = "SELECT (args->>'order')::int, args->>'pid' FROM pgjobq.job ORDER BY 1"
    (first, in_child), (second, in_parent) = shop.onlooker.execute(query).fetchall()
    assert (first, second) == (1, 2)
    assert in_child != in_parent


LEAVING = """
import asyncio, logging, sys, pgjobq
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a busy machine makes callbacks slow, and asyncio warns of that
queue = pgjobq.Queue(sys.argv[1])
@queue.task
def ship(order: int) -> None: ...
ship.enqueue(order=1)
asyncio.run(ship.aenqueue(order=2))
async def main():
    await asyncio.gather(*(ship.aenqueue(order=3) for _ in range(20)))
    ship.enqueue(order=4)
asyncio.run(main())
"""


def test_interpreter_ends_without_close(shop: Shop) -> None:
    """No warning, no hang, no traceback; -X dev shows what is left open."""
    done = _run(LEAVING, shop.dsn)
    assert (done.returncode, done.stderr) == (0, "")
    assert shop.jobs() == [1, 2, *[3] * 20, 4]


def _run(code: str, dsn: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, dsn],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_through_pgbouncer(bouncer_dsn: str, shop: Shop) -> None:
    """In transaction mode every statement may meet another session: nothing may be prepared or remembered."""
    queue = Queue(bouncer_dsn)
    ship = queue.task(name="_ship")(lambda: None)

    async def scene() -> None:
        await asyncio.gather(*(ship.aenqueue() for _ in range(40)))
        await queue.aclose()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: ship.enqueue(), range(40)))
    asyncio.run(scene())
    assert len(shop.jobs()) == 80


def test_given_pools_are_used_and_left_open(shop: Shop) -> None:
    async def scene(pool: Any) -> None:
        async with psycopg_pool.AsyncConnectionPool(shop.dsn, min_size=1, open=False) as apool:
            queue = Queue(pool=pool, apool=apool)
            ship = queue.task(name="_ship")(lambda: None)
            ship.enqueue()
            await ship.aenqueue()
            await queue.aclose()
            ship.enqueue()
            await ship.aenqueue()
            assert apool.get_stats()["requests_num"] == 2

    with psycopg_pool.ConnectionPool(shop.dsn, min_size=1, open=True) as pool:
        asyncio.run(scene(pool))
        assert pool.get_stats()["requests_num"] == 2
    assert len(shop.jobs()) == 4
    assert sessions(shop) == []


def test_one_given_pool_does_not_lead_the_other_twin_elsewhere(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """DATABASE_URL may name another database than the pool that was given."""
    monkeypatch.setenv("DATABASE_URL", shop.dsn)
    with psycopg_pool.ConnectionPool(shop.dsn, min_size=1, open=True) as pool:
        queue = Queue(pool=pool)
        with pytest.raises(ConfigError, match=r"awaited calls without conn= need apool="):
            asyncio.run(queue.aget(1))
    apool = psycopg_pool.AsyncConnectionPool(shop.dsn, open=False)
    with pytest.raises(ConfigError, match=r"not awaited without conn= need pool="):
        Queue(apool=apool).get(1)
    assert asyncio.run(Queue(shop.dsn, pool=pool).aget(1)) is None


def test_wrong_pools() -> None:
    apool = psycopg_pool.AsyncConnectionPool("", open=False)
    with pytest.raises(
        ConfigError, match=r"pool= got a psycopg_pool\..*AsyncConnectionPool: it takes a .*ConnectionPool"
    ):
        Queue(pool=apool)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"apool= got a builtins\.str"):
        Queue(apool="postgresql://ann:topsecret@db")  # type: ignore[arg-type]


def test_no_database_is_named_at_first_use_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    queue = Queue()
    with pytest.raises(MissingDsn, match="PGJOBQ_DSN"):
        queue.get(1)
    with pytest.raises(MissingDsn, match="PGJOBQ_DSN"):
        asyncio.run(queue.aget(1))


def test_unreachable_database_is_said_at_once() -> None:
    """Not after ten seconds, and not as "no connection became free"."""
    queue = Queue("postgresql://ann:topsecret@127.0.0.1:1/shop")
    began = time.monotonic()
    for ask in (lambda: queue.get(1), lambda: asyncio.run(queue.aget(1))):
        with pytest.raises(psycopg.OperationalError, match="refused") as caught:
            ask()
        assert not isinstance(caught.value, psycopg_pool.PoolTimeout)
        assert "topsecret" not in str(caught.value)
    assert time.monotonic() - began < pools.WAIT_SECONDS


def test_database_that_goes_away_is_said_by_its_own_name(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that gets no connection says PoolTimeout; the reason is the server's, and is asked for."""
    monkeypatch.setattr(pools, "WAIT_SECONDS", 0.3)
    name = sql.Identifier(shop.onlooker.info.dbname)

    async def scene() -> None:
        shop.ship.enqueue(order=1)
        await shop.ship.aenqueue(order=1)
        with psycopg.connect(as_url(shop.dsn, dbname="postgres"), autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            try:
                shop.onlooker.execute(f"SELECT pg_terminate_backend(pid, 20000) {OURS}")
                with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
                    shop.ship.enqueue(order=2)
                with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
                    await shop.ship.aenqueue(order=2)
            finally:
                admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
        await shop.queue.aclose()

    asyncio.run(scene())
    assert shop.jobs() == [1, 1]


def test_exhausted_pool_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(pools, "MAX_SIZE", 1)
    monkeypatch.setattr(loop_pool, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(loop_pool, "MAX_SIZE", 1)
    own = Pools(shop.dsn)
    with own.connection(), pytest.raises(psycopg_pool.PoolTimeout), own.connection():
        raise AssertionError("there is but one connection")

    async def awaited() -> None:
        async with own.aconnection():
            with pytest.raises(psycopg_pool.PoolTimeout, match=r"free within 0\.3 s"):
                await _borrow(own)
        await own.aclose()

    asyncio.run(awaited())


async def _borrow(own: Pools) -> None:
    async with own.aconnection():
        pass


def test_connections_have_bounded_waits_and_a_name(shop: Shop) -> None:
    with shop.queue.pools.connection() as conn:
        given = conn.info.get_parameters()
        assert (given["tcp_user_timeout"], given["connect_timeout"]) == ("5000", "10")
        assert conn.info.parameter_status("application_name") == "pgjobq"
    own = Pools(as_url(shop.dsn, application_name="checkout", tcp_user_timeout=900))
    with own.connection() as conn:
        assert conn.info.get_parameters()["tcp_user_timeout"] == "900"
        assert conn.info.parameter_status("application_name") == "checkout"
    own.close()
