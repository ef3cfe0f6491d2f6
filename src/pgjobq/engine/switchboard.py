"""The switchboard: listens for all processes of a worker, and rings one that sleeps for each call.

PostgreSQL delivers a notification to every session that listens. If all processes did, a job that comes to a crowd of
sleepers would wake all of them, each would ask for jobs, and one would find it. So one connection listens, in the
supervisor, where no handler can hold it up.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import psycopg

from pgjobq.engine.sleepers import ALL, DOUBT, MORE, ONE, Sleepers
from pgjobq.engine.wire import CALL, OUTAGES, bounded, open_sync, take_notifications
from pgjobq.events import ConnectionBack, ConnectionLost
from pgjobq.logs import Journal
from pgjobq.outcome import describe
from pgjobq.settings import WorkerSettings
from pgjobq.statements import statement_text

__all__ = ["Seat", "Switchboard"]

PATIENCE = 0.05
"""Seconds within which a process that is rung must have looked; else another one is rung, too. It may have died, be
stopped, be ending, have lost its connection, or its event loop may stand still."""
SPARE_PLACES = 16
"""Beyond two for each process: for those that were replaced and still have long jobs. Who finds none listens itself."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between attempts to reach a database that is away; in the meantime the processes look by themselves."""
CHECK_EVERY = 1.0
"""Seconds between looks at whether the server still answers; the heartbeat when that is longer."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What a new process is given: its place among the sleepers, and its end of the line, to be closed here then."""

    place: int
    line: socket.socket
    table: int
    places: int

    @property
    def fds(self) -> tuple[int, int]:
        """What it inherits."""
        return self.line.fileno(), self.table

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """What it is told of it."""
        return (*self.fds, self.places, self.place)


@dataclass(slots=True, eq=False)
class _Line:
    """The switchboard's end of a process's line."""

    place: int
    end: socket.socket
    rung_at: int | None = None
    """When it was rung (time.monotonic_ns()), until it has looked since."""
    silent: bool = False
    """It did not look within PATIENCE."""
    follows: bool = False
    """It was rung because another one left some behind."""

    def ring(self, what: bytes) -> bool:
        """False when nobody is there, or has not heard thousands of rings."""
        try:
            self.end.send(what)
        except OSError:
            return False
        return True

    def hear(self) -> bytes:
        """What was said; nothing when nobody is there any more."""
        try:
            return self.end.recv(4096)
        except OSError:
            return b""


class Switchboard:
    """Hears calls in a thread of its own, and rings.

    Args:
        settings: of the worker; `processes` says how many there are places for.
        journal: hears when contact is lost, and that it is back.
    """

    def __init__(self, settings: WorkerSettings, journal: Journal) -> None:
        self._settings, self._journal = settings, journal
        self._sleepers = Sleepers.create(2 * settings.processes + SPARE_PLACES)
        self._free = list(range(self._sleepers.places))[::-1]
        self._lines: dict[int, _Line] = {}
        """By place; in the order in which they were last rung. The thread's own, as is all below but the orders."""
        self._orders: deque[Callable[[], None]] = deque()
        self._calls, self._hears = socket.socketpair()
        self._hears.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._hears, selectors.EVENT_READ, self._obey)
        self._stopped = False
        self._away_since: float | None = None
        self._pause = FIRST_PAUSE
        self._began = self._ends_at = 0.0
        self._dsn = self._schema = ""
        self._thread: threading.Thread | None = None

    # ---------------------------------------------------------------------------------------- for the supervisor

    def seat(self) -> Seat | None:
        """A place for a new process; None when there is none left: then it listens by itself."""
        if not self._free:
            return None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        line = _Line(self._free.pop(), ours)
        self._order(lambda: self._connect(line))
        return Seat(line.place, theirs, self._sleepers.fd, self._sleepers.places)

    def vacate(self, place: int) -> None:
        """The process there is gone. Another one is rung for what it was rung for and did not come to."""
        self._sleepers.vacate(place)
        self._free.append(place)
        self._order(lambda: self._disconnect(place))

    def start(self, dsn: str, schema: str) -> None:
        """Begin to listen there."""
        self._dsn, self._schema = dsn, schema
        self._thread = threading.Thread(target=self._run, name="pgjobq-switchboard", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; returns when the thread has, after a few seconds at the most."""
        self._stopped = True
        self._order(lambda: None)
        if self._thread is not None:
            self._thread.join(timeout=10)
            if self._thread.is_alive():
                return
        self._follow_orders()
        for end in (*(line.end for line in self._lines.values()), self._calls, self._hears):
            end.close()
        self._selector.close()
        self._sleepers.close()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        with contextlib.suppress(OSError):  # it has been woken thousands of times already
            self._calls.send(b"!", socket.MSG_DONTWAIT)

    # ---------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        while not self._stopped:
            try:
                with self._listening() as connection:
                    self._attend(connection)
            except OUTAGES as error:
                self._away(error)
                pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
                self._attend(None, pause)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[psycopg.Connection[tuple[Any, ...]] | None]:
        """A connection that listens. None behind a pooler, where nobody hears anything: all processes poll."""
        connection, is_session = open_sync(self._dsn, "switchboard", session=True)
        with connection:
            if not is_session:
                yield None
                return
            fd = connection.fileno()  # libpq forgets it when the connection breaks
            connection.add_notify_handler(lambda notify: self._hear(notify.payload))  # during a statement
            self._check(connection)
            with self._bounded(connection):
                connection.execute(f'LISTEN "{self._schema}"')
            self._back()
            self._sleepers.hears = True
            self._follow_orders()  # whoever has a seat is to be rung
            self._ring_all()  # nobody has heard what was called until now
            self._selector.register(fd, selectors.EVENT_READ, lambda: self._take(connection))
            try:
                yield connection
            finally:
                self._sleepers.hears = False
                self._selector.unregister(fd)

    def _attend(self, connection: psycopg.Connection[tuple[Any, ...]] | None, seconds: float = inf) -> None:
        """Do what is asked for, for so long, or until told to end."""
        now = self._began = time.monotonic()
        self._ends_at, check_at = now + seconds, now
        while not self._stopped and now < self._ends_at:
            if connection is not None and now >= check_at:
                self._check(connection)
                self._take(connection)  # what came behind the answer is read, and makes the socket ready no more
                check_at = now + max(CHECK_EVERY, self._settings.heartbeat)
            until = min(self._ends_at, check_at if connection is not None else inf, self._look_for_the_silent())
            for key, _ in self._selector.select(None if until == inf else max(0.0, until - time.monotonic())):
                key.data()
            now = time.monotonic()

    def _check(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """Raises one of OUTAGES unless this is a server that answers and can be written to."""
        with self._bounded(connection):
            ((_, is_standby),) = connection.execute(statement_text("server", self._schema)).fetchall()
        if is_standby:
            raise psycopg.OperationalError("the server is a standby: waiting for a primary")

    def _bounded(self, connection: psycopg.Connection[tuple[Any, ...]]) -> contextlib.AbstractContextManager[None]:
        return bounded(lambda: connection, max(3.0, self._settings.lease / 3))

    def _away(self, error: BaseException) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            told = describe(error)
            self._journal.emit(ConnectionLost(purpose="listener", error=told.kind, error_message=told.message))

    def _back(self) -> None:
        self._pause = FIRST_PAUSE
        if self._away_since is not None:
            self._journal.emit(ConnectionBack(purpose="listener", seconds=time.monotonic() - self._away_since))
            self._away_since = None

    # ---------------------------------------------------------------------------------------- lines

    def _obey(self) -> None:
        self._hears.recv(4096)
        self._follow_orders()

    def _follow_orders(self) -> None:
        while self._orders:
            self._orders.popleft()()

    def _connect(self, line: _Line) -> None:
        self._lines[line.place] = line
        self._selector.register(line.end, selectors.EVENT_READ, lambda: self._read(line))

    def _disconnect(self, place: int) -> None:
        line = self._lines.pop(place)
        if line.end in self._selector.get_map():
            self._selector.unregister(line.end)
        line.end.close()
        if line.rung_at is not None:
            self._call(follows=line.follows)

    def _read(self, line: _Line) -> None:
        if self._lines.get(line.place) is not line:
            return  # disconnected a moment ago
        said = line.hear()
        if not said:
            self._selector.unregister(line.end)  # it is ending
        if DOUBT in said and self._sleepers.hears:
            self._ends_at = min(self._ends_at, self._began + LONGEST_PAUSE)
        if MORE in said:
            # One that was rung for what another had left, and leaves some itself, has met a burst: from then on they
            # double, so that 32 processes are at work after six steps.
            for _ in range(2 if line.follows else 1):
                self._call(follows=True)

    # ---------------------------------------------------------------------------------------- calls

    def _take(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        for payload in take_notifications(connection.pgconn):
            self._hear(payload)

    def _hear(self, queue: str) -> None:
        if queue == CALL:
            self._ring_all()
        elif not self._settings.queues or queue in self._settings.queues:
            self._call()

    def _ring_all(self) -> None:
        for line in self._lines.values():
            line.ring(ALL)

    def _call(self, *, follows: bool = False) -> None:
        """Ring the one that has the least to do of those that sleep.

        Where nobody sleeps it is enough to say that there was a call: who is looking looks once more, and who has no
        room looks when it has. Since somebody may just be falling asleep we look at them again after having said so.
        """
        for _ in range(2):
            while (line := self._least_busy()) is not None:
                line.rung_at, line.silent, line.follows = time.monotonic_ns(), False, follows
                self._lines[line.place] = self._lines.pop(line.place)
                if line.ring(ONE):
                    return
            self._sleepers.leave_a_call()

    def _least_busy(self) -> _Line | None:
        """None has been rung without having looked since: what it is called for now it would find then."""
        self._forget_the_answered()
        place = self._sleepers.least_busy(place for place, line in self._lines.items() if line.rung_at is None)
        return None if place is None else self._lines[place]

    def _forget_the_answered(self) -> None:
        for line in self._lines.values():
            if line.rung_at is not None and self._sleepers.looked(line.place) >= line.rung_at:
                line.rung_at = None

    def _look_for_the_silent(self) -> float:
        """Ring another one for each that has not looked within PATIENCE; when to do so again (time.monotonic())."""
        self._forget_the_answered()
        again = inf
        for line in [line for line in self._lines.values() if line.rung_at is not None and not line.silent]:
            assert line.rung_at is not None
            ends = line.rung_at / 1e9 + PATIENCE
            if ends <= time.monotonic():
                line.silent = True
                self._call(follows=line.follows)
            else:
                again = min(again, ends)
        return again
