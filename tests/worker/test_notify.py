"""NOTIFY: sent when somebody is idle, spared when nobody is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from worker.stage import Stage, eventually, wait_until

IDLE_UNTIL = "SELECT last_value / 1000.0 - extract(epoch FROM clock_timestamp()) FROM pgjobq.idle_until"


@contextmanager
def listening(stage: Stage) -> Iterator[psycopg.Connection]:
    """A connection of the test's own that hears what workers hear."""
    with psycopg.connect(stage.dsn, autocommit=True) as conn:
        for channel in ("pgjobq", "pgjobq:due", "pgjobq:ended"):
            conn.execute(f'LISTEN "{channel}"'.encode())
        yield conn


def heard(conn: psycopg.Connection) -> int:
    """Notifications so far: those sent by transactions that have ended have all arrived after a round trip."""
    conn.execute("SELECT 1")
    return len(list(conn.notifies(timeout=0.2)))


def hear_one(stage: Stage, conn: psycopg.Connection) -> int:
    """Enqueue a job while a worker says that it is idle, and hear one notification; the job. What was said may be over
    before the job is written: then it is tried again."""
    counts: list[int] = []

    def once() -> int | None:
        if stage.value(IDLE_UNTIL) < 1:
            return None
        job = stage.enqueue("note")
        counts.append(heard(conn))
        return job if counts[-1] else None

    job = eventually(once)
    assert job is not None
    assert counts[-1] == 1, counts
    return job


def test_an_idle_worker_is_woken(stage: Stage) -> None:
    """With a poll interval of a minute a job enqueued to an idle worker starts at once."""
    stage.worker("--poll-interval", "60").ready()
    stage.wait_state(stage.enqueue("note"), "succeeded")
    wait_until(lambda: stage.value(IDLE_UNTIL) > 60)
    time.sleep(1.5)  # its first naps are short whoever calls: let them grow
    with listening(stage) as conn:
        took = []
        for _ in range(5):
            asked = time.monotonic()
            job = stage.enqueue("note")
            took.append(stage.wait_marks("start", 1, job, timeout=20)[0]["at"] - asked)
        assert heard(conn) >= 5
    print(f"from enqueue to start (ms): {[round(x * 1000) for x in took]}")
    assert sorted(took)[2] < 1


def test_a_saturated_worker_is_not_notified(stage: Stage) -> None:
    """Once all places are taken and the last idleness is over, enqueuing sends nothing."""
    stage.worker("--concurrency", "2", "--poll-interval", "0.3").ready()
    wait_until(lambda: stage.value(IDLE_UNTIL) > 0)  # what is over below must have begun
    stage.enqueue_many("hold", 2)
    stage.wait_marks("start", 2)
    wait_until(lambda: stage.value(IDLE_UNTIL) < 0, 15)
    with listening(stage) as conn:
        for _ in range(10):
            stage.enqueue("note")
        stage.enqueue_many("note", 100)
        assert heard(conn) == 0
    stage.open_gate()
    stage.wait_all("succeeded")
    with listening(stage) as conn:
        hear_one(stage, conn)


def test_nobody_at_work_means_no_notification(stage: Stage) -> None:
    """Without any worker enqueuing costs no NOTIFY."""
    with listening(stage) as conn:
        stage.enqueue("note")
        stage.enqueue_many("note", 10)
        assert heard(conn) == 0


def test_a_worker_with_places_left_is_notified(stage: Stage) -> None:
    """One long job must not make its worker deaf: it has other places, and sleeps."""
    stage.worker("--concurrency", "5", "--poll-interval", "0.6").ready()
    stage.enqueue("hold")
    began = stage.wait_marks("start")[0]["at"]
    wait_until(lambda: time.monotonic() - began > 4, 15)  # whatever was said before it began is over
    with listening(stage) as conn:
        job = hear_one(stage, conn)
    assert stage.wait_state(job, "succeeded")
    stage.open_gate()


def test_one_bulk_sends_one_notification(stage: Stage) -> None:
    """A thousand jobs at once wake the workers once per queue, and their ends wake nobody."""
    stage.worker("--poll-interval", "60").ready()
    wait_until(lambda: stage.value(IDLE_UNTIL) > 60)
    with listening(stage) as conn:
        stage.enqueue_many("note", 1000)
        stage.wait_all("succeeded")
        assert heard(conn) == 1


def test_jobs_are_found_by_polling_alone(stage: Stage) -> None:
    """--poll-only: no LISTEN anywhere, and jobs start within about the poll interval."""
    worker = stage.worker("--poll-only", "--poll-interval", "0.3").ready()
    stage.wait_state(stage.enqueue("note"), "succeeded")
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
    assert stage.value(sql) == 0
    job = stage.enqueue("note")
    assert stage.wait_state(job, "succeeded", timeout=10)
    due = stage.enqueue("note", delay=0.5)
    assert stage.wait_state(due, "succeeded", timeout=10)
    assert worker.events("worker_started")[0]["mode"] == "polling"
    assert worker.stop() == 0


def test_a_rollback_wakes_nobody(stage: Stage) -> None:
    """A notification belongs to its transaction."""
    stage.worker("--poll-interval", "60").ready()
    wait_until(lambda: stage.value(IDLE_UNTIL) > 60)
    with listening(stage) as conn, psycopg.connect(stage.dsn) as mine:
        stage.enqueue_on(mine, "note")
        mine.rollback()
        assert heard(conn) == 0
    assert stage.states() == {}
