"""Which PostgreSQL the tests run on: the one named, else Docker, else the embedded one; never silently none.

PGJOBQ_TEST_DSN   a server on which we may create databases; only those named pgjobq_test_* are touched
PGJOBQ_TEST_DB    dsn, docker or embedded: this one, and when it cannot be had that is an error; default: auto
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from pgjobq.devdb import NoPostgres, Postgres
from pgjobq.devdb.binaries import find_bindir, read_version
from support import docker
from support.dsn import as_url, show

KINDS = ("auto", "dsn", "docker", "embedded")


class NoServer(Exception):
    """No PostgreSQL can be had for the tests; the message says what was tried and what to do."""


@dataclass(frozen=True)
class Plan:
    """The server to use and why; `note` says what was preferred and why it is not taken."""

    kind: str
    description: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.description} ({self.note})" if self.note else self.description


def plan_server() -> Plan:
    """Decide without starting anything. Raises NoServer when there is nothing to use."""
    wanted = os.environ.get("PGJOBQ_TEST_DB") or "auto"
    dsn = os.environ.get("PGJOBQ_TEST_DSN")
    if wanted not in KINDS:
        raise NoServer(f"PGJOBQ_TEST_DB={wanted!r}: set it to one of {', '.join(KINDS)}")
    if wanted == "dsn" and not dsn:
        raise NoServer("PGJOBQ_TEST_DB=dsn needs PGJOBQ_TEST_DSN, the DSN of a server to create databases on")
    if dsn and wanted in ("auto", "dsn"):
        return Plan("dsn", f"PGJOBQ_TEST_DSN, {show(dsn)}")
    note = ""
    if wanted in ("auto", "docker"):
        try:
            docker.ping(docker.find_daemon())
            return Plan("docker", f"Docker, {docker.image()}")
        except (ImportError, OSError) as error:
            note = f"no Docker: {error}"
            if wanted == "docker":
                raise NoServer(f"PGJOBQ_TEST_DB=docker, but {note}: start Docker, or unset it") from error
    return plan_embedded(note)


def plan_embedded(note: str) -> Plan:
    """The last choice. Raises NoServer when there are no binaries either."""
    try:
        bindir = find_bindir()
    except NoPostgres as error:
        raise NoServer(f"the tests need a PostgreSQL: {error}" + (f"\n({note})" if note else "")) from error
    return Plan("embedded", f"embedded PostgreSQL {read_version(bindir)}, {bindir}", note)


@contextlib.contextmanager
def run_server(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Start what was planned; gives its DSN and what it became: Docker may fail and give way."""
    with contextlib.ExitStack() as stack:
        if plan.kind == "docker":
            try:
                dsn = stack.enter_context(docker.run_postgres())
            except Exception as error:  # of any kind: docker-py, requests, the network's
                reason = f"Docker did not run {docker.image()}: {type(error).__name__}: {str(error)[:300]}"
                if os.environ.get("PGJOBQ_TEST_DB") == "docker":
                    raise NoServer(f"PGJOBQ_TEST_DB=docker, but {reason}") from error
                plan = plan_embedded(reason)
        if plan.kind == "embedded":
            dsn = stack.enter_context(Postgres(settings={"max_connections": 200})).dsn()
        if plan.kind == "dsn":
            dsn = as_url(os.environ["PGJOBQ_TEST_DSN"])
            _try_connection(dsn)
        yield dsn, plan


def _try_connection(dsn: str) -> None:
    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        raise NoServer(
            f"PGJOBQ_TEST_DSN does not answer: {error}\nstart that server, correct the DSN, or unset it"
        ) from error
