"""Tasks that change while jobs wait: arguments of older versions are made into those of today, old names stay known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pgjobq.errors import TaskError, UpcastFailed, WrongArgumentType
from pgjobq.task.options import label_fault
from pgjobq.wording import quote

if TYPE_CHECKING:
    from pgjobq.task.task import Task

__all__ = ["Upcast", "checked_aliases", "checked_upcasts", "checked_version", "read_older", "version_of"]

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
"""Arguments of one version, as plain JSON values by name, to those of the next."""

HIGHEST_VERSION: Final = 1_000

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def version_of(task: str, version: int) -> str:
    """What a job waits for whose task is known, but not in the version of its arguments."""
    return f"{task} version:{version}"


def checked_version(task: str, version: object) -> int:
    """A version, from 1."""
    if type(version) is not int or not 1 <= version <= HIGHEST_VERSION:
        raise TaskError(
            f"task {quote(task)}: version={quote(version)} wants a whole number from 1 (as without it) to "
            f"{HIGHEST_VERSION:,}, one more with each change that older jobs do not fit."
        )
    return version


def checked_upcasts(task: str, version: int, upcasts: Mapping[int, Upcast] | None) -> dict[int, Upcast]:
    """Functions by the version whose arguments they take."""
    if upcasts is None:
        return {}
    example = "upcasts={1: from_1_to_2}"
    if not isinstance(upcasts, Mapping):
        raise TaskError(f"task {quote(task)}: upcasts={quote(upcasts)} wants functions by version, as in {example}.")
    for older, upcast in upcasts.items():
        if type(older) is not int or not 1 <= older < version:
            raise TaskError(
                f"task {quote(task)}: upcasts has the version {quote(older)}; wants those before version={version}, "
                f"as in {example}."
            )
        if not callable(upcast):
            raise TaskError(f"task {quote(task)}: upcasts[{older}] is {quote(upcast)}, which cannot be called.")
    return dict(upcasts)


def checked_aliases(task: str, aliases: Iterable[str]) -> tuple[str, ...]:
    """Names beside the task's own."""
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise TaskError(f"task {quote(task)}: aliases={quote(aliases)} wants a list of names, as in ['old_name'].")
    names = tuple(dict.fromkeys(aliases))
    for name in names:
        fault = label_fault("alias", name)
        if fault is not None:
            raise TaskError(f"task {quote(task)}: {fault}")
        if name == task:
            raise TaskError(f"task {quote(task)}: aliases names the task itself.")
    return names


def read_older(task: Task[..., Any], stored: str, version: int) -> dict[str, Any]:
    """Arguments of an older version as typed values; a version without an up-caster goes on as it is."""
    older = [number for number in range(version, task.version) if number in task.upcasts]
    if older:
        values = _decode(stored)
        for number in older:
            values = _upcast(task, values, number)
        stored = _encode(values).decode()
    try:
        return task.codec.decode(stored)
    except WrongArgumentType as error:
        raise WrongArgumentType(
            f"{error} The job was enqueued with version {version} of the arguments, and the task is at version "
            f"{task.version}{_how(older)}."
        ) from (None if task.codec.hides_any else error)


def _upcast(task: Task[..., Any], values: dict[str, Any], number: int) -> dict[str, Any]:
    told = f"{task.name}: the up-caster of version {number}"
    try:
        made: object = task.upcasts[number](values)
    except Exception as error:
        if task.codec.hides_any:  # what it says may hold what is secret
            raise UpcastFailed(f"{told} raised {type(error).__name__}") from None
        raise UpcastFailed(f"{told} raised {quote(error)}") from error
    if not isinstance(made, dict) or not all(isinstance(name, str) for name in made):
        raise UpcastFailed(f"{told} returned a {type(made).__name__}, not a dict of arguments by name")
    return made


def _how(older: list[int]) -> str:
    return f", which the up-casters of {', '.join(map(str, older))} made of them" if older else ""
