"""Options: how a job is enqueued; one refusal for each thing that cannot be meant."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.errors import InvalidOption, NaiveDatetime
from pgjobq.task import Options

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_nothing_said_is_nothing_set() -> None:
    options = Options()
    assert dataclasses.astuple(options) == (None, None, None, None, None, (), {}, None, None, None, (), "success", None)


def test_everything_at_once() -> None:
    conn = object()
    options = Options().merged(
        queue="mail",
        priority=-9,
        delay=timedelta(minutes=1),
        ref="order:42",
        tags=["a", "b", "a"],
        headers={"trace": "1"},
        conn=conn,
    )
    assert options == Options("mail", -9, 60.0, None, "order:42", ("a", "b"), {"trace": "1"}, conn)
    assert type(options.delay) is float


def test_options_are_merged_and_the_former_stay() -> None:
    first = Options().merged(queue="mail", ref="order:42")
    second = first.merged(ref="order:43", run_at=NOON)
    assert (first.ref, first.run_at) == ("order:42", None)
    assert (second.queue, second.ref, second.run_at) == ("mail", "order:43", NOON)


def test_headers_and_tags_are_copied() -> None:
    headers, tags = {"a": "b"}, ["x"]
    options = Options().merged(headers=headers, tags=tags)
    headers["c"] = "d"
    tags.append("y")
    assert (options.headers, options.tags) == ({"a": "b"}, ("x",))


LONG = "x" * 256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"delay": -1}, ["delay=-1", "run_at"]),
        ({"delay": math.nan}, ["delay=nan"]),
        ({"delay": math.inf}, ["delay=inf"]),
        ({"delay": 100 * 366 * 86_400}, ["100 years"]),
        ({"delay": timedelta(days=-1)}, ["delay="]),
        ({"delay": timedelta(days=40_000)}, ["100 years"]),
        ({"delay": "60"}, ["delay='60'", "seconds or a timedelta"]),
        ({"delay": True}, ["delay=True"]),
        ({"delay": 1, "run_at": NOON}, ["two answers to one question"]),
        ({"run_at": "tomorrow"}, ["run_at='tomorrow'", "use delay"]),
        ({"run_at": NOON.date()}, ["wants a datetime"]),
        ({"run_at": 1_700_000_000}, ["wants a datetime"]),
        ({"priority": 10}, ["priority=10", "-9 (runs first) to 9"]),
        ({"priority": -10}, ["priority=-10"]),
        ({"priority": True}, ["priority=True"]),
        ({"priority": 1.0}, ["priority=1.0"]),
        ({"priority": "1"}, ["priority='1'"]),
        ({"queue": ""}, ["queue='' is empty"]),
        ({"queue": LONG}, ["256 characters", "255 is the most"]),
        ({"queue": "a\0"}, ["queue='a\\x00'", "U+0000"]),
        ({"queue": "a\ud800"}, ["surrogate"]),
        ({"queue": 7}, ["queue=7 is no text"]),
        ({"ref": ""}, ["ref='' is empty"]),
        ({"ref": LONG}, ["255 is the most"]),
        ({"ref": "\0"}, ["U+0000"]),
        ({"ref": 42}, ["ref=42 is no text"]),
        ({"tags": "nightly"}, ["['nightly']"]),
        ({"tags": None}, ["tags=None"]),
        ({"tags": [""]}, ["tag='' is empty"]),
        ({"tags": [LONG]}, ["255 is the most"]),
        ({"tags": ["a", "\0"]}, ["U+0000"]),
        ({"tags": [1]}, ["tag=1 is no text"]),
        ({"tags": [str(n) for n in range(51)]}, ["51 entries; 50 is the most"]),
        ({"headers": [("a", "b")]}, ["dict of text to text"]),
        ({"headers": {"a": 1}}, ["headers['a']=1"]),
        ({"headers": {1: "a"}}, ["headers[1]"]),
        ({"headers": {"a": "\0"}}, ["headers['a']", "U+0000"]),
        ({"headers": {"a\ud800": "x"}}, ["surrogate"]),
        ({"dealy": 5}, ["no option 'dealy'", "Did you mean 'delay'?"]),
        ({"order_id": 5}, ["no option 'order_id'", "arguments go to enqueue()"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidOption) as refused:
        Options().merged(**changes)
    sentence = str(refused.value)
    assert len(sentence) < 300
    for word in words:
        assert word in sentence


def test_a_naive_run_at_has_a_class_of_its_own() -> None:
    with pytest.raises(NaiveDatetime, match="no time zone"):
        Options().merged(run_at=NOON.replace(tzinfo=None))


def test_delay_may_give_way_to_run_at() -> None:
    options = Options().merged(delay=5).merged(delay=None, run_at=NOON)
    assert (options.delay, options.run_at) == (None, NOON)


def test_merging_a_second_answer_is_refused_as_well() -> None:
    with pytest.raises(InvalidOption):
        Options().merged(delay=5).merged(run_at=NOON)


@given(
    delay=st.floats(0, 100 * 365 * 86_400) | st.timedeltas(timedelta(0), timedelta(days=36_500)),
    priority=st.integers(-9, 9),
    ref=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255),
)
def test_what_is_in_range_is_taken(delay: float | timedelta, priority: int, ref: str) -> None:
    options = Options().merged(delay=delay, priority=priority, ref=ref)
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    assert (options.delay, options.priority, options.ref) == (seconds, priority, ref)


def test_options_of_a_task_are_values() -> None:
    assert Options().merged(ref="a") == Options(ref="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().ref = "b"  # type: ignore[misc]
