"""One statement under way while the next is made: for a connection of our own that nobody else uses meanwhile.

The server works on portion n of a bulk while this process reads, checks and encodes portion n + 1; one after the other
they took half as long again. No pipeline mode: an answer is awaited before the next statement is sent, so that memory
stays bounded and an error stops the stream one portion later at most.

On a connection of the caller's this would be wrong: the iterable is the caller's code and may use that connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from psycopg import AsyncConnection, Connection, Error, pq
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many, send

from pgjobq.run.missing import as_missing
from pgjobq.run.placeholders import texts
from pgjobq.statements import Rows, Statement

__all__ = ["aexecute_ahead", "execute_ahead"]

T = TypeVar("T")
_WORKED = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


def execute_ahead(conn: Connection[Any], statements: Iterable[Statement[list[T]]]) -> list[T]:
    """Run the statements one after the other inside a transaction that is open; gives all they decode, in order.

    Raises what `run.execute` raises, and whatever comes out of the iterable.
    """
    found: list[T] = []
    asked: Statement[list[T]] | None = None
    try:
        for statement in statements:
            before, asked = asked, None
            rows = None if before is None else conn.wait(_answer(conn, before))
            conn.wait(_ask(conn, statement))
            asked = statement
            if before is not None and rows is not None:  # decoded when the server has something to do again
                found += before.decode(rows)
    except BaseException:
        if asked is not None:  # else the connection could not even be told to roll back
            with suppress(Error):
                conn.wait(_answer(conn, asked))
        raise
    if asked is not None:
        found += asked.decode(conn.wait(_answer(conn, asked)))
    return found


async def aexecute_ahead(conn: AsyncConnection[Any], statements: AsyncIterable[Statement[list[T]]]) -> list[T]:
    """The async twin of `execute_ahead`."""
    found: list[T] = []
    asked: Statement[list[T]] | None = None
    try:
        async for statement in statements:
            before, asked = asked, None
            rows = None if before is None else await conn.wait(_answer(conn, before))
            await conn.wait(_ask(conn, statement))
            asked = statement
            if before is not None and rows is not None:  # decoded when the server has something to do again
                found += before.decode(rows)
    except BaseException:
        if asked is not None:
            with suppress(Error):
                await conn.wait(_answer(conn, asked))
        raise
    if asked is not None:
        found += asked.decode(await conn.wait(_answer(conn, asked)))
    return found


def _ask(conn: Connection[Any] | AsyncConnection[Any], statement: Statement[Any]) -> PQGen[None]:
    """Put a statement on the wire, down to its last byte."""
    codec = _codec(conn)
    values = [None if value is None else value.encode(codec) for value in texts(statement.params)]
    conn.pgconn.send_query_params(statement.sql.encode(codec), values)
    yield from send(conn.pgconn)


def _answer(conn: Connection[Any] | AsyncConnection[Any], statement: Statement[Any]) -> PQGen[Rows]:
    """Wait for the rows of the statement that was sent."""
    codec = _codec(conn)
    result = (yield from fetch_many(conn.pgconn))[-1]
    if result.status not in _WORKED:
        error = error_from_result(result, encoding=codec)
        if missing := as_missing(error, statement):
            raise missing from error
        raise error
    columns = range(result.nfields)
    return [
        [None if (value := result.get_value(row, column)) is None else value.decode(codec) for column in columns]
        for row in range(result.ntuples)
    ]


def _codec(conn: Connection[Any] | AsyncConnection[Any]) -> str:
    """What we store is UTF-8 where the client encoding is SQL_ASCII, too."""
    codec = conn.info.encoding
    return "utf-8" if codec == "ascii" else codec
