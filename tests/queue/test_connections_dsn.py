"""Which database is meant: argument, PGJOBQ_DSN, DATABASE_URL, PG*; and what errors may show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pgjobq import ConfigError, MissingDsn
from pgjobq.run.dsn import DEFAULTS, completed, find_dsn

EVERYTHING = {
    "PGJOBQ_DSN": "dbname=ours",
    "DATABASE_URL": "postgresql://host/theirs",
    "PGDATABASE": "libpqs",
    "PGHOST": "somewhere",
}


def test_argument_goes_first() -> None:
    assert find_dsn("dbname=argument", EVERYTHING) == "dbname=argument"


def test_order_of_the_variables() -> None:
    environ = dict(EVERYTHING)
    found = []
    for name in ("PGJOBQ_DSN", "DATABASE_URL", "PGDATABASE"):
        found.append(find_dsn(None, environ))
        del environ[name]
    assert [*found, find_dsn(None, environ)] == ["dbname=ours", "postgresql://host/theirs", "", ""]


@pytest.mark.parametrize("name", ["PGHOST", "PGSERVICE", "PGDATABASE", "PGSERVICEFILE"])
def test_libpqs_variables_are_left_to_libpq(name: str) -> None:
    assert find_dsn(None, {name: "x"}) == ""


@pytest.mark.parametrize("environ", [{}, {"PGJOBQ_DSN": "", "DATABASE_URL": "", "PGHOST": ""}, {"PGUSER": "ann"}])
def test_nothing_is_named(environ: dict[str, str]) -> None:
    for argument in (None, ""):
        with pytest.raises(MissingDsn, match=r"PGJOBQ_DSN or DATABASE_URL .* Queue\(dsn\)"):
            find_dsn(argument, environ)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql+psycopg://ann@db:5433/shop", "postgresql://ann@db:5433/shop"),
        ("postgresql+asyncpg://ann:pw@db/shop", "postgresql://ann:pw@db/shop"),
        ("postgresql+psycopg2:///shop?host=/run", "postgresql:///shop?host=/run"),
        ("postgres://ann@db/shop", "postgresql://ann@db/shop"),
        ("postgis://ann@db/shop", "postgresql://ann@db/shop"),
        ("PostgreSQL://ann@db/shop", "postgresql://ann@db/shop"),
        ("host=db dbname=shop password='a b'", "host=db dbname=shop password='a b'"),
        ("postgresql://a,b:5433/shop?target_session_attrs=read-write", None),
    ],
)
def test_forms(url: str, wanted: str | None) -> None:
    wanted = wanted or url
    assert find_dsn(url, {}) == wanted
    assert find_dsn(None, {"DATABASE_URL": url}) == wanted


@pytest.mark.parametrize("url", ["mysql://ann:topsecret@db/shop", "sqlite:///shop.db", "mysql+pymysql://a:topsecret@b"])
def test_other_databases(url: str) -> None:
    with pytest.raises(ConfigError, match=r"DATABASE_URL leads to '(mysql|sqlite)'.*PGJOBQ_DSN") as caught:
        find_dsn(None, {"DATABASE_URL": url})
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "dsn"),
    [
        ("the dsn argument", "postgresql://ann:top%secret@db/shop"),
        ("the dsn argument", "host=db password=top secret"),
        ("the dsn argument", "host=db password='topsecret"),
        ("the dsn argument", 'host=db top"secret'),
        ("PGJOBQ_DSN", "postgresql://ann@db/shop?topsecret=1"),
        ("DATABASE_URL", "postgresql+asyncpg://ann:topsecret@db/shop?ssl=require"),
        ("DATABASE_URL", "topsecret"),
    ],
)
def test_unreadable_strings_are_not_shown(source: str, dsn: str) -> None:
    with pytest.raises(ConfigError, match=f"{source} cannot be read as a connection string") as caught:
        find_dsn(dsn, {}) if source == "the dsn argument" else find_dsn(None, {source: dsn})
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def _complaint(dsn: str) -> str:
    try:
        find_dsn(dsn, {})
    except ConfigError as error:
        return str(error)
    return ""


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_no_piece_of_a_password_gets_out(noise: str) -> None:
    """Whatever stands around it, and whatever libpq makes of it."""
    secret = "QzXwVk"
    for dsn in (
        f"postgresql://ann:{secret}{noise}{secret}@db/shop",
        f"host=db password={secret}{noise}{secret}",
        f"{noise}{secret}",
    ):
        assert secret not in _complaint(dsn)


def test_defaults_give_way_to_what_is_set() -> None:
    bare = conninfo_to_dict(completed("dbname=shop", {}))
    assert bare == {"dbname": "shop", "fallback_application_name": "pgjobq", **DEFAULTS}
    dsn = "dbname=shop connect_timeout=3 keepalives=0 tcp_user_timeout=0"
    assert conninfo_to_dict(completed(dsn, {})) == {**bare, **conninfo_to_dict(dsn)}
    assert "connect_timeout" not in conninfo_to_dict(completed("", {"PGCONNECT_TIMEOUT": "2"}))
    assert conninfo_to_dict(completed("", {}, tcp_user_timeout="9"))["tcp_user_timeout"] == "9"
