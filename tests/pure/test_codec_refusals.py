"""The codec's refusals at enqueue: one class each, the argument's path, the value, and what to do."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from pgjobq.codec import Codec
from pgjobq.errors import (
    EnqueueError,
    MissingArgument,
    NaiveDatetime,
    NotSerializable,
    NulCharacter,
    PayloadTooLarge,
    UnknownArgument,
    WrongArgumentType,
)

NAIVE = datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001 - what is to be refused
AWARE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Line:
    sku: str
    quantity: int
    due: datetime | None = None


@dataclass
class GiftLine(Line):
    wrapping: str = "red"


class Customer(pydantic.BaseModel):
    name: str
    born: datetime | None = None
    score: float | None = None


class Account(pydantic.BaseModel):
    name: str
    password: pydantic.SecretStr


class Order(msgspec.Struct):
    id: int
    customer: Customer
    lines: list[Line] = []


class Point(NamedTuple):
    x: float
    at: datetime


class Filter(TypedDict, total=False):
    since: datetime
    text: str


class Rank(enum.Enum):
    FIRST = 1


class Colour(enum.Enum):
    RED = "red"


def send(order_id: int, email: str = "", *, urgent: bool = False) -> None: ...


def take(value: Any) -> None: ...


def refused(
    function: Callable[..., Any], *args: Any, max_bytes: int = 1_000_000, **kwargs: Any
) -> tuple[type[EnqueueError], str]:
    """The class and the sentence of the refusal of this call."""
    with pytest.raises(EnqueueError) as caught:
        Codec.of(function).encode(args, kwargs, max_bytes=max_bytes)
    return type(caught.value), str(caught.value)


def annotated(annotation: Any) -> Callable[..., Any]:
    """A task with one argument `value` of this type."""

    def take(value: Any) -> None: ...

    take.__annotations__["value"] = annotation
    return take


# --------------------------------------------------------------------------------------------- names


def test_an_unknown_argument_gets_the_near_name() -> None:
    assert refused(send, order_id=1, emial="x") == (
        UnknownArgument,
        "send: has no argument 'emial'; it takes order_id, email, urgent. Did you mean 'email'?",
    )


def test_a_task_without_arguments_says_so() -> None:
    def tick() -> None: ...

    assert refused(tick, x=1) == (UnknownArgument, "tick: has no argument 'x'; it takes no arguments.")


def test_too_many_unnamed_arguments() -> None:
    kind, sentence = refused(send, 1, "a", True)
    assert kind is UnknownArgument
    assert "at most 2 unnamed arguments (order_id, email), but got 3" in sentence
    assert "True" in sentence


def test_one_argument_given_twice() -> None:
    assert refused(send, 1, order_id=2) == (
        UnknownArgument,
        "send: argument order_id is given twice, unnamed and named.",
    )


def test_a_missing_argument() -> None:
    assert refused(send, email="x") == (MissingArgument, "send: argument order_id must be given.")


def test_all_missing_arguments_are_named() -> None:
    def both(first: int, second: int) -> None: ...

    assert refused(both) == (MissingArgument, "both: arguments first, second must be given.")


# --------------------------------------------------------------------------------------------- types


def test_a_wrong_type_tells_path_type_and_value() -> None:
    assert refused(send, order_id="seven") == (
        WrongArgumentType,
        "send: argument order_id wants int, but got 'seven' (str).",
    )


def test_a_wrong_type_inside() -> None:
    kind, sentence = refused(annotated(list[Line]), value=[Line("a", 1), Line("b", "two")])  # type: ignore[arg-type]
    assert kind is WrongArgumentType
    assert "argument value[1].quantity wants int, but got 'two' (str)" in sentence


def test_a_long_value_is_cut() -> None:
    _, sentence = refused(send, order_id="x" * 5_000)
    assert len(sentence) < 200


def test_a_value_whose_repr_fails_is_no_trouble() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError

    kind, sentence = refused(send, order_id=Mute())
    assert kind is WrongArgumentType
    assert "Mute" in sentence


@pytest.mark.parametrize(
    ("annotation", "value", "wanted"),
    [
        (int, True, "int"),
        (int, 1.5, "int"),
        (int, None, "int"),
        (bool, 1, "bool"),
        (float, "1.5", "float"),
        (str, 7, "str"),
        (str, b"bytes", "str"),
        (str, UUID(int=1), "str"),
        (str, AWARE, "str"),
        (str, date(2026, 3, 1), "str"),
        (str, Decimal("1.5"), "str"),
        (str, Path("x"), "str"),
        (str | None, b"bytes", "str"),
        (int | str | None, UUID(int=1), "int or str or None"),
        (str | None, Colour.RED, "str"),
        (bytes | None, "text", "bytes"),
        (list[str], ["a", b"b"], "value[1]"),
        (dict[str, str], {"a": b"b"}, "value['a']"),
        (bytes, "text", "bytes"),
        (bytearray, "text", "bytearray"),
        (datetime, "yesterday", "datetime"),
        (datetime, 1_700_000_000, "datetime"),
        (UUID, "not-a-uuid", "UUID"),
        (Decimal, "a lot", "Decimal"),
        (Colour, "blue", "Colour"),
        (Path, 7, "Path"),
        (timedelta, "an hour", "timedelta"),
        (tuple[int, int], (1, 2, 3), "length 2"),
        (list[int], {"a": 1}, "list"),
        (Customer, {"nam": "x"}, "name: Field required"),
        (Customer, 7, "Customer"),
        (Line, {"sku": "x"}, "quantity"),
        (Line, GiftLine("a", 1), "GiftLine adds"),
        (Filter, {"text": b"x"}, "value.text"),
        (list[int], {1, 2}, "list"),
        (dict[str, Any], Line("a", 1), "dict"),
        (Order, Line("a", 1), "Order"),
        (date, AWARE, "date"),
        (Decimal, b"\xd7m\xf8", "Decimal"),
        (date, Path("2026-03-01"), "date"),
        (UUID, Path(str(UUID(int=1))), "UUID"),
        (Colour, Path("red"), "Colour"),
        (Path, UUID(int=1), "Path"),
        (int, Rank.FIRST, "int"),
        (Customer, Line("a", 1), "Customer"),
        (list[Line] | None, [Line("a", "x")], "value[0].quantity"),
    ],
)
def test_what_does_not_fit_its_annotation(annotation: Any, value: Any, wanted: str) -> None:
    kind, sentence = refused(annotated(annotation), value=value)
    assert kind is WrongArgumentType
    assert "argument value" in sentence
    assert wanted in sentence


def test_a_model_that_does_not_fit_is_one_sentence() -> None:
    _, sentence = refused(annotated(Customer), value={"name": 1, "born": "x"})
    assert "name: Input should be a valid string; born: Input should be a valid datetime" in sentence
    assert "\n" not in sentence
    assert "http" not in sentence


def test_a_class_that_refuses_its_own_values() -> None:
    @dataclass
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise LookupError("odd")

    even = Even(2)
    even.number = 3
    kind, sentence = refused(annotated(Even), value=even)
    assert kind is WrongArgumentType
    assert "odd" in sentence


# --------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"bytes",
        AWARE,
        UUID(int=1),
        Decimal(1),
        Path("x"),
        Line("a", 1),
        Colour.RED,
        range(3),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("inside", [False, True])
def test_without_an_annotation_only_plain_values_go(value: Any, inside: bool) -> None:
    kind, sentence = refused(take, value={"key": [1, value]} if inside else value)
    assert kind is NotSerializable
    assert ("value.key[1]" if inside else "argument value") in sentence
    assert type(value).__name__ in sentence


def test_a_generator_cannot_travel() -> None:
    kind, sentence = refused(take, value=(n for n in range(3)))
    assert kind is NotSerializable
    assert "generator" in sentence


def test_the_innermost_value_is_blamed() -> None:
    kind, sentence = refused(annotated(list[Line]), value=[Line("a", 1), Line("b", 10**5_000)])
    assert kind is NotSerializable
    assert "argument value[1].quantity is <int whose repr() fails>" in sentence


@pytest.mark.parametrize("keys", [{1: "a"}, {(1, 2): "a"}, {None: "a"}, {True: "a"}], ids=repr)
def test_keys_without_an_annotation_are_text(keys: Any) -> None:
    kind, sentence = refused(take, value={"inside": keys})
    assert kind is NotSerializable
    assert "value.inside has the key" in sentence


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("annotation", [Any, float, float | None, list[float], dict[str, float | None], Decimal])
def test_nan_and_infinity(number: float, annotation: Any) -> None:
    value: Any = {
        list[float]: [number],
        dict[str, float | None]: {"a": number},
        Decimal: Decimal(number),
    }.get(annotation, number)
    kind, sentence = refused(annotated(annotation), value=value)
    assert kind is NotSerializable
    assert "which JSON does not have" in sentence


def test_nan_inside_a_model() -> None:
    kind, sentence = refused(annotated(Customer), value=Customer(name="x", score=math.nan))
    assert (kind, "value.score" in sentence) == (NotSerializable, True)


@pytest.mark.parametrize("annotation", [Any, str, str | None, Line, list[str], dict[str, str], Path])
def test_lone_surrogates(annotation: Any) -> None:
    bad = "a\ud800"
    value: Any = {Line: Line(bad, 1), list[str]: [bad], dict[str, str]: {bad: "x"}, Path: Path(bad)}.get(
        annotation, bad
    )
    kind, sentence = refused(annotated(annotation), value=value)
    assert kind is NotSerializable
    assert "surrogate" in sentence
    sentence.encode()


def test_a_value_that_contains_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    kind, sentence = refused(take, value=loop)
    assert kind is NotSerializable
    assert "argument value is nested too deeply" in sentence


def test_a_value_nested_too_deeply() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    kind, sentence = refused(annotated(list), value=deep)
    assert kind is NotSerializable
    assert "nested too deeply" in sentence


def test_a_number_of_5000_digits() -> None:
    kind, sentence = refused(annotated(int), value=10**5_000)
    assert kind is NotSerializable
    assert "digits" in sentence


@pytest.mark.parametrize(
    ("value", "reason"),
    [(Account(name="x", password=pydantic.SecretStr("secret")), "secret and excluded fields")],
)
def test_a_model_that_hides_something_is_not_sent_half(value: Any, reason: str) -> None:
    kind, sentence = refused(annotated(Account), value=value)
    assert kind is NotSerializable
    assert reason in sentence
    assert "'secret'" not in sentence


def test_a_model_of_a_subclass_is_not_sent_half() -> None:
    class Vip(Customer):
        level: int = 1

    assert refused(annotated(Customer), value=Vip(name="x"))[0] is NotSerializable


# --------------------------------------------------------------------------------------------- NUL


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (str, "a\0", "value"),
        (Any, {"list": ["x", {"deep": "a\0"}]}, "value.list[1].deep"),
        (Any, {"ke\0y": 1}, "value (in a key)"),
        (dict[str, int], {"\0": 1}, "value (in a key)"),
        (Line, Line("a\0", 1), "value.sku"),
        (Customer, Customer(name="\0"), "value.name"),
        (list[str], ["a", "b\0"], "value[1]"),
        (Path, Path("a\0b"), "value"),
    ],
)
def test_nul_is_refused_with_its_path(annotation: Any, value: Any, path: str) -> None:
    kind, sentence = refused(annotated(annotation), value=value)
    assert kind is NulCharacter
    assert f"argument {path} contains the character U+0000" in sentence


def test_the_six_letters_of_the_escape_are_no_nul() -> None:
    text = Codec.of(take).encode(("\\u0000",), {}, max_bytes=100)
    assert Codec.of(take).decode(text) == {"value": "\\u0000"}


def test_nul_bytes_in_bytes_are_fine() -> None:
    codec = Codec.of(annotated(bytes))
    assert codec.decode(codec.encode((b"\0",), {}, max_bytes=100)) == {"value": b"\0"}


# --------------------------------------------------------------------------------------------- size


def test_a_payload_over_the_limit_says_how_much_and_what_to_do() -> None:
    kind, sentence = refused(send, 1, "x" * 1_000, max_bytes=100)
    assert kind is PayloadTooLarge
    assert "take 1025 bytes as JSON, the limit is 100; store the data elsewhere" in sentence


def test_the_limit_counts_bytes_of_utf8_and_is_inclusive() -> None:
    codec = Codec.of(take)
    size = len('{"value":"üü"}'.encode())
    assert codec.encode(("üü",), {}, max_bytes=size) == '{"value":"üü"}'
    with pytest.raises(PayloadTooLarge):
        codec.encode(("üü",), {}, max_bytes=size - 1)


# --------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (datetime, NAIVE, "value"),
        (datetime, "2026-03-01T12:00:00", "value"),
        (datetime | None, NAIVE, "value"),
        (list[datetime], [AWARE, NAIVE], "value[1]"),
        (tuple[int, datetime], (1, NAIVE), "value[1]"),
        (dict[str, datetime], {"a": NAIVE}, "value['a']"),
        (dict[datetime, int], {NAIVE: 1}, "value["),
        (set[datetime], {NAIVE}, "value[0]"),
        (Line, Line("a", 1, NAIVE), "value.due"),
        (Line, {"sku": "a", "quantity": 1, "due": "2026-03-01T12:00:00"}, "value.due"),
        (list[Line], [Line("a", 1), Line("b", 2, NAIVE)], "value[1].due"),
        (Point, Point(1.0, NAIVE), "value.at"),
        (Filter, {"since": NAIVE}, "value.since"),
        (Customer, Customer(name="x", born=NAIVE), "value.born"),
        (Customer, {"name": "x", "born": "2026-03-01T12:00:00"}, "value.born"),
        (Order, Order(1, Customer(name="x", born=NAIVE)), "value.customer.born"),
        (Order, Order(1, Customer(name="x"), [Line("a", 1, NAIVE)]), "value.lines[0].due"),
    ],
)
def test_a_naive_datetime_is_refused_wherever_it_is(annotation: Any, value: Any, path: str) -> None:
    kind, sentence = refused(annotated(annotation), value=value)
    assert kind is NaiveDatetime
    assert f"argument {path}" in sentence
    assert "without a time zone" in sentence


def test_a_utc_offset_with_seconds_would_move_the_instant() -> None:
    odd = timezone(timedelta(minutes=9, seconds=21))
    kind, sentence = refused(annotated(datetime), value=datetime(1900, 1, 1, tzinfo=odd))
    assert kind is NotSerializable
    assert ".astimezone(timezone.utc)" in sentence


def test_extra_arguments_are_checked_as_well() -> None:
    def event(name: str, **at: datetime) -> None: ...

    assert refused(event, "x", start=NAIVE)[0] is NaiveDatetime
    kind, sentence = refused(event, "x", start="soon")
    assert kind is WrongArgumentType
    assert "argument start wants datetime, but got 'soon'" in sentence


def test_self_containing_dataclasses_are_walked_and_end() -> None:
    codec = Codec.of(annotated(Tree))
    tree = Tree(AWARE, [Tree(AWARE), Tree(AWARE, [Tree(AWARE)])])
    assert codec.decode(codec.encode((tree,), {}, max_bytes=10_000)) == {"value": tree}
    tree.children[1].children[0].at = NAIVE
    kind, sentence = refused(annotated(Tree), value=tree)
    assert kind is NaiveDatetime
    assert "value.children[1].children[0].at" in sentence


@dataclass
class Tree:
    at: datetime
    children: list[Tree] = field(default_factory=list)
