"""Three hundred orders, failing merchants and a worker killed half-way: `python -m examples.ecommerce.demo`.

Starts everything it needs, lets customers order over HTTP, does its worst, and then checks against database,
mailbox and merchants that every promise was kept. Exit status: 0 if all were; 1 if one was not; 2 if it could
not start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path

import httpx
import psycopg
from psycopg.rows import TupleRow
from rich.console import Console

from pgjobq.devdb import NoPostgres

from .backstage.board import WIDTH, Board, show_figures, show_verdicts
from .backstage.crowd import Crowd, plan_visits
from .backstage.database import NoDatabase, furnish, open_database
from .backstage.facts import ask_merchants, gather
from .backstage.figures import jobs_in_hand, look, measure
from .backstage.processes import NotStarted, Process
from .backstage.stand import Ports, Stand, open_stand
from .backstage.verdicts import judge
from .mailbox import read_letters
from .shop.catalog import MERCHANTS
from .shop.jobs import queue

STOCK_EACH = 2_000
FAIL_RATE = 0.2
DOWN, DOWN_SECONDS = "loom", 4.0
LONGEST_SECONDS = 100.0  # by then something hangs, even on a slow machine: usually it takes about 20
WORKER_FLAGS = [
    "--lease=3",
    "--heartbeat=1",
    "--poll-interval=0.5",
    "--concurrency=8",
    "--grace=3",
    "--log-level=warning",
]
# Quick tries and many of them: the demo's merchants are back within seconds, not minutes.
SHOP = {"SHOP_MERCHANT_WAIT": "0.25", "SHOP_MERCHANT_ATTEMPTS": "40"}


async def play(stand: Stand, crowd: Crowd, board: Board) -> None:
    """Customers come, things go wrong, and we wait until every job has ended (or it takes too long)."""
    coming = asyncio.create_task(crowd.come())
    reopening = asyncio.create_task(reopen_later(stand, board))
    half, taken_over, began = len(crowd.visits) // 2, 0, board.seconds
    try:
        with psycopg.connect(stand.dsn, autocommit=True) as conn:
            while board.seconds < began + LONGEST_SECONDS:
                standing = await asyncio.to_thread(look, conn)
                board.show(standing, crowd.memory.done)
                if standing.taken_over > taken_over:
                    board.say(
                        f"the lease is up: {standing.taken_over - taken_over} of its jobs are taken over", "green"
                    )
                    taken_over = standing.taken_over
                if crowd.memory.done >= half and not stand.workers[-1].killed:
                    kill_busy_worker(conn, stand.workers[-1], board)
                if coming.done() and reopening.done() and standing.ended:
                    await asyncio.gather(coming, reopening)  # a mistake in one of them comes out here
                    break
                stand.check()
                await asyncio.sleep(0.15)
    finally:
        for task in (coming, reopening):
            task.cancel()
        await asyncio.gather(coming, reopening, return_exceptions=True)


def run_until_stopped(work: Coroutine[None, None, None]) -> None:
    """Run it; SIGTERM cancels it first, as asyncio itself does on Ctrl-C. (sys.exit() would come up anywhere.)"""
    before = signal.getsignal(signal.SIGTERM)

    async def heed() -> bool:
        task = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        return task.cancelled()

    try:
        is_stopped = asyncio.run(heed())
    finally:
        signal.signal(signal.SIGTERM, before)
    if is_stopped:
        signal.raise_signal(signal.SIGTERM)


def kill_busy_worker(conn: psycopg.Connection[TupleRow], victim: Process, board: Board) -> None:
    """SIGKILL to a whole worker while it has jobs in hand; the other one takes them over when the lease is up.

    It is held still while we look, because a job takes less time than looking and killing.
    """
    with victim.held_still():
        jobs = sum(count for pid, count in jobs_in_hand(conn).items() if victim.owns(pid))
        if not jobs:
            return
        victim.kill()
    board.crew[victim.name] = f"✗ killed at {board.seconds:.0f} s"
    board.say(f"{victim.name} is killed (SIGKILL) with {jobs} jobs in hand", "red")


def upset_merchants(stand: Stand) -> None:
    """All of them fail now and then; one is down."""
    with httpx.Client(base_url=stand.merchants_url) as web:
        for slug in MERCHANTS:
            web.put(f"/{slug}/mood", json={"fail_rate": FAIL_RATE, "down": slug == DOWN}).raise_for_status()


async def reopen_later(stand: Stand, board: Board) -> None:
    """The merchant that was down opens, and fails now and then like the others."""
    await asyncio.sleep(DOWN_SECONDS)
    async with httpx.AsyncClient(base_url=stand.merchants_url) as web:
        (await web.put(f"/{DOWN}/mood", json={"fail_rate": FAIL_RATE})).raise_for_status()
    board.say(f"{MERCHANTS[DOWN]} answers again", "green")


def run(orders: int, console: Console) -> bool:
    """The whole demo. True when every promise was kept."""
    tasks = queue.registry.names
    visits = list(plan_visits(orders, products=12))
    board = Board(console, len(visits), len(tasks))
    board.say("starting PostgreSQL, mailbox, merchants, shop and two workers")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corner-shop-")))
        dsn = stack.enter_context(open_database())
        furnish(dsn, stock_each=STOCK_EACH)
        stand = stack.enter_context(
            open_stand(dsn, folder, ports=Ports(), workers=2, worker_flags=WORKER_FLAGS, environ=SHOP)
        )
        upset_merchants(stand)
        board.crew = dict.fromkeys((worker.name for worker in stand.workers), "● at work")
        board.say(
            f"{len(visits)} customers come; merchants fail {FAIL_RATE:.0%} of all calls, {MERCHANTS[DOWN]} is down"
        )
        crowd = Crowd(stand.shop_url, visits, pace=max(len(visits) / 8, 8))
        with board.live():
            run_until_stopped(play(stand, crowd, board))
        board.say("every job has ended; now counting" if look_ended(dsn) else "time is up; now counting")
        with psycopg.connect(dsn) as conn:
            facts = gather(conn, read_letters(stand.letters), ask_merchants(stand.merchants_url))
            verdicts = judge(crowd.memory, facts, stock_each=STOCK_EACH)
            show_verdicts(console, verdicts)
            placed, declined = len(crowd.memory.placed), len(crowd.memory.declined)
            show_figures(console, measure(conn), placed=placed, declined=declined)
    kept = all(verdict.holds for verdict in verdicts)
    console.print()
    console.print("[bold green]Every promise was kept.[/]" if kept else "[bold red]Not every promise was kept.[/]")
    return kept


def look_ended(dsn: str) -> bool:
    """Whether nothing is left to do."""
    with psycopg.connect(dsn) as conn:
        return look(conn).ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.ecommerce.demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--orders", type=int, default=300, help="how many orders are placed (10 to 2000; default: 300)")
    arguments = parser.parse_args(argv)
    if not 10 <= arguments.orders <= 2000:
        parser.error(f"--orders {arguments.orders}: wants a number from 10 to 2000")
    console = Console(width=WIDTH, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return 0 if run(arguments.orders, console) else 1
    except KeyboardInterrupt:
        console.print("Stopped; everything it had started is gone.")
        return 130
    except (NoDatabase, NoPostgres, NotStarted) as reason:
        print(f"demo: {reason}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
