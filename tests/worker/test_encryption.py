"""Encrypted payloads from enqueue to the end of the job: who has the key runs it, who has not lets it wait."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from pgjobq import CannotDecrypt, KeyMissing, Keyring, Queue, Retry, Secret
from worker.stage import Stage, embedded, run_drained

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
CARD = "4111222233334444"


@pytest.fixture
def shop(dsn: str) -> Iterator[Callable[..., Shop]]:
    """Makes applications: the same tasks, each with keys of its own."""
    with ExitStack() as stack:

        def make(**keys: bytes) -> Shop:
            made = Shop(dsn, Keyring(keys) if keys else None)
            stack.callback(made.queue.close)
            return made

        yield make


class Shop:
    """One application."""

    def __init__(self, dsn: str, ring: Keyring | None) -> None:
        self.queue = Queue(dsn, encryption=ring)
        self.seen: list[Any] = []
        register(self)


def register(shop: Shop) -> None:
    @shop.queue.task
    def charge(card: str, cents: int) -> dict[str, str]:
        shop.seen.append((card, cents))
        return {"paid with": card}

    @shop.queue.task(retry=Retry(wait=3600))
    async def refuse(card: str) -> None:
        raise ValueError(f"card {card} was refused")

    @shop.queue.task(encryption=None)
    def note(text: str) -> str:
        shop.seen.append(text)
        return text

    shop.charge, shop.refuse, shop.note = charge, refuse, note  # type: ignore[attr-defined]


def everything(dsn: str) -> str:
    """All that the database holds, as text."""
    tables = ("job", "ready", "running", "scheduled", "blocked", "finished", "attempt_error")
    with psycopg.connect(dsn) as conn:
        rows = [conn.execute(f"SELECT to_jsonb(t)::text FROM pgjobq.{t} t".encode()).fetchall() for t in tables]
    return json.dumps(rows)


def ways_to_enqueue(shop: Any) -> list[int]:
    queue = shop.queue
    with psycopg.connect(queue.pools.dsn(None)) as conn:
        ids = [
            shop.charge.using(conn=conn).enqueue(CARD, 1).id,
            *queue.enqueue_many([shop.charge.call(CARD, 2)], conn=conn),
        ]
    ids.append(shop.charge.enqueue(card=CARD, cents=3).id)
    ids.append(queue.enqueue("charge", {"card": CARD, "cents": 4}, queue="other").id)
    ids += queue.enqueue_many(shop.charge.using(priority=1).call(CARD, cents) for cents in (5, 6))

    async def awaited() -> list[int]:
        found = [(await shop.charge.aenqueue(CARD, 7)).id, *await queue.aenqueue_many([shop.charge.call(CARD, 8)])]
        await queue.aclose()
        return found

    return ids + asyncio.run(awaited())


def test_nothing_of_it_is_in_the_database_and_the_handler_gets_it(shop: Callable[..., Any], dsn: str) -> None:
    """By every way of enqueuing; arguments before it ran, its result after."""
    app = shop(k=NEW)
    ids = ways_to_enqueue(app)
    assert CARD not in everything(dsn)
    run_drained(app.queue)
    assert sorted(app.seen) == [(CARD, cents) for cents in range(1, 9)]
    assert CARD not in everything(dsn)
    for job in ids:
        stored = app.queue.get(job)
        assert list(stored.args) == list(stored.result) == ["$enc"]
        opened = app.queue.decrypted(stored)
        assert opened.args["card"] == CARD
        assert opened.result == {"paid with": CARD}


def test_sql_can_tell_which_are_encrypted_and_with_which_key(shop: Callable[..., Any], stage: Stage) -> None:
    app = shop(k=NEW)
    sealed, plain = app.charge.enqueue(CARD, 1).id, app.note.enqueue("hello").id
    assert stage.query("SELECT id FROM pgjobq.jobs WHERE args ? '$enc'") == [(sealed,)]
    assert (
        stage.value("SELECT args #>> '{$enc,key}' FROM pgjobq.jobs WHERE id = %s", sealed)
        == app.queue.encryption.names[0]
    )
    assert stage.job(plain)["args"] == {"text": "hello"}
    run_drained(app.queue)
    assert stage.job(plain)["result"] == "hello"


def test_what_was_enqueued_before_encryption_is_run(shop: Callable[..., Any], stage: Stage) -> None:
    """And what SQL enqueues, which cannot seal."""
    before, after = shop(), shop(k=NEW)
    before.charge.enqueue(CARD, 1)
    stage.enqueue("charge", {"card": CARD, "cents": 2})
    run_drained(after.queue)
    assert sorted(after.seen) == [(CARD, 1), (CARD, 2)]


def test_after_a_rotation_old_and_new_payloads_are_run(shop: Callable[..., Any], stage: Stage) -> None:
    before, after = shop(old=OLD), shop(new=NEW, old=OLD)
    before.charge.enqueue(CARD, 1)
    after.charge.enqueue(CARD, 2)
    run_drained(after.queue)
    assert sorted(after.seen) == [(CARD, 1), (CARD, 2)]


@pytest.mark.parametrize("ignorant", [{}, {"k": OLD}, {"other": NEW}])
def test_without_its_key_a_job_waits_spends_nothing_and_says_for_what(
    shop: Callable[..., Any], stage: Stage, ignorant: dict[str, bytes]
) -> None:
    """Also when the key has the right name and is another one. Whoever has the key and the task takes it."""
    owner, other = shop(k=NEW), shop(**ignorant)
    job = owner.charge.enqueue(CARD, 1).id
    run_drained(other.queue)
    row = stage.job(job)
    assert (row["state"], row["attempt"]) == ("blocked", 0)
    assert row["reason"] == f"waits for task:charge key:{owner.queue.encryption.names[0]}"
    assert stage.errors(job) == other.seen == []
    run_drained(owner.queue)
    assert owner.seen == [(CARD, 1)]
    assert stage.job(job)["state"] == "succeeded"
    assert stage.job(job)["attempt"] == 1


def test_a_worker_with_the_key_takes_it_beside_workers_without(shop: Callable[..., Any], stage: Stage) -> None:
    """No worker passes it back and forth: one that has the key but not the task, and the reverse, leave it alone."""
    owner, keyless = shop(k=NEW), shop()
    taskless = Queue(stage.dsn, encryption=Keyring({"k": NEW}))
    with embedded(keyless.queue), embedded(taskless):
        jobs = [owner.charge.enqueue(CARD, cents).id for cents in range(5)]
        for job in jobs:
            stage.wait_state(job, "blocked")
        with embedded(owner.queue):
            for job in jobs:
                assert stage.wait_state(job, "succeeded", timeout=20)["attempt"] == 1
    taskless.close()


def test_a_payload_that_was_tampered_with_fails_at_once(shop: Callable[..., Any], stage: Stage) -> None:
    """One recorded attempt, no retries, the handler never called."""
    app = shop(k=NEW)
    job = app.charge.enqueue(CARD, 1).id
    args = stage.job(job)["args"]
    args["$enc"]["data"] = args["$enc"]["data"][:-6] + "AAAAA="
    stage.query("UPDATE pgjobq.job SET args = %s::jsonb", json.dumps(args))
    run_drained(app.queue)
    row = stage.job(job)
    assert row["state"] == "failed"
    assert "CannotDecrypt: the payload does not open" in row["reason"]
    assert len(stage.errors(job)) == 1
    assert app.seen == []
    with pytest.raises(CannotDecrypt):
        app.queue.decrypted(app.queue.get(job))


def test_a_payload_moved_to_another_task_or_queue_fails(shop: Callable[..., Any], stage: Stage) -> None:
    """Somebody who may write the tables cannot make `refuse`, or another queue's workers, take it."""
    app = shop(k=NEW)
    sealed = json.dumps(stage.job(app.charge.enqueue(CARD, 1).id)["args"])
    moved = [
        stage.enqueue("refuse", json.loads(sealed)),
        stage.enqueue("charge", json.loads(sealed), queue="elsewhere"),
    ]
    again = stage.enqueue("charge", json.loads(sealed))
    run_drained(app.queue)
    assert [stage.state(job) for job in moved] == ["failed", "failed"]
    assert stage.state(again) == "succeeded", "a copy in its own place is a replay, which encryption does not prevent"


def test_errors_of_an_encrypted_task_keep_its_arguments_to_themselves(shop: Callable[..., Any], stage: Stage) -> None:
    app = shop(k=NEW)
    job = app.refuse.enqueue(CARD).id
    with embedded(app.queue):
        stage.wait_state(job, "scheduled")
    (error,) = stage.errors(job)
    assert error["message"] == "card [secret] was refused"
    assert CARD not in everything(stage.dsn)


def test_secrets_in_errors_logs_and_jobs(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Without encryption: stored as they are, and shown nowhere."""
    queue = Queue(stage.dsn)
    seen: list[str] = []

    @queue.task(retry=Retry(max_attempts=1))
    def login(user: str, password: Secret[str]) -> None:
        seen.append(password)
        raise PermissionError(f"{user} may not come in with {password!r}")

    with caplog.at_level(logging.DEBUG):
        job = login.enqueue("ada", "hunter2").id
        run_drained(queue)
    assert seen == ["hunter2"]
    assert stage.job(job)["reason"] == "PermissionError: ada may not come in with [secret]"
    (error,) = queue.errors(job)
    assert "hunter2" not in error.message + error.traceback + caplog.text
    found = queue.get(job)
    assert found is not None
    assert found.args == queue.jobs()[0].args == {"user": "ada", "password": "[secret]"}
    assert queue.retry(job)
    run_drained(queue)
    assert seen == ["hunter2"] * 2, "a retry has the value, whatever was shown"
    queue.close()


def test_without_the_key_a_job_cannot_be_opened(shop: Callable[..., Any]) -> None:
    job = shop(k=NEW).charge.enqueue(CARD, 1).id
    other = shop(k=OLD)
    with pytest.raises(KeyMissing, match="the keys here are: k"):
        other.queue.decrypted(other.queue.get(job))
