"""Templates, and how amounts and times are written in them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from .money import show_money

HERE = Path(__file__).parent

templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def show_time(moment: datetime | None) -> str:
    """`23 Nov, 21:04:05`; a dash for none."""
    return "—" if moment is None else f"{moment.day} {moment:%b, %H:%M:%S}"


def show_duration(seconds: float) -> str:
    """`40 ms`, `1.4 s`, `12 s`, `3 min`, `2 h`: as exact as a person cares for."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


templates.filters.update(money=show_money, time=show_time, duration=show_duration)
