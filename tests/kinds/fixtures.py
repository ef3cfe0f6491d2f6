"""The shop as a fixture: `pytest_plugins = ["kinds.fixtures"]` in a test file.

The database is made once per file and emptied after each test: three hundred tests need not wait for as many
databases.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from kinds.caller import Shop
from support.conservation import check_conservation
from support.databases import open_database


@pytest.fixture(scope="module")
def shop_dsn(pg_server: str, schema_template: str) -> Iterator[str]:
    """A database with the schema, for the tests of one file."""
    with open_database(pg_server, schema_template) as fresh:
        yield fresh


@pytest.fixture
def shop(shop_dsn: str) -> Iterator[Shop]:
    """A shop without orders and jobs; the conservation law is checked afterwards."""
    with psycopg.connect(shop_dsn, autocommit=True, options="-c lock_timeout=20s") as onlooker:
        shop = Shop(shop_dsn, onlooker)
        try:
            yield shop
            check_conservation(shop_dsn)
        finally:
            shop.queue.close()
            shop.clear()
