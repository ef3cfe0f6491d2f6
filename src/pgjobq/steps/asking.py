"""What an async handler waits for side by side (gather, a TaskGroup) is all written down before the first part of it
that has to wait leaves the handler: else an event would come for which nobody is known to wait."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Asking"]


class Asking:
    """The sleeps and waits that are just being written down: `with asking: …` is one of them."""

    def __init__(self) -> None:
        self._count = 0
        self._none: list[asyncio.Future[None]] = []

    def __enter__(self) -> None:
        self._count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._count -= 1
        if not self._count:
            for waiter in self._none:
                if not waiter.done():
                    waiter.set_result(None)
            self._none.clear()

    async def all_have_asked(self, most: float) -> None:
        """Until none is being written down any more; for so many seconds at the most."""
        if self._count:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._none.append(waiter)
            await asyncio.wait([waiter], timeout=most)
