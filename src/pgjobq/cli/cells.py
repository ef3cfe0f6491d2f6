"""Text as a terminal shows it: in cells, of which a letter takes one, a Chinese character two and an accent none."""

from __future__ import annotations

import unicodedata
from typing import Any

__all__ = ["cells", "fit", "plain", "sparkline"]

BARS = "▁▂▃▄▅▆▇█"


def plain(value: Any) -> str:
    """One line without control characters: what comes from a job may hold anything."""
    text = "-" if value is None else str(value)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def cells(text: str) -> int:
    """How many cells it takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def fit(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly so many cells: cut with a `…`, or filled up with blanks (on its left: `right`)."""
    taken = cells(text)
    if taken > width:
        kept, taken = "", 0
        for letter in text:
            if taken + _cells(letter) > width - 1:
                break
            kept, taken = kept + letter, taken + _cells(letter)
        text, taken = (kept + "…", taken + 1) if width > 0 else ("", 0)
    blanks = " " * (width - taken)
    return blanks + text if right else text + blanks


def sparkline(values: list[float], width: int) -> str:
    """The newest of the values as a row of bars; the highest is as high as a line, and nothing is a blank."""
    shown = values[-width:] if width > 0 else []
    most = max(shown, default=0)
    bars = "".join(" " if value <= 0 else BARS[min(7, int(value / most * 7.999))] for value in shown)
    return " " * (width - len(bars)) + bars
