"""How long each page takes where a million jobs have ended: `PYTHONPATH=tests python -m web.large`.

Prints the median of a few requests, and the first one. `--most MS` fails when a median is above that.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from pathlib import Path

import httpx
import psycopg

from pgjobq import Queue
from pgjobq.migrate import install
from pgjobq.web import dashboard
from support.databases import open_database
from support.servers import NoServer, plan_server, run_server
from web.conftest import served


def main(argv: list[str] | None = None) -> int:
    """Furnish, ask for every page, tell."""
    parser = argparse.ArgumentParser(prog="python -m web.large", description="Times of the dashboard's pages.")
    parser.add_argument("--ended", type=int, default=1_000_000, help="jobs that have ended, one in a hundred failed")
    parser.add_argument("--waiting", type=int, default=200_000, help="jobs that wait, one in four for a time")
    parser.add_argument("--workers", type=int, default=50, help="workers alive, with 20 jobs each")
    parser.add_argument("--rounds", type=int, default=5, help="requests for each page")
    parser.add_argument("--most", type=float, help="ms; the exit code is 1 when a page's median is above")
    wanted = parser.parse_args(argv)
    try:
        with run_server(plan_server()) as (server, _), open_database(server) as dsn:
            failed = furnish(dsn, wanted.ended, wanted.waiting, wanted.workers)
            with contextlib.closing(Queue(dsn)) as queue, served(dashboard(queue)) as address:
                slow = [
                    name for name, ms in measure(address, failed, wanted.rounds) if wanted.most and ms > wanted.most
                ]
    except NoServer as error:
        print(f"large: {error}", file=sys.stderr)
        return 2
    if slow:
        print(f"above {wanted.most:g} ms: {', '.join(slow)}")
    return 1 if slow else 0


def furnish(dsn: str, ended: int, waiting: int, workers: int) -> int:
    """Write so many jobs; gives the id of a failed one."""
    began = time.perf_counter()
    numbers = {"ended": ended, "waiting": waiting, "workers": workers}
    with psycopg.connect(dsn) as conn:
        install(conn)
        cursor = psycopg.ClientCursor(conn)
        cursor.execute(Path(__file__).with_suffix(".sql").read_text(), numbers)  # type: ignore[arg-type]
        found = conn.execute("SELECT max(job) FROM pgjobq.finished WHERE outcome = 'f'").fetchone()
        assert found
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
    print(f"{ended + waiting + 20 * workers:,} jobs were written in {time.perf_counter() - began:.0f} s\n")
    return int(found[0])


def pages(failed: int) -> dict[str, str]:
    """Every page whose time depends on how many jobs there are."""
    return {
        "overview": "/",
        "overview, 24 hours": "/?span=24h",
        "overview, 3 days": "/?span=3d",
        "jobs": "/jobs",
        "jobs, ready": "/jobs?state=ready",
        "jobs, failed": "/jobs?state=failed",
        "jobs, failed, of a queue": "/jobs?state=failed&queue=mail",
        "jobs, a text": "/jobs?text=nowhere-to-be-found",
        "jobs, an argument": "/jobs?argument=customer.id=4711",
        "jobs, failed, since": "/jobs?state=failed&since=2020-01-01",
        "one job": f"/jobs/{failed}",
        "one ref": f"/ref?ref=order:{failed // 4}",
        "workflows": "/workflows",
        "failed": "/failed",
        "queues": "/queues",
        "workers": "/workers",
        "gates": "/gates",
        "schedules": "/schedules",
        "audit": "/audit",
        "metrics": "/metrics",
    }


def measure(address: str, failed: int, rounds: int) -> list[tuple[str, float]]:
    """The median of each page, in ms."""
    told = []
    print(f"{'page':<28}{'median':>10}{'first':>10}")
    with httpx.Client(base_url=address, timeout=120) as client:
        for name, path in pages(failed).items():
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                client.get(path).raise_for_status()
                times.append((time.perf_counter() - began) * 1000)
            told.append((name, statistics.median(times)))
            print(f"{name:<28}{told[-1][1]:>7.0f} ms{times[0]:>7.0f} ms", flush=True)
    return told


if __name__ == "__main__":
    sys.exit(main())
