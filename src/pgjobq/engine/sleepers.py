"""Who of a worker's processes sleeps, in memory they share: so that a call wakes one of them and not all.

Each process writes what it does just now, and the switchboard in the supervisor reads it when somebody calls. There are
no locks. Whoever writes one word and reads another writes first: of two that do so at once at least one sees the other,
so that two may look for the same job, which is harmless, and never none.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable

__all__ = ["ALL", "ASLEEP", "DOUBT", "MORE", "ONE", "Sleeper", "Sleepers", "Solitary"]

BUSY, LOOKING, ASLEEP = 0, 1, 2
"""What a process does: it has no room for jobs, or cannot claim; it looks for some; it sleeps. To the last the number
of jobs is added that it runs."""
ONE, ALL = b".", b"!"
"""What a process hears: look for jobs; look at everything, operators want something or calls may have been lost."""
MORE, DOUBT = b"+", b"?"
"""What it says: there may be more jobs than I had room for; I had to connect anew, so do you hear the right server?"""

_HEARS, _CALLED, _FIRST = 0, 1, 2  # words of 8 bytes, each written in one store; then two for each process:
_WORDS = 2  # its state, and when its last finished look began (time.monotonic_ns(), which processes share)


class Sleepers:
    """The table. A process writes its own words, the switchboard whether it hears, anybody that there was a call."""

    def __init__(self, fd: int, places: int) -> None:
        self.fd, self.places = fd, places
        self._map = mmap.mmap(fd, 8 * (_FIRST + _WORDS * places))
        self._words = memoryview(self._map).cast("q")

    @classmethod
    def create(cls, places: int) -> Sleepers:
        """A table for so many processes, all of them busy; its `fd` is handed to them."""
        with tempfile.TemporaryFile(prefix="pgjobq-sleepers-") as file:
            file.truncate(8 * (_FIRST + _WORDS * places))
            return cls(os.dup(file.fileno()), places)

    @property
    def hears(self) -> bool:
        """Whether somebody listens for all of them."""
        return bool(self._words[_HEARS])

    @hears.setter
    def hears(self, hears: bool) -> None:
        self._words[_HEARS] = hears

    @property
    def called(self) -> int:
        """When there last was a call for which nobody was found asleep."""
        return self._words[_CALLED]

    def leave_a_call(self) -> None:
        """Whoever began to look before now looks once more before it sleeps."""
        self._words[_CALLED] = time.monotonic_ns()

    def state(self, place: int) -> int:
        """What the process at this place does."""
        return self._words[_FIRST + _WORDS * place]

    def set_state(self, place: int, state: int) -> None:
        """Say what it does."""
        self._words[_FIRST + _WORDS * place] = state

    def looked(self, place: int) -> int:
        """When the last look of the process at this place began that has come to its end."""
        return self._words[_FIRST + _WORDS * place + 1]

    def set_looked(self, place: int, began: int) -> None:
        """A look has come to its end."""
        self._words[_FIRST + _WORDS * place + 1] = began

    def vacate(self, place: int) -> None:
        """The process is gone."""
        self.set_state(place, BUSY)
        self.set_looked(place, 0)

    def anybody_asleep(self) -> bool:
        """Whether a call would find somebody."""
        return max(self._words[_FIRST::_WORDS].tolist()) >= ASLEEP

    def least_busy(self, places: Iterable[int]) -> int | None:
        """Who of these sleeps and runs the fewest jobs; the first of several; None: nobody sleeps."""
        return min((place for place in places if self.state(place) >= ASLEEP), key=self.state, default=None)

    def close(self) -> None:
        """Give the memory back."""
        self._words.release()
        self._map.close()
        os.close(self.fd)


class Solitary:
    """A process that listens by itself: it is not rung, and rings nobody."""

    listens = True

    @property
    def hears(self) -> bool:
        """Whether a call would be heard just now."""
        return True

    def attach(self, on_ring: Callable[[bool], None]) -> None:
        """Be rung from now on."""

    def busy(self) -> None:
        """No room for jobs, or no way to claim some."""

    def look(self) -> None:
        """About to look."""

    def looked(self, began: float) -> None:
        """A look has come to its end; time.monotonic() of its begin."""

    def sleep(self, running: int) -> bool:  # noqa: ARG002
        """About to sleep, with so many jobs running; False: there was a call meanwhile, look once more."""
        return True

    def leave_some(self) -> None:
        """There are perhaps more jobs than there was room for."""

    def doubt(self) -> None:
        """Contact was lost and has come back."""

    def close(self) -> None:
        """Be rung no longer."""


class Sleeper(Solitary):
    """One process among its sisters, for which the switchboard listens: it says what it does, and is rung.

    Args:
        sleepers, place: the table, and where in it.
        line: a connection to the switchboard.
    """

    listens = False

    def __init__(self, sleepers: Sleepers, place: int, line: socket.socket) -> None:
        self._sleepers, self._place, self._line = sleepers, place, line
        line.setblocking(False)
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def seated(cls, line_fd: int, table_fd: int, places: int, place: int) -> Sleeper:
        """One in a process that was started with these numbers."""
        return cls(Sleepers(table_fd, places), place, socket.socket(fileno=line_fd))

    @property
    def hears(self) -> bool:
        return self._sleepers.hears

    def attach(self, on_ring: Callable[[bool], None]) -> None:
        """Call this on the running loop when rung; with True when everything is to be looked at."""
        self._loop = loop = asyncio.get_running_loop()

        def readable() -> None:
            with contextlib.suppress(BlockingIOError):
                if said := self._line.recv(4096):
                    on_ring(ALL in said)
                else:
                    loop.remove_reader(self._line)  # the supervisor is gone, and its end will be ours

        loop.add_reader(self._line, readable)

    def busy(self) -> None:
        self._sleepers.set_state(self._place, BUSY)

    def look(self) -> None:
        self._sleepers.set_state(self._place, LOOKING)

    def looked(self, began: float) -> None:
        self._sleepers.set_looked(self._place, int(began * 1e9))

    def sleep(self, running: int) -> bool:
        self._sleepers.set_state(self._place, ASLEEP + running)
        if self._sleepers.called <= self._sleepers.looked(self._place):
            return True
        self.look()
        return False

    def leave_some(self) -> None:
        for _ in range(2):
            if self._sleepers.anybody_asleep():
                self._say(MORE)
                return
            self._sleepers.leave_a_call()

    def doubt(self) -> None:
        self._say(DOUBT)

    def _say(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone, or has not heard thousands of these yet
            self._line.send(what)

    def close(self) -> None:
        self.busy()
        if self._loop is not None:
            self._loop.remove_reader(self._line)
        self._line.close()
