"""What a sleeping worker does when a job comes: nothing before the handler is called that can be done after it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pgjobq import Queue
from pgjobq.engine.exchange import Exchange, Turned
from worker.stage import embedded, eventually

POLL = 2.0
AGED = (2 * POLL + 1) / 4 + 0.05
"""Seconds after which an announcement is to be made again: shorter than the longest nap."""


class Diary:
    """In which order exchanges were asked for, and handlers called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        self.dozes: list[int] = []
        turn = Exchange.turn

        async def noted(exchange: Exchange, batch: Any, look: Any, limit: int, **options: Any) -> Turned:
            self.lines.append(f"exchange of {len(batch.done)}")
            turned = await turn(exchange, batch, look, limit, **options)
            if turned.claimed is not None and turned.claimed.leases:
                self.lines.append("claimed")
                self.dozes.append(options.get("doze_ms", 0))
            return turned

        monkeypatch.setattr(Exchange, "turn", noted)

    @property
    def is_quiet(self) -> bool:
        """Whether the worker has not looked for so long that its announcement is old, as its longest naps are."""
        before = len(self.lines)
        return not threading.Event().wait(AGED) and len(self.lines) == before


def test_the_handler_is_called_before_the_next_exchange(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that one takes the outcome along. Nor does the claim announce that the worker may sleep again."""
    diary = Diary(monkeypatch)

    @queue.task
    async def note() -> None:
        diary.lines.append("handler")

    with embedded(queue, poll_interval=POLL):
        for number in range(2):
            eventually(lambda: diary.is_quiet)
            note.enqueue()
            eventually(lambda number=number: diary.lines.count("exchange of 1") == number + 1)
            place = len(diary.lines) - 1 - diary.lines[::-1].index("handler")
            assert diary.lines[place - 1 : place + 2] == ["claimed", "handler", "exchange of 1"]
    assert diary.dozes == [0, 0], "the announcement, old each time, did not go before the claim"
