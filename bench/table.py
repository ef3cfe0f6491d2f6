"""The figures as tables of text that fit a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.results import FLOOR, METRICS, Results

__all__ = ["TABLES", "WIDTH", "cell", "lay_out", "render", "rows_of"]

WIDTH = 100

TABLES: list[tuple[str, tuple[str, ...], bool]] = [
    ("Jobs a second; in brackets as a multiple of raw", ("one", "bulk", "drain1", "drain2", "held"), True),
    (
        "Held snapshot as a multiple of drain 1; 8 clients enqueuing (jobs/s), no worker and a busy one",
        ("held_ratio", "eight", "eight_busy", "eight_ratio"),
        False,
    ),
    (
        "Pickup latency (ms), and bytes a job",
        ("pickup50", "pickup95", "pickup99", "waiting", "done", "wal_in", "wal_run"),
        False,
    ),
    (
        "CPU a job (µs); a worker: memory (MB), idle CPU (%); 32 idle: database CPU (%), for a job (ms)",
        ("cpu_worker", "cpu_db", "rss", "idle", "idle_db", "crowd", "herd"),
        False,
    ),
    (
        "Backlogs (jobs/s) and handlers that wait (% of 50 / duration)",
        ("deep10k", "deep1m", "deep3m", "ms1", "ms10", "ms100"),
        False,
    ),
    (
        "Plain functions (jobs/s); one by one through its own pool; a million from a generator (jobs/s, MB)",
        ("threads", "cpu1", "cpu2", "pooled", "stream", "stream_memory"),
        False,
    ),
    (
        "A long history, and as many old jobs being deleted: drain and one by one (jobs/s)",
        ("hist0", "hist", "hist_ratio", "pruned", "pruned_ratio", "hist0_one", "hist_one", "hist_one_ratio"),
        False,
    ),
    (
        "The same: CPU a job, worker and database (µs)",
        ("hist0_cpu", "hist_cpu", "hist_cpu_ratio", "pruned_cpu", "pruned_cpu_ratio"),
        False,
    ),
    (
        "More worker processes (jobs/s): handlers of 50 ms, 25 at once in each, and no-op handlers",
        ("sleep1", "sleep2", "sleep4", "sleep8", "spread", "noop4", "noop8"),
        False,
    ),
    (
        "A million jobs under a held snapshot; one lane and a thousand, nearly all empty (jobs/s)",
        ("flat_first", "flat_last", "flat_ratio", "lane1", "lane1000", "lane_ratio"),
        False,
    ),
]
"""Title, metrics, and whether each figure is followed by its ratio to the floor."""


def cell(results: Results, metric: str, system: str, *, against_floor: bool) -> str:
    """One figure: 12,345, or 12,345 (0.97) with its multiple of the floor, or – when there is none."""
    value = results.value(metric, system)
    if value is None:
        return "–"
    text = f"{value:,.{METRICS[metric].digits}f}"
    multiple = results.against_floor(metric, system)
    if not against_floor or multiple is None or system == FLOOR:
        return text
    return f"{text} ({multiple:.2f})"


def rows_of(results: Results, metrics: Sequence[str], *, against_floor: bool) -> tuple[list[str], list[list[str]]]:
    """Head and rows of one table; only metrics and systems of which something is known."""
    known = [name for name in metrics if any((name, system) in results.figures for system in results.systems)]
    head = ["", *(METRICS[name].head for name in known)]
    rows = [
        [system, *(cell(results, name, system, against_floor=against_floor) for name in known)]
        for system in results.systems
        if any((name, system) in results.figures for name in known)
    ]
    return head, rows


def lay_out(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, numbers to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        first, *others = (
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return [line(head), "  ".join("─" * width for width in widths), *map(line, rows)]


def render(results: Results) -> str:
    """All tables, and what went wrong."""
    parts: list[str] = []
    for title, metrics, against_floor in TABLES:
        head, rows = rows_of(results, metrics, against_floor=against_floor)
        if len(head) > 1:
            parts += [title, *lay_out(head, rows), ""]
    if reduced := results.reduced():
        parts.append("Rates of fewer jobs than the others were given, for the sake of the run's length")
        for name, cells in reduced.items():
            text = f"{name}: " + ", ".join(f"{head} {jobs:,}" for head, jobs in cells)
            parts += textwrap.wrap(text, WIDTH, subsequent_indent="  ")
        parts.append("")
    if results.troubles:
        parts.append("Not measured")
        parts += [f"{system} ({step}): {what}"[:WIDTH] for system, step, what in results.troubles]
    return "\n".join(parts).rstrip() + "\n"
