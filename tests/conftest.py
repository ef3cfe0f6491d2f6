"""One PostgreSQL for the session, one fresh database per test, the conservation law after each.

Which server: see support/servers.py. Fixtures: `pg_server`, `dsn`, `empty_dsn`, `queue`, `bouncer_dsn`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import settings

from support.bouncer import find_pgbouncer, needed_pgbouncer, run_bouncer
from support.conservation import check_conservation
from support.databases import name_of, open_database
from support.remains import remains
from support.servers import NoServer, Plan, plan_server, run_server

if TYPE_CHECKING:
    from pgjobq import Queue

NO_DATABASE = 3  # the exit code of a session that has nothing to test on; never 0, never only skips

PLAN = pytest.StashKey[Plan]()  # what the header says
BECAME = pytest.StashKey[Plan]()  # what it came to: Docker may answer and yet not run the image
SERVER = pytest.StashKey[str]()
OPENED = pytest.StashKey[contextlib.ExitStack]()

# No deadline for properties: a busy machine is no fault of the code.
settings.register_profile("busy machine", deadline=None, database=None)
settings.load_profile("busy machine")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "lawless(reason): leaves the database without the schema, or with jobs misplaced, on purpose",
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    try:
        database = str(_plan(config))
    except NoServer as error:
        database = f"none. {error}"
    missing = "not installed, so its tests are skipped (apt-get install pgbouncer)"
    return [f"pgjobq database: {database}", f"pgbouncer: {find_pgbouncer() or missing}"]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Under pytest-xdist the controller starts one server for all its workers."""
    node.workerinput["pgjobq_server"] = _server(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if opened := config.stash.get(OPENED, None):
        opened.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    became = config.stash.get(BECAME, None)
    if became is not None and became != config.stash.get(PLAN, None):
        terminalreporter.write_line(f"pgjobq database: {became}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test tells what its database held."""
    report = yield
    dsn = getattr(item, "funcargs", {}).get("dsn")
    if call.when == "call" and report.failed and dsn:
        report.sections.append(("What the database held", remains(dsn)))
    return report


def _plan(config: pytest.Config) -> Plan:
    if PLAN not in config.stash:
        config.stash[PLAN] = plan_server()
    return config.stash[PLAN]


def _server(config: pytest.Config) -> str:
    """The session's server, started when it is first asked for; ends the session when there is none."""
    if handed := getattr(config, "workerinput", {}).get("pgjobq_server"):
        return str(handed)
    if SERVER not in config.stash:
        opened = config.stash[OPENED] = contextlib.ExitStack()
        try:
            dsn, became = opened.enter_context(run_server(_plan(config)))
        except NoServer as error:
            pytest.exit(f"no database to test on: {error}", returncode=NO_DATABASE)
        config.stash[SERVER], config.stash[BECAME] = dsn, became
    return config.stash[SERVER]


@pytest.fixture(scope="session")
def pg_server(request: pytest.FixtureRequest) -> str:
    """DSN of the server on which the tests may create databases."""
    return _server(request.config)


@pytest.fixture(scope="session")
def schema_template(pg_server: str) -> Iterator[str]:
    """Name of a database with the schema installed, from which each test's own is cloned."""
    from pgjobq.migrate import install

    with open_database(pg_server) as template:
        with psycopg.connect(template) as conn:
            install(conn)
        yield name_of(template)


@pytest.fixture
def dsn(request: pytest.FixtureRequest, pg_server: str, schema_template: str) -> Iterator[str]:
    """DSN (a URL) of a fresh database with pgjobq's schema; afterwards the conservation law is checked."""
    with open_database(pg_server, schema_template) as fresh:
        yield fresh
        if request.node.get_closest_marker("lawless") is None:
            check_conservation(fresh)


@pytest.fixture
def empty_dsn(request: pytest.FixtureRequest, pg_server: str) -> Iterator[str]:
    """DSN (a URL) of a fresh database without the schema; what the test installs must keep the law too."""
    with open_database(pg_server) as fresh:
        yield fresh
        if request.node.get_closest_marker("lawless") is None:
            check_conservation(fresh, schema_expected=False)


@pytest.fixture
def queue(dsn: str) -> Iterator[Queue]:
    """A Queue on the test's database, closed at the end."""
    from pgjobq import Queue

    queue = Queue(dsn)
    yield queue
    queue.close()


@pytest.fixture
def bouncer_dsn(dsn: str) -> Iterator[str]:
    """DSN of the test's database through a real PgBouncer in transaction mode."""
    with run_bouncer(needed_pgbouncer(), dsn) as through:
        yield through
