"""Chunks: tasks whose handler takes many jobs in one call, and what one job's arguments are then read from."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pgjobq.codec.signature import resolved_hints
from pgjobq.durations import to_seconds
from pgjobq.errors import InvalidOption, TaskError
from pgjobq.wording import did_you_mean, quote

__all__ = ["Chunk", "check_chunk", "item_maker"]

MOST_JOBS: Final = 1_000
LONGEST_WAIT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Many jobs of a task in one call of its handler: `@queue.task(chunk=Chunk(size=100, wait=0.5))`.

    Args:
        size: the most jobs of one call, 2 to 1,000.
        wait: seconds (or a timedelta) that the first job waits for others, 0 to 60; 0: what is at hand goes at once.
        by: the name of an argument: only jobs with the same value of it go together; None: any.
        isolate: when a call raises, each of its jobs that was not marked is tried once more in a call of its own, at
            once and in the same attempt, so that one bad job does not fail its neighbours.

    Raises:
        InvalidOption: a value is out of its range.
    """

    size: int = 100
    wait: float | timedelta = 0.5
    by: str | None = None
    isolate: bool = False

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 2 <= self.size <= MOST_JOBS:
            raise InvalidOption(f"Chunk(size={quote(self.size)}): wants a whole number from 2 to {MOST_JOBS:,}.")
        seconds = to_seconds(self.wait)
        if seconds is None or seconds > LONGEST_WAIT:
            raise InvalidOption(f"Chunk(wait={quote(self.wait)}): wants seconds or a timedelta, up to a minute.")
        object.__setattr__(self, "wait", seconds)
        if self.by is not None and not isinstance(self.by, str):
            raise InvalidOption(f"Chunk(by={quote(self.by)}): wants the name of an argument, or None.")
        if type(self.isolate) is not bool:
            raise InvalidOption(f"Chunk(isolate={quote(self.isolate)}): wants True or False.")

    @property
    def seconds(self) -> float:
        """The wait in seconds."""
        return to_seconds(self.wait) or 0.0


def check_chunk(task: str, chunk: object, isolation: object, takes: Callable[..., Any]) -> None:
    """Refuse what does not go together."""
    if not isinstance(chunk, Chunk):
        raise TaskError(f"task {quote(task)}: chunk={quote(chunk)} wants a Chunk(…), as in Chunk(size=100, wait=0.5).")
    if isolation is not None:
        raise TaskError(f"task {quote(task)}: chunk and isolation do not go together: an isolated job is alone.")
    known = tuple(inspect.signature(takes).parameters)
    if chunk.by is not None and chunk.by not in known:
        raise TaskError(
            f"task {quote(task)}: Chunk(by=…) names {quote(chunk.by)}, which is no argument of its jobs."
            f"{did_you_mean(chunk.by, known)}"
        )


def item_maker(task: str, function: Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
    """The name of the handler's argument, and a function that takes one job's arguments by name and makes what
    `ChunkJob.args` is; its signature is what the arguments are checked against.

    Raises TaskError when the handler does not take a list of ChunkJobs, UnsupportedAnnotation when nobody can tell.
    """
    parameters = inspect.signature(function).parameters
    hints = resolved_hints(task, function, parameters)
    (name, *others) = parameters or [""]
    holder = hints.get(name)
    (held,) = typing.get_args(holder) if typing.get_origin(holder) is list else (None,)
    of = held if typing.get_origin(held) is None else typing.get_origin(held)
    if others or not getattr(of, "IS_CHUNK_JOB", False):
        raise TaskError(f"task {quote(task)}: with chunk=… its handler takes one argument, its jobs. {_FORM}")
    item = (*typing.get_args(held), dict)[0]
    return name, _maker(task, function, item)


_FORM = (
    "Write def index(jobs: list[ChunkJob[Doc]]), where Doc is a dataclass (or a msgspec.Struct, a pydantic model, a "
    "NamedTuple, a TypedDict) of one job's arguments, or a dict for any."
)


def _maker(task: str, function: Callable[..., Any], item: Any) -> Callable[..., Any]:
    if (typing.get_origin(item) or item) in (dict, Mapping, Any):
        item, parameters = dict, [inspect.Parameter("args", inspect.Parameter.VAR_KEYWORD, annotation=Any)]
    elif not isinstance(item, type):
        raise TaskError(f"task {quote(task)}: ChunkJob[{quote(item)}] names no class. {_FORM}")
    else:
        parameters = _parameters(item)

    def make(**arguments: Any) -> Any:
        return item(**arguments)

    make.__name__ = function.__name__
    make.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return make


def _parameters(item: type) -> list[inspect.Parameter]:
    """The fields, all by name, with their annotations as types."""
    hints = typing.get_type_hints(item, include_extras=True)
    if typing.is_typeddict(item):
        required: frozenset[str] = item.__required_keys__  # type: ignore[attr-defined]
        defaults = {name: inspect.Parameter.empty if name in required else None for name in hints}
    else:
        found = inspect.signature(item).parameters
        defaults = {name: parameter.default for name, parameter in found.items()}
    by_name = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, by_name, default=default, annotation=hints.get(name, Any))
        for name, default in defaults.items()
    ]
