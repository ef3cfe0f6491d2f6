"""Retry: waits grow, stay bounded, and follow the most specific rule; wrong settings are refused."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.errors import TaskError
from pgjobq.retry import MOST_ATTEMPTS, Retry

chance = st.floats(min_value=0, max_value=1, exclude_max=True)
attempts = st.integers(min_value=1, max_value=MOST_ATTEMPTS)


@st.composite
def retries(draw: st.DrawFn) -> Retry:
    cap = draw(st.floats(min_value=0, max_value=1e9))
    return Retry(
        wait=draw(st.floats(min_value=0, max_value=cap)),
        factor=draw(st.floats(min_value=1, max_value=1e6)),
        cap=cap,
        jitter=draw(st.floats(min_value=0, max_value=1)),
    )


def no_chance() -> float:
    raise AssertionError("without jitter nothing is left to chance")


def test_the_default_doubles_from_a_second_to_an_hour() -> None:
    retry = Retry(jitter=0)
    assert [retry.delay(n, no_chance) for n in range(1, 7)] == [1, 2, 4, 8, 16, 32]
    assert retry.delay(12, no_chance) == 2048
    assert retry.delay(13, no_chance) == 3600


def test_jitter_takes_off_at_most_its_part() -> None:
    retry = Retry(wait=100, jitter=0.2)
    assert retry.delay(1, lambda: 0.0) == 100
    assert retry.delay(1, lambda: 0.5) == pytest.approx(90)
    assert retry.delay(1, lambda: 0.999999) == pytest.approx(80, abs=0.001)


@given(retries(), attempts, chance)
def test_a_delay_lies_between_the_jittered_and_the_full_wait(retry: Retry, attempt: int, luck: float) -> None:
    full = Retry(wait=retry.wait, factor=retry.factor, cap=retry.cap, jitter=0).delay(attempt, no_chance)
    delay = retry.delay(attempt, lambda: luck)
    assert math.isfinite(delay)
    assert 0 <= full * (1 - retry.jitter) * (1 - 1e-12) <= delay <= full <= retry.cap


@given(retries(), attempts)
def test_without_jitter_waits_never_shrink(retry: Retry, attempt: int) -> None:
    still = Retry(wait=retry.wait, factor=retry.factor, cap=retry.cap, jitter=0)
    assert still.delay(attempt, no_chance) <= still.delay(attempt + 1, no_chance)


@pytest.mark.parametrize("factor", [1.0, 1.0000001, 2.0, 1e6])
@pytest.mark.parametrize("attempt", [30_000, MOST_ATTEMPTS])
def test_late_attempts_do_not_overflow(factor: float, attempt: int) -> None:
    assert 0 <= Retry(factor=factor, jitter=0).delay(attempt, no_chance) <= 3600


def test_a_factor_of_one_is_a_constant_wait() -> None:
    retry = Retry(wait=5, factor=1, jitter=0)
    assert {retry.delay(n, no_chance) for n in (1, 2, 30_000)} == {5}


def test_no_wait_at_all_is_possible() -> None:
    assert Retry(wait=0, cap=0).delay(5, lambda: 0.5) == 0
    assert Retry(wait=0).delay(30_000, lambda: 0.5) == 0


class Down(ConnectionError):
    pass


class LongDown(Down):
    pass


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (LongDown(), 600.0),
        (Down(), 60.0),
        (ConnectionResetError(), 5.0),
        (BrokenPipeError(), False),
        (KeyError(), False),
    ],
)
def test_the_most_specific_class_wins(error: Exception, rule: Any) -> None:
    retry = Retry(
        rules={ConnectionError: 5.0, LongDown: 600.0, Down: 60.0, BrokenPipeError: False},
        give_up_on=(LookupError,),
    )
    assert retry.rule_for(error) is rule or retry.rule_for(error) == rule


def test_a_rule_is_more_specific_than_give_up_on_its_base() -> None:
    retry = Retry(give_up_on=(Exception,), rules={ConnectionError: 5.0})
    assert retry.rule_for(Down()) == 5.0
    assert retry.rule_for(ValueError()) is False


def test_without_a_rule_the_retry_itself_decides() -> None:
    retry = Retry(rules={ConnectionError: 5.0})
    assert retry.rule_for(ValueError()) is retry


def test_the_order_of_rules_does_not_matter() -> None:
    one = Retry(rules={ConnectionError: 1.0, Down: 2.0})
    two = Retry(rules={Down: 2.0, ConnectionError: 1.0})
    assert one == two
    assert one.rule_for(Down()) == two.rule_for(Down()) == 2.0


def test_later_changes_of_the_given_dict_do_not_matter() -> None:
    rules: dict[type[BaseException], Any] = {ValueError: 5.0}
    retry = Retry(rules=rules)
    rules.clear()
    assert retry.rule_for(ValueError()) == 5.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"max_attempts": 0}, "max_attempts=0"),
        ({"max_attempts": 32_768}, "32767"),
        ({"max_attempts": True}, "max_attempts=True"),
        ({"max_attempts": 2.0}, "max_attempts=2.0"),
        ({"wait": -1}, "wait=-1"),
        ({"wait": math.nan}, "wait=nan"),
        ({"wait": "1"}, "wait='1'"),
        ({"wait": 7200}, "raise cap"),
        ({"cap": math.inf}, "cap=inf"),
        ({"factor": 0.5}, "factor=0.5"),
        ({"jitter": 1.5}, "jitter=1.5"),
        ({"jitter": True}, "jitter=True"),
        ({"give_up_on": ValueError}, "such as (ValueError,)"),
        ({"give_up_on": ("ValueError",)}, "'ValueError' is not an exception class"),
        ({"rules": [ValueError]}, "wants a dict"),
        ({"rules": {int: 5.0}}, "is not an exception class"),
        ({"rules": {ValueError: -1}}, "ValueError: -1"),
        ({"rules": {ValueError: True}}, "False to give up"),
        ({"rules": {ValueError: math.inf}}, "100 years"),
        ({"rules": {ValueError: 5.0}, "give_up_on": (ValueError,)}, "keep one of them"),
        ({"rules": {ValueError: Retry(give_up_on=(KeyError,))}}, "of its own"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_value(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TaskError) as refused:
        Retry(**arguments)
    assert sentence in str(refused.value)


def test_a_rule_may_be_a_timedelta() -> None:
    assert Retry(rules={ValueError: timedelta(minutes=1)}).rule_for(ValueError()) == timedelta(minutes=1)
