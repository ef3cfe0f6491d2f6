"""Connections that are dead: those that say so, and those in which both ends believe, though no packet ever comes."""

from __future__ import annotations

import time

import psycopg
import pytest

from chaos.proxy import Mode
from chaos.site import Site
from support.waiting import eventually

pytestmark = pytest.mark.chaos

BOUND = 10.0
"""Seconds; seen: docs/promises.md. Without a bound of the worker's own it would be for ever."""
NOISE = 5.0
"""Seconds that a busy machine may add."""
SHORTEST_BOUND = 3.0
"""Seconds after which a worker doubts that it will get an answer."""


@pytest.mark.parametrize("kind", ["quick", "nap_first"])
def test_half_open_sockets(proxied_site: Site, kind: str) -> None:
    """The server's side of every connection is gone, the worker's stays: a job enqueued now starts, and so does one
    that has to be promoted by the worker's upkeep."""
    site = proxied_site
    assert site.proxy is not None
    worker = site.worker(way="proxied").ready()
    site.enqueue("quick", 3)
    assert site.settle_down(), site.logs()
    eventually(lambda: len(worker.events("job_succeeded")) >= 3)
    with site.fault("network: half open", workers=[worker], isolated=worker.children()):
        site.proxy.set("half_open")
    enqueued = time.monotonic()
    key = site.enqueue(kind)[0]
    last = site.wait_starts(2 if kind == "nap_first" else 1, key)[-1]
    print(f"half open, {kind}: {last.at - enqueued:.1f} s to the last start")
    assert last.at - enqueued < BOUND + NOISE
    site.proxy.set("pass")
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    site.demand_kept_promises()


def test_half_open_sockets_in_a_long_chore(proxied_site: Site) -> None:
    """The same while upkeep waits for a chore that may take minutes: it is waited for as long as the server is at work
    on it, and no longer."""
    site = proxied_site
    assert site.proxy is not None
    at_it = """SELECT pid FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND state = 'active' AND query ~ 'write_history'"""
    with psycopg.connect(site.dsn) as holder, psycopg.connect(site.dsn, autocommit=True) as looker:
        holder.execute("LOCK TABLE pgjobq.history")
        worker = site.worker(way="proxied").ready()
        chore = eventually(lambda: looker.execute(at_it).fetchall())
        time.sleep(2 * SHORTEST_BOUND)
        assert looker.execute(at_it).fetchall() == chore, "it is still waited for"
        site.proxy.set("half_open")
    enqueued = time.monotonic()
    key = site.enqueue("nap_first")[0]
    last = site.wait_starts(2, key)[-1]
    assert last.at - enqueued < BOUND + NOISE
    site.proxy.set("pass")
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    site.demand_kept_promises()


@pytest.mark.parametrize(
    ("mode", "seconds"),
    [
        ("mute", 4),
        ("reset", 1.5),
        pytest.param("deaf", 4, marks=pytest.mark.slow),
        pytest.param("black_hole", 4, marks=pytest.mark.slow),
    ],
)
def test_traffic_that_ends(proxied_site: Site, mode: Mode, seconds: float) -> None:
    """One direction or both are dropped, or every connection is reset, with jobs running: nothing is lost or done
    twice, and the worker is back."""
    site = proxied_site
    assert site.proxy is not None
    worker = site.worker(way="proxied").ready()
    site.one_of_each(2)
    site.wait_starts(4)
    with site.fault(f"network: {mode}", workers=[worker], isolated=worker.children()):
        site.proxy.set(mode)
        time.sleep(seconds)
        site.proxy.set("pass")
    healed = time.monotonic()
    key = site.enqueue("quick")[0]
    started = site.wait_starts(1, key)[0]
    print(f"{mode}: {started.at - healed:.1f} s to the next start")
    assert started.at - healed < BOUND + NOISE
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    assert site.deaths() == []
    site.demand_kept_promises()
