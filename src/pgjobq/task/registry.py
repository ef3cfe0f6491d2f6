"""The tasks of a queue by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from pgjobq.errors import DuplicateTask, UnknownTask
from pgjobq.task.declaration import place
from pgjobq.task.evolution import version_of
from pgjobq.task.task import Task
from pgjobq.wording import did_you_mean, quote

__all__ = ["Registry", "key_of"]


def key_of(task: str, key: str) -> str:
    """What a job waits for whose task is known, but not the key of its payload."""
    return f"{task} key:{key}"


class Registry:
    """Tasks by name, and by the names they once had.

    A module that is loaded again replaces its own tasks. Anything else under a taken name is refused, because
    jobs are stored under that name and only one function can get them.
    """

    __slots__ = ("_known", "_tasks")

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}
        self._known: dict[str, Task[..., Any]] = {}

    def add(self, task: Task[..., Any]) -> None:
        """Register a task.

        Raises:
            DuplicateTask: the name belongs to another function.
        """
        for name in (task.name, *task.aliases):
            known = self._known.get(name)
            if known is not None and not _same_function(known.function, task.function):
                raise DuplicateTask(
                    f"two tasks are called {name!r}: {place(known.function)} and {place(task.function)}; "
                    f"rename one of them, or give it a name of its own: @queue.task(name=…)."
                )
        self._tasks[task.name] = task
        self._known |= dict.fromkeys((task.name, *task.aliases), task)

    def get(self, name: str) -> Task[..., Any]:
        """The task of that name.

        Raises:
            UnknownTask: there is none; the sentence names the near ones.
        """
        try:
            return self._known[name]
        except (KeyError, TypeError):
            raise UnknownTask(self._unknown(name)) from None

    def find(self, name: str) -> Task[..., Any] | None:
        """The task of that name, or None."""
        return self._known.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._tasks))

    @property
    def names_and_aliases(self) -> tuple[str, ...]:
        """All names under which jobs of these tasks may be stored, sorted."""
        return tuple(sorted(self._known))

    @property
    def waited_for(self) -> tuple[str, ...]:
        """What a parked job may wait for and is here: a task, alone, with the key that seals the payload, or with a
        version of its arguments."""
        keys = [key_of(task.name, key) for task in self for key in (task.encryption.names if task.encryption else ())]
        versions = [version_of(task.name, number) for task in self for number in range(2, task.version + 1)]
        return (*self.names_and_aliases, *keys, *versions)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(tuple(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def _unknown(self, name: object) -> str:
        if not self._tasks:
            return (
                f"no task {quote(name)}: none is registered at all. "
                f"Was the module with the @queue.task functions imported?"
            )
        near = did_you_mean(name, self._known) if isinstance(name, str) else ""
        shown = ", ".join(self.names[:20]) + (f" and {len(self) - 20} more" if len(self) > 20 else "")
        return f"no task {quote(name)} is registered.{near} Registered: {shown}."


def _same_function(old: Callable[..., Any], new: Callable[..., Any]) -> bool:
    """Whether `new` is `old` made again: a module reloaded, a notebook cell rerun, a factory called twice."""
    if old is new:
        return True
    if (old.__module__, old.__qualname__) != (new.__module__, new.__qualname__):
        return False
    old_code, new_code = getattr(old, "__code__", None), getattr(new, "__code__", None)
    return old_code is new_code or not _stand_together(old_code)


def _stand_together(old_code: object) -> bool:
    """Whether a body that is being executed also holds the older function.

    Then the two are written one below the other, and are not one made twice: a body that is loaded again has
    new code objects.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if any(constant is old_code for constant in frame.f_code.co_consts):
            return True
        frame = frame.f_back
    return False
