"""Puts the figures into docs/benchmarks.md, between its two marks; the words around them are written by people."""

from __future__ import annotations

from pathlib import Path

from bench.plots import PLOTS, write_plots
from bench.results import Results
from bench.table import TABLES, rows_of

__all__ = ["BEGIN", "END", "fill_page", "render_markdown"]

BEGIN, END = "<!-- figures: begin (python -m bench --docs) -->", "<!-- figures: end -->"


def fill_page(results: Results, page: Path) -> None:
    """Draw the plots beside the page and replace what stands between the marks. Raises ValueError without marks."""
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no place for the figures: it wants the lines {BEGIN} and {END}")
    plots = write_plots(results, page.parent / "plots")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{render_markdown(results, plots)}\n{END}{after}")


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
    lines += [f"![{PLOTS[name.removesuffix('.svg')][0]}](plots/{name})" for name in plots]
    for title, metrics, against_floor in TABLES:
        head, rows = rows_of(results, metrics, against_floor=against_floor)
        if len(head) > 1:
            lines += ["", f"**{title}**", ""]
            lines += ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
            lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", "| | version | settings |", "|---|---|---|"]
    lines += [f"| {name} | {told['version']} | {told['settings']} |" for name, told in results.systems.items()]
    if results.troubles:
        lines += ["", "Not measured:", ""]
        lines += [f"- {system} ({step}): {' '.join(what.split())}" for system, step, what in results.troubles]
    return "\n".join(lines) + "\n"
