"""What a worker process is running, in memory it shares with its supervisor.

A message per job would cost more than many jobs do. Here a start is one write of 24 bytes, and the supervisor reads
them when it has to: to enforce a hard time-out, and to know after a death which jobs had been started.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from array import array
from typing import NamedTuple

__all__ = ["Board", "Entry"]

# Three words of 8 bytes: job, attempt, deadline. The job is written last and cleared first, in one aligned store: the
# other process may look at any moment, and must never see a job with somebody else's deadline.
_ENTRY = struct.Struct("@qqd")
_WORDS = _ENTRY.size // 8
_ALWAYS = float("inf")


class Entry(NamedTuple):
    """A started job; `deadline` is when it must be ended by force, on time.monotonic(), which processes share."""

    job: int
    attempt: int
    deadline: float


class Board:
    """A table of started and not yet settled jobs. One process writes, one reads."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._map = mmap.mmap(fd, size * _ENTRY.size)
        self._words = memoryview(self._map).cast("q")
        self._times = memoryview(self._map).cast("d")
        self.free = array("i", range(size))  # 4 bytes a place; a list of numbers takes 40
        """Places where nothing stands. While there is none nothing more can be started until something is settled."""

    @classmethod
    def create(cls, size: int) -> Board:
        """A new board of `size` entries; its `fd` is handed to the other process."""
        with tempfile.TemporaryFile(prefix="pgjobq-board-") as file:
            file.truncate(size * _ENTRY.size)
            return cls(os.dup(file.fileno()), size)

    @property
    def room(self) -> int:
        """How many more can be started."""
        return len(self.free)

    def start(self, job: int, attempt: int, deadline: float = _ALWAYS) -> int:
        """Note a start; gives the place to hand to `end` once the outcome is settled."""
        place = self.free.pop()
        word = place * _WORDS
        self._words[word + 1] = attempt
        self._times[word + 2] = deadline
        self._words[word] = job
        return place

    def end(self, place: int) -> None:
        """Forget a job: it is settled."""
        self._words[place * _WORDS] = 0
        self.free.append(place)

    def entries(self) -> list[Entry]:
        """All that is started and not settled, read by the other process at any time."""
        if not any(self._words[::_WORDS].tolist()):
            return []  # of an idle worker; twenty times as quick
        return [entry for entry in map(Entry._make, _ENTRY.iter_unpack(self._map[:])) if entry.job]

    def close(self) -> None:
        """Give the memory back."""
        self._words.release()
        self._times.release()
        self._map.close()
        os.close(self.fd)
