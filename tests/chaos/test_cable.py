"""A worker on a machine of its own, behind a network that loses packets: nothing is acknowledged, nobody says why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.cable import GONE, GOOD, Cable, Trouble, can_lay, lay_cable
from chaos.site import Site, open_server

pytestmark = pytest.mark.chaos

BOUND = 30.0


@pytest.fixture
def far_site(tmp_path: Path) -> Iterator[tuple[Site, Cable]]:
    """A server that listens at our end of the cable."""
    if not can_lay():
        pytest.skip("a cable takes a network namespace and TUN devices: Linux and root")
    with lay_cable() as cable, open_server(listen_addresses=f"127.0.0.1,{cable.here}") as (postgres, dsn):
        site = Site(dsn, tmp_path, postgres)
        rules = Path(site.query("SHOW hba_file")[0][0])
        with rules.open("a") as out:
            out.write(f"host all all {cable.here}/30 scram-sha-256\n")
        site.query("SELECT pg_reload_conf()")
        site.cable = cable
        yield site, cable
        site.destroy()


@pytest.mark.parametrize(
    ("name", "out", "back"),
    [
        ("both ways", GONE, GONE),
        ("only what it says", GONE, GOOD),
        ("only what it is told", GOOD, GONE),
    ],
)
def test_packets_vanish_for_four_seconds(far_site: tuple[Site, Cable], name: str, out: Trouble, back: Trouble) -> None:
    """Longer than the lease, with jobs running: another worker takes them over, and what the one that was cut off
    reports afterwards is refused; it is back by itself."""
    site, cable = far_site
    far = site.worker(way="cabled").ready()
    site.enqueue("work", 6, seconds=3)
    site.wait_starts(6)
    near = site.worker().ready()
    with site.fault(f"packets lost: {name}", workers=[far], isolated=far.children()):
        cable.set(out=out, back=back)
        time.sleep(4)
        cable.set()
    healed = time.monotonic()
    assert near.stop() == 0
    key = site.enqueue("quick")[0]
    print(f"packets lost, {name}: {site.wait_starts(1, key, timeout=BOUND)[0].at - healed:.1f} s to the next start")
    assert site.settle_down(), site.logs()
    assert far.stop() == 0
    assert site.deaths() == []
    site.demand_kept_promises()


@pytest.mark.parametrize(
    ("name", "trouble"),
    [("100 ± 80 ms each way", Trouble(delay=0.1, jitter=0.08)), ("every fifth packet lost", Trouble(loss=0.2))],
)
def test_a_bad_line(far_site: tuple[Site, Cable], name: str, trouble: Trouble) -> None:
    """Slow is not dead: no lease is lost, no healthy job run again."""
    site, cable = far_site
    lease = ("--lease", "10", "--heartbeat", "1", "--poll-interval", "0.5", "--grace", "5")
    worker = site.worker(*lease, way="cabled").ready()
    with site.fault(name, workers=[worker]):
        cable.set(out=trouble, back=trouble)
        began = time.monotonic()
        keys = site.one_of_each(2)
        assert site.settle_down(60), site.logs()
        print(f"{name}: {len(keys)} jobs in {time.monotonic() - began:.1f} s")
        cable.set()
    assert worker.events("lease_lost") == []
    assert worker.stop() == 0
    site.demand_kept_promises()
