"""Arguments that nobody is to see: how they are marked, and how their values are kept out of texts.

    @queue.task
    def charge(order_id: int, card: Secret[str]) -> None: ...

The handler gets the value. Refusals at enqueue, stored errors and tracebacks, logs and `Job.args` do not show it. In
the database it stands as it is, unless the task is encrypted (pgjobq.encryption).
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote as url_quote
from urllib.parse import quote_plus

import msgspec

from pgjobq.codec.search import children

__all__ = ["HIDDEN", "Secret", "Veil", "is_secret", "veil_over"]

T = TypeVar("T")
Veil = Callable[[str], str]
"""Takes the secrets out of a text."""

HIDDEN: Final = "[secret]"
"""What stands where a secret was."""
SHORTEST_MARKED: Final = 3
SHORTEST: Final = 6
"""Characters from which on a value is taken out of texts: one that is marked as secret, and any other that is hidden
because its task is encrypted. Shorter ones would take half of the text with them."""
MOST_VALUES: Final = 1_000


class _Marker:
    """What `Secret[…]` puts beside the type."""

    def __repr__(self) -> str:
        return "secret"


SECRET = _Marker()
Secret = Annotated[T, SECRET]
"""Marks a task's argument: `token: Secret[str]`. For type checkers it is the type itself."""


def is_secret(annotation: Any) -> bool:
    """Whether an annotation is marked, itself or in one of its parts (`Secret[str] | None`, `list[Secret[str]]`)."""
    return any(part is SECRET or is_secret(part) for part in _parts(annotation))


def _parts(annotation: Any) -> Iterable[Any]:
    metadata = getattr(annotation, "__metadata__", ()) if typing.get_origin(annotation) is Annotated else ()
    return (*typing.get_args(annotation), *metadata) if not isinstance(annotation, _Marker) else ()


def veil_over(marked: Iterable[Any], others: Iterable[Any] = ()) -> Veil | None:
    """A veil that takes these values, and what is inside them, out of a text; None if there is nothing."""
    forms: set[str] = set()
    for values, shortest in ((marked, SHORTEST_MARKED), (others, SHORTEST)):
        for leaf in _leaves(values):
            forms.update(form for form in _forms(leaf) if len(form) >= shortest)
    if not forms:
        return None
    longest_first = sorted(forms, key=len, reverse=True)

    def veil(text: str) -> str:
        for form in longest_first:
            text = text.replace(form, HIDDEN)
        return text

    return veil


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    """The innermost values, up to so many: an error is to be told soon."""
    waiting, count = list(values), 0
    while waiting and count < MOST_VALUES:
        value = waiting.pop()
        count += 1
        inside = [child for _, child in children(value)]
        if inside:
            waiting.extend(inside)
        elif value is not None and not isinstance(value, bool):
            yield value


def _forms(value: Any) -> Iterator[str]:
    """How a value may be written in a message: as it is, quoted in a repr, in JSON or in a URL."""
    try:
        if isinstance(value, bytes | bytearray):
            yield repr(bytes(value))[2:-1]
            yield bytes(value).hex()
            value = bytes(value).decode()
        text = str(value)
        yield text
        yield repr(value)
        if isinstance(value, str):
            yield repr(value)[1:-1]
            yield msgspec.json.encode(value).decode()[1:-1]
            yield url_quote(value)
            yield url_quote(value, safe="")
            yield quote_plus(value)
    except Exception:
        return  # not to be written, hence in no message
