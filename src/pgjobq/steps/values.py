"""What a step gives, as JSON text and back as the type that its function promises."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from pgjobq.codec.natives import revive
from pgjobq.errors import StepError
from pgjobq.wording import quote

__all__ = ["LONGEST_NAME", "is_name", "promised", "reader"]

LONGEST_NAME = 255
"""Characters that the name of a step or an event may have."""

Read = Callable[[str], Any]


def is_name(name: object) -> bool:
    """Whether this can name a step or an event."""
    return isinstance(name, str) and 1 <= len(name) <= LONGEST_NAME and "\0" not in name


def promised(function: Callable[..., Any]) -> Any:
    """The type in the return annotation of a function; Any when it has none that can be read."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "function", function)  # a Task
    if inspect.isclass(function):
        return function
    if not inspect.isroutine(function):
        function = type(function).__call__
    try:
        found = typing.get_type_hints(function, include_extras=True).get("return", Any)
    except Exception:  # a name that only type checkers can see
        return Any
    return Any if isinstance(found, typing.TypeVar) else found


def reader(name: str, wanted: Any) -> Read:
    """Reads JSON text as a value of that type.

    Raises StepError when no value of the type can come from JSON: better before the step is taken than after it.
    """
    try:
        decoder = msgspec.json.Decoder(wanted, dec_hook=revive)
    except Exception as error:  # msgspec's own, and what an odd annotation makes of itself
        raise StepError(
            f"step {name!r}: what its function promises to return, {quote(wanted)}, cannot be read from JSON "
            f"({error}); return something that can, such as its key, or say what with using(returns=…)"
        ) from None

    def read(text: str) -> Any:
        try:
            return decoder.decode(text)
        except Exception as error:
            raise StepError(
                f"step {name!r}: what is remembered of it does not fit {quote(wanted)}: {error}. The step is done "
                "and is not done again; correct the annotation, or let it be forgotten: queue.forget_steps(job, name)"
            ) from error

    return read
