"""What steps give, as JSON and back; what a ledger allows; what a suspension decides."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq import LeaseLost, Queue, Retry, StepError
from pgjobq.outcome import Awaiting, Snoozed, Suspension, decide
from pgjobq.statements.steps import Attempt, Memory, Remembered
from pgjobq.steps import Ledger
from pgjobq.steps.values import promised, reader

WHO = Attempt(7, 2, UUID(int=1))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)  # fmt: skip
plain = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab$c", max_size=4), inner, max_size=4)
)


def ledger(steps: dict[str, Remembered] | None = None) -> Ledger:
    """Of a plain task, which has read what earlier attempts have left."""

    def buy() -> None: ...

    made = Ledger("pgjobq", WHO, Queue("postgresql://nowhere").task(buy), "buy", "default", None)
    made.learn(Memory(steps or {}, None))
    return made


@given(plain)
def test_plain_values_come_back(value: Any) -> None:
    text, _ = ledger().remember("a", value, 0.1)
    assert reader("a", Any)(text) == value


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (Decimal, Decimal("1.50")),
        (datetime, datetime(2026, 11, 29, 12, tzinfo=UTC)),
        (date, date(2026, 11, 29)),
        (timedelta, timedelta(seconds=1.5)),
        (tuple[int, ...], (1, 2)),
        (set[str], {"a"}),
        (bytes, b"\0\xff"),
        (UUID, UUID(int=7)),
        (PurePosixPath, PurePosixPath("/a/b")),
        (dict[int, list[Decimal]], {1: [Decimal(1)]}),
        (int | None, None),
    ],
)
def test_typed_values_come_back(wanted: Any, value: Any) -> None:
    text, _ = ledger().remember("a", value, 0.0)
    assert reader("a", wanted)(text) == value


class Callable_:
    def __call__(self) -> list[int]: ...  # type: ignore[empty-body]


async def awaited() -> set[str]: ...  # type: ignore[empty-body]


def unknown() -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821


def silent(x): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (awaited, set[str]),
        (Callable_(), list[int]),
        (functools.partial(functools.partial(awaited)), set[str]),
        (Decimal, Decimal),
        (unknown, Any),
        (silent, Any),
        (lambda: 1, Any),
        (len, Any),
        ([].append, Any),
    ],
)
def test_what_a_function_promises(function: Any, wanted: Any) -> None:
    assert promised(function) == wanted


def test_what_a_task_promises() -> None:
    def buy(order: int) -> dict[str, int]: ...  # type: ignore[empty-body]

    assert promised(Queue("postgresql://nowhere").task(buy)) == dict[str, int]


def test_what_is_remembered_is_given_and_what_is_not_over_is_looked_at() -> None:
    done = Remembered("step", "2026-11-29", value=b"[1]")  # type: ignore[arg-type]
    naps = Remembered("sleep", None)
    known = ledger({"done": done, "naps": naps})
    assert known.meet("done", "step") is done
    assert known.meet("naps", "sleep") is None
    assert known.meet("new", "step") is None


@pytest.mark.parametrize("kind", ["step", "sleep", "wait"])
def test_a_name_that_was_met(kind: str) -> None:
    known = ledger()
    known.meet("a", kind, "e")
    with pytest.raises(StepError, match="this attempt has had a step of that name"):
        known.meet("a", "step")


def test_a_wait_for_another_event() -> None:
    """A name that is given by hand, and an event that is not the one an earlier attempt was given."""
    known = ledger({"answer": Remembered("wait", "2026-11-29", event="order:1")})
    with pytest.raises(StepError, match=r"has waited for the event 'order:1' there.*'order:2'"):
        known.meet("answer", "wait", "order:2")


@pytest.mark.parametrize("outcome", [Snoozed(3.0), Awaiting("paid")])
def test_a_suspension_decides_by_itself(outcome: Snoozed | Awaiting) -> None:
    """No rule of the task is asked, no attempt is counted, whatever the numbers say."""
    decided = decide(
        Suspension(outcome), attempt=9, spared=0, max_attempts=1, retry=Retry(max_attempts=1), random=lambda: 0.5
    )
    assert decided is outcome
    assert not isinstance(Suspension(outcome), Exception)


def test_how_refusals_read() -> None:
    known = ledger()
    assert isinstance(known.lost(), LeaseLost)
    assert "job 7 (buy), attempt 2" in str(known.lost())
    assert "queue.forget_steps(7, 'answer')" in str(known.late("answer", "order:1"))
