"""When a worker reads the list of lanes, and when it spares itself that."""

from __future__ import annotations

import time

import pytest

from pgjobq.engine.cursor import Look
from pgjobq.engine.exchange import Claimed
from pgjobq.engine.intake import LANES_EVERY, Intake
from pgjobq.engine.lease import Lease

NOTHING = Claimed([], xmin=20, xid=None, seconds=0.0)


def _idle(*, announces: bool = False) -> Intake:
    """One that has looked at all lanes and sleeps."""
    intake = Intake(10, 1.0, None, announces=announces)
    intake.see_lanes([("default", 0)])
    intake.learn(intake.look(idle=True), 10, NOTHING)
    return intake


def test_after_a_call_that_led_to_nothing_the_lanes_are_read() -> None:
    intake = _idle()
    intake.wake()
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.misses_lanes


def test_after_a_look_of_its_own_accord_they_are_not() -> None:
    intake = _idle()
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert not intake.misses_lanes


def test_but_they_are_once_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    intake, now = _idle(), time.monotonic()
    intake.learn(intake.look(idle=True), 10, NOTHING)
    monkeypatch.setattr(time, "monotonic", lambda: now + LANES_EVERY + 0.01)
    assert intake.misses_lanes


def test_who_calls_during_a_look_is_answered_by_the_next() -> None:
    intake = _idle()
    look = intake.look(idle=True)
    intake.wake()
    intake.learn(look, 10, NOTHING)
    assert not intake.dry
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.misses_lanes


def test_a_look_that_left_lanes_out_does_not_send_to_sleep() -> None:
    intake = _idle()
    intake.wake()
    intake.look(idle=False)
    intake.learn(Look("fast", (), (), whole=False), 10, NOTHING)
    assert not intake.dry
    assert not intake.misses_lanes
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.misses_lanes, "the call is answered by the look at all lanes"
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.dry


def test_the_list_of_lanes_comes_along_with_looks_of_a_busy_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    intake, now = _idle(), time.monotonic()
    assert not intake.lanes_are_stale(idle=False)
    monkeypatch.setattr(time, "monotonic", lambda: now + LANES_EVERY + 0.01)
    assert intake.lanes_are_stale(idle=False)
    assert not intake.lanes_are_stale(idle=True), "it reads it after a look that found nothing"


def test_after_a_call_to_look_everywhere_the_list_is_read_first() -> None:
    intake = _idle()
    assert intake.knows_lanes
    intake.forget()
    assert not intake.knows_lanes
    intake.see_lanes([("default", 0)])
    assert intake.knows_lanes


# ------------------------------------------------------------------------------------------------ naps


JOB = Lease(7, 7, "default", 0, 1, 0, 20, "note", "{}", None, None, None, None, None, 0.0)
SOMETHING = Claimed([JOB], xmin=20, xid=None, seconds=0.0)


def _naps(intake: Intake, monkeypatch: pytest.MonkeyPatch, seconds: float) -> int:
    """How often it looks within so many seconds in which there is nothing and nobody calls."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ends, looks = now + seconds, 0
    while now < ends:
        if intake.dry and (left := intake.until_look()):
            now += left
            continue
        if intake.must_announce:
            intake.announced(now)
        intake.learn(intake.look(idle=True), 10, NOTHING)
        looks += 1
    return looks


def _take_a_job(intake: Intake) -> None:
    intake.wake()
    intake.learn(intake.look(idle=True), 10, SOMETHING)
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.dry or intake.must_announce


def test_who_gets_a_job_while_all_know_that_it_sleeps_need_not_begin_with_short_naps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They cover jobs of those who did not know it yet."""
    intake = _idle(announces=True)
    assert _naps(intake, monkeypatch, 0.7) > 5, "short naps at first"
    assert _naps(intake, monkeypatch, 10.0) <= 11, "then those of the poll interval"
    _take_a_job(intake)
    assert _naps(intake, monkeypatch, 0.9) <= 2


def test_after_a_time_in_which_nobody_knew_naps_are_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = _idle(announces=True)
    _naps(intake, monkeypatch, 10.0)
    later = time.monotonic() + intake.announcement / 2 + 0.1  # it had jobs all the time
    monkeypatch.setattr(time, "monotonic", lambda: later)
    _take_a_job(intake)
    assert _naps(intake, monkeypatch, 0.7) > 5


def test_where_nobody_calls_a_job_is_looked_for_where_one_has_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = _idle()
    _naps(intake, monkeypatch, 10.0)
    _take_a_job(intake)
    assert _naps(intake, monkeypatch, 0.7) > 5


def test_who_is_called_for_nothing_looks_once_and_sleeps_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker got the job."""
    intake = _idle()
    assert _naps(intake, monkeypatch, 10.0) > 12, "short naps at first"
    assert _naps(intake, monkeypatch, 10.0) <= 11, "then those of the poll interval"
    intake.wake()
    assert not intake.dry
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.dry
    assert _naps(intake, monkeypatch, 0.9) <= 1


def test_who_had_no_room_looks_before_it_sleeps_again() -> None:
    """Calls went to others meanwhile."""
    intake = _idle()
    intake.until_look()
    intake.stay_awake()
    assert not intake.dry
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.dry


def test_on_a_new_connection_naps_are_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = _idle()
    _naps(intake, monkeypatch, 10.0)
    intake.forget()
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert _naps(intake, monkeypatch, 0.9) > 4


def test_who_is_called_looks_before_it_announces() -> None:
    intake = Intake(10, 1.0, None, announces=True)
    intake.see_lanes([("default", 0)])
    intake.wake()
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.must_announce
    assert intake.answers, "so the announcement is not made with this look"
    assert not intake.dry, "but with the next one, before it sleeps"
    intake.look(idle=True)
    assert not intake.answers
