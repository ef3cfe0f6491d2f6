"""Whatever a handler raises is recorded, takes no neighbour's success with it, and the worker goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pgjobq import Queue, Retry
from worker.stage import Stage, run_drained


class Unspeakable(Exception):
    """Cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Base(BaseException):
    """Not an Exception."""


class Changing(Exception):
    """Its text is not even a text."""

    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


def recursion() -> None:
    recursion()


ERRORS: dict[str, tuple[Callable[[], BaseException], str, str]] = {
    "nul": (lambda: ValueError("a\0b"), "ValueError", "a\\x00b"),
    "surrogate": (lambda: ValueError("a\ud800b"), "ValueError", "a\\ud800b"),
    "large": (lambda: ValueError("x" * 20_000_000), "ValueError", "characters cut out"),
    "unspeakable": (lambda: Unspeakable(), "Unspeakable", "str() raised"),
    "changing": (lambda: Changing(), "Changing", "str() raised"),
    "stop_iteration": (lambda: StopIteration("s"), "StopIteration", ""),
    "stop_async_iteration": (lambda: StopAsyncIteration("s"), "StopAsyncIteration", ""),
    "system_exit": (lambda: SystemExit(3), "SystemExit", "3"),
    "keyboard_interrupt": (lambda: KeyboardInterrupt(), "KeyboardInterrupt", ""),
    "generator_exit": (lambda: GeneratorExit(), "GeneratorExit", ""),
    "cancelled": (lambda: asyncio.CancelledError("c"), "CancelledError", "c"),
    "base": (lambda: Base("b"), "Base", "b"),
    "group": (lambda: BaseExceptionGroup("g", [ValueError("\0"), Base("b")]), "BaseExceptionGroup", "g"),
    "memory": (lambda: MemoryError(), "MemoryError", ""),
    "name": (lambda: type("N\nä" * 200, (Exception,), {})("n"), "N", "n"),
}


@pytest.mark.parametrize("timeout", [None, 20], ids=["free", "timed"])
@pytest.mark.parametrize("kind", ["async", "plain"])
def test_every_kind_of_error_is_recorded(queue: Queue, stage: Stage, kind: str, timeout: float | None) -> None:
    """All of them in one batch with 60 successes between: each is a failed attempt of its own job, nothing else."""

    def plain(which: str) -> str | None:
        if which in ERRORS:
            raise ERRORS[which][0]()
        if which == "deep":
            recursion()
        return "fine" if which == "result" else None

    async def handler(which: str) -> str | None:
        return plain(which)

    task: Any = queue.task(name="fail", retry=Retry(max_attempts=1), timeout=timeout)(
        handler if kind == "async" else plain
    )
    names = [name for which in [*ERRORS, "deep"] for name in (which, "fine", "result", "fine", "fine")]
    jobs = queue.enqueue_many([task.call(which=which) for which in names])
    run_drained(queue, concurrency=30)
    by_name: dict[str, int] = {}
    for name, job in zip(names, jobs, strict=True):
        if name in ("fine", "result"):
            assert stage.state(job) == "succeeded"
        else:
            by_name[name] = job
    for name, (_, class_name, words) in ERRORS.items():
        job = by_name[name]
        assert stage.state(job) == "failed", name
        (error,) = stage.errors(job)
        if name == "stop_iteration" and kind == "async":  # Python itself makes that of it
            assert error["kind"] == "RuntimeError"
            continue
        if name == "stop_async_iteration" and kind == "async":
            continue
        assert class_name in error["kind"], name
        assert words in error["message"], name
        assert len(error["message"]) <= 10_000, name
    assert stage.errors(by_name["deep"])[0]["kind"] == "RecursionError"
    after = task.enqueue(which="fine").id
    run_drained(queue)
    assert stage.state(after) == "succeeded"


def test_a_reason_that_cannot_be_stored_is_made_storable(queue: Queue, stage: Stage) -> None:
    """Discard's reason and a result with odd characters as well."""
    from pgjobq import Discard

    @queue.task
    async def drop() -> None:
        raise Discard("a\0b\ud800" + "x" * 100_000)

    @queue.task(retry=Retry(max_attempts=1))
    async def tell() -> dict[str, str]:
        return {"a": "b\ud800"}

    @queue.task
    async def note() -> None:
        pass

    jobs = queue.enqueue_many([drop.call(), tell.call(), note.call()])
    run_drained(queue)
    assert [stage.state(job) for job in jobs] == ["cancelled", "failed", "succeeded"]
    assert stage.job(jobs[0])["reason"].startswith("a\\x00b\\ud800xxx")


def test_an_outcome_that_the_database_refuses_harms_no_other(queue: Queue, stage: Stage) -> None:
    """One outcome that cannot be stored (a trigger of the user's refuses it) is told as such; its neighbours in the
    same batch are settled, and nothing stays in running."""
    stage.query(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF NEW.reason LIKE 'forbidden%' THEN RAISE 'not this one'; END IF; RETURN NEW; END $$;
           CREATE TRIGGER refuse BEFORE INSERT ON pgjobq.finished FOR EACH ROW EXECUTE FUNCTION refuse()"""
    )
    from pgjobq import Discard

    @queue.task
    async def drop(reason: str) -> None:
        raise Discard(reason)

    @queue.task
    async def note() -> None:
        pass

    bad = drop.enqueue(reason="forbidden").id
    good = [drop.enqueue(reason="fine").id for _ in range(5)] + [note.enqueue().id for _ in range(20)]
    run_drained(queue, concurrency=30)
    assert {stage.state(job) for job in good} == {"succeeded", "cancelled"}
    row = stage.job(bad)
    assert row["state"] == "failed"
    assert "OutcomeRefused" in row["reason"]
    assert "not this one" in row["reason"]


@pytest.mark.parametrize("task", ["raise_exit", "raise_interrupt"])
def test_a_task_of_the_handler_that_exits(stage: Stage, task: str) -> None:
    """SystemExit or KeyboardInterrupt in a task that the handler started would end the event loop. The attempt counts,
    other jobs are run, and the worker goes on."""
    worker = stage.worker(app="apps.fatal:queue").ready()
    job = stage.enqueue(task, max_attempts=2)
    row = stage.wait_state(job, "failed")
    assert row["attempt"] == 2
    assert len(stage.starts(job)) == 2
    assert stage.wait_state(stage.enqueue("note"), "succeeded")
    assert worker.stop() == 0
