"""Middleware, carried context, listeners and the log's job fields, in real worker processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.stage import Stage

APP = "apps.surrounded:queue"
AROUND = ["outer in", "inner in", "start", "inner out", "outer out"]


def order(stage: Stage, job: int) -> list[str]:
    return [mark["what"] for mark in stage.marks(job=job) if not mark["what"].startswith("heard")]


def test_whatever_runs_it_a_handler_has_the_same_around_it(stage: Stage) -> None:
    """On the loop, in a thread and in a process of its own; and what it enqueues carries the context on."""
    headers = json.dumps({"tenant": "acme", "request": "r-1", "other": "x"})
    jobs = {
        task: stage.enqueue(task, {"more": True}, headers=headers, ref="order:7")
        for task in ("on_loop", "in_thread", "in_cell")
    }
    plain = stage.enqueue("on_loop")
    worker = stage.drain(app=APP)
    for task, job in jobs.items():
        row = stage.job(job)
        assert row["state"] == "succeeded", f"{row}\n{worker.text}"
        assert row["result"] == "tenant acme"
        assert order(stage, job) == AROUND, task
        marks = {mark["what"]: mark for mark in stage.marks(job=job)}
        assert (marks["start"]["tenant"], marks["start"]["request"]) == ("acme", "r-1")
        assert marks["outer in"]["tenant"] == "acme"
        assert marks["outer out"]["result"] == "tenant acme"
    # One job's context is not the next one's.
    assert [mark["tenant"] for mark in stage.marks("start", plain)] == [None]
    inherited = stage.query("SELECT headers FROM pgjobq.job WHERE id > %s ORDER BY id", plain)
    assert [h for (h,) in inherited] == [{"tenant": "acme", "request": "r-1", "seen": "on_loop"}] * 3
    # What the application logs in a handler says for which job.
    logged = [e for e in worker.events("log") if e["message"] == "in the handler"]
    by_job = {e["job"]: e for e in logged}
    for task, job in jobs.items():
        assert by_job[job].items() >= {
            "task": task, "queue": "default", "attempt": 1, "ref": "order:7", "logger": "shop.orders"
        }.items()  # fmt: skip


def test_an_error_in_middleware_is_the_attempts_error(stage: Stage) -> None:
    jobs = {
        (task, trouble): stage.enqueue(task, headers=json.dumps({"trouble": trouble}), max_attempts=1)
        for task in ("on_loop", "in_thread", "in_cell")
        for trouble in ("before", "after", "snooze")
    }
    hung = [
        stage.enqueue(task, headers='{"trouble": "hang"}', max_attempts=1) for task in ("limited", "limited_in_cell")
    ]
    worker = stage.worker(app=APP)
    for (task, trouble), job in jobs.items():
        if trouble == "snooze":
            assert stage.wait_state(job, "succeeded")["attempt"] == 2
            continue
        row = stage.wait_state(job, "failed")
        prefix = f"pgjobq.errors.MiddlewareError: middleware Inner.run failed {trouble} the handler"
        if trouble == "before":
            assert row["reason"] == f"{prefix} was called, for {task}: KeyError: 'no such tenant'"
            assert 'raise KeyError("no such tenant")' in stage.errors(job)[0]["traceback"]
            assert order(stage, job) == ["outer in", "outer error"], "those around it hear of it"
        else:
            assert row["reason"] == f"{prefix} had returned, for {task}: ConnectionError: the commit failed"
            assert order(stage, job) == ["outer in", "inner in", "start", "inner out", "outer error"]
    for job in hung:
        assert "longer than its time-out of 3 s" in stage.wait_state(job, "failed")["reason"]
        assert order(stage, job) == ["outer in", "inner in", "outer error"], "a time-out holds for middleware, too"
    assert worker.stop() == 0, worker.text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["before", "after"])
def test_each_attempt_passes_through_it_anew_when_workers_die_in_it(stage: Stage, place: str) -> None:
    """Killed in middleware before the handler, and behind it, when its result was there and not yet committed."""
    headers = json.dumps({"tenant": "acme", "request": "r-1", "dies": place})
    jobs = [stage.enqueue(task, headers=headers) for task in ("on_loop", "in_thread", "in_cell")]
    worker = stage.worker("--concurrency", "1", app=APP).ready()
    whole = AROUND[: 2 if place == "before" else 4] + AROUND
    for job in jobs:
        row = stage.wait_state(job, "succeeded", timeout=120)
        assert (row["attempt"], row["result"]) == (2, "tenant acme")
        assert order(stage, job) == whole
        assert [mark["tenant"] for mark in stage.marks("outer in", job)] == ["acme", "acme"]
        (died,) = stage.errors(job)
        assert died["kind"].endswith("Died")
        told = stage.wait_marks("heard job_succeeded", job=job)
        assert len(told) == 1, "listeners hear of the completion, once"
    assert worker.stop() == 0


def test_listeners_hear_what_is_committed_and_harm_nothing(stage: Stage) -> None:
    failed, retried, well = stage.enqueue("fail", max_attempts=1), stage.enqueue("fail_once"), stage.enqueue("on_loop")
    worker = stage.worker("--log-level", "error", app=APP)  # they hear what the log does not tell
    stage.wait_marks("heard job_succeeded", 2)
    stage.wait_marks("heard job_failed")
    assert worker.stop() == 0, worker.text
    assert [mark["job"] for mark in stage.marks("heard job_failed")] == [failed], worker.text
    assert [mark["job"] for mark in stage.marks("heard job_retried")] == [retried]
    assert {mark["job"] for mark in stage.marks("heard job_succeeded")} == {retried, well}
    assert stage.marks()[-1]["what"] == "heard process_ending", "the last thing they hear"
    told = worker.events("listener_failed")
    assert [(e["listener"], e["about"], e["error"]) for e in told] == [("stumble", "job_failed", "RuntimeError")]
    assert "the listener's own" in told[0]["traceback"]


def test_isolated_handlers_log_with_their_job(stage: Stage) -> None:
    job = stage.enqueue("in_cell", ref="order:9\nforged")
    command: Any = stage.worker("--drain", "--log-format", "text", app=APP)
    command.wait()
    line = next(line for line in command.text.splitlines() if "in the handler" in line)
    assert line.endswith(f"shop.orders: in the handler [in_cell #{job} order:9\\nforged, attempt 1]")
