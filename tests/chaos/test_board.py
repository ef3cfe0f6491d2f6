"""The supervisor reads the board at any moment, and never meets an entry that is half written."""

from __future__ import annotations

import multiprocessing
import time

import pytest

from pgjobq.engine.board import Board

pytestmark = pytest.mark.chaos

SECONDS = 3.0
ATTEMPT, DEADLINE = 7, 1e18


def write(fd: int, size: int) -> None:
    board = Board(fd, size)
    job = 1 << 40  # as many bytes as an id may have
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(1000):
            place = board.start(job, ATTEMPT, DEADLINE)
            job += 1
            board.end(place)


def test_no_entry_is_half_written() -> None:
    """A deadline that is read before it is written looks long over, and a healthy process is killed for it."""
    board = Board.create(4)
    writer = multiprocessing.get_context("fork").Process(target=write, args=(board.fd, board.size))
    writer.start()
    seen = 0
    try:
        while writer.is_alive():
            for entry in board.entries():
                seen += 1
                assert (entry.attempt, entry.deadline) == (ATTEMPT, DEADLINE), f"after {seen} entries: {entry}"
                assert entry.job >= 1 << 40
    finally:
        writer.join(30)
        board.close()
    assert seen > 100
