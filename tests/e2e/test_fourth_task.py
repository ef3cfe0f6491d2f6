"""A fourth task is one new file: checkout, worker and order page take it up without another change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg
import pytest
from examples.ecommerce.backstage.processes import Process
from examples.ecommerce.backstage.stand import QUEUE

from e2e.conftest import ROOT
from e2e.street import check_out, fill_basket

LOYALTY = '''
"""Thank regular customers."""

from __future__ import annotations

from ..db import transaction
from ..events import on_order_placed
from ..jobs import queue


@on_order_placed("Add loyalty points")
@queue.task
def add_loyalty_points(order_id: int) -> None:
    with transaction() as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS shop.points (order_id bigint PRIMARY KEY)")
        conn.execute("INSERT INTO shop.points VALUES (%s) ON CONFLICT DO NOTHING", (order_id,))
'''


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The examples, copied, with one more file in them."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "examples/ecommerce/shop/tasks/loyalty.py").write_text(LOYALTY)
    return tmp_path


def test_a_fourth_task_is_one_file(copy: Path, shop_dsn: str) -> None:
    environ = {"PGJOBQ_DSN": shop_dsn, "PYTHONPATH": os.pathsep.join([str(copy), str(ROOT / "src")])}
    shop = Process("shop", ["examples.ecommerce.shop.app", "--port=0"], environ, copy, root=copy)
    try:
        with httpx.Client(base_url=shop.address(), timeout=30) as web:
            address = check_out(web, fill_basket(web, mug=1)).headers["location"]
            subprocess.run(
                [sys.executable, "-m", "pgjobq.worker", QUEUE, "--drain", "--queues=default"],
                env={**os.environ, **environ},
                cwd=copy,
                check=True,
                timeout=60,
                capture_output=True,
            )
            page = web.get(address).text
    finally:
        shop.stop()
    assert "Add loyalty points" in page
    assert page.count('class="badge good"') == 1
    with psycopg.connect(shop_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM pgjobq.job WHERE ref = 'order:1'").fetchone() == (4,)
        assert conn.execute("SELECT order_id FROM shop.points").fetchall() == [(1,)]
