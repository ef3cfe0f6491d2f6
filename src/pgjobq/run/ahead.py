"""Statements under way while the next one is made: for a connection of our own that nobody else uses meanwhile.

The server works on a portion of a bulk while this process reads, checks and encodes the next one; one after the other
they took half as long again. And the next one is sent before the answer is there (pipeline mode), so that the server
finds it as soon as it is done: without that it waited for us for 8 % of the time (decision 0037). Not more than two are
under way, so memory stays bounded and an error stops the stream two portions later at most.

On a connection of the caller's this would be wrong: the iterable is the caller's code and may use that connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from psycopg import AsyncConnection, Connection, Error, Pipeline, pq
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
    line = _Line[T](conn)
    try:
        for statement in statements:
            while line.is_full:
                found += conn.wait(line.answer())
            conn.wait(line.ask(statement))
        while line.asked:
            found += conn.wait(line.answer())
    except BaseException:
        while line.asked and not conn.closed:  # else the connection could not even be told to roll back
            with suppress(Exception):
                conn.wait(line.answer())
        with suppress(Error):  # it is broken: the pool will see to that
            line.close()
        raise
    line.close()
    return found


async def aexecute_ahead(conn: AsyncConnection[Any], statements: AsyncIterable[Statement[list[T]]]) -> list[T]:
    """The async twin of `execute_ahead`."""
    found: list[T] = []
    line = _Line[T](conn)
    try:
        async for statement in statements:
            while line.is_full:
                found += await conn.wait(line.answer())
            await conn.wait(line.ask(statement))
        while line.asked:
            found += await conn.wait(line.answer())
    except BaseException:
        while line.asked and not conn.closed:
            with suppress(Exception):
                await conn.wait(line.answer())
        with suppress(Error):
            line.close()
        raise
    line.close()
    return found


class _Line(Generic[T]):
    """What is under way on a connection, oldest first: at most two statements, or one where libpq (before 14) has no
    pipeline mode. Each ends with a Sync of its own: without it the server would keep the answer to itself."""

    def __init__(self, conn: Connection[Any] | AsyncConnection[Any]) -> None:
        self.asked: deque[Statement[list[T]]] = deque()
        self._pgconn = conn.pgconn
        codec = conn.info.encoding
        self._codec = "utf-8" if codec == "ascii" else codec  # what we store is UTF-8 under SQL_ASCII, too
        self._pipelines = Pipeline.is_supported()
        if self._pipelines:
            self._pgconn.enter_pipeline_mode()

    @property
    def is_full(self) -> bool:
        """Whether an answer has to be awaited before something can be asked."""
        return len(self.asked) >= (2 if self._pipelines else 1)

    def ask(self, statement: Statement[list[T]]) -> PQGen[None]:
        """Put a statement on the wire, down to its last byte."""
        values = [None if value is None else value.encode(self._codec) for value in texts(statement.params)]
        self._pgconn.send_query_params(statement.sql.encode(self._codec), values)
        self.asked.append(statement)  # from here on there is an answer to be taken, whatever interrupts us
        if self._pipelines:
            self._pgconn.pipeline_sync()
        yield from send(self._pgconn)

    def answer(self) -> PQGen[list[T]]:
        """Wait for the rows of the oldest statement under way, and decode them."""
        try:
            result = (yield from fetch_many(self._pgconn))[-1]
            if self._pipelines:
                yield from fetch_many(self._pgconn)  # the Sync
        except Exception:
            self.asked.clear()  # the connection is gone, and with it all answers
            raise
        statement = self.asked.popleft()
        if result.status not in _WORKED:
            error = error_from_result(result, encoding=self._codec)
            if missing := as_missing(error, statement):
                raise missing from error
            raise error
        columns = range(result.nfields)
        rows: Rows = [
            [
                None if (value := result.get_value(row, column)) is None else value.decode(self._codec)
                for column in columns
            ]
            for row in range(result.ntuples)
        ]
        return statement.decode(rows)

    def close(self) -> None:
        """Leave the connection as it was found. Everything was answered."""
        if self._pipelines:
            self._pgconn.exit_pipeline_mode()
