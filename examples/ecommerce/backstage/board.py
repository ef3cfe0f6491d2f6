"""What the demo shows, in 80 columns: a live board on a terminal, plain lines elsewhere; then tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .figures import Figures, Standing
from .verdicts import Verdict

WIDTH = 80
PLAIN_EVERY = 2.0
SHOWN = 5


class Board:
    """Tells what happens while it happens."""

    def __init__(self, console: Console, visits: int, tasks: int) -> None:
        self.console = console
        self.standing = Standing()
        self.visited = 0
        self.crew: dict[str, str] = {}
        self._visits, self._tasks = visits, tasks
        self._began = self._printed = time.monotonic()
        self._live: Live | None = None

    @property
    def seconds(self) -> float:
        """Since the board was made."""
        return time.monotonic() - self._began

    def say(self, text: str, style: str = "") -> None:
        """One line with the time, kept above the live part."""
        line = Text.assemble((f"{self.seconds:6.1f} s  ", "dim"), (text, style))
        self.console.print(line, soft_wrap=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the board on the screen during the block."""
        if not self.console.is_terminal:
            yield
            return
        with Live(self._draw(), console=self.console, refresh_per_second=8, transient=True) as self._live:
            yield
        self._live = None

    def show(self, standing: Standing, visited: int) -> None:
        """Bring the board up to date."""
        self.standing, self.visited = standing, visited
        if self._live is not None:
            self._live.update(self._draw())
        elif time.monotonic() - self._printed >= PLAIN_EVERY:
            self._printed = time.monotonic()
            self.say(
                f"{visited}/{self._visits} customers; jobs: {standing.succeeded} done,"
                f" {standing.running} running, {standing.waiting} waiting, {standing.retrying} again"
            )

    def _draw(self) -> Panel:
        now = self.standing
        bars = Table.grid(padding=(0, 2))
        bars.add_column(width=10)
        bars.add_column(width=44)
        bars.add_column(justify="right", width=14)
        for name, done, total, style in (
            ("customers", self.visited, self._visits, "cyan"),
            ("jobs done", now.succeeded, max(now.total, 1), "green"),
        ):
            shown = f"{done:,} of {total if now.total or name != 'jobs done' else 0:,}"
            bars.add_row(name, ProgressBar(total=total, completed=done, width=44, complete_style=style), shown)
        counts = Text.assemble(
            (f"{now.running}", "bold cyan"),
            " running   ",
            (f"{now.waiting}", "bold"),
            " waiting   ",
            (f"{now.retrying}", "bold yellow"),
            " to retry   ",
            (f"{now.failed_attempts}", "bold yellow"),
            " failed tries   ",
            (f"{now.lost}", "bold red" if now.lost else "bold"),
            " given up",
        )
        crew = Text("   ").join(
            Text.assemble((name, "bold"), " ", (state, "red" if "killed" in state else "green"))
            for name, state in self.crew.items()
        )
        body = Group(bars, Text(), counts, crew)
        return Panel(body, title="pgjobq · a shop at work", width=WIDTH, border_style="dim", padding=(1, 2))


def show_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """The table of what was promised and found, and under it whatever is untrue."""
    table = Table(box=box.SIMPLE_HEAD, width=WIDTH, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", width=1)
    table.add_column("promised")
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("", ratio=1)
    for verdict in verdicts:
        mark, style = ("✓", "bold green") if verdict.holds else ("✗", "bold red")
        remark = verdict.remark if verdict.holds else f"{len(verdict.wrong)} wrong"
        table.add_row(Text(mark, style), verdict.claim, verdict.found, Text(remark, "dim" if verdict.holds else style))
    console.print(table)
    for verdict in verdicts:
        for sentence in verdict.wrong[:SHOWN]:
            console.print(Text.assemble(("✗ ", "bold red"), f"{verdict.claim}: {sentence}"), soft_wrap=False)
        if len(verdict.wrong) > SHOWN:
            console.print(f"  … and {len(verdict.wrong) - SHOWN} more of these")
    if not all(verdict.holds for verdict in verdicts):
        console.print()


def show_figures(console: Console, figures: Figures, *, placed: int, declined: int) -> None:
    """What it took."""
    table = Table(box=None, width=WIDTH, pad_edge=False, show_header=False)
    table.add_column(width=26, style="dim")
    table.add_column(ratio=1)
    table.add_row("orders", f"{placed} placed, {declined} rolled back at the last moment")
    table.add_row("jobs", f"{figures.jobs} in {figures.seconds:.1f} s: {figures.rate:.0f} a second")
    table.add_row("attempts beyond the first", f"{figures.retries} ({figures.died_with_worker} for the killed worker)")
    table.add_row("from commit to start", f"p50 {_time(figures.p50)}, p99 {_time(figures.p99)}")
    console.print(table)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
