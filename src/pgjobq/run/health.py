"""What can be told of a connection of our own without asking the server."""

from __future__ import annotations

import select
from typing import Any

import psycopg

__all__ = ["is_pooled", "is_quiet"]


def is_quiet(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether nothing has arrived on an idle connection: else it is most likely its end, and worth a query to be sure.

    Looking costs 2 µs; a query would cost a round trip each time.
    """
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return not poll.poll(0)


def is_pooled(conn: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], server_pid: int) -> bool:
    """Whether a pooler stands in between: it greets with a process number of its own invention. Then neither LISTEN nor
    prepared statements nor settings can be relied on."""
    return conn.info.backend_pid != server_pid
