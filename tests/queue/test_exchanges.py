"""How often an enqueue asks the server: once. libpq's own trace of what goes over the wire counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgjobq import Queue, Unique
from pgjobq.statements.portions import PORTION_JOBS
from pgjobq.task import Task

PREPARED_AFTER = 8
"""By then psycopg has prepared a statement; that is an exchange of its own, once."""


@pytest.fixture
def send(queue: Queue) -> Task[..., None]:
    @queue.task
    def send(number: int) -> None: ...

    return send


def exchanges(conn: psycopg.Connection[Any], path: Path, do: Callable[[], object]) -> int:
    """How often the server says that it is ready for the next query while this is done."""
    with path.open("w") as file:
        conn.pgconn.trace(file.fileno())
        do()
        conn.pgconn.untrace()  # writes out what libpq has kept
    return path.read_text().count("ReadyForQuery")


WAYS: dict[str, Callable[[Queue, Any, psycopg.Connection[Any], int], object]] = {
    "plain": lambda _, send, conn, n: send.using(conn=conn).enqueue(number=n),
    "with options": lambda _, send, conn, n: send.using(conn=conn, delay=60, ref="order:7", tags=["a"]).enqueue(
        number=n
    ),
    "unique": lambda _, send, conn, n: send.using(conn=conn, unique=Unique(key=f"k{n}")).enqueue(number=n),
    "expires": lambda _, send, conn, n: send.using(conn=conn, expires=60).enqueue(number=n),
    "many": lambda queue, send, conn, n: queue.enqueue_many([send.call(number=n)] * PORTION_JOBS, conn=conn),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", [True, False], ids=["at first", "prepared"])
def test_one_exchange_in_the_callers_transaction(
    queue: Queue, send: Task[..., None], dsn: str, tmp_path: Path, way: str, first: bool
) -> None:
    """Neither a savepoint nor a look of its own nor a NOTIFY beside: what an enqueue costs is one round trip."""
    enqueue = WAYS[way]
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT 1")  # the caller's transaction has begun
        for number in range(0 if first else PREPARED_AFTER):
            enqueue(queue, send, conn, -1 - number)
        for number in (1, 2):
            assert exchanges(conn, tmp_path / "trace", partial(enqueue, queue, send, conn, number)) == 1


def test_the_trace_counts(dsn: str, tmp_path: Path) -> None:
    """What this file rests on: two statements are two."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert exchanges(conn, tmp_path / "trace", lambda: [conn.execute(f"SELECT {n}") for n in (1, 2)]) == 2
