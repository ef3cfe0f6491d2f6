"""Gates: their limits, and what stands at them, as Statements."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pgjobq.errors import InvalidOption
from pgjobq.overview import GateFigures
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text
from pgjobq.task import Quota, Rate
from pgjobq.task.gate import limits_of
from pgjobq.wording import quote

__all__ = ["gates", "set_gate", "unset_gate"]

MOST_FOUND = 10_000

_decode = msgspec.json.Decoder(GateFigures).decode


def set_gate(
    schema: str,
    key: str,
    concurrency: int | None,
    rate: Rate | str | None,
    quota: Quota | str | None,
    weights: Mapping[str, int] | None,
    by: str | None,
) -> Statement[object]:
    """Set limits of a gate."""
    _check("set_gate", key)
    places, *others = limits_of(concurrency, rate, quota, weights)
    params = (key, None if places is None else str(places), *others, by)
    return Statement("set_gate", statement_text("set_gate", schema), params, lambda _: None)


def unset_gate(schema: str, key: str, by: str | None) -> Statement[bool]:
    """Back to what the jobs say; False: nothing was set."""
    _check("unset_gate", key)
    return Statement("unset_gate", statement_text("unset_gate", schema), (key, by), lambda rows: rows[0][0] == "true")


def gates(schema: str, most: int, cap: int) -> Statement[list[GateFigures]]:
    """At most so many gates where jobs wait or hold places, those where most wait first."""
    if type(most) is not int or not 1 <= most <= MOST_FOUND:
        raise InvalidOption(f"limit={most!r}: wants a whole number from 1 to {MOST_FOUND:,}")
    return Statement("gates", statement_text("gates", schema), (str(most), str(cap)), _read)


def _read(rows: Rows) -> list[GateFigures]:
    return [_decode(text) for (text,) in rows]


def _check(door: str, key: object) -> None:
    if not isinstance(key, str) or not 1 <= len(key) <= 255 or "\0" in key:
        raise InvalidOption(f"{door}(key={quote(key)}): wants a key or a gate's name of 1 to 255 characters.")
