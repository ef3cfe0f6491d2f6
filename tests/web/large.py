"""How long each page takes where a million jobs have ended: `PYTHONPATH=tests python -m web.large`.

Prints a table: of each kind of page the slowest address, as the median of a few requests, and the slowest first one,
when nothing was cached, neither by the server nor by the system. `--docs` writes it into docs/dashboard.md, `--most MS`
fails when a page's median is above. Commands of the command line are told, too, and never fail: they look until they
have found.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import psycopg

from pgjobq import Queue
from pgjobq.cli import main as command
from pgjobq.cli.glance import glance
from pgjobq.migrate import install
from pgjobq.survey import Survey
from pgjobq.web import dashboard
from pgjobq.web.charts import SPANS
from support.databases import open_database
from support.servers import NoServer, plan_server, run_server
from web.conftest import served
from web.visits import Found, Visit, commands, look_around, visits

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dashboard.md"
BEGIN, END = "<!-- pages: begin (python -m web.large --docs) -->", "<!-- pages: end -->"
COLD = 12
"""Addresses of each kind that are asked for with nothing cached: forgetting takes a while."""


def main(argv: list[str] | None = None) -> int:
    """Furnish, ask for every page, tell."""
    parser = argparse.ArgumentParser(prog="python -m web.large", description="Times of the dashboard's pages.")
    parser.add_argument("--ended", type=int, default=1_000_000, help="jobs that have ended, one in ten failed")
    parser.add_argument("--waiting", type=int, default=200_000, help="jobs that wait, one in four for a time")
    parser.add_argument("--workers", type=int, default=50, help="workers alive, with 20 jobs each")
    parser.add_argument("--members", type=int, default=50_000, help="jobs of one workflow")
    parser.add_argument("--rounds", type=int, default=5, help="requests for each page")
    parser.add_argument("--most", type=float, help="ms; the exit code is 1 when a page's median is above")
    parser.add_argument("--slow", type=float, default=150, help="ms; each address above is told as it is found")
    parser.add_argument("--only", default="", help="kinds of pages whose name contains this")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/dashboard.md")
    parser.add_argument("--dsn", help="a database that was furnished before (it stays)")
    wanted = parser.parse_args(argv)
    try:
        with contextlib.ExitStack() as stack:
            if (dsn := wanted.dsn) is None:
                server, _ = stack.enter_context(run_server(plan_server()))
                dsn = stack.enter_context(open_database(server))
                furnish(dsn, wanted.ended, wanted.waiting, wanted.workers, wanted.members)
            queue = stack.enter_context(contextlib.closing(Queue(dsn)))
            address = stack.enter_context(served(dashboard(queue)))
            measure = Measure(dsn, queue, address, wanted.rounds, wanted.slow)
            measure.all(wanted.only)
            table = measure.table()  # asks the database what stands in it
    except NoServer as error:
        print(f"large: {error}", file=sys.stderr)
        return 2
    if wanted.docs:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}")
    slow = [name for name, ms in measure.medians.items() if wanted.most and ms > wanted.most]
    if slow:
        print(f"above {wanted.most:g} ms: {', '.join(slow)}")
    return 1 if slow else 0


def furnish(dsn: str, ended: int, waiting: int, workers: int, members: int) -> None:
    """Write so many jobs."""
    began = time.perf_counter()
    numbers = {"ended": ended, "waiting": waiting, "workers": workers, "members": members}
    with psycopg.connect(dsn) as conn:
        install(conn)
        cursor = psycopg.ClientCursor(conn)
        cursor.execute(Path(__file__).with_suffix(".sql").read_text(), numbers)  # type: ignore[arg-type]
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE")
    print(f"written in {time.perf_counter() - began:.0f} s", file=sys.stderr)


class Measure:
    """Asks, and keeps a row of the table for each kind of page."""

    def __init__(self, dsn: str, queue: Queue, address: str, rounds: int, slow: float) -> None:
        self.dsn = dsn
        self.queue = queue
        self.rounds = rounds
        self.slow = slow
        self.client = httpx.Client(base_url=address, timeout=120)
        self.found: Found = look_around(dsn, queue)
        self.medians: dict[str, float] = {}
        self.rows: list[str] = []
        self.load = [os.getloadavg()[0]]

    def all(self, only: str) -> None:
        """Ask for everything."""
        print(self._head())
        with self.client:
            self.client.get("/audit").raise_for_status()  # gives the token that forms repeat
            for name, asked in self.pages():
                if only in name:
                    self.medians[name] = self.tell(name, asked)
            for name, asked in self.commands():
                if only in name:
                    self.tell(name, asked)
        self.load.append(os.getloadavg()[0])
        print(f"\n{self._where()}")

    def table(self) -> str:
        """What was told, for the documentation."""
        return "\n".join([self._where(), "", self._head(), *self.rows])

    def _head(self) -> str:
        return "| page | median | first |\n|---|---|---|"

    def _where(self) -> str:
        with psycopg.connect(self.dsn) as conn:
            row = conn.execute(
                "SELECT split_part(current_setting('server_version'), ' ', 1), (SELECT count(*) FROM pgjobq.job),"
                " (SELECT count(*) FROM pgjobq.finished), (SELECT count(*) FROM pgjobq.finished WHERE outcome = 'f'),"
                " (SELECT count(*) FROM pgjobq.ready), (SELECT count(*) FROM pgjobq.scheduled),"
                " (SELECT count(*) FROM pgjobq.blocked), (SELECT count(*) FROM pgjobq.running),"
                " (SELECT count(DISTINCT queue) FROM pgjobq.lane)"
            ).fetchone()
        assert row
        version, jobs, ended, failed, ready, scheduled, blocked, running, queues = row
        load = f"{min(self.load):.1f} to {max(self.load):.1f}"
        return (
            f"{jobs:,} jobs in {queues} queues ({ended:,} ended, {failed:,} of them failed; {ready:,} ready,\n"
            f"{scheduled:,} scheduled, {blocked:,} blocked, {running:,} running), PostgreSQL {version},\n"
            f"{os.cpu_count()} cores with a load average of {load}. Of each kind the slowest address: the median of\n"
            f"{self.rounds} requests, and the first one, with nothing in the server's memory nor in the system's."
        )

    def pages(self) -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
        """Each kind, and what asks for it, by the address."""
        for visit in visits(self.found):
            addresses = visit.addresses or list(self.walk())
            yield visit.name, {address: self.asking(visit, address) for address in addresses}
        yield (
            "charts of all queues, read anew: an hour, 24 hours, 3 days",
            {span.words: self.reading(span.minutes, span.step) for span in SPANS.values()},
        )
        yield "each queue's last hour, read anew", {"trends": self.queue.trends}
        yield "what an open page asks for once a second", {"pulse": Survey(self.queue).pulse}

    def commands(self) -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
        """The same of the command line."""
        yield "a look of `pgjobq top`", {only or "all": self.glancing(only) for only in (None, "mail", "tenant-7")}
        for name, lines in commands(self.found).items():
            yield name, {" ".join(line): self.running(line) for line in lines}

    def asking(self, visit: Visit, address: str) -> Callable[[], object]:
        """A request."""
        if not visit.form:
            return lambda: answered(self.client.get(address))
        form = dict(parse_qsl(urlsplit(address).query)) | visit.form
        form |= {"token": self.client.cookies["pgjobq_token"], "back": "/jobs"}
        return lambda: answered(self.client.post("/act", data=form, headers={"Sec-Fetch-Site": "same-origin"}))

    def reading(self, minutes: int, span: int) -> Callable[[], object]:
        """What a chart shows."""
        return lambda: self.queue.history(minutes, span=span)

    def glancing(self, only: str | None) -> Callable[[], object]:
        """A look of `top`."""
        return lambda: glance(self.queue, only)

    def running(self, line: list[str]) -> Callable[[], object]:
        """A command, without the start of Python."""

        def run() -> None:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                assert command([*line, "--dsn", self.dsn]) == 0, line

        return run

    def walk(self) -> Iterator[str]:
        """The second, the fiftieth and the last page of lists, by what each page links to."""
        for address in ("/jobs", "/jobs?state=ready", "/jobs?state=failed", "/jobs?state=succeeded&queue=tenant-7"):
            at = address
            for number in range(2, 51):
                after = re.search(r'rel="next" href="([^"]+)"', self.client.get(at).raise_for_status().text)
                if after is None:  # the last one
                    yield at
                    break
                at = after[1].replace("&amp;", "&")
                if number in (2, 50):
                    yield at
        yield f"/jobs?after={self.found.first + 30}"
        yield f"/jobs?state=succeeded&after={self.found.first + 30}"
        yield "/jobs?state=failed&after=2020-01-01+00%3A00%3A00%2B00%7C1"

    def tell(self, name: str, asked: dict[str, Callable[[], object]]) -> float:
        """One row; gives the median of the slowest address, in ms."""
        medians: dict[str, float] = {}
        first = 0.0
        for place, (address, ask) in enumerate(asked.items()):
            if place < COLD:
                self.forget()
                first = max(first, timed(ask))
            else:
                ask()
            medians[address] = statistics.median(timed(ask) for _ in range(self.rounds))
            if medians[address] > self.slow:
                print(f"    {medians[address]:.0f} ms: {address}", file=sys.stderr)
        worst = max(medians.values())
        several = f" ({len(asked)})" if len(asked) > 1 else ""
        self.rows.append(f"| {name}{several} | {worst:.0f} ms | {first:.0f} ms |")
        print(self.rows[-1], flush=True)
        return worst

    def forget(self) -> None:
        """Have the database's pages read from the disk again, where we can (PostgreSQL 17, files of our own)."""
        with psycopg.connect(self.dsn, autocommit=True) as conn, contextlib.suppress(psycopg.Error, OSError):
            conn.execute("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
            conn.execute("CHECKPOINT")
            conn.execute("SELECT pg_buffercache_evict_all()")
            row = conn.execute(
                "SELECT current_setting('data_directory') || '/base/' || oid"
                " FROM pg_database WHERE datname = current_database()"
            ).fetchone()
            assert row
            for file in Path(row[0]).iterdir():
                with file.open("rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(ask: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def answered(response: httpx.Response) -> None:
    """Not found is an answer, too: nobody has such a ref."""
    assert response.status_code in (200, 303, 404), (response.status_code, response.url, response.text[:2000])


if __name__ == "__main__":
    sys.exit(main())
