"""The figures as small SVG drawings: bars, one per system, that can be read on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bench.results import FLOOR, METRICS, Results

__all__ = ["PLOTS", "Bar", "draw_bars", "write_plots"]

PLOTS: dict[str, tuple[str, dict[str, str]]] = {
    "enqueue-one": ("Enqueued one by one, jobs/s", {"one": ""}),
    "enqueue-bulk": ("Enqueued in bulk, jobs/s", {"bulk": ""}),
    "drain": ("Worked off, jobs/s", {"drain1": "one process", "drain2": "two processes"}),
    "held": ("Worked off, jobs/s", {"drain1": "calm", "held": "late under a held snapshot"}),
    "pickup": ("From enqueue to handler, ms", {"pickup50": "p50", "pickup99": "p99"}),
    "bytes": ("Bytes a job", {"waiting": "waiting", "done": "after it has run"}),
    "clients": ("8 clients enqueue, jobs/s", {"eight": "no worker", "eight_busy": "a busy worker"}),
    "backlog": ("Worked off from a backlog, jobs/s", {"deep10k": "10,000", "deep1m": "1M", "deep3m": "3M"}),
    "handlers": (
        "Handlers that wait, % of 50 / duration",
        {"ms1": "1 ms", "ms10": "10 ms", "ms100": "100 ms"},
    ),
    "history": (
        "A history of finished jobs, jobs/s",
        {"hist0": "none", "hist": "long", "pruned": "being deleted"},
    ),
    "scale": (
        "Worker processes, handlers of 50 ms, jobs/s",
        {"sleep1": "1", "sleep2": "2", "sleep4": "4", "sleep8": "8"},
    ),
}
"""File name: title, and the metrics whose bars stand together with what the legend calls them."""

_LEFT, _BARS, _RIGHT, _HIGH, _GAP, _TOP = 120, 440, 80, 14, 8, 40
_LETTER = 6.6
"""Width of a letter of the legend, roughly: there is nobody here to ask."""
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 13px }
.value { font-variant-numeric: tabular-nums; fill: #57606a }
.axis { stroke: #d0d7de }
.ours { fill: #0b7285 } .floor { fill: #868e96 } .peer { fill: #8f6bb8 } .key { fill: #57606a }
.bar1 { opacity: .66 } .bar2 { opacity: .42 } .bar3 { opacity: .26 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .value { fill: #9da7b1 } .axis { stroke: #3d444d }
  .ours { fill: #22b8cf } .floor { fill: #adb5bd } .peer { fill: #b197d8 } .key { fill: #9da7b1 }
}
"""


@dataclass(frozen=True)
class Bar:
    """One bar: its value, how the value reads, and which of its group it is (0 first)."""

    value: float
    text: str
    position: int = 0


def draw_bars(title: str, groups: Sequence[tuple[str, Sequence[Bar]]], legend: Sequence[str] = ()) -> str:
    """Groups of horizontal bars on one scale from zero, as an SVG document; `legend`: what each bar of a group is."""
    largest = max((bar.value for _, bars in groups for bar in bars), default=0) or 1
    y = _TOP
    shapes = _draw_legend(legend, _LEFT + _BARS + _RIGHT - 8) if len(legend) > 1 else []
    for name, bars in groups:
        middle = y + len(bars) * _HIGH / 2 + 4
        shapes.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>')
        for bar in bars:
            width = max(1.0, _BARS * bar.value / largest)
            kind = {"pgjobq": "ours", FLOOR: "floor"}.get(name, "peer") + f" bar{bar.position}"
            shapes.append(f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_HIGH - 2}" rx="2"/>')
            shapes.append(
                f'<text class="value" x="{_LEFT + width + 6:.1f}" y="{y + _HIGH - 4}">{escape(bar.text)}</text>'
            )
            y += _HIGH
        y += _GAP
    shapes.append(f'<path class="axis" d="M{_LEFT - 0.5} {_TOP - 4}V{y - _GAP + 2}"/>')
    size = f'width="{_LEFT + _BARS + _RIGHT}" height="{y}" viewBox="0 0 {_LEFT + _BARS + _RIGHT} {y}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title, quote=True)}">\n'
        f"<style>{_STYLE}</style>\n"
        f'<text class="title" x="8" y="22">{escape(title)}</text>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _draw_legend(names: Sequence[str], right: float) -> list[str]:
    """From right to left, at the height of the title."""
    shapes = []
    for position, name in reversed(list(enumerate(names))):
        right -= len(name) * _LETTER
        shapes.append(f'<text class="value" x="{right:.0f}" y="22">{escape(name)}</text>')
        right -= 16
        shapes.append(f'<rect class="key bar{position}" x="{right:.0f}" y="12" width="12" height="12" rx="2"/>')
        right -= 12
    return shapes


def write_plots(results: Results, folder: Path) -> list[str]:
    """Draw every plot of which something is known; gives the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (title, metrics) in PLOTS.items():
        groups = [(system, bars) for system in results.systems if (bars := _bars(results, system, list(metrics)))]
        if groups:
            (folder / f"{name}.svg").write_text(draw_bars(title, groups, list(metrics.values())))
            written.append(f"{name}.svg")
    return written


def _bars(results: Results, system: str, metrics: Sequence[str]) -> list[Bar]:
    bars = []
    for position, metric in enumerate(metrics):
        value = results.value(metric, system)
        if value is not None:
            bars.append(Bar(value, f"{value:,.{METRICS[metric].digits}f}", position))
    return bars
