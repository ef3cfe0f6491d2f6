"""Puts the figures into docs/benchmarks.md, between its two marks; the words around them are written by people."""

from __future__ import annotations

from pathlib import Path

from bench.plots import PLOTS, write_plots
from bench.results import Results
from bench.table import TABLES, rows_of

__all__ = ["BEGIN", "END", "SIZING", "fill_page", "fill_sizing", "render_markdown", "render_sizing"]

BEGIN, END = "<!-- figures: begin (python -m bench --docs) -->", "<!-- figures: end -->"


SIZING = "<!-- sizing: begin (python -m bench --docs) -->", "<!-- sizing: end -->"

OURS = "pgjobq"


def fill_page(results: Results, page: Path) -> None:
    """Draw the plots beside the page and replace what stands between the marks. Raises ValueError without marks."""
    _check_marks(page, BEGIN, END)
    _put_between(page, BEGIN, END, render_markdown(results, write_plots(results, page.parent / "plots")))


def fill_sizing(results: Results, page: Path) -> None:
    """Put what a job of ours costs between the page's marks. Raises ValueError without marks."""
    _check_marks(page, *SIZING)
    _put_between(page, *SIZING, render_sizing(results))


def _check_marks(page: Path, begin: str, end: str) -> None:
    text = page.read_text()
    if begin not in text or end not in text:
        raise ValueError(f"{page} has no place for the figures: it wants the lines {begin} and {end}")


def _put_between(page: Path, begin: str, end: str, content: str) -> None:
    text = page.read_text()
    page.write_text(f"{text.partition(begin)[0]}{begin}\n\n{content}\n{end}{text.partition(end)[2]}")


def render_sizing(results: Results) -> str:
    """What a thousand jobs a second, a million kept jobs and a worker take; what was not measured is left out."""
    value = {name: results.value(name, OURS) for name in ("cpu_db", "cpu_worker", "done", "waiting", "rss", "idle")}
    wal = [results.value(name, OURS) for name in ("wal_in", "wal_run")]
    known = None if None in wal else sum(size or 0 for size in wal)
    rows = [
        ("1,000 jobs/s, run", "database CPU, % of a core", value["cpu_db"], 0.1, 1),
        ("1,000 jobs/s, run", "worker CPU, % of a core", value["cpu_worker"], 0.1, 1),
        ("1,000 jobs/s, enqueued in bulk and run", "WAL, MB/s", known, 1e-3, 2),
        ("1,000,000 jobs that wait", "disk, MB", value["waiting"], 1, 0),
        ("1,000,000 finished jobs kept", "disk, MB", value["done"], 1, 0),
        ("a worker process", "memory, MB", value["rss"], 1, 0),
        ("an idle worker", "CPU, % of a core", value["idle"], 1, 2),
    ]
    lines = [
        f"| {per} | {what} | {figure * factor:,.{digits}f} |"
        for per, what, figure, factor, digits in rows
        if figure is not None
    ]
    told = f"Measured {results.plan['date']} on {results.machine['processor']}, small payloads:"
    return "\n".join([told, "", "| for | takes | |", "|---|---|---:|", *lines]) + "\n"


def render_markdown(results: Results, plots: list[str]) -> str:
    """Where and when, the plots, the tables, the settings, and what could not be measured."""
    machine, server = results.machine, results.server
    lines = [
        (
            f"{results.plan['date']}: {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
            f"{machine['kernel']}, Python {machine['python']}, PostgreSQL {server['server_version']} "
            f"(fsync {server['fsync']}, synchronous_commit {server['synchronous_commit']}, "
            f"shared_buffers {server['shared_buffers']})."
        ),
        "",
    ]
    for name in plots:
        title, legend = PLOTS[name.removesuffix(".svg")]
        told = ": " + ", ".join(legend.values()) if len(legend) > 1 else ""
        lines += [f"![{title}{told}](plots/{name})", ""]
    for title, metrics, against_floor in TABLES:
        head, rows = rows_of(results, metrics, against_floor=against_floor)
        if len(head) > 1:
            lines += ["", f"**{title}**", ""]
            lines += ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
            lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", "| | version | settings |", "|---|---|---|"]
    lines += [f"| {name} | {told['version']} | {told['settings']} |" for name, told in results.systems.items()]
    if reduced := results.reduced():
        lines += ["", "Rates of slower systems are those of fewer jobs, so that a run stays short:", ""]
        for name, cells in reduced.items():
            lines.append(f"- {name}: " + ", ".join(f"{head} {jobs:,}" for head, jobs in cells))
    if results.troubles:
        lines += ["", "Not measured:", ""]
        lines += [f"- {system} ({step}): {' '.join(what.split())}" for system, step, what in results.troubles]
    if "minutes" in results.plan:
        each = ", ".join(f"{what} {seconds}" for what, seconds in results.plan["seconds"].items())
        lines += ["", f"The run took {results.plan['minutes']} minutes; seconds of each step: {each}."]
    return "\n".join(lines) + "\n"
