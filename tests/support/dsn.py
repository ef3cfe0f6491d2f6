"""DSNs in the one form every driver reads: a URL."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict


def as_url(dsn: str, **changes: object) -> str:
    """The same connection as a `postgresql://` URL, with parameters changed: `as_url(dsn, dbname="other")`.

    libpq takes both forms, asyncpg and SQLAlchemy only this one. A change to None leaves the parameter out.
    """
    wanted: dict[str, object] = {**conninfo_to_dict(dsn), **changes}
    parts = {name: str(value) for name, value in wanted.items() if value is not None}
    host = parts.pop("host", "")
    port = parts.pop("port", "")
    login = quote(parts.pop("user", ""), safe="")
    if password := parts.pop("password", ""):
        login += f":{quote(password, safe='')}"
    dbname = quote(parts.pop("dbname", ""), safe="")
    if host.startswith("/"):  # a socket directory does not fit where a URL has its host
        parts = {"host": host, **({"port": port} if port else {}), **parts}
        host = port = ""
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    query = urlencode(parts, quote_via=quote, safe="/")
    return f"postgresql://{f'{login}@' if login else ''}{place}/{dbname}{f'?{query}' if query else ''}"


def show(dsn: str) -> str:
    """A DSN for people to read: without its password."""
    return as_url(dsn, password=None)
