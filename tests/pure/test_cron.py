"""Timetables: what a cron expression means on days when the clocks change, against a walk over every minute."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.cron import Timetable, interval_text, timetable
from pgjobq.errors import ScheduleError

MINUTE = timedelta(minutes=1)

# Days on which the clocks change: by an hour, by half an hour, at midnight, by a whole day.
CHANGES = {
    "Europe/Paris": ["2026-03-29T00:00", "2026-10-25T00:00"],
    "America/New_York": ["2026-03-08T06:00", "2026-11-01T05:00"],
    "Australia/Lord_Howe": ["2026-04-04T14:00", "2026-10-03T14:00"],
    "America/Sao_Paulo": ["2018-02-18T01:00", "2018-11-04T02:00"],
    "Pacific/Apia": ["2011-12-30T08:00"],
    "Africa/Casablanca": ["2026-02-15T01:00", "2026-03-22T01:00"],
}
ZONED = [(zone, datetime.fromisoformat(at).replace(tzinfo=UTC)) for zone, days in CHANGES.items() for at in days]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def walls(zone: str, start: datetime, minutes: int) -> list[tuple[datetime, datetime]]:
    """Every minute, and what the clocks of the zone show then."""
    at = [start + n * MINUTE for n in range(minutes)]
    return [(instant, instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)) for instant in at]


def shown(zone: str, start: datetime, minutes: int, hours: set[int], at: set[int]) -> list[datetime]:
    """What an expression with a star means: whenever the clocks show it."""
    return [i for i, wall in walls(zone, start, minutes) if wall.hour in hours and wall.minute in at]


def named(zone: str, start: datetime, minutes: int, hours: set[int], at: set[int]) -> list[datetime]:
    """What an expression without one means: each wall time once, when the clocks first show it or jump over it."""
    seen = walls(zone, start - timedelta(days=2), minutes + 2 * 1440)
    due, latest = [], seen[0][1]
    for instant, wall in seen[1:]:
        passed, step = False, latest + MINUTE
        while step <= wall:
            passed = passed or (step.hour in hours and step.minute in at)
            step += MINUTE
        latest = max(latest, wall)
        if passed and instant >= start:
            due.append(instant)
    return due


def field(values: set[int]) -> str:
    return ",".join(map(str, sorted(values)))


hours = st.sets(st.integers(0, 23), min_size=1, max_size=6)
minutes = st.sets(st.integers(0, 59), min_size=1, max_size=4)


@pytest.mark.parametrize(("zone", "change"), ZONED)
@given(hours=hours, at=minutes, star=st.sampled_from(["hour", "minute", "none"]), seconds=st.booleans())
def test_every_tick_exactly_once_where_the_clocks_change(
    zone: str, change: datetime, hours: set[int], at: set[int], star: str, seconds: bool
) -> None:
    start, span = change - timedelta(hours=14), 36 * 60
    if star == "hour":
        wanted = shown(zone, start, span, set(range(24)), at)
        expression = f"{field(at)} * * * *"
    elif star == "minute":
        wanted = shown(zone, start, span, hours, set(range(60)))
        expression = f"* {field(hours)} * * *"
    else:
        wanted = named(zone, start, span, hours, at)
        expression = f"{field(at)} {field(hours)} * * *"
    table = timetable("0 " + expression if seconds else expression, zone)
    until = start + (span - 1) * MINUTE
    assert list(table.ticks(start - MINUTE, until)) == wanted


@pytest.mark.parametrize(("zone", "change"), ZONED)
@given(data=st.data())
def test_ticks_do_not_depend_on_where_one_looks_from(zone: str, change: datetime, data: st.DataObject) -> None:
    """A worker that starts in the middle of the hour that comes twice sees the same future as one that was there."""
    expression = data.draw(
        st.sampled_from(["30 2 * * *", "*/7 * * * *", "15,45 1-3 * * *", "*/20 30 2 * * *", "0 0 * * *"])
    )
    table = timetable(expression, zone)
    start = change - timedelta(hours=14)
    ticks = list(table.ticks(start, start + timedelta(hours=60)))
    look = start + timedelta(
        seconds=data.draw(st.integers(0, 36 * 3600)), microseconds=data.draw(st.integers(0, 999_999))
    )
    assert table.after(look) == next(tick for tick in ticks if tick > look)


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        # 02:30 does not exist: the first instant after the jump
        ("30 2 * * *", "Europe/Paris", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        # 02:30 twice: the first one
        ("30 2 * * *", "Europe/Paris", "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        # the same with seconds, which cronsim itself treats otherwise
        ("0 30 2 * * *", "Europe/Paris", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        # two times in one gap come as one
        ("15,45 2 * * *", "America/New_York", "2026-03-08T00:00", ["2026-03-08T07:00", "2026-03-09T06:15"]),
        # half an hour: 02:00 to 02:30 is jumped over
        ("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T13:00", ["2026-10-03T15:30", "2026-10-04T15:10"]),
        ("0 5 * * *", "Australia/Lord_Howe", "2026-10-03T13:00", ["2026-10-03T18:00"]),
        ("* 5 * * *", "Australia/Lord_Howe", "2026-10-03T13:00", ["2026-10-03T18:00"]),
        # 30 December 2011 did not happen in Samoa
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T20:00", ["2011-12-30T10:00", "2011-12-30T19:00", "2011-12-31T19:00"]),
        ("0 9 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29T09:00", "2032-02-29T09:00"]),
        ("0 9 * * mon-fri", "UTC", "2026-11-20T10:00", ["2026-11-23T09:00"]),
        ("*/10 * * * * *", "UTC", "2026-01-01T00:00", ["2026-01-01T00:00:10", "2026-01-01T00:00:20"]),
        ("@daily", "America/New_York", "2026-01-01T00:00", ["2026-01-01T05:00"]),
        ("@every 300s", "Europe/Paris", "2026-03-29T00:58", ["2026-03-29T01:00", "2026-03-29T01:05"]),
    ],
)
def test_examples(expression: str, zone: str, start: str, expected: list[str]) -> None:
    table = timetable(expression, zone)
    got, tick = [], utc(start)
    for _ in expected:
        found = table.after(tick)
        assert found is not None
        tick = found
        got.append(tick)
    assert got == [utc(text) for text in expected]


@given(
    expression=st.sampled_from(["@every 7s", "* * * * *", "0 9 * * *", "30 2 * * *", "*/5 * * * * *"]),
    span=st.integers(0, 40 * 3600),
    most=st.integers(1, 40),
)
def test_the_newest_ticks_are_the_end_of_all_of_them(expression: str, span: int, most: int) -> None:
    table, start = timetable(expression, "Europe/Paris"), utc("2026-03-28T12:34:56.789")
    until = start + timedelta(seconds=span)
    assert table.newest(start, until, most) == list(table.ticks(start, until))[-most:]


def test_a_year_of_missed_seconds_is_not_walked_through() -> None:
    table, now = timetable("* * * * * *", "UTC"), utc("2026-01-01T00:00")
    assert len(table.newest(now - timedelta(days=365), now, 1000)) == 1000


@given(seconds=st.integers(1, 366 * 86_400), micro=st.integers(0, 10**15))
def test_intervals_keep_their_pace(seconds: int, micro: int) -> None:
    table = timetable(interval_text(timedelta(seconds=seconds)))
    look = utc("2026-01-01T00:00") + timedelta(microseconds=micro)
    tick = table.after(look)
    assert tick is not None
    assert timedelta(0) < tick - look <= timedelta(seconds=seconds)
    assert table.after(tick) == tick + timedelta(seconds=seconds)


def test_next_runs_are_told_in_the_zone() -> None:
    runs = timetable("0 9 * * *", "Europe/Paris").next_runs(3, utc("2026-10-24T00:00"))
    assert [run.isoformat() for run in runs] == [
        "2026-10-24T09:00:00+02:00",
        "2026-10-25T09:00:00+01:00",
        "2026-10-26T09:00:00+01:00",
    ]
    assert len(timetable("0 9 * * *").next_runs()) == 5


@pytest.mark.parametrize(
    ("expression", "tz", "message"),
    [
        ("61 * * * *", "UTC", "the minute field '61'"),
        ("0 24 * * *", "UTC", "the hour field '24'"),
        ("0 0 32 * *", "UTC", "the day-of-month field '32'"),
        ("0 0 * foo *", "UTC", "the month field 'foo'"),
        ("0 0 * * sun-mon-", "UTC", "the day-of-week field 'sun-mon-'"),
        ("0 9 * * fri-mon", "UTC", "a range runs upwards"),
        ("99 * * * * *", "UTC", "the second field '99'"),
        ("0 0", "UTC", "has 2 fields; a cron expression has five"),
        ("", "UTC", "has 0 fields"),
        ("* * * * * * *", "UTC", "has 7 fields"),
        ("@dayly", "UTC", "Did you mean '@daily'"),
        ("@every 0s", "UTC", "no such nickname"),
        ("@every 99999999999s", "UTC", "no such nickname"),
        ("0 0 31 2 *", "UTC", "months have no such day"),
        ("0 0 */20 * 1L", "UTC", "never comes true"),
        (None, "UTC", "is no cron expression"),
        ("*" * 300, "UTC", "is no cron expression"),
        ("0 9 * * *", "Europe/Pari", "Did you mean 'Europe/Paris'"),
        ("0 9 * * *", "../../etc/passwd", "there is no such time zone"),
        ("0 9 * * *", "", "there is no such time zone"),
        ("0 9 * * *", "\0", "there is no such time zone"),
        ("0 9 * * *", 7, "wants the name of a time zone"),
    ],
)
def test_bad_ones_are_refused_by_name(expression: str, tz: str, message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        timetable(expression, tz)
    assert message in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_timetable_or_a_schedule_error(text: str) -> None:
    with contextlib.suppress(ScheduleError):
        assert isinstance(timetable(text), Timetable)


@given(st.lists(st.text("0123456789*/-,LW#", max_size=6), min_size=5, max_size=6))
def test_any_fields_are_a_timetable_or_a_schedule_error(fields: list[str]) -> None:
    test_any_text_is_a_timetable_or_a_schedule_error.hypothesis.inner_test(" ".join(fields))  # type: ignore[attr-defined]


@pytest.mark.parametrize("every", [0, -1, 0.5, 1.5, timedelta(days=400), "5", None, True, float("nan")])
def test_bad_intervals(every: object) -> None:
    with pytest.raises(ScheduleError, match="whole seconds"):
        interval_text(every)
