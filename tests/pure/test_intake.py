"""When a worker reads the list of lanes, and when it spares itself that."""

from __future__ import annotations

import time

import pytest

from pgjobq.engine.cursor import Look
from pgjobq.engine.exchange import Claimed
from pgjobq.engine.intake import LANES_EVERY, Intake

NOTHING = Claimed([], xmin=20, xid=None, seconds=0.0)


def _idle() -> Intake:
    """One that has looked at all lanes and sleeps."""
    intake = Intake(10, 1.0, None, announces=False)
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


def _naps(intake: Intake, monkeypatch: pytest.MonkeyPatch, seconds: float) -> int:
    """How often it looks within so many seconds in which there is nothing and nobody calls."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ends, looks = now + seconds, 0
    while now < ends:
        left = intake.until_look()
        now += left
        if not left:
            intake.learn(intake.look(idle=True), 10, NOTHING)
            looks += 1
    return looks


def test_who_is_called_for_nothing_looks_once_and_sleeps_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call comes to every sleeper, and one of them gets the job."""
    intake = _idle()
    assert _naps(intake, monkeypatch, 10.0) > 12, "short naps at first"
    assert _naps(intake, monkeypatch, 10.0) <= 11, "then those of the poll interval"
    intake.wake()
    assert not intake.dry
    intake.learn(intake.look(idle=True), 10, NOTHING)
    assert intake.dry
    assert _naps(intake, monkeypatch, 0.9) <= 1


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
