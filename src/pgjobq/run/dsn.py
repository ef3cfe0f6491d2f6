"""Which database: the argument, PGJOBQ_DSN, DATABASE_URL, then libpq's own PG* variables.

Pure functions over texts. A connection string is never shown in an error: it may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgjobq.errors import ConfigError, MissingDsn

__all__ = ["DEFAULTS", "completed", "find_dsn"]

_VARIABLES = ("PGJOBQ_DSN", "DATABASE_URL")
_LIBPQ = ("PGHOST", "PGSERVICE", "PGDATABASE", "PGSERVICEFILE")
_SCHEME = re.compile(r"([A-Za-z][\w.-]*)(?:\+[\w.-]+)?://")
# What URLs for PostgreSQL begin with elsewhere: libpq's two names, Heroku's habit, GeoDjango.
_POSTGRESQL = ("postgresql", "postgres", "postgis")

# Every wait is bounded. With a query in flight and packets dropped, TCP keepalives alone hung over 48 s: they
# are not sent while data waits to be acknowledged; tcp_user_timeout is what ends that (5.2 s when measured).
# Where the system has no TCP_USER_TIMEOUT (macOS, Windows) libpq ignores it.
DEFAULTS: Mapping[str, str] = {
    "connect_timeout": "10",  # s, per host
    "tcp_user_timeout": "5000",  # ms
    "keepalives": "1",
    "keepalives_idle": "30",  # s
    "keepalives_interval": "5",  # s
    "keepalives_count": "3",
}


def find_dsn(argument: str | None, environ: Mapping[str, str]) -> str:
    """The connection string to use: `argument`, else PGJOBQ_DSN, else DATABASE_URL, else one that leaves it
    to libpq.

    A SQLAlchemy driver suffix (`postgresql+psycopg://`) is taken off. When only libpq's variables (PGHOST,
    PGSERVICE, PGDATABASE, PGSERVICEFILE) name a database the string is empty: libpq reads them itself, so an
    empty string is an answer and not a lack of one. An empty argument or variable counts as unset. Raises
    MissingDsn when nothing names a database and ConfigError when what names it cannot be read.
    """
    if argument:
        return _readable(argument, "the dsn argument")
    for variable in _VARIABLES:
        if environ.get(variable):
            return _readable(environ[variable], variable)
    if any(environ.get(variable) for variable in _LIBPQ):
        return ""
    raise MissingDsn(
        "no database is named: set PGJOBQ_DSN or DATABASE_URL (such as postgresql://user@localhost/shop), or "
        "libpq's PGHOST, PGSERVICE or PGDATABASE, or give Queue(dsn)"
    )


def completed(dsn: str, environ: Mapping[str, str], **defaults: str) -> str:
    """`dsn` with the time-outs of `DEFAULTS`, changed by `defaults`, except what `dsn` or PGCONNECT_TIMEOUT
    sets itself.

    The application's name is given as libpq's `fallback_application_name`, which any other setting of it
    beats.
    """
    given = set(conninfo_to_dict(dsn))
    if environ.get("PGCONNECT_TIMEOUT"):  # the only one of them that libpq also reads from the environment
        given.add("connect_timeout")
    wanted = {"fallback_application_name": "pgjobq", **DEFAULTS, **defaults}
    return make_conninfo(dsn, **{name: value for name, value in wanted.items() if name not in given})


def _readable(dsn: str, source: str) -> str:
    if scheme := _SCHEME.match(dsn):
        if scheme[1].lower() not in _POSTGRESQL:
            raise ConfigError(
                f"{source} leads to {scheme[1]!r}, and pgjobq's tables are in PostgreSQL: "
                "give postgresql://user@host/database (PGJOBQ_DSN goes before DATABASE_URL)"
            )
        dsn = "postgresql://" + dsn[scheme.end() :]
    try:
        conninfo_to_dict(dsn)
    except ProgrammingError as error:
        raise ConfigError(
            f"{source} cannot be read as a connection string ({_without_quotes(error)}): write "
            "postgresql://user:password@host:5432/database, with %40 for @, %2F for /, %23 for # "
            "and %25 for % in the password and only libpq's names after a ? (sslmode=…, not ssl=…), or "
            "host=… port=… dbname=… user=… password='…'"
        ) from None  # libpq's text, which the cause would show, quotes pieces of the string
    return dsn


def _without_quotes(error: ProgrammingError) -> str:
    """libpq's reason without the piece of the string that it quotes: that may be the password."""
    return re.sub(r'".*"', "…", str(error).strip(), flags=re.DOTALL)
