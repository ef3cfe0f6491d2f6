"""Secrets: marked arguments reach the handler and no text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq import EnqueueError, Keyring, Queue, Secret, TaskError, UnsupportedAnnotation
from pgjobq.codec import Codec
from pgjobq.codec.secrecy import HIDDEN, veil_over
from pgjobq.outcome import decide, describe
from pgjobq.retry import Retry

VALUE = "hunter2-and-more"


@dataclass
class Card:
    number: Annotated[str, msgspec.Meta(max_length=16)]
    cvc: int


def pay(
    order: int, token: Secret[str], card: Secret[Card] | None = None, at: Secret[datetime] | None = None
) -> None: ...


def with_any(token: Secret[Any]) -> None: ...


def with_more(order: int, **extra: Secret[str]) -> None: ...


def bare(order: int, token: str) -> None: ...


REFUSED = [
    (pay, (), {"order": 1, "token": [VALUE]}),
    (pay, (), {"order": 1, "token": VALUE.encode()}),
    (pay, (), {"order": 1, "token": VALUE + "\0"}),
    (pay, (), {"order": 1, "token": VALUE + "\ud800"}),
    (pay, (), {"order": 1, "token": {VALUE}}),
    (pay, (), {"order": 1, "token": object()}),
    (pay, (1, "a", None, None, VALUE), {}),
    (pay, (), {"order": 1, "token": "a", "card": {"number": VALUE * 9, "cvc": 1}}),
    (pay, (), {"order": 1, "token": "a", "card": {"number": "1", "cvc": VALUE}}),
    (pay, (), {"order": 1, "token": "a", "card": Card(VALUE, VALUE)}),  # type: ignore[arg-type]
    (pay, (), {"order": 1, "token": "a", "at": VALUE}),
    (pay, (), {"order": 1, "token": "a", "at": datetime(1999, 12, 31)}),  # noqa: DTZ001 - what is to be refused
    (with_any, (), {"token": {VALUE: object()}}),
    (with_any, (), {"token": {VALUE + "\0": 1}}),
    (with_any, (), {"token": {VALUE: {1: 2}}}),
    (with_any, (), {"token": {VALUE: float("nan")}}),
    (with_more, (), {"order": 1, "password": [VALUE]}),
    (bare, (), {"order": 1, "token": [VALUE]}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), REFUSED)
def test_a_refusal_does_not_quote_it(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    codec = Codec.of(function, ("token",) if function is bare else ())
    with pytest.raises(EnqueueError) as refusal:
        codec.encode(args, kwargs, max_bytes=10_000)
    told = describe(refusal.value)  # as a log or an error tracker would write it, causes included
    assert not [part for part in ("hunter", "1999") if part in told.message + told.traceback]


def test_other_arguments_are_quoted_as_ever() -> None:
    with pytest.raises(EnqueueError, match="'many'"):
        Codec.of(pay).encode((), {"order": "many", "token": VALUE}, max_bytes=10_000)


@pytest.mark.parametrize(
    "text", ['{"order": 1, "token": 7001}', '{"order": 1, "token": "x", "card": "7001"}', "7001", '{"7001']
)
def test_stored_arguments_that_do_not_fit_are_not_quoted(text: str) -> None:
    with pytest.raises(EnqueueError) as refusal:
        Codec.of(pay).decode(text)
    told = describe(refusal.value)
    assert "7001" not in told.message + told.traceback


def test_the_handler_gets_the_values() -> None:
    codec = Codec.of(pay)
    text = codec.encode((), {"order": 1, "token": VALUE, "card": Card("4111", 7)}, max_bytes=1_000)
    assert codec.decode(text) == {"order": 1, "token": VALUE, "card": Card("4111", 7)}
    assert codec.shown(msgspec.json.decode(text)) == {"order": 1, "token": HIDDEN, "card": HIDDEN}


@pytest.mark.parametrize(
    ("annotation", "secret"),
    [
        (Secret[str], True),
        (Secret[str] | None, True),
        (list[Secret[str]], True),
        (dict[str, list[Secret[int]]], True),
        (Annotated[Secret[str], msgspec.Meta(max_length=5)], True),
        (str, False),
        (Annotated[str, msgspec.Meta(max_length=5)], False),
    ],
)
def test_what_counts_as_marked(annotation: Any, secret: bool) -> None:
    def task(value) -> None: ...  # type: ignore[no-untyped-def]

    task.__annotations__["value"] = annotation
    assert Codec.of(task).hides("value") is secret


def test_a_secret_that_cannot_travel_is_refused_like_any_other() -> None:
    def task(value: Secret[object]) -> None: ...

    with pytest.raises(UnsupportedAnnotation):
        Codec.of(task)


# --- errors ------------------------------------------------------------------------------------------------


def failure_of(error: BaseException, **arguments: Any) -> str:
    """All that is stored of an attempt of `pay` that ended so."""
    outcome: Any = decide(
        error,
        attempt=1,
        spared=0,
        max_attempts=1,
        retry=Retry(),
        random=lambda: 0.5,
        veil=Codec.of(pay).veil({"order": 1, "token": "x", **arguments}),
    )
    return repr(outcome)


def caught(raising: Any) -> BaseException:
    try:
        raising()
    except BaseException as error:
        return error
    raise AssertionError


def chained(secret: str) -> BaseException:
    def fail() -> None:
        try:
            {}[secret]
        except KeyError as error:
            error.add_note(f"looked for {secret}")
            raise ExceptionGroup("several", [ValueError(f"bad {secret!r}"), OSError(secret)]) from error

    return caught(fail)


@pytest.mark.parametrize("secret", [VALUE, "a'b\"c\\d", "ü✓ß", "with space&and=url", "line\nbreak", "\x01\x02\x03"])
def test_errors_their_causes_groups_and_notes_are_stored_without_it(secret: str) -> None:
    forms = {secret, repr(secret)[1:-1], secret.encode("unicode_escape").decode()}
    for error in (ValueError(secret), ValueError({"token": secret}), chained(secret), KeyError(secret)):
        stored = failure_of(error, token=secret)
        assert HIDDEN in stored
        assert not [form for form in forms if form in stored]


def test_a_secret_is_not_left_over_where_a_long_text_is_cut() -> None:
    """The middle of a long message is cut out: whatever stands at the cut must not keep half a secret."""
    secret = "S" + "0123456789" * 40
    for shift in range(0, 400, 37):
        stored = failure_of(ValueError("." * (6_500 + shift) + secret + "." * 9_000), token=secret)
        assert "0123" not in stored


def test_parts_of_structured_secrets_are_taken_out_too() -> None:
    stored = failure_of(ValueError("card 4111222233334444 with 789 refused"), card=Card("4111222233334444", 789))
    assert f"card {HIDDEN} with {HIDDEN} refused" in stored


def test_a_discards_reason_is_kept_without_it() -> None:
    from pgjobq import Discard

    assert VALUE not in failure_of(Discard(f"{VALUE} was revoked"), token=VALUE)


def test_what_is_too_short_to_be_told_from_other_text_stays() -> None:
    assert veil_over([7, "", None, True]) is veil_over([], [7, "abc"]) is None
    veil = veil_over(["ab"])
    assert veil is not None
    assert veil("cabin 'ab'") == f"cabin {HIDDEN}"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists))
def test_a_veil_takes_any_value(value: Any) -> None:
    veil = veil_over([value])
    assert veil is None or isinstance(veil("some text"), str)


# --- declarations ------------------------------------------------------------------------------------------


def test_a_name_that_is_no_argument_is_refused_with_the_near_one() -> None:
    with pytest.raises(TaskError, match="Did you mean 'token'"):
        Queue().task(secrets=["tokn"])(bare)
    with pytest.raises(TaskError, match="wants a list of names"):
        Queue().task(secrets="token")(bare)
    with pytest.raises(TaskError, match="wants a Keyring"):
        Queue().task(encryption="key")(bare)  # type: ignore[arg-type]


def test_calls_and_tasks_do_not_show_it() -> None:
    queue = Queue(encryption=Keyring({"k": b"k" * 32}))
    task = queue.task(secrets=["token"])(bare)
    call = task.call(1, VALUE)
    assert VALUE not in repr(call) + str(call) + repr(task) + repr(task.using(ref="a"))
    assert VALUE not in call.args_text


def test_an_encrypted_task_hides_every_argument() -> None:
    task = Queue(encryption=Keyring({"k": b"k" * 32})).task(bare)
    with pytest.raises(EnqueueError) as refusal:
        task.call(VALUE, "x")  # type: ignore[arg-type]
    assert VALUE not in str(refusal.value)
    veil = task.codec.veil({"order": 1, "token": VALUE})
    assert veil is not None
    assert veil(f"1 {VALUE}") == f"1 {HIDDEN}"
