"""Connections that somebody has set up in every way their library allows: none of it may matter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import psycopg2
import psycopg2.extensions
import psycopg2.extras
import sqlalchemy as sa
from psycopg.adapt import Dumper, Loader
from psycopg.rows import dict_row, kwargs_row, namedtuple_row, scalar_row
from psycopg.types.numeric import IntDumper

from kinds import on_asyncpg, on_django, on_psycopg, on_psycopg2, on_sqlalchemy
from kinds.caller import Caller, Kind, Opener

__all__ = ["DRESSED"]


# What a role or a connection string may set: none of it changes what a statement of ours means.
ODD_SETTINGS = (
    "-c DateStyle=German -c IntervalStyle=sql_standard -c TimeZone=Asia/Tokyo -c search_path=pg_temp"
    " -c bytea_output=escape -c extra_float_digits=-15 -c xmlbinary=hex -c quote_all_identifiers=on"
)


class WrongLoader(Loader):
    """Whatever comes is not what was stored."""

    def load(self, data: Any) -> str:
        return "wrong"


class WrongDumper(Dumper):
    """Whatever goes is not what was said."""

    def dump(self, obj: Any) -> bytes:
        return b"wrong"


class LoudDumper(IntDumper):
    def dump(self, obj: Any) -> Any:
        raise AssertionError("a number was dumped by the caller's dumper")


def adapted(own: Any) -> Any:
    """A psycopg connection whose texts, numbers and NULLs go and come wrong."""
    own.adapters.register_dumper(str, WrongDumper)
    own.adapters.register_dumper(int, LoudDumper)
    own.adapters.register_dumper(type(None), WrongDumper)
    for name in ("text", "int8", "jsonb", "bool"):
        own.adapters.register_loader(name, WrongLoader)
    return own


def uppercase(own: Any) -> Any:
    """A psycopg2 connection that reads texts in capitals."""
    shout = psycopg2.extensions.new_type((25,), "SHOUT", lambda value, _: value and value.upper())
    psycopg2.extensions.register_type(shout, own)
    return own


class Row(asyncpg.Record):
    """A record class that answers nothing."""

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Any:
        raise TypeError


async def coded(conn: Any) -> None:
    """An asyncpg connection with codecs for what an application has codecs for."""
    for name in ("json", "jsonb"):
        await conn.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    for name in ("int8", "int4", "bool", "timestamptz", "interval", "uuid", "numeric", "varchar"):
        await conn.set_type_codec(name, encoder=str, decoder=lambda _: "wrong", schema="pg_catalog")


async def text_coded(conn: Any) -> None:
    """A codec for text itself that takes anything: what it gives back is still str."""
    await conn.set_type_codec("text", encoder=str, decoder=str, schema="pg_catalog")


def bare_engine_options(driver: str) -> Opener:
    """An engine whose driver connections are dressed."""

    @asynccontextmanager
    async def opened(dsn: str, autocommit: bool) -> AsyncIterator[Caller]:
        engine = sa.create_engine(
            dsn.replace("postgresql://", f"postgresql+{driver}://", 1),
            isolation_level="SERIALIZABLE",
            execution_options={"stream_results": True, "no_parameters": True, "yield_per": 1},
        )
        try:
            with engine.connect() as conn:
                yield on_sqlalchemy.OnSync(conn)
        finally:
            engine.dispose()

    return opened


DRESSED = [
    Kind("psycopg-dict_row", on_psycopg.opener(row_factory=dict_row)),
    Kind("psycopg-namedtuple_row", on_psycopg.opener(row_factory=namedtuple_row)),
    Kind("psycopg-scalar_row", on_psycopg.opener(row_factory=scalar_row)),
    Kind("psycopg-kwargs_row", on_psycopg.opener(row_factory=kwargs_row(dict))),
    Kind("psycopg-ClientCursor-factory", on_psycopg.opener(cursor_factory=psycopg.ClientCursor)),
    Kind("psycopg-RawCursor-factory", on_psycopg.opener(cursor_factory=psycopg.RawCursor)),
    Kind("psycopg-adapters", on_psycopg.opener(adapted)),
    Kind("psycopg-binary-cursor", on_psycopg.opener(lambda own: own.cursor(binary=True))),
    Kind("psycopg-prepares-at-once", on_psycopg.opener(prepare_threshold=0)),
    Kind("psycopg-never-prepares", on_psycopg.opener(prepare_threshold=None)),
    Kind("psycopg-SQL_ASCII", on_psycopg.opener(client_encoding="SQL_ASCII")),
    Kind("psycopg-server-settings", on_psycopg.opener(options=ODD_SETTINGS)),
    Kind("psycopg-async-dict_row", on_psycopg.async_opener(row_factory=dict_row), awaited=True),
    Kind("psycopg-async-adapters", on_psycopg.async_opener(adapted), awaited=True),
    Kind("psycopg-async-prepares", on_psycopg.async_opener(prepare_threshold=0), awaited=True),
    Kind(
        "psycopg2-RealDictCursor",
        on_psycopg2.opener(cursor_factory=psycopg2.extras.RealDictCursor),
    ),
    Kind(
        "psycopg2-NamedTupleCursor",
        on_psycopg2.opener(cursor_factory=psycopg2.extras.NamedTupleCursor),
    ),
    Kind("psycopg2-typecaster", on_psycopg2.opener(uppercase)),
    Kind("psycopg2-named-cursor", on_psycopg2.opener(lambda own: own.cursor("named"))),
    Kind("psycopg2-DictConnection", on_psycopg2.opener(connection_factory=psycopg2.extras.DictConnection)),
    Kind("sqlalchemy-options-psycopg", bare_engine_options("psycopg")),
    Kind("sqlalchemy-options-psycopg2", bare_engine_options("psycopg2")),
    Kind("asyncpg-record_class", on_asyncpg.opener(record_class=Row), awaited=True),
    Kind("asyncpg-codecs", on_asyncpg.opener(coded), awaited=True),
    Kind("asyncpg-text-codec", on_asyncpg.opener(text_coded), awaited=True),
    Kind("asyncpg-no-statement-cache", on_asyncpg.opener(statement_cache_size=0), awaited=True),
    Kind("django-debug-cursor", on_django.opener(on_django.Debugged)),
    Kind("django-server-side-binding", on_django.opener(on_django.InAtomic, server_side_binding=True)),
    Kind("django-cursor", on_django.opener(on_django.WithCursor)),
]
