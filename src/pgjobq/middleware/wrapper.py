"""A middleware: a generator function with one `yield`, or a plain function that is called before."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pgjobq.errors import MiddlewareError, TaskError
from pgjobq.task import Task
from pgjobq.wording import quote

__all__ = ["Outgoing", "Wrapper", "check_awaits", "read_wrapper"]

Kind = Literal["plain", "generator", "coroutine", "async generator"]


@dataclass(slots=True)
class Outgoing:
    """A job on its way into the queue, as its middleware sees it. `headers` may be added to and changed."""

    task: str
    queue: str
    priority: int
    ref: str | None
    tags: tuple[str, ...]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Wrapper:
    """One middleware's half, and how it is written."""

    name: str
    call: Callable[[Any], Any]
    kind: Kind

    @property
    def awaits(self) -> bool:
        """Whether it can only stand around something that is awaited."""
        return self.kind in ("coroutine", "async generator")


def read_wrapper(name: str, call: Any) -> Wrapper:
    """A function as a middleware; raises MiddlewareError."""
    if not callable(call):
        raise MiddlewareError(f"middleware {name}={quote(call)} is no function")
    kind: Kind = "plain"
    if inspect.isasyncgenfunction(call):
        kind = "async generator"
    elif inspect.isgeneratorfunction(call):
        kind = "generator"
    elif inspect.iscoroutinefunction(call):
        kind = "coroutine"
    try:
        inspect.signature(call).bind(None)
    except TypeError:
        raise MiddlewareError(f"middleware {name} must take one argument, the job") from None
    return Wrapper(name, call, kind)


def check_awaits(wrapper: Wrapper, task: Task[..., Any]) -> None:
    """Raises TaskError for an async middleware around a plain function."""
    if wrapper.awaits and not task.is_async:
        raise TaskError(
            f"middleware {wrapper.name} is async, and task {task.name!r} is a plain function, around which nothing can "
            "be awaited; write the middleware with def (its yield works around async handlers, too), or the task with "
            "async def"
        )
