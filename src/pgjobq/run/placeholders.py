"""The $1 of a Statement in each driver's own spelling; text in, text out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from pgjobq.statements import Rows

__all__ = ["arranged", "as_dollars", "as_format", "as_text", "texts"]

# Quoted text and comments are matched whole, so that a $1 inside them is no placeholder.
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|--[^\n]*|/\*.*?\*/|\$(?P<number>\d+)(?P<cast>::text\b)?|%""", re.DOTALL)


def texts(params: Sequence[str | int | None]) -> list[str | None]:
    """Every parameter as text, or None: numbers too, so that no driver's adapter for numbers takes part."""
    return [value if value is None or type(value) is str else str(value) for value in params]


@lru_cache(maxsize=512)
def as_format(sql: str) -> tuple[str, tuple[int, ...]]:
    """`sql` with %s in place of each $n (and %% for %), and which parameter stands at each %s, counted from
    0.

    A parameter that is used twice is sent twice.
    """
    order: list[int] = []

    def spell(token: re.Match[str]) -> str:
        if token["number"] is None:
            return token[0].replace("%", "%%")
        order.append(int(token["number"]) - 1)
        return f"%s{token['cast'] or ''}"

    return _TOKEN.sub(spell, sql), tuple(order)


@lru_cache(maxsize=512)
def as_dollars(sql: str) -> str:
    """`sql` with `$n::text` in place of each bare $n: asyncpg asks the server for each parameter's type, and
    sends a text only where the server says text.
    """

    def spell(token: re.Match[str]) -> str:
        return token[0] if token["number"] is None else f"${token['number']}::text"

    return _TOKEN.sub(spell, sql)


def arranged(params: Sequence[str | int | None], order: tuple[int, ...]) -> list[str | None]:
    """The parameters, as text, in the order `as_format` found."""
    values = texts(params)
    return [values[index] for index in order]


def as_text(rows: Rows) -> Rows:
    """The rows with str where psycopg gives bytes: it does for every text when the client encoding is
    SQL_ASCII, which is the default of a database made with `initdb --locale=C`. What we store is UTF-8 there,
    too.
    """
    if not rows or type(rows[0][0]) is not bytes:
        return rows
    return [[value.decode() if type(value) is bytes else value for value in row] for row in rows]
