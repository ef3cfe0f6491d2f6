"""Schedules through the front door: declared, created, changed, listed; and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from pgjobq import Gate, Keyring, Queue, Secret, Unique, current_job
from pgjobq.errors import ScheduleError, UnknownArgument, UnknownSchedule, UnknownTask
from pgjobq.settings import WorkerSettings
from pgjobq.worker import Worker


def test_declared_on_a_function_and_on_a_task(queue: Queue) -> None:
    @queue.cron("0 9 * * mon-fri", tz="Europe/Paris", args={"day": 1})
    def report(day: int) -> None: ...

    @queue.every(timedelta(minutes=5), overlap="skip")
    @queue.cron("@daily", name="nightly")
    @queue.task(queue="slow")
    def tidy() -> None: ...

    queue.declare_schedules("shop:queue")
    queue.declare_schedules("shop:queue")
    found = {one.name: one for one in queue.schedules()}
    assert sorted(found) == ["nightly", "report", "tidy"]
    assert (found["report"].expression, found["report"].tz, found["report"].args) == (
        "0 9 * * mon-fri",
        "Europe/Paris",
        {"day": 1},
    )
    assert (found["tidy"].expression, found["tidy"].overlap, found["tidy"].queue) == ("@every 300s", "skip", "slow")
    assert found["nightly"].task == "tidy"
    assert report.name == "report"
    assert len(found["report"].next_runs(3)) == 3
    assert str(found["report"].next_runs(1)[0].tzinfo) == "Europe/Paris"


def test_managed_at_run_time(queue: Queue) -> None:
    @queue.task
    def report(day: int) -> None: ...

    queue.schedule("weekly", "0 8 * * mon", report, {"day": 7}, tz="Europe/Paris", by="ann")
    queue.schedule("weekly", timedelta(hours=1), "report", {"day": 8}, missed="all")
    (one,) = queue.schedules("weekly")
    assert (one.expression, one.args, one.missed, one.edited, one.app) == (
        "@every 3600s",
        {"day": 8},
        "all",
        False,
        None,
    )
    assert queue.pause_schedule("weekly", "audit", by="ann") is True
    assert queue.schedules()[0].paused_because == "audit"
    job = queue.run_schedule("weekly")
    assert job is not None
    kept = queue.get(job.id)
    assert kept is not None
    assert (kept.task, kept.args, kept.headers["schedule"]) == ("report", {"day": 8}, "weekly")
    assert queue.resume_schedule("weekly") is True
    assert queue.reset_schedule("weekly") is False
    assert queue.delete_schedule("weekly") is True
    assert queue.schedules() == []
    assert [(entry.who, entry.what) for entry in queue.audit() if entry.who == "ann"] == [
        ("ann", "pause_schedule"),
        ("ann", "put_schedule"),
    ]


def test_the_awaited_twins(queue: Queue) -> None:
    @queue.task
    def report() -> None: ...

    async def all_of_them() -> None:
        await queue.aschedule("nightly", "@daily", report.using(queue="slow").call(), overlap="skip")
        assert [one.queue for one in await queue.aschedules("nightly")] == ["slow"]
        assert await queue.apause_schedule("nightly") is True
        assert await queue.aresume_schedule("nightly") is True
        assert await queue.arun_schedule("nightly") is not None
        assert await queue.arun_schedule("nightly") is None, "its job has not ended"
        assert await queue.areset_schedule("nightly") is False
        assert await queue.adelete_schedule("nightly") is True
        await queue.aclose()

    asyncio.run(all_of_them())


@pytest.mark.parametrize("door", ["pause", "resume", "run", "reset", "delete"])
def test_an_unknown_schedule(queue: Queue, door: str) -> None:
    with pytest.raises(UnknownSchedule, match="'nobody'"):
        getattr(queue, f"{door}_schedule")("nobody")


BAD: list[tuple[Callable[[Queue, Any], object], type[Exception], str]] = [
    (lambda q, t: q.schedule("a", "61 * * * *", t, {"day": 1}), ScheduleError, "minute"),
    (lambda q, t: q.schedule("a", "@daily", t, {"day": 1}, tz="Europe/Pari"), ScheduleError, "Did you mean"),
    (lambda q, t: q.schedule("a", "@daily", "reprot", {"day": 1}), UnknownTask, "report"),
    (lambda q, t: q.schedule("a", "@daily", t, {"dya": 1}), UnknownArgument, "dya"),
    (lambda q, t: q.schedule("a", "@daily", t, {"day": 1}, missed="al"), ScheduleError, "'all'"),
    (lambda q, t: q.schedule("", "@daily", t, {"day": 1}), ScheduleError, "name"),
    (lambda q, t: q.schedule("a", timedelta(seconds=0.5), t, {"day": 1}), ScheduleError, "whole seconds"),
    (lambda q, t: q.schedule("a", "@daily", t.using(delay=5).call(day=1)), ScheduleError, "delay"),
    (lambda q, t: q.cron("0 25 * * *"), ScheduleError, "hour"),
    (lambda q, t: q.every(0), ScheduleError, "whole seconds"),
    (lambda q, t: q.cron("@daily", overlap="no"), ScheduleError, "overlap"),
    (lambda q, t: q.cron("@daily", args={"day": 2})(q.cron("@hourly", args={"day": 1})(t)), ScheduleError, "name=…"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_cannot_work_is_refused_and_nothing_is_written(queue: Queue, number: int) -> None:
    @queue.task
    def report(day: int) -> None: ...

    ask, kind, told = BAD[number]
    with pytest.raises(kind) as caught:
        ask(queue, report)
    assert told in str(caught.value)
    assert queue.schedules() == []


def test_part_of_the_callers_transaction(queue: Queue, dsn: str) -> None:
    import psycopg

    @queue.task
    def report() -> None: ...

    with psycopg.connect(dsn) as conn:
        queue.schedule("nightly", "@daily", report, conn=conn)
        assert len(queue.schedules(conn=conn)) == 1
        conn.rollback()
    assert queue.schedules() == []


def test_secrets_are_not_shown_and_what_is_encrypted_arrives(dsn: str) -> None:
    queue = Queue(dsn, encryption=Keyring({"k": Keyring.generate()}))
    got: list[object] = []

    @queue.task
    def log_in(password: Secret[str]) -> None:
        got.append((password, current_job().schedule, current_job().scheduled_for))

    plain = Queue(dsn)

    @plain.task(name="plain")
    def log_in_plainly(password: Secret[str]) -> None: ...

    try:
        plain.schedule("plain", "@daily", log_in_plainly, {"password": "hunter2"})
        assert plain.schedules("plain")[0].args == {"password": "[secret]"}
        queue.schedule("sealed", "@daily", log_in, {"password": "hunter2"})
        assert "hunter2" not in repr(queue.schedules("sealed"))
        assert queue.run_schedule("sealed") is not None
        Worker(queue, WorkerSettings(drain=True)).run_sync()
        ((password, schedule, tick),) = got  # type: ignore[misc]
        assert (password, schedule) == ("hunter2", "sealed")
        assert tick is not None
    finally:
        queue.close()
        plain.close()


def test_an_embedded_worker_declares_and_retires_nothing(queue: Queue) -> None:
    @queue.every(3600, name="hourly")
    @queue.task
    def tidy() -> None: ...

    queue.schedule("other", "@daily", tidy)
    Worker(queue, WorkerSettings(drain=True)).run_sync()
    assert [(one.name, one.retired_at) for one in queue.schedules()] == [("hourly", None), ("other", None)]


def test_gates_and_unique_keys_go_along(queue: Queue) -> None:
    @queue.task(gates=[Gate("api", concurrency=1)], unique=Unique(args=("day",)))
    def report(day: int) -> None: ...

    queue.schedule("nightly", "@daily", report, {"day": 1}, missed="all")
    first = queue.run_schedule("nightly")
    assert first is not None
    assert queue.run_schedule("nightly") is None, "its key is held"
    assert queue.schedules()[0].last_job == first.id
    assert [job.id for job in queue.jobs()] == [first.id]
