"""What happens in the shop, and which tasks follow it.

A task says itself which event it belongs to; whoever announces the event knows no task by name. So a new task
is one new file in `tasks/`, and neither checkout nor the order page changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pgjobq import Task

from .db import AsyncConn

T = TypeVar("T", bound=Task[Any, Any])


class Event:
    """Something that happened to an order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._followers: dict[str, tuple[str, Task[Any, Any]]] = {}

    def __call__(self, title: str) -> Callable[[T], T]:
        """Decorate a task taking `order_id`; `title` says in plain words what it does, for people."""

        def follow(task: T) -> T:
            self._followers[task.name] = (title, task)
            return task

        return follow

    async def announce(self, conn: AsyncConn, order_id: int) -> None:
        """Enqueue one job per following task in the caller's transaction: they exist only if it commits."""
        for _, task in self._followers.values():
            await task.using(conn=conn, ref=order_ref(order_id)).aenqueue(order_id=order_id)

    def title_of(self, task: str) -> str:
        """The plain words for a task's name."""
        known = self._followers.get(task)
        return known[0] if known else task.replace("_", " ").capitalize()


def order_ref(order_id: int) -> str:
    """The ref under which an order's jobs are found."""
    return f"order:{order_id}"


def order_of(ref: str | None) -> int | None:
    """The order a ref belongs to, or None when it is no order's."""
    kind, _, number = (ref or "").partition(":")
    return int(number) if kind == "order" and number.isascii() and number.isdigit() else None


on_order_placed = Event("order placed")
