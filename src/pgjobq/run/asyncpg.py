"""asyncpg: its own $1, text in and text out, so that codecs for json, numbers, times and so on take no part.

One codec cannot be passed by, because asyncpg has no call without codecs: one that the caller has set for the
type `text` itself. It must keep giving str.
"""

from __future__ import annotations

from typing import Any

from asyncpg import Record

from pgjobq.run.placeholders import as_dollars, texts
from pgjobq.statements import Rows, Statement

__all__ = ["afetch"]


async def afetch(conn: Any, statement: Statement[Any]) -> Rows:
    """The statement's rows, on an asyncpg Connection or one acquired from a pool; plain Records, also where
    the connection has a record class of its own.
    """
    rows: Rows = await conn.fetch(as_dollars(statement.sql), *texts(statement.params), record_class=Record)
    return rows
