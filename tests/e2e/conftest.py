"""The shop of examples/ecommerce on real parts: its web server, mailbox and merchants run in threads of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from examples.ecommerce.shop.catalog import stock_shelves
from examples.ecommerce.shop.db import install

from e2e.street import Street, open_street
from support.waiting import eventually

BUSY = """
    SELECT EXISTS (SELECT FROM pgjobq.jobs
                   WHERE state IN ('ready', 'running')
                      OR state = 'scheduled' AND run_at < now() + interval '1 minute')
"""

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shop_dsn(dsn: str) -> str:
    """The test's database with the shop's tables and a thousand of everything."""
    with psycopg.connect(dsn) as conn:
        install(conn)
        stock_shelves(conn, each=1000)
    return dsn


@pytest.fixture
def street(shop_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Street]:
    """Shop, merchants and mailbox, listening; and the environment that leads tasks to them."""
    with open_street(shop_dsn, tmp_path / "letters") as street:
        for name, value in street.environ.items():
            monkeypatch.setenv(name, value)
        yield street


@pytest.fixture
def web(street: Street) -> Iterator[httpx.Client]:
    """A visitor of the shop, with a cookie jar."""
    with httpx.Client(base_url=street.shop_url, timeout=30) as client:
        yield client


@pytest.fixture
def work(street: Street) -> Callable[..., None]:
    """Let a worker process run until nothing is left that is due within a minute, then stop it in an orderly way.

    What it is called with is added to the worker's environment.
    """

    def run(**environ: str) -> None:
        worker = subprocess.Popen(
            [sys.executable, "-m", "pgjobq.worker", "examples.ecommerce.shop.jobs:queue", "--poll-interval=0.2"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), **environ},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            eventually(lambda: worker.poll() is not None or street.rows(BUSY) == [(False,)], timeout=60)
        finally:
            worker.terminate()
            output, _ = worker.communicate(timeout=30)
        assert worker.returncode == 0, output

    return run
