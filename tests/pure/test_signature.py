"""Codec.of: what a task may take, and the refusals when it is declared."""

from __future__ import annotations

import asyncio
import collections
import decimal
import enum
import fractions
import functools
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import msgspec
import pytest

from pgjobq.codec import Codec
from pgjobq.errors import UnsupportedAnnotation

if TYPE_CHECKING:
    from nowhere import Missing


class Opaque:
    pass


@dataclass
class Holder:
    name: str
    inside: list[Opaque]


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


def annotated(annotation: Any) -> Callable[..., Any]:
    def send(value: Any) -> None: ...

    send.__annotations__["value"] = annotation
    return send


def refusal(function: Callable[..., Any]) -> str:
    with pytest.raises(UnsupportedAnnotation) as refused:
        Codec.of(function)
    return str(refused.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Opaque, ["send(value: Opaque)", "a Opaque cannot travel", "pass its key"]),
        (Opaque | None, ["a Opaque cannot travel"]),
        (Holder, ["send(value: Holder)", "a Opaque cannot travel"]),
        (dict[str, list[Opaque]], ["a Opaque cannot travel"]),
        (object, ["typing.Any"]),
        (complex, ["tuple[float, float]"]),
        (fractions.Fraction, ["Decimal"]),
        (range, ["bounds"]),
        (Callable[[int], int], ["register"]),
        (Iterator[int], ["list["]),
        (collections.deque, ["list["]),
        (collections.OrderedDict[str, int], ["dict["]),
        (collections.defaultdict[str, int], ["dict["]),
        (collections.Counter[str], ["dict[str, int]"]),
        (types.ModuleType, ["cannot travel"]),
        (type, ["cannot travel"]),
        (memoryview, ["use bytes"]),
        (msgspec.Raw, ["use bytes"]),
        (Mixed, ["Enum"]),
        (str | Path, ["union"]),
        (str | decimal.Decimal, ["str-like"]),
        (Literal[b"x"], ["Literal"]),
        (dict[tuple[int, int], int], ["list of pairs"]),
        (dict[bool, int], ["list of pairs"]),
        (set[list[int]], ["hashable"]),
        ("int", ["not supported"]) if False else (TypedDict("Odd", {"a": Opaque}), ["a Opaque cannot travel"]),
    ],
    ids=str,
)
def test_what_cannot_travel_is_named_with_what_to_use(annotation: Any, words: list[str]) -> None:
    sentence = refusal(annotated(annotation))
    assert "send(value" in sentence
    for word in words:
        assert word in sentence


def test_unnamed_extra_arguments_are_refused() -> None:
    def send(*ids: int) -> None: ...

    assert refusal(send) == (
        "send(*ids): arguments are stored by name, and these have none; use one argument ids: list[…]."
    )


def test_positional_only_arguments_are_refused() -> None:
    def send(order_id: int, /) -> None: ...

    assert "remove the / so that order_id may be named" in refusal(send)


def test_names_that_exist_for_type_checkers_only() -> None:
    def send(value: Missing) -> None: ...

    sentence = refusal(send)
    assert "send(value: Missing): the annotation cannot be resolved (name 'Missing' is not defined)" in sentence
    assert "import it outside `if TYPE_CHECKING:`" in sentence


def test_local_classes_cannot_be_resolved() -> None:
    @dataclass
    class Local:
        x: int

    def send(value: Local) -> None: ...

    assert "define classes at module level" in refusal(send)


def test_local_classes_the_function_itself_uses_can_be_resolved() -> None:
    @dataclass
    class Local:
        x: int

    def send(value: Local) -> Local:
        return Local(value.x)

    assert Codec.of(send).decode('{"value":{"x":1}}') == {"value": Local(1)}


def test_a_broken_return_annotation_is_no_trouble() -> None:
    def send(order_id: int) -> Missing: ...

    assert Codec.of(send).decode('{"order_id":1}') == {"order_id": 1}


def test_a_dataclass_with_an_unresolvable_field() -> None:
    sentence = refusal(annotated(Broken))
    assert "send(value: Broken)" in sentence
    assert "Missing" in sentence


@dataclass
class Broken:
    x: Missing


def test_coroutines_are_read_like_any_function() -> None:
    async def send(order_id: int) -> None: ...

    assert asyncio.iscoroutinefunction(send)
    assert Codec.of(send).decode('{"order_id":1}') == {"order_id": 1}


def test_a_decorated_function_is_read_through_its_wrapper() -> None:
    def send(order_id: int, email: str = "") -> None: ...

    @functools.wraps(send)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        send(*args, **kwargs)

    signature = Codec.of(wrapper).signature
    assert [(a.name, a.annotation, a.required) for a in signature.arguments] == [
        ("order_id", int, True),
        ("email", str, False),
    ]


def test_arguments_without_annotations_are_any() -> None:
    def send(value, *, other=None):  # type: ignore[no-untyped-def]
        ...

    signature = Codec.of(send).signature
    assert [(a.name, a.annotation) for a in signature.arguments] == [("value", Any), ("other", Any)]
    assert signature.positional == ("value",)
