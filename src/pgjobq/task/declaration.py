"""What may become a task: the refusals at its declaration, each with the way out."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Literal

from pgjobq.durations import to_seconds
from pgjobq.encryption import Keyring
from pgjobq.errors import InvalidOption, TaskError
from pgjobq.retry import Retry
from pgjobq.settings import parse_size
from pgjobq.task.gate import Gate, gates_fault
from pgjobq.task.options import label_fault, priority_fault, tags_fault
from pgjobq.task.unique import Unique
from pgjobq.wording import did_you_mean, quote

__all__ = [
    "check_function",
    "check_settings",
    "checked_encryption",
    "checked_gates",
    "checked_isolation",
    "checked_memory_limit",
    "checked_secrets",
    "checked_tags",
    "checked_timeout",
    "checked_unique",
    "place",
]

LEAST_MEMORY = 16 * 2**20
"""Bytes: less than Python needs for itself is a mistake in the unit."""


def place(function: Callable[..., Any]) -> str:
    """Where a function was written, as `module:qualname, line N`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    line = f", line {code.co_firstlineno}" if code is not None else ""
    return f"{function.__module__}:{function.__qualname__}{line}"


def check_function(function: Any) -> None:
    if isinstance(function, staticmethod | classmethod) or inspect.ismethod(function):
        raise TaskError(f"{quote(function)} is a method: {_METHODS}")
    if not isinstance(function, FunctionType):
        raise TaskError(
            f"{quote(function)} is not a function written with def or async def; "
            f"a worker must be able to call it by itself. Wrap it in one."
        )
    owner = function.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>"):
        raise TaskError(f"{function.__qualname__} stands in a class: {_METHODS}")
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise TaskError(
            f"{function.__qualname__} is a generator (it has a yield): calling it would run nothing. "
            f"Move the yield into a function that the task calls."
        )


_METHODS = (
    "the worker has no object to call it on. Write a function at module level that takes what identifies the "
    "object (its key), loads it and calls the method."
)


def check_settings(name: object, queue: object, priority: object, retry: object) -> None:
    """The settings of a declaration; TaskError, because no enqueue is to blame."""
    if name == "<lambda>":
        raise TaskError("a lambda has no name to store its jobs under; write a def, or give name=….")
    fault = label_fault("name", name) or label_fault("queue", queue) or priority_fault(priority)
    if fault is not None:
        raise TaskError(f"task {quote(name)}: {fault}")
    if not isinstance(retry, Retry):
        raise TaskError(f"task {quote(name)}: retry={quote(retry)} wants a Retry(…), as in Retry(max_attempts=8).")


def checked_timeout(task: str, timeout: object) -> float | None:
    seconds = to_seconds(timeout)
    if timeout is not None and not seconds:
        raise TaskError(
            f"task {quote(task)}: timeout={quote(timeout)} wants seconds (or a timedelta) above 0, up to 100 "
            f"years, or None for any time."
        )
    return seconds


def checked_isolation(task: str, isolation: object) -> Literal["process"] | None:
    if isolation is None or isolation == "process":
        return isolation
    raise TaskError(
        f'task {quote(task)}: isolation={quote(isolation)} wants "process" (a process of its own for each attempt), or '
        f"None (beside the worker's other jobs)."
    )


def checked_memory_limit(task: str, limit: object, isolation: object) -> int | None:
    """Bytes, from a number of bytes or a text such as 512MB."""
    if limit is None:
        return None
    try:
        size = parse_size(limit) if isinstance(limit, str) else limit
        if not isinstance(size, int) or isinstance(size, bool) or size < LEAST_MEMORY:
            raise ValueError("is too small, or no size")
    except ValueError as error:
        raise TaskError(
            f'task {quote(task)}: memory_limit={quote(limit)} {error}; wants a size from 16MB up, such as "512MB", or '
            f"a number of bytes."
        ) from None
    if isolation is None:
        raise TaskError(
            f'task {quote(task)}: memory_limit={quote(limit)} needs isolation="process", since a process can only be '
            f"limited as a whole; `--max-memory` limits the processes in which all other jobs run."
        )
    return size


def checked_tags(task: str, tags: Any) -> tuple[str, ...]:
    fault = tags_fault(tags)
    if fault is not None:
        raise TaskError(f"task {quote(task)}: {fault}")
    return tuple(dict.fromkeys(tags))


def checked_secrets(task: str, function: Callable[..., Any], secrets: Any, version: int = 1) -> frozenset[str]:
    """The names of arguments that are declared secret; they must be arguments of the function, or may have been in an
    older version."""
    if isinstance(secrets, str):
        raise TaskError(f"task {quote(task)}: secrets={quote(secrets)} wants a list of names: secrets=[{secrets!r}].")
    known = tuple(inspect.signature(function).parameters)
    names = tuple(secrets)
    for name in names:
        if name not in known and not (version > 1 and isinstance(name, str)):
            near = did_you_mean(name, known) if isinstance(name, str) else ""
            raise TaskError(f"task {quote(task)}: secrets names {quote(name)}, which is no argument of it.{near}")
    return frozenset(names)


def checked_gates(task: str, function: Callable[..., Any], gates: Any) -> tuple[Gate, ...]:
    fault = gates_fault(gates)
    if fault is not None:
        raise TaskError(f"task {quote(task)}: {fault}")
    try:
        for gate in gates:
            gate.check_arguments(task, function)
    except InvalidOption as error:
        raise TaskError(str(error)) from None
    return tuple(gates)


def checked_unique(task: str, function: Callable[..., Any], unique: object) -> Unique | None:
    if unique is None:
        return None
    if not isinstance(unique, Unique):
        raise TaskError(f"task {quote(task)}: unique={quote(unique)} wants a Unique(…), as in Unique(args=('user',)).")
    if unique.key is not None:
        raise TaskError(
            f"task {quote(task)}: unique=Unique(key={quote(unique.key)}) would let one job of the task exist at all; "
            "give the arguments that make the key, Unique(args=(…,)), or the key in using(unique=…)."
        )
    try:
        unique.check_arguments(task, tuple(inspect.signature(function).parameters))
    except InvalidOption as error:
        raise TaskError(str(error)) from None
    return unique


def checked_encryption(task: str, encryption: object) -> Keyring | None:
    if encryption is not None and not isinstance(encryption, Keyring):
        raise TaskError(f"task {quote(task)}: encryption is a {type(encryption).__name__}; wants a Keyring, or None.")
    return encryption
