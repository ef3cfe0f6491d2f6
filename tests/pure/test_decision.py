"""decide(): every way a handler can end leads to exactly one outcome, within the budget."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.errors import TaskError, UnstorableResult
from pgjobq.outcome import (
    Discard,
    Discarded,
    Failed,
    Outcome,
    Retried,
    Snooze,
    Snoozed,
    Succeeded,
    decide,
    result_text,
)
from pgjobq.retry import Retry

PLAIN = Retry(jitter=0)


def end(error: BaseException | None = None, **changes: Any) -> Outcome:
    given: dict[str, Any] = {
        "attempt": 1,
        "spared": 0,
        "max_attempts": 20,
        "retry": PLAIN,
        "random": lambda: 0.5,
    }
    return decide(error, **(given | changes))


def test_a_return_is_a_success_with_its_result() -> None:
    assert end() == Succeeded(None)
    assert end(result={"sent": 3}) == Succeeded('{"sent":3}')


def test_a_failure_is_retried_after_the_retrys_delay() -> None:
    outcome = end(ValueError("no"), attempt=3)
    assert isinstance(outcome, Retried)
    assert outcome.delay == 4
    assert (outcome.failure.kind, outcome.failure.message) == ("ValueError", "no")


def test_the_last_attempt_fails_for_good() -> None:
    assert isinstance(end(ValueError(), attempt=19), Retried)
    assert isinstance(end(ValueError(), attempt=20), Failed)


def test_spared_attempts_do_not_count() -> None:
    assert isinstance(end(ValueError(), attempt=25, spared=6), Retried)
    assert isinstance(end(ValueError(), attempt=25, spared=5), Failed)


def test_the_wait_grows_with_what_was_spent_only() -> None:
    outcome = end(ValueError(), attempt=12, spared=10)
    assert isinstance(outcome, Retried)
    assert outcome.delay == 2


def test_a_snooze_waits_whatever_the_budget() -> None:
    assert end(Snooze(30), attempt=99) == Snoozed(30.0)
    assert end(Snooze(seconds=timedelta(minutes=2))) == Snoozed(120.0)


def test_a_discard_ends_it_with_a_storable_reason() -> None:
    assert end(Discard("order was cancelled")) == Discarded("order was cancelled")
    assert end(Discard()) == Discarded("")
    outcome = end(Discard("a\0b" + "x" * 20_000))
    assert isinstance(outcome, Discarded)
    assert "\0" not in outcome.reason
    assert len(outcome.reason) <= 10_000


def test_a_discard_with_no_text_is_no_trouble() -> None:
    class Spiteful:
        def __str__(self) -> str:
            raise RuntimeError

    outcome = end(Discard(Spiteful()))  # type: ignore[arg-type]
    assert isinstance(outcome, Discarded)
    assert "Spiteful" in outcome.reason


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(7.5, 7.5), (timedelta(seconds=9), 9.0), (0, 0.0), (Retry(wait=50, jitter=0), 50.0)],
)
def test_a_rule_sets_the_delay(rule: Any, expected: float) -> None:
    outcome = end(ValueError(), retry=Retry(rules={ValueError: rule}))
    assert isinstance(outcome, Retried)
    assert outcome.delay == expected


def test_giving_up_is_at_once() -> None:
    assert isinstance(end(ValueError(), retry=Retry(give_up_on=(ValueError,))), Failed)
    assert isinstance(end(ValueError(), retry=Retry(rules={Exception: False})), Failed)


def test_a_rules_retry_may_lower_the_limit_and_not_raise_it() -> None:
    lower = Retry(rules={ValueError: Retry(max_attempts=2, jitter=0)})
    assert isinstance(end(ValueError(), attempt=1, retry=lower), Retried)
    assert isinstance(end(ValueError(), attempt=2, retry=lower), Failed)
    higher = Retry(rules={ValueError: Retry(max_attempts=100)})
    assert isinstance(end(ValueError(), attempt=3, max_attempts=3, retry=higher), Failed)


def test_the_jobs_own_limit_counts_not_the_tasks() -> None:
    assert isinstance(end(ValueError(), attempt=25, max_attempts=30, retry=Retry(max_attempts=2)), Retried)


@pytest.mark.parametrize(
    "error",
    [
        StopIteration(3),
        StopAsyncIteration(),
        SystemExit(1),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        MemoryError(),
        BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError("x")]),
    ],
)
def test_every_base_exception_is_a_failure_like_any_other(error: BaseException) -> None:
    outcome = end(error)
    assert isinstance(outcome, Retried)
    assert outcome.failure.kind.endswith(type(error).__name__)


def test_a_time_out_is_called_that_whatever_the_handler_left_with() -> None:
    outcome = end(asyncio.CancelledError(), task_timeout=30.0)
    assert isinstance(outcome, Retried)
    assert outcome.failure.kind == "TimeoutError"
    assert outcome.failure.message == "the attempt ran longer than its time-out of 30 s"
    assert "CancelledError" in outcome.failure.traceback


def test_a_rule_for_time_outs_applies_to_the_engines_time_out() -> None:
    outcome = end(asyncio.CancelledError(), task_timeout=30.0, retry=Retry(give_up_on=(TimeoutError,)))
    assert isinstance(outcome, Failed)


def test_a_time_out_that_came_too_late_changes_nothing() -> None:
    assert end(result=1, task_timeout=30.0) == Succeeded("1")
    assert end(Snooze(5), task_timeout=30.0) == Snoozed(5.0)


errors = st.sampled_from([None, ValueError("x"), SystemExit(), Snooze(1), Discard("no")])


@given(
    error=errors,
    attempt=st.integers(1, 32_767),
    spared=st.integers(0, 32_767),
    max_attempts=st.integers(1, 32_767),
    luck=st.floats(0, 1, exclude_max=True),
    give_up=st.booleans(),
)
def test_the_decision_is_total_and_keeps_the_budget(
    error: BaseException | None, attempt: int, spared: int, max_attempts: int, luck: float, give_up: bool
) -> None:
    retry = Retry(give_up_on=(ValueError,) if give_up else ())
    outcome = decide(error, attempt=attempt, spared=spared, max_attempts=max_attempts, retry=retry, random=lambda: luck)
    match error:
        case None:
            assert outcome == Succeeded(None)
        case Snooze():
            assert outcome == Snoozed(1.0)
        case Discard():
            assert outcome == Discarded("no")
        case _:
            over = attempt - spared >= max_attempts or (give_up and isinstance(error, ValueError))
            assert isinstance(outcome, Failed if over else Retried)
            if isinstance(outcome, Retried):
                assert 0 <= outcome.delay <= retry.cap


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "30", True, None, timedelta(days=-1), 1e11])
def test_a_snooze_of_no_time_is_refused(seconds: Any) -> None:
    with pytest.raises(TaskError, match=r"wants seconds or a timedelta"):
        Snooze(seconds)


def test_a_snooze_reads_as_what_it_asks() -> None:
    assert str(Snooze(2.5)) == "again in 2.5 s"


@dataclass
class Report:
    sent: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (0, "0"),
        (False, "false"),
        ("ü", '"ü"'),
        (Report(3), '{"sent":3}'),
        ([1, (2, 3)], "[1,[2,3]]"),
        (2**70, str(2**70)),
    ],
)
def test_a_result_is_kept_as_json(value: Any, text: str | None) -> None:
    assert result_text(value) == text


def nested() -> list[Any]:
    """A list that contains itself."""
    loop: list[Any] = []
    loop.append(loop)
    return loop


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "type object"),
        ("a\0b", "U+0000"),
        ("\\\0", "U+0000"),
        ("\ud800", "surrogate"),
        ("x" * 2_000_000, "1,048,576 is the most"),
        ({(1, 2): 3}, "type dict"),
        (10**5000, "type int"),
        (nested(), "RecursionError"),
    ],
    ids=["object", "nul", "nul behind a backslash", "surrogate", "too long", "tuple key", "5000 digits", "itself"],
)
def test_a_result_that_cannot_be_kept_fails_the_attempt(value: Any, words: str) -> None:
    """And says what is wrong with it, in a sentence that can itself be stored."""
    with pytest.raises(UnstorableResult, match="cannot be kept as the job's result"):
        result_text(value)
    again, last = end(result=value), end(result=value, attempt=20)
    assert isinstance(again, Retried)
    assert isinstance(last, Failed)
    for failure in (again.failure, last.failure):
        assert failure.kind == "pgjobq.errors.UnstorableResult"
        assert words in failure.message
        assert len(failure.message) < 1_000
    assert isinstance(end(result=value, retry=Retry(give_up_on=(UnstorableResult,))), Failed)


def test_the_escape_of_nul_as_text_is_no_nul() -> None:
    assert json.loads(result_text("\\u0000") or "") == "\\u0000"
