"""Sentry: failed attempts are reported with their job, and nothing else is; through a transport that records."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

from pgjobq import Chunk, ChunkJob, Discard, Queue, Retry, Secret, Snooze, current_job
from pgjobq.ext import sentry
from worker.stage import run_drained


@dataclass
class Letter:
    to: str
    token: Secret[str]


class Recorder(Transport):
    """Keeps the events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: dict[str, Any] = {}
        self.reported = 0

    def capture_envelope(self, envelope: Any) -> None:
        event = envelope.get_event()
        if event is not None:
            self.reported += 1
            self.events[event.get("transaction", "the log")] = event


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    integrations = [LoggingIntegration()]  # reports what is logged as an error, as Sentry does by default
    sentry_sdk.init(
        "https://key@sentry.invalid/1", transport=recorder, default_integrations=False, integrations=integrations
    )
    yield recorder
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(None)


def test_failed_attempts_with_their_job_and_without_secrets(queue: Queue, recorder: Recorder) -> None:
    sentry.instrument(queue)
    once = queue.task(retry=Retry(max_attempts=1))

    @once
    async def decline(amount: int) -> None:
        sentry_sdk.add_breadcrumb(message="asked the bank")
        await asyncio.sleep(0)
        raise PermissionError(f"{amount} declined")

    @once
    def log_in(password: Secret[str]) -> None:
        sentry_sdk.add_breadcrumb(message=f"tried {password}")
        raise ValueError(f"wrong: {password}")

    @queue.task(retry=Retry(max_attempts=2, wait=0.0))
    def flaky() -> None:
        if current_job().attempt == 1:
            raise OSError("for now")

    @queue.task
    def orders(kind: str) -> None:
        if kind == "snooze" and current_job().attempt == 1:
            raise Snooze(0.0)
        raise Discard("no longer wanted")

    @queue.task(timeout=0.2, retry=Retry(max_attempts=1))
    async def slow() -> None:
        await asyncio.sleep(3600)

    declined = decline.using(ref="order:7").enqueue(5)
    log_in.enqueue("hunter2")
    for task in (flaky, slow):
        task.enqueue()
    for kind in ("snooze", "discard"):
        orders.enqueue(kind)
    run_drained(queue)

    assert set(recorder.events) == {"decline", "log_in", "flaky", "slow"}
    assert recorder.reported == 4, "each once"
    event = recorder.events["decline"]
    assert event["contexts"]["job"] == {"id": declined.id, "attempt": 1, "max_attempts": 1, "ref": "order:7"}
    assert event["tags"] == {"pgjobq.task": "decline", "pgjobq.queue": "default", "pgjobq.ref": "order:7"}
    (raised,) = event["exception"]["values"]
    assert raised["mechanism"] == {"type": "pgjobq", "handled": False}
    assert (raised["type"], raised["value"]) == ("PermissionError", "5 declined")
    assert raised["stacktrace"]["frames"][-1]["vars"]["amount"] == "5"
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["asked the bank"]
    secret = recorder.events["log_in"]
    assert secret["exception"]["values"][0]["value"] == "wrong: [secret]"
    assert "hunter2" not in str(secret)
    assert recorder.events["slow"]["exception"]["values"][-1]["type"] == "CancelledError", "its time was up"


def test_of_a_chunk_those_that_failed_are_reported_each_by_itself(queue: Queue, recorder: Recorder) -> None:
    sentry.instrument(queue)

    def send(jobs: list[ChunkJob[Letter]]) -> None:
        for job in jobs:
            if job.args.to != "Ada":
                job.fail(ValueError(f"nobody is called {job.args.to}, says {job.args.token}"))

    task = queue.task(chunk=Chunk(size=3, wait=60), retry=Retry(max_attempts=1))(send)
    jobs = {to: task.enqueue(to=to, token=f"token-of-{to}").id for to in ("Ada", "Bob", "Cleo")}
    run_drained(queue)
    assert recorder.reported == 2
    event = recorder.events["send"]
    assert event["contexts"]["job"]["id"] == jobs["Cleo"]
    assert event["exception"]["values"][0]["value"] == "nobody is called Cleo, says [secret]"


def test_an_application_without_sentry_pays_with_nothing_but_the_call(queue: Queue) -> None:
    """`instrument` before, or without, `sentry_sdk.init`."""
    sentry.instrument(queue)

    @queue.task(retry=Retry(max_attempts=1))
    def fail() -> None:
        raise ValueError("no client")

    job = fail.enqueue()
    run_drained(queue)
    assert [error.kind for error in queue.errors(job.id)] == ["ValueError"]
