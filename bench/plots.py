"""The figures as small SVG drawings: bars, one per system, that can be read on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bench.results import FLOOR, METRICS, Results

__all__ = ["PLOTS", "Bar", "draw_bars", "write_plots"]

PLOTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "enqueue-one": ("Enqueued one by one, jobs/s", ("one",)),
    "enqueue-bulk": ("Enqueued in bulk, jobs/s", ("bulk",)),
    "drain": ("Worked off, one and two worker processes, jobs/s", ("drain1", "drain2")),
    "held": ("Worked off: calm, and late under a held snapshot, jobs/s", ("drain1", "held")),
    "pickup": ("From enqueue to handler, p50 and p99, ms", ("pickup50", "pickup99")),
    "bytes": ("Bytes a job: waiting, and after it has run", ("waiting", "done")),
    "clients": ("8 clients enqueue: no worker, and a busy worker, jobs/s", ("eight", "eight_busy")),
    "backlog": ("Worked off from a backlog of 10,000, 1M, 3M, jobs/s", ("deep10k", "deep1m", "deep3m")),
}
"""File name: title, and the metrics whose bars stand together."""

_LEFT, _BARS, _RIGHT, _HIGH, _GAP, _TOP = 120, 440, 80, 14, 8, 40
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px }
.value { font-variant-numeric: tabular-nums; fill: #57606a }
.ours { fill: #0b7285 } .ours.more { fill: #3bc9db }
.floor { fill: #868e96 } .floor.more { fill: #ced4da }
.peer { fill: #8f6bb8 } .peer.more { fill: #c9b3e0 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .value { fill: #9da7b1 }
  .ours { fill: #22b8cf } .ours.more { fill: #0c8599 }
  .floor { fill: #adb5bd } .floor.more { fill: #5c636a }
  .peer { fill: #b197d8 } .peer.more { fill: #6f5691 }
}
"""


@dataclass(frozen=True)
class Bar:
    """One bar: its value, how the value reads, and which of its group it is (0 first)."""

    value: float
    text: str
    position: int = 0


def draw_bars(title: str, groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Groups of horizontal bars on one scale from zero, as an SVG document."""
    largest = max((bar.value for _, bars in groups for bar in bars), default=0) or 1
    y, shapes = _TOP, []
    for name, bars in groups:
        middle = y + len(bars) * _HIGH / 2 + 4
        shapes.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>')
        for bar in bars:
            width = max(1.0, _BARS * bar.value / largest)
            kind = {"pgjobq": "ours", FLOOR: "floor"}.get(name, "peer") + (" more" if bar.position % 2 else "")
            shapes.append(f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_HIGH - 2}" rx="2"/>')
            shapes.append(
                f'<text class="value" x="{_LEFT + width + 6:.1f}" y="{y + _HIGH - 4}">{escape(bar.text)}</text>'
            )
            y += _HIGH
        y += _GAP
    size = f'width="{_LEFT + _BARS + _RIGHT}" height="{y}" viewBox="0 0 {_LEFT + _BARS + _RIGHT} {y}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title, quote=True)}">\n'
        f"<style>{_STYLE}</style>\n"
        f'<text class="title" x="8" y="22">{escape(title)}</text>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def write_plots(results: Results, folder: Path) -> list[str]:
    """Draw every plot of which something is known; gives the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (title, metrics) in PLOTS.items():
        groups = [(system, bars) for system in results.systems if (bars := _bars(results, system, metrics))]
        if groups:
            (folder / f"{name}.svg").write_text(draw_bars(title, groups))
            written.append(f"{name}.svg")
    return written


def _bars(results: Results, system: str, metrics: Sequence[str]) -> list[Bar]:
    bars = []
    for position, metric in enumerate(metrics):
        value = results.value(metric, system)
        if value is not None:
            bars.append(Bar(value, f"{value:,.{METRICS[metric].digits}f}", position))
    return bars
