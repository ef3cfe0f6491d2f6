"""How errors quote values and propose names: bounded, and never an error themselves."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

__all__ = ["did_you_mean", "quote"]

LONGEST_VALUE = 80
"""Characters of a value that an error shows."""

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = LONGEST_VALUE


def quote(value: object) -> str:
    """The value's repr, at most 80 characters of it; bounded work, and never an exception."""
    try:
        text = _short.repr(value)
    except BaseException:
        text = f"<{type(value).__qualname__} whose repr() fails>"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` (with the space in front), or nothing when nothing is near."""
    import difflib  # here: a worker may live its life without a wrong name

    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
