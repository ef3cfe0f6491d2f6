"""What happened is counted minute by minute: once, whoever counts, however often, and also what comes late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgjobq import Queue
from pgjobq.errors import InvalidOption
from pgjobq.history import BOUNDS, Minute
from sql.support.hand import Hand

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(conn: psycopg.Connection[Any], moment: datetime) -> None:
    conn.execute("SELECT set_config('pgjobq.now', $1, false)", [moment.isoformat()])


def ended(
    conn: psycopg.Connection[Any],
    moment: datetime,
    outcome: str,
    took: float = 0.3,
    queue: str = "mail",
    errors: int = 0,
) -> None:
    """A job that ended at this moment, with attempts before that failed then, too."""
    conn.execute(
        "WITH made AS (INSERT INTO pgjobq.job (created_at, priority, max_attempts, queue, task, args)"
        " VALUES ($1::timestamptz - interval '1 s', 0, 9, $2, 'send', '{}') RETURNING id), errors AS ("
        " INSERT INTO pgjobq.attempt_error (job, started_at, failed_at, attempt, kind, message)"
        " SELECT id, $1::timestamptz - make_interval(secs => $3::float8), $1::timestamptz, n, 'KeyError', 'x'"
        " FROM made, generate_series(1, $5::int) n)"
        " INSERT INTO pgjobq.finished (job, started_at, finished_at, attempt, outcome)"
        " SELECT id, CASE WHEN $4 <> 'c' THEN $1::timestamptz - make_interval(secs => $3::float8) END,"
        ' $1, 1, $4::"char" FROM made',
        [moment, queue, took, outcome, errors],
    )


def kept(conn: psycopg.Connection[Any]) -> list[Any]:
    return conn.execute("SELECT minute, queue, started, succeeded, failed, cancelled, errors FROM pgjobq.history"
                        " ORDER BY minute, queue").fetchall()  # fmt: skip


def test_a_minute_is_counted_when_it_is_over(hand: Hand) -> None:
    at(hand.conn, NOON + timedelta(seconds=62))
    ended(hand.conn, NOON + timedelta(seconds=10), "s", 0.3)
    ended(hand.conn, NOON + timedelta(seconds=20), "s", 0.003, errors=2)
    ended(hand.conn, NOON + timedelta(seconds=59), "f", 7.0, errors=1)
    ended(hand.conn, NOON + timedelta(seconds=30), "c", queue="reports")
    ended(hand.conn, NOON + timedelta(seconds=61), "s")
    assert hand.say("write_history")[0][0] == pytest.approx(1)
    assert kept(hand.conn) == []  # what ended just before may not be committed yet
    at(hand.conn, NOON + timedelta(seconds=63))
    assert hand.say("write_history")[0][0] == pytest.approx(60)
    counted = [(NOON, "mail", 5, 2, 1, 0, 3), (NOON, "reports", 0, 0, 0, 1, 0)]
    assert kept(hand.conn) == counted
    hand.say("write_history")
    hand.conn.execute("SELECT pgjobq.count_history($1, $2)", [NOON, NOON + timedelta(minutes=1)])
    assert kept(hand.conn) == counted
    (run,) = hand.conn.execute("SELECT run FROM pgjobq.history WHERE queue = 'mail'").fetchone()
    assert sum(run) == 5
    assert run[BOUNDS.index(0.5)] == 1  # from 0.2 up to 0.5 s
    assert run[BOUNDS.index(0.005)] == 3
    assert run[BOUNDS.index(10.0)] == 1


def test_two_count_at_once_and_nothing_is_doubled(hand: Hand, dsn: str) -> None:
    ended(hand.conn, NOON + timedelta(seconds=10), "s")
    at(hand.conn, NOON + timedelta(seconds=70))
    with Hand(dsn) as other:
        at(other.conn, NOON + timedelta(seconds=70))
        with hand.conn.transaction():
            hand.say("write_history")
            other.conn.execute("SET statement_timeout = '10s'")
            assert other.say("write_history")[0][0] == pytest.approx(53)  # passes by, and does not wait
            assert kept(other.conn) == []
        other.say("write_history")
        assert kept(other.conn) == [(NOON, "mail", 1, 1, 0, 0, 0)]


def test_what_is_committed_late_is_found(hand: Hand) -> None:
    """A handler that completes its job in a transaction of its own: the time is that of its beginning."""
    ended(hand.conn, NOON + timedelta(seconds=10), "s")
    at(hand.conn, NOON + timedelta(seconds=63))
    hand.say("write_history")
    ended(hand.conn, NOON + timedelta(seconds=11), "s")
    for minute in range(2, 16):
        at(hand.conn, NOON + timedelta(minutes=minute, seconds=3))
        hand.say("write_history")
        assert kept(hand.conn) == [(NOON, "mail", 2, 2, 0, 0, 0)] or minute < 3
        if minute == 14:
            ended(hand.conn, NOON + timedelta(seconds=12), "f", errors=1)
            at(hand.conn, NOON + timedelta(minutes=15, seconds=3))
            hand.say("write_history")
            assert kept(hand.conn) == [(NOON, "mail", 3, 2, 1, 0, 1)]
            break


def test_what_was_deleted_since_stays_counted(hand: Hand) -> None:
    ended(hand.conn, NOON + timedelta(seconds=10), "s", 0.3)
    at(hand.conn, NOON + timedelta(seconds=63))
    hand.say("write_history")
    hand.conn.execute("DELETE FROM pgjobq.finished")
    hand.conn.execute("DELETE FROM pgjobq.job")
    hand.conn.execute("SELECT pgjobq.count_history($1, $2)", [NOON, NOON + timedelta(minutes=1)])
    assert kept(hand.conn) == [(NOON, "mail", 1, 1, 0, 0, 0)]


def test_old_minutes_are_put_together_and_the_totals_only_grow(hand: Hand, queue: Queue) -> None:
    for day in range(3):
        moment = NOON + timedelta(days=2 * day, seconds=40)
        ended(hand.conn, moment, "s", 0.3)
        ended(hand.conn, moment + timedelta(seconds=1), "s", 30.0, errors=1)
        at(hand.conn, moment + timedelta(seconds=30))
        hand.say("write_history")
        (mail,) = queue.totals()
        assert (mail.queue, mail.succeeded, mail.errors, mail.failed) == ("mail", 2 * day + 2, day + 1, 0)
        assert mail.run_seconds == pytest.approx((day + 1) * 60.3)
    minutes = hand.conn.execute("SELECT minute::text FROM pgjobq.history ORDER BY minute").fetchall()
    assert len(minutes) == 3
    assert minutes[0] == ("-infinity",)
    (run,) = hand.conn.execute("SELECT run FROM pgjobq.history WHERE NOT isfinite(minute)").fetchone()
    assert sum(run) == 3


def test_the_doors_tell_what_is_counted_and_what_is_not_yet(hand: Hand, queue: Queue) -> None:
    now = hand.conn.execute("SELECT date_bin('1 minute', now(), 'epoch')").fetchone()[0]
    hand.enqueue(queue="mail")
    ended(hand.conn, now - timedelta(minutes=3), "s", 0.3)
    assert sum(minute.succeeded for minute in queue.history(10)) == 1
    assert all(minute.median is None for minute in queue.history(10))
    hand.conn.execute("SELECT pgjobq.count_history($1, $2)", [now - timedelta(minutes=5), now])
    ended(hand.conn, now, "f", errors=1)
    told = queue.history(10)
    assert len(told) in (10, 11)
    assert (sum(minute.succeeded for minute in told), sum(minute.failed for minute in told)) == (1, 1)
    (third,) = [minute for minute in told if minute.succeeded]
    assert third.minute == now - timedelta(minutes=3)
    assert third.median is not None
    assert 0.2 < third.median <= 0.5
    assert max(minute.ready or 0 for minute in told) == 1
    assert sum(minute.succeeded for minute in queue.history(10, queue="reports")) == 0


def quarters_differ(conn: psycopg.Connection[Any]) -> list[Any]:
    """Quarters of an hour that are not what their minutes add up to, or that lack."""
    return conn.execute(
        "WITH minutes AS (SELECT date_bin('15 minutes', minute, 'epoch') AS quarter, sum(started) AS started,"
        " sum(succeeded) AS succeeded, sum(failed) AS failed, sum(cancelled) AS cancelled, sum(errors) AS errors,"
        " sum(run[8]) AS short, sum(run[15]) AS long FROM pgjobq.history WHERE isfinite(minute) GROUP BY 1)"
        " SELECT m, q FROM minutes m FULL JOIN pgjobq.history_quarter q USING (quarter)"
        " WHERE (m.started, m.succeeded, m.failed, m.cancelled, m.errors, m.short, m.long) IS DISTINCT FROM"
        " (q.started, q.succeeded, q.failed, q.cancelled, q.errors, q.run[8], q.run[15])"
    ).fetchall()


def test_quarters_of_an_hour_follow_their_minutes_also_what_comes_late_and_what_goes(hand: Hand) -> None:
    for minute in (1, 2, 14, 15, 16, 31):
        at(hand.conn, NOON + timedelta(minutes=minute, seconds=5))
        ended(hand.conn, NOON + timedelta(minutes=minute - 1, seconds=10), "s", 0.15, queue="mail")
        ended(hand.conn, NOON + timedelta(minutes=minute - 1, seconds=20), "f", 30, queue="pdf", errors=1)
        hand.say("write_history")
        assert quarters_differ(hand.conn) == []
    ended(hand.conn, NOON + timedelta(minutes=30, seconds=40), "c")  # committed late
    at(hand.conn, NOON + timedelta(minutes=32, seconds=5))
    hand.say("write_history")
    assert quarters_differ(hand.conn) == []
    assert hand.value("SELECT sum(cancelled)::int FROM pgjobq.history_quarter") == 1
    at(hand.conn, NOON + timedelta(days=4, minutes=2))
    ended(hand.conn, NOON + timedelta(days=4, minutes=1), "s", 0.15)
    hand.say("write_history")
    assert quarters_differ(hand.conn) == []
    assert hand.value("SELECT count(*)::int FROM pgjobq.history_quarter") == 1


def test_several_minutes_are_told_as_one(hand: Hand, queue: Queue) -> None:
    """What ended is added up over minutes and queues; of what waited, the most at one time counts."""
    now = hand.conn.execute("SELECT date_bin('1 hour', now(), 'epoch')").fetchone()[0]
    places = len(BOUNDS) + 1
    assert hand.conn.execute("SELECT cardinality(pgjobq.history_bounds()) + 1").fetchone() == (places,)
    run = [0] * (places - 1) + [2]
    for minutes, name, ready in ((60, "mail", 4), (60, "pdf", 5), (59, "mail", 7), (46, "mail", 1), (45, "mail", 2)):
        hand.conn.execute(
            "INSERT INTO pgjobq.history VALUES ($1, $2, 3, 2, 1, 0, 4, 9, $3, $4, $5)",
            [now - timedelta(minutes=minutes), name, run, ready, ready / 2],
        )
    hand.conn.execute("SELECT pgjobq.sum_history($1, $2)", [now - timedelta(hours=1), now])
    told = {span.minute: span for span in queue.history(180, span=15)}
    assert len(told) == 12
    hour, quarter = told[now - timedelta(hours=1)], told[now - timedelta(minutes=45)]
    assert (hour.started, hour.succeeded, hour.failed, hour.errors, hour.retried) == (12, 8, 4, 16, 12)
    assert (hour.ready, hour.oldest, hour.run[-1]) == (9, 3.5, 8)
    assert (quarter.succeeded, quarter.ready) == (2, 2)
    hours = {span.minute: span.succeeded for span in queue.history(180, span=60)}
    assert len(hours) == 3
    assert hours[now - timedelta(hours=1)] == 10  # the last but one, unless the hour has just turned
    assert told[now - timedelta(minutes=30)].ready is None
    assert sum(span.succeeded for span in queue.history(180, span=60, queue="pdf")) == 2
    for minutes, span in ((60, 7), (60, 0), (60, True), (60, 61)):
        with pytest.raises(InvalidOption, match="span"):
            queue.history(minutes, span=span)
    trends = {trend.queue: trend for trend in queue.trends(180)}
    assert {name: (sum(trend.ended), sum(trend.failed), max(trend.ready)) for name, trend in trends.items()} == {
        "mail": (12, 4, 7),
        "pdf": (3, 1, 5),
    }
    assert {len(trend.ended) for trend in trends.values()} == {180}
    with pytest.raises(InvalidOption, match="minutes"):
        queue.trends(0)


@given(st.lists(st.integers(0, 50), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1), st.floats(0, 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_share_lies_where_its_attempts_were_counted(run: list[int], share: float) -> None:
    found = Minute(NOON, 0, 0, 0, 0, 0, 0.0, tuple(run), None, None).quantile(share)
    if not sum(run):
        assert found is None
        return
    assert found is not None
    low = [0.0, *BOUNDS]
    reached = [place for place in range(len(run)) if run[place] and sum(run[: place + 1]) >= share * sum(run) - 1e-9]
    assert low[reached[0]] <= found <= ([*BOUNDS, BOUNDS[-1]][reached[0]]) + 1e-9
