"""Quotes and proposals in errors, and spans of time: bounded, and never an error themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.durations import LONGEST, to_seconds
from pgjobq.wording import did_you_mean, quote


class Mute:
    def __repr__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("value", "shown"), [(7, "7"), ("a", "'a'"), ("\0", "'\\x00'"), ([1, "b"], "[1, 'b']"), (None, "None")]
)
def test_a_short_value_is_quoted_as_it_is(value: Any, shown: str) -> None:
    assert quote(value) == shown


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000_000, list(range(1_000_000)), {str(n): n for n in range(1_000)}, b"x" * 1_000_000, Mute(), [Mute()]],
    ids=["text", "list", "dict", "bytes", "no repr", "no repr inside"],
)
def test_whatever_it_is_the_quote_is_short(value: Any) -> None:
    assert 0 < len(quote(value)) <= 80


def test_near_names_are_proposed() -> None:
    assert did_you_mean("emial", ["email", "order_id"]) == " Did you mean 'email'?"
    assert did_you_mean("send_mial", ["send_mail", "send_mails"]) == " Did you mean 'send_mail' or 'send_mails'?"
    assert did_you_mean("colour", ["email", "order_id"]) == ""
    assert did_you_mean("x", []) == ""


@pytest.mark.parametrize(("span", "seconds"), [(0, 0.0), (1.5, 1.5), (timedelta(minutes=1), 60.0), (LONGEST, LONGEST)])
def test_a_span_is_seconds(span: Any, seconds: float) -> None:
    assert to_seconds(span) == seconds
    assert type(to_seconds(span)) is float


@pytest.mark.parametrize(
    "span", [-1, -0.001, LONGEST * 1.001, float("nan"), float("inf"), True, "1", None, timedelta(days=-1), 10**400]
)
def test_what_is_no_span(span: Any) -> None:
    assert to_seconds(span) is None


@given(st.timedeltas(timedelta(0), timedelta(days=36_500)))
def test_every_reasonable_timedelta_is_a_span(span: timedelta) -> None:
    assert to_seconds(span) == span.total_seconds()
