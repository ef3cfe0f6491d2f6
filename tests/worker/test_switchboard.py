"""Whom the switchboard rings: on a real connection, with the test in the place of the worker processes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pgjobq.engine import switchboard
from pgjobq.engine.sleepers import ALL, ONE, Sleeper, Sleepers
from pgjobq.engine.switchboard import Switchboard
from pgjobq.logs import Journal
from pgjobq.settings import WorkerSettings
from support.waiting import eventually

LONG = 30.0
LISTENERS = """SELECT pid FROM pg_stat_activity
               WHERE datname = current_database() AND application_name LIKE 'pgjobq switchboard%'"""


class Process:
    """What a worker process has of the switchboard, and what it was rung."""

    def __init__(self, board: Switchboard) -> None:
        seat = board.seat()
        assert seat is not None
        self.place, self.line = seat.place, seat.line
        self.sleepers = Sleepers(os.dup(seat.table), seat.places)
        self.sleeper = Sleeper(self.sleepers, seat.place, self.line)

    def fall_asleep(self, running: int = 0) -> bool:
        """Look, find nothing, sleep."""
        self.sleeper.look()
        self.sleeper.looked(time.monotonic())
        return self.sleeper.sleep(running)

    def rings(self, seconds: float = LONG) -> bytes:
        """What it hears within so many seconds; all that is there at once."""
        self.line.settimeout(seconds)
        try:
            return self.line.recv(4096)
        except TimeoutError:
            return b""
        finally:
            self.line.setblocking(False)

    def close(self) -> None:
        self.line.close()
        self.sleepers.close()


class Board:
    """A switchboard that listens, and three processes."""

    def __init__(self, dsn: str, **settings: object) -> None:
        self.dsn = dsn
        self.switchboard = Switchboard(WorkerSettings(processes=3, **settings), Journal())  # type: ignore[arg-type]
        self.processes = [Process(self.switchboard) for _ in range(3)]
        self.conn = psycopg.connect(dsn, autocommit=True)
        self.switchboard.start(dsn, "pgjobq")
        for process in self.processes:
            assert process.rings() == ALL, "nobody has heard what was called before"
            assert process.sleepers.hears

    def call(self, queue: str = "default") -> None:
        self.conn.execute("SELECT pg_notify('pgjobq', %s)", (queue,))

    def rung(self, count: int = 1) -> list[int]:
        """Which processes are rung next, one after the other."""
        found: list[int] = []
        ends = time.monotonic() + LONG
        while len(found) < count and time.monotonic() < ends:
            found += [n for n, process in enumerate(self.processes) if process.rings(0.002) == ONE]
        return found

    def close(self) -> None:
        self.switchboard.stop()
        self.conn.close()
        for process in self.processes:
            process.close()


@contextmanager
def board(dsn: str, **settings: object) -> Iterator[Board]:
    made = Board(dsn, **settings)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def three(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """Three processes, none of which has looked yet, and nobody is hurried by this machine's other work."""
    monkeypatch.setattr(switchboard, "PATIENCE", 3 * LONG)
    with board(dsn) as made:
        yield made


def quiet(three: Board) -> bool:
    """Whether nothing was rung for the calls so far: they come in order, and the next is one for all."""
    three.call("")
    return [process.rings() for process in three.processes] == [ALL] * 3


def test_a_call_rings_one_that_sleeps_and_the_next_call_the_next(three: Board) -> None:
    for process in three.processes:
        process.fall_asleep()
    turns = []
    for _ in range(6):
        three.call()
        (turn,) = three.rung()
        turns.append(turn)
        assert three.processes[turn].fall_asleep()
    assert turns == [0, 1, 2, 0, 1, 2]
    assert quiet(three)


def test_whoever_runs_the_fewest_jobs_is_rung(three: Board) -> None:
    for process, running in zip(three.processes, (3, 1, 2), strict=True):
        process.fall_asleep(running)
    three.call()
    assert three.rung() == [1]


def test_calls_at_the_same_time_ring_as_many(three: Board) -> None:
    """Each may mean a job that the one before did not see."""
    for process in three.processes:
        process.fall_asleep()
    three.call()
    three.call()
    assert sorted(three.rung(2)) == [0, 1]


def test_nobody_is_rung_who_has_no_room(three: Board) -> None:
    for process in three.processes:
        process.sleeper.busy()
    three.processes[2].fall_asleep()
    three.call()
    assert three.rung() == [2]
    three.processes[2].sleeper.busy()
    three.processes[2].sleeper.looked(time.monotonic())
    three.call()
    assert quiet(three)


def test_whoever_looks_during_a_call_looks_once_more(three: Board) -> None:
    """Nobody sleeps: the job may have come after the look began, so it does not fall asleep."""
    looking = three.processes[0]
    looking.sleeper.look()
    looking.sleeper.looked(time.monotonic())  # the look's begin; its answer is on the way
    three.call()
    eventually(lambda: looking.sleepers.called)
    assert not looking.sleeper.sleep(0)
    assert looking.fall_asleep(), "a look that began after the call has seen what there was"


def test_whoever_falls_asleep_during_a_call_is_rung(three: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said so after the switchboard had looked for sleepers, and read too early that nobody has called."""
    falling = three.processes[1]
    leave_a_call = Sleepers.leave_a_call

    def just_then(self: Sleepers) -> None:
        falling.fall_asleep()
        leave_a_call(self)

    monkeypatch.setattr(Sleepers, "leave_a_call", just_then)
    three.call()
    assert three.rung() == [1]


def test_another_one_is_rung_for_one_that_does_not_look(three: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be stopped, or its event loop may stand still. It is not asked again before it has looked."""
    monkeypatch.setattr(switchboard, "PATIENCE", 0.05)
    for process in three.processes[:2]:
        process.fall_asleep()
    three.call()
    assert three.rung(2) == [0, 1]
    three.processes[1].fall_asleep()
    three.call()
    assert three.rung() == [1]
    assert quiet(three)
    three.processes[0].fall_asleep()
    three.processes[1].sleeper.busy()
    three.call()
    assert three.rung() == [0]


def test_another_one_is_rung_for_one_that_is_gone(three: Board) -> None:
    for process in three.processes:
        process.fall_asleep()
    three.call()
    assert three.rung() == [0]
    three.switchboard.vacate(three.processes[0].place)
    assert three.rung() == [1]
    three.processes[1].fall_asleep()
    successor = Process(three.switchboard)
    assert successor.place == three.processes[0].place
    three.processes.append(successor)
    for process in three.processes[1:3]:
        process.sleeper.busy()
    successor.fall_asleep()
    three.call()
    assert three.rung() == [3]


def test_whoever_leaves_some_behind_has_another_one_rung(three: Board) -> None:
    first, second, _ = three.processes
    second.fall_asleep()
    first.sleeper.leave_some()
    assert three.rung() == [1]
    second.sleeper.look()
    second.sleeper.looked(time.monotonic())
    first.sleeper.leave_some()
    assert not second.sleeper.sleep(0), "nobody slept, but somebody was looking"


def test_those_who_are_rung_for_a_burst_double(three: Board) -> None:
    """Whoever was rung for what another one had left, and leaves some itself, has two rung."""
    first, second, _ = three.processes
    for process in (*three.processes[1:], *(added := [Process(three.switchboard) for _ in range(2)])):
        process.fall_asleep()
    three.processes += added
    first.sleeper.look()
    first.sleeper.leave_some()
    assert three.rung() == [1]
    second.sleeper.look()
    second.sleeper.leave_some()
    assert sorted(three.rung(2)) == [2, 3]
    second.sleeper.busy()
    three.call("")
    assert three.processes[4].rings() == ALL


def test_an_operators_call_rings_all(three: Board) -> None:
    three.processes[0].fall_asleep()
    three.processes[1].sleeper.busy()
    assert quiet(three)
    assert quiet(three)


def test_calls_for_queues_of_others_ring_nobody(dsn: str) -> None:
    with board(dsn, queues=("mail",)) as three:
        three.processes[0].fall_asleep()
        three.call("default")
        assert quiet(three)
        three.call("mail")
        assert three.rung() == [0]


def test_when_it_has_not_heard_for_a_while_all_look(three: Board) -> None:
    """Its connection is killed: the processes know that nobody calls, until it listens again and rings all of them."""
    for process in three.processes:
        process.fall_asleep()
    (before,) = three.conn.execute(LISTENERS).fetchone() or (None,)
    three.conn.execute("SELECT pg_terminate_backend(%s)", (before,))
    assert [process.rings() for process in three.processes] == [ALL] * 3
    assert three.processes[0].sleepers.hears
    assert (three.conn.execute(LISTENERS).fetchone() or (None,))[0] != before
    three.call()
    assert len(three.rung()) == 1


def test_it_connects_anew_when_a_process_had_to(three: Board) -> None:
    """The server may be another one by now, and ours one that nobody uses any more."""
    (before,) = three.conn.execute(LISTENERS).fetchone() or (None,)
    three.processes[0].sleeper.doubt()
    assert [process.rings() for process in three.processes] == [ALL] * 3
    assert (three.conn.execute(LISTENERS).fetchone() or (None,))[0] != before


def test_there_is_no_seat_without_end() -> None:
    """Processes that were replaced, and have long jobs: whoever finds no place listens by itself."""
    made = Switchboard(WorkerSettings(processes=2), Journal())
    lines: list[socket.socket] = []
    while (seat := made.seat()) is not None:
        lines.append(seat.line)
    assert len(lines) > 2 * 2
    made.vacate(3)
    again = made.seat()
    assert again is not None
    assert again.place == 3
    for line in (*lines, again.line):
        line.close()
    made.stop()
