"""Schedules under a virtual clock: what fires, how often, and what becomes of what people change."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgjobq.engine.ticks import Ticks
from pgjobq.events import Event
from sql.support.hand import Hand, doctored, function_text

Hands = Callable[..., Hand]
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Told:
    """Takes what a worker would log."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def at(hand: Hand, seconds: float) -> None:
    """So many seconds after noon."""
    hand.set_now((NOON + timedelta(seconds=seconds)).isoformat())


def put(hand: Hand, expression: str = "@every 600s", name: str = "beat", **more: Any) -> None:
    """Create or change a schedule."""
    hand.sql("SELECT pgjobq.put_schedule($1, $2)", name, defined(expression, **more))


def defined(expression: str = "@every 600s", **more: Any) -> str:
    return json.dumps({"expression": expression, "task": "send", **more})


def declare(hand: Hand, app: str | None = "shop:queue", **definitions: str) -> None:
    """What a worker says when it starts."""
    made = json.dumps({name: json.loads(text) for name, text in definitions.items()})
    hand.say("declare_schedules", app, made)


def fire(hand: Hand, told: Told | None = None) -> float:
    """A worker looks."""
    return Ticks(hand.say, told or Told()).fire()  # type: ignore[arg-type]


def fired(hand: Hand, name: str = "beat") -> list[float]:
    """The ticks that have made a job, in seconds after noon, in the order of the jobs."""
    rows = hand.sql(
        "SELECT headers ->> 'scheduled_for' FROM pgjobq.job WHERE headers ->> 'schedule' = $1 ORDER BY id", name
    )
    return [(datetime.fromisoformat(text) - NOON).total_seconds() for (text,) in rows]


def look(hand: Hand) -> str:
    """The plan that a worker makes of the only schedule that is due, and has not said yet."""
    said: list[str] = []

    def say(name: str, *params: Any) -> list[tuple[Any, ...]]:
        if name == "tick":
            said.append(params[0])
            return []
        return hand.say(name, *params)

    Ticks(say, Told()).fire()  # type: ignore[arg-type]
    (plan,) = said
    return plan


# --- ticks -----------------------------------------------------------------------------------------------


def test_every_tick_exactly_once_whoever_looks(hands: Hands) -> None:
    workers = [hands(), hands(), hands()]
    for worker in workers:
        at(worker, 0)
    put(workers[0], "@every 10s")
    for seconds in range(0, 96, 3):
        for worker in workers:
            at(worker, seconds)
            fire(worker)
    assert fired(workers[0]) == list(range(10, 100, 10))[:9]


def test_a_tick_comes_at_its_time_and_not_before(hand: Hand) -> None:
    at(hand, 1)
    put(hand, "0 * * * *")
    fire(hand)
    assert hand.sql("SELECT next_at FROM pgjobq.schedules") == [(NOON + timedelta(hours=1),)]
    assert hand.say("next_due", 5.0)[0][2] == 3599
    at(hand, 3599.999999)
    fire(hand)
    assert fired(hand) == []
    at(hand, 3600)
    assert fire(hand) == 0
    assert fired(hand) == [3600]
    assert fire(hand) > 0, "nothing is due: nothing is done"
    assert fired(hand) == [3600]


def test_a_schedule_says_what_its_jobs_are(hand: Hand) -> None:
    at(hand, 0)
    put(hand, args={"day": 1}, queue="slow", priority=3, ref="r", tags=["night"], max_attempts=2, headers={"a": 1})
    at(hand, 600)
    fire(hand)
    row = hand.sql("SELECT task, args, queue, priority, ref, tags, max_attempts, headers FROM pgjobq.jobs")
    headers = {"a": 1, "schedule": "beat", "scheduled_for": "2030-01-01T12:10:00Z"}
    assert row == [("send", {"day": 1}, "slow", 3, "r", ["night"], 2, headers)]


@pytest.mark.parametrize(
    ("missed", "made_up"), [("skip", []), ("latest", [3600]), ("all", [600, 1200, 1800, 2400, 3000, 3600])]
)
def test_ticks_that_came_while_nobody_was_there(hand: Hand, missed: str, made_up: list[float]) -> None:
    at(hand, 0)
    put(hand, missed=missed)
    fire(hand)
    at(hand, 3900)
    told = Told()
    fire(hand, told)
    assert fired(hand) == made_up
    assert len(told.events) == (1 if missed == "skip" else 0)
    at(hand, 4200)
    fire(hand)
    assert fired(hand) == [*made_up, 4200]


def test_a_short_absence_is_no_reason_to_skip(hand: Hand) -> None:
    at(hand, 0)
    put(hand, missed="skip")
    fire(hand)
    at(hand, 660)
    fire(hand)
    assert fired(hand) == [600]


def test_making_up_for_all_is_bounded(hand: Hand) -> None:
    at(hand, 0)
    put(hand, "@every 1s", missed="all")
    fire(hand)
    at(hand, 3600)
    fire(hand)
    assert fired(hand) == list(range(2601, 3601))


# --- races -----------------------------------------------------------------------------------------------


def race(one: Hand, other: Hand) -> list[float]:
    """Two workers have made the same plan; the second says it while the first's is not committed, and once more."""
    for hand in (one, other):
        at(hand, 0)
    put(one, "@every 10s")
    fire(one)
    for hand in (one, other):
        at(hand, 10)
    plans = [look(one), look(other)]
    assert plans[0] == plans[1]
    one.sql("BEGIN")
    assert len(one.say("tick", plans[0])) == 1
    assert other.say("tick", plans[1]) == [], "the row is locked: passed by"
    one.sql("COMMIT")
    other.say("tick", plans[1])
    return fired(one)


def test_two_workers_with_the_same_plan(hands: Hands) -> None:
    assert race(hands(), hands()) == [10]


def test_the_test_above_sees_a_tick_without_its_guard(hands: Hands) -> None:
    one = hands()
    one.sql(doctored(function_text("tick"), ("AND s.next_at = plan.was ", "")))
    assert race(one, hands()) == [10, 10]


def change_between(one: Hand, other: Hand) -> list[float]:
    """The schedule is changed between a worker's look and its plan."""
    for hand in (one, other):
        at(hand, 0)
    put(one, "@every 10s")
    plan = look(other)
    put(one, "@every 3600s")
    other.say("tick", plan)
    for seconds in (10, 3600):
        at(one, seconds)
        fire(one)
    return fired(one)


def test_a_plan_made_from_what_it_was_before_does_not_count(hands: Hands) -> None:
    assert change_between(hands(), hands()) == [3600]


def test_the_test_above_sees_a_tick_without_the_revision(hands: Hands) -> None:
    one = hands()
    one.sql(doctored(function_text("tick"), (" AND s.revision = plan.revision", "")))
    one.sql("SET pgjobq.now = ''")
    at(one, 0)
    other = hands()
    at(other, 0)
    put(one, "@every 10s")
    plan = look(other)
    put(one, "@every 3600s")
    assert len(other.say("tick", plan)) == 1, "taken, though it is of the old timetable"
    assert one.sql("SELECT next_at FROM pgjobq.schedules") == [(NOON + timedelta(seconds=10),)]


def test_one_that_somebody_is_changing_stops_nobody(hands: Hands) -> None:
    editor, worker = hands(), hands()
    for hand in (editor, worker):
        at(hand, 0)
    put(editor, name="held")
    put(editor, name="free")
    fire(worker)
    at(worker, 600)
    editor.sql("BEGIN")
    editor.sql("SELECT pgjobq.pause_schedule('held')")
    fire(worker)
    assert (fired(worker, "held"), fired(worker, "free")) == ([], [600])
    editor.sql("ROLLBACK")
    fire(worker)
    assert fired(worker, "held") == [600]


def test_one_that_cannot_work_stops_no_other(hand: Hand) -> None:
    at(hand, 0)
    put(hand, name="sound")
    put(hand, name="zealous")
    fire(hand)
    put(hand, "every full moon", name="puzzling")
    put(hand, name="refused", priority=99)
    fire(hand)
    at(hand, 600)
    told = Told()
    ticks = Ticks(hand.say, told)  # type: ignore[arg-type]
    ticks.fire()
    ticks.fire()
    assert (fired(hand, "sound"), fired(hand, "zealous")) == ([600], [600])
    chores = [event.chore for event in told.events if hasattr(event, "chore")]
    assert sorted(chores) == ["schedule puzzling", "schedule refused"], "each once"


# --- overlap, run now ------------------------------------------------------------------------------------


def test_overlap_skip_waits_for_the_end_of_the_last_job(hand: Hand) -> None:
    at(hand, 0)
    put(hand, overlap="skip")
    fire(hand)
    told = Told()
    for seconds in (600, 1200):
        at(hand, seconds)
        fire(hand, told)
    assert fired(hand) == [600]
    assert [type(event).__name__ for event in told.events] == ["TickLeftOut"]
    assert hand.value("SELECT pgjobq.run_schedule('beat')") == 0
    hand.complete(hand.claim_one())
    at(hand, 1800)
    fire(hand)
    assert fired(hand) == [600, 1800]


def test_run_now_even_while_it_is_paused(hand: Hand) -> None:
    at(hand, 5)
    put(hand)
    hand.sql("SELECT pgjobq.pause_schedule('beat', 'maintenance', 'ann')")
    job = hand.value("SELECT pgjobq.run_schedule('beat')")
    assert hand.place(job) == ("ready", 0, 0)
    assert fired(hand) == [5]
    assert hand.value("SELECT pgjobq.run_schedule('nobody')") is None
    assert hand.sql("SELECT who, what, about ->> 'reason' FROM pgjobq.audit WHERE what = 'pause_schedule'") == [
        ("ann", "pause_schedule", "maintenance")
    ]


# --- pause, edit, declare --------------------------------------------------------------------------------


def test_a_pause_lasts_until_it_is_ended_and_nothing_is_made_up_for(hand: Hand) -> None:
    at(hand, 0)
    declare(hand, beat=defined(missed="all"))
    fire(hand)
    assert hand.value("SELECT pgjobq.pause_schedule('beat', 'no')") is True
    assert hand.value("SELECT pgjobq.pause_schedule('beat')") is False
    at(hand, 1900)
    declare(hand, beat=defined(missed="all"))
    declare(hand, beat=defined("@every 60s", missed="all"))
    fire(hand)
    assert fired(hand) == []
    assert hand.sql("SELECT paused_because, next_at FROM pgjobq.schedules") == [("no", None)]
    assert hand.value("SELECT pgjobq.resume_schedule('beat')") is True
    assert hand.value("SELECT pgjobq.resume_schedule('beat')") is False
    fire(hand)
    at(hand, 1920)
    fire(hand)
    assert fired(hand) == [1920]


def test_a_change_at_run_time_survives_what_the_code_declares(hand: Hand) -> None:
    at(hand, 0)
    declare(hand, beat=defined())
    put(hand, "@every 60s")
    declare(hand, beat=defined())
    declare(hand, beat=defined("@every 7s"))
    assert hand.sql("SELECT expression, edited FROM pgjobq.schedules") == [("@every 60s", True)]
    assert hand.value("SELECT pgjobq.reset_schedule('beat')") is True
    assert hand.value("SELECT pgjobq.reset_schedule('beat')") is False
    assert hand.sql("SELECT expression, edited FROM pgjobq.schedules") == [("@every 7s", False)]
    declare(hand, beat=defined("@every 8s"))
    assert hand.sql("SELECT expression, edited FROM pgjobq.schedules") == [("@every 8s", False)]


def test_declaring_again_moves_no_tick(hand: Hand) -> None:
    at(hand, 0)
    declare(hand, beat=defined())
    fire(hand)
    at(hand, 700)
    declare(hand, beat=defined())
    declare(hand, beat=defined(args={"new": True}))
    fire(hand)
    assert fired(hand) == [600], "the tick that was missed during the deployment"


def test_what_the_code_no_longer_declares_is_retired(hand: Hand) -> None:
    at(hand, 0)
    declare(hand, beat=defined(), other=defined())
    declare(hand, None, mine=defined())
    fire(hand)
    declare(hand, other=defined())
    at(hand, 1200)
    fire(hand)
    assert (fired(hand), fired(hand, "other"), fired(hand, "mine")) == ([], [1200], [1200])
    declare(hand, beat=defined(), other=defined())
    fire(hand)
    at(hand, 1800)
    fire(hand)
    assert fired(hand) == [1800], "back again, from now on"


def test_another_app_retires_nothing_of_ours(hand: Hand) -> None:
    at(hand, 0)
    declare(hand, "one:queue", beat=defined())
    declare(hand, "two:queue")
    declare(hand, None)
    assert hand.sql("SELECT app, retired_at FROM pgjobq.schedules") == [("one:queue", None)]


def test_delete(hand: Hand) -> None:
    at(hand, 0)
    put(hand)
    assert hand.value("SELECT pgjobq.delete_schedule('beat')") is True
    assert hand.value("SELECT pgjobq.delete_schedule('beat')") is None
    assert hand.sql("SELECT what FROM pgjobq.audit ORDER BY id") == [("put_schedule",), ("delete_schedule",)]
