"""The books hold one entry per order, because the entry and the job's completion are one transaction."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import httpx
import psycopg
import pytest
from examples.ecommerce.shop.money import show_money, tax_within
from examples.ecommerce.shop.tasks.bookkeeping import sync_bookkeeping
from hypothesis import given
from hypothesis import strategies as st

from e2e.conftest import ROOT
from e2e.street import Street, place_order
from pgjobq import NotInJob, Queue
from support.locks import lock_waiters
from support.waiting import eventually


def entries(street: Street) -> list[tuple[int, dict[str, int]]]:
    rows = street.rows(
        "SELECT j.order_id, json_object_agg(p.account, p.amount_cents) FROM shop.journal j"
        " JOIN shop.posting p ON p.journal = j.id GROUP BY j.id ORDER BY j.id"
    )
    return [(order, postings) for order, postings in rows]


def test_entry_and_completion_commit_together(street: Street, web: httpx.Client, work: Callable[..., object]) -> None:
    order = place_order(web, mug=1, notebook=2)
    work()
    assert entries(street) == [(order, {"receivables": 3300, "sales": -2750, "tax owed": -550})]
    assert street.rows(
        "SELECT j.xmin = f.xmin, x.state FROM shop.journal j, pgjobq.finished f JOIN pgjobq.jobs x ON x.id = f.job"
        " WHERE x.task = 'sync_bookkeeping'"
    ) == [(True, "succeeded")]
    other = place_order(web, mug=1)
    work()
    assert [number for number, _ in entries(street)] == [order, other]


def test_outside_a_job_nothing_is_written(street: Street, web: httpx.Client) -> None:
    order = place_order(web, mug=1)
    with pytest.raises(NotInJob):
        sync_bookkeeping(order_id=order)
    assert entries(street) == []


def test_who_lost_the_job_writes_nothing(street: Street, web: httpx.Client, work: Callable[..., object]) -> None:
    order = place_order(web, mug=1)
    worker = [sys.executable, "-m", "pgjobq.worker", "examples.ecommerce.shop.jobs:queue", "--drain", "--queues=books"]
    with psycopg.connect(street.dsn) as lock:
        lock.execute("LOCK TABLE shop.posting")  # the task comes this far and no further
        with subprocess.Popen(
            worker,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running:
            eventually(lambda: lock_waiters(street.dsn) == 1)
            # Meanwhile the job is taken away, as when the worker had been presumed dead.
            taken = street.rows(
                "WITH gone AS (DELETE FROM pgjobq.running RETURNING job, attempt)"
                " INSERT INTO pgjobq.finished (job, finished_at, attempt, outcome)"
                " SELECT job, now(), attempt, 'c' FROM gone RETURNING job"
            )
            lock.commit()
            output, _ = running.communicate(timeout=60)
    assert entries(street) == [], output
    assert street.rows("SELECT state FROM pgjobq.jobs WHERE task = 'sync_bookkeeping'") == [("cancelled",)]

    queue = Queue(street.dsn)
    try:
        assert queue.retry(taken[0][0])
    finally:
        queue.close()
    work()
    assert [number for number, _ in entries(street)] == [order]


@given(st.integers(0, 10**9))
def test_tax_is_a_sixth_rounded_half_up(gross: int) -> None:
    assert abs(tax_within(gross) - gross / 6) <= 0.5
    assert 0 <= tax_within(gross) <= gross


def test_money_is_shown_in_full() -> None:
    assert [show_money(cents) for cents in (0, 5, 123456, -999)] == ["€0.00", "€0.05", "€1,234.56", "−€9.99"]
