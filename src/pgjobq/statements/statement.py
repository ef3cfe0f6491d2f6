"""What a query is before anybody runs it: a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Rows", "Statement"]

T = TypeVar("T")
Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Statement(Generic[T]):
    """One query with its parameters, for `run.execute` on whatever connection the caller has.

    `sql` has placeholders $1, $2, …, each with a cast; `params` are only text, int and None; every column that comes
    back is text or NULL: so no driver's adapters, loaders or codecs take part.
    """

    name: str
    sql: str
    params: tuple[str | int | None, ...]
    decode: Callable[[Rows], T]
