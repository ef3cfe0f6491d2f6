"""Job, AttemptError, EnqueuedJob: what a person reads of them, and that they are values."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from pgjobq.job import AttemptError, EnqueuedJob, Job, JobState

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": 7,
        "task": "send_confirmation",
        "queue": "default",
        "state": JobState.READY,
        "args": {"email": "private@example.com"},
        "ref": None,
        "tags": (),
        "headers": {},
        "priority": 0,
        "attempt": 0,
        "max_attempts": 8,
        "created_at": NOON,
        "run_at": None,
        "started_at": None,
        "finished_at": None,
        "worker": None,
        "reason": None,
        "result": None,
    }
    return Job(**(values | changes))


def test_the_repr_of_a_fresh_job_is_short() -> None:
    assert repr(job()) == "<Job #7 send_confirmation ready attempt 0/8>"


def test_the_repr_tells_what_matters_in_one_line() -> None:
    shown = repr(
        job(
            state=JobState.SCHEDULED,
            queue="mail",
            ref="order:42",
            attempt=2,
            run_at=NOON,
            reason="SMTPServerDisconnected: connection lost\nand a second line",
        )
    )
    assert shown == (
        "<Job #7 send_confirmation scheduled attempt 2/8 queue=mail ref='order:42' "
        "due=2026-03-01T12:00:00+00:00 reason='SMTPServerDisconnected: connection lost'>"
    )


def test_the_repr_cuts_a_long_reason_and_never_shows_arguments() -> None:
    shown = repr(job(reason="x" * 10_000))
    assert len(shown) < 200
    assert "\n" not in shown
    assert "private@example.com" not in shown


def test_a_finished_job_is_not_due_any_more() -> None:
    assert "due=" not in repr(job(state=JobState.FAILED, run_at=NOON))


@pytest.mark.parametrize(
    ("state", "final"),
    [
        ("scheduled", False),
        ("blocked", False),
        ("ready", False),
        ("running", False),
        ("succeeded", True),
        ("failed", True),
        ("cancelled", True),
    ],
)
def test_the_states_are_the_seven_and_their_text(state: str, final: bool) -> None:
    assert JobState(state) == state
    assert f"{JobState(state)}" == state
    assert JobState(state).final is final


def test_there_are_no_other_states() -> None:
    assert len(JobState) == 7


@pytest.mark.parametrize(
    "value",
    [
        job(),
        EnqueuedJob(id=7, task="send", queue="mail"),
        AttemptError(7, 1, NOON, NOON, "worker", "ValueError", "no", "Traceback …"),
    ],
)
def test_they_are_frozen_values_that_can_be_pickled(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, 8)
    assert not hasattr(value, "__dict__")


def test_a_receipt_reads_as_it_is_written() -> None:
    assert repr(EnqueuedJob(id=7, task="send", queue="mail")) == (
        "EnqueuedJob(id=7, task='send', queue='mail', is_new=True)"
    )
