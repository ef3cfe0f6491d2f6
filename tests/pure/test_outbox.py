"""Outcomes that are not written yet because their handler's own transaction has the job in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from pgjobq.engine import outbox
from pgjobq.engine.board import Board
from pgjobq.engine.outbox import Outbox
from pgjobq.outcome import Snoozed

OURS = uuid4()


class Heard:
    """Takes the place of the report."""

    def __init__(self) -> None:
        self.lost_jobs: list[int] = []

    def batch(self, outcomes: int) -> None: ...

    def lost(self, lease: Any, outcome: Any) -> None:
        self.lost_jobs.append(lease.job)


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create(10)
    yield board
    board.close()


def hold(box: Outbox, board: Board) -> None:
    """Job 7 has ended, and the database says that it is locked."""
    attempt: Any = SimpleNamespace(lease=SimpleNamespace(job=7, hooks=0), worker=OURS, place=board.start(7, 1))
    box.put(attempt, Snoozed(1.0))
    box.account(box.take(), settled=set(), locked={7})
    assert not box, "there is nothing to write now"
    assert box.jobs == [7], "and it is still ours"


def test_it_is_asked_about_again(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        stirred = asyncio.Event()
        box = Outbox(board, Heard(), stirred.set)
        hold(box, board)
        await asyncio.wait_for(stirred.wait(), 30)
        assert [entry.lease.job for entry in box.take().others] == [7]
        assert box.jobs == []

    monkeypatch.setattr(outbox, "LOCKED_PAUSE", 0.01)
    asyncio.run(scene())


def test_it_goes_with_the_worker_id_that_was_declared_dead(board: Board) -> None:
    async def scene() -> None:
        heard = Heard()
        box = Outbox(board, heard, lambda: None)
        hold(box, board)
        box.drop(OURS)
        assert box.jobs == []
        assert heard.lost_jobs == [7]
        assert board.entries() == [], "the supervisor must not take it for one that runs"

    asyncio.run(scene())
