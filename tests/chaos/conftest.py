"""Sites for the fault tests: on the session's server, or with a server of their own that may be crashed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from chaos.proxy import Proxy
from chaos.site import Site, open_server
from support.conservation import check_conservation


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "chaos: injects faults into real parts")
    config.addinivalue_line("markers", "slow: takes about a minute or longer")


@pytest.fixture
def site(dsn: str, tmp_path: Path) -> Iterator[Site]:
    """On the session's server; its workers end before the conservation law is checked."""
    site = Site(dsn, tmp_path)
    yield site
    site.destroy()


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[Site]:
    """With a server of its own, listening on TCP."""
    with open_server() as (postgres, dsn):
        site = Site(dsn, tmp_path, postgres)
        yield site
        site.destroy()
        check_conservation(dsn)


@pytest.fixture
def proxied_site(own_site: Site) -> Iterator[Site]:
    """The same with a proxy in front of the server."""
    parts = conninfo_to_dict(own_site.dsn)
    with Proxy(str(parts["host"]), int(parts["port"] or 5432)) as proxy:
        own_site.proxy = proxy
        yield own_site
        own_site.destroy()
