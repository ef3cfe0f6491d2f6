"""Any annotation with any value: either a refusal of ours, or the value comes back as itself."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import pydantic
import pytest

from pgjobq.codec import Codec
from pgjobq.errors import EnqueueError


class Colour(enum.Enum):
    RED = "red"


class Rank(enum.Enum):
    FIRST = 1


class Kind(enum.StrEnum):
    MAIL = "mail"


@dataclass
class Line:
    sku: str
    at: datetime | None = None


@dataclass
class Other:
    sku: str


class Item(msgspec.Struct):
    sku: str


class Pair(NamedTuple):
    a: int
    b: int


class Model(pydantic.BaseModel):
    sku: str
    at: datetime | None = None


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANNOTATIONS: list[Any] = [
    Any, int, float, bool, str, bytes, bytearray, datetime, date, time, timedelta, UUID, Decimal, Path, None,
    Colour, Rank, Kind, Literal["red", 1], list[int], list[str], set[str], frozenset[int], tuple[int, int],
    tuple[str, ...], dict[str, int], dict[str, Any], dict[datetime, str], Line, Other, Item, Pair, Model,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 1, 0, -(2**70), 1.5, float("nan"), "red", "mail", "", "2026-03-01", "2026-03-01T12:00:00Z",
    "2026-03-01T12:00:00", "12:00:00", "P1D", "cmVk", "1.5", str(UUID(int=1)), "a\0", "\ud800", b"red",
    b"\xd7m\xf8", bytearray(b"x"), memoryview(b"x"), NOON, NOON.replace(tzinfo=None), NOON.date(), NOON.time(),
    timedelta(days=1), UUID(int=1), Decimal("1.5"), Decimal("NaN"), Path("2026-03-01"), Colour.RED, Rank.FIRST,
    Kind.MAIL, [1, 2], ["a"], [b"a"], [NOON], (1, 2), (1, "a"), {1, 2}, {"a"}, frozenset({1}), {"a": 1},
    {1: "a"}, {NOON: "a"}, {NOON.replace(tzinfo=None): "a"}, {"sku": "a"}, {"sku": b"a"}, {"a": 1, "b": 2},
    {"a": NOON}, {"a": {1: 2}}, Line("a"), Line("a", NOON), Line("a", NOON.replace(tzinfo=None)),
    Line(b"a"), Other("a"), Item("a"), Pair(1, 2), Model(sku="a"), Model(sku="a", at=NOON),
    Model(sku="a", at=NOON.replace(tzinfo=None)), object(), int, len, range(3), 1j, ValueError("x"),
]  # fmt: skip

FORMS: dict[type, tuple[type, ...]] = {
    str: (date, time, timedelta, UUID, Decimal, Path, Colour, Kind),
    int: (float, Decimal, Rank),
    float: (Decimal,),
    list: (set, frozenset, tuple, Pair),
    tuple: (list, set, frozenset, Pair),
    set: (frozenset,),
    frozenset: (set,),
    Pair: (list, set, frozenset, tuple),
    dict: (Line, Other, Item, Model, dict),
    bytes: (bytearray,),
    bytearray: (bytes,),
    memoryview: (bytes, bytearray),
    Kind: (str, Path),
}
"""In what a value may turn up when the annotation says so: its JSON form was given, or a near kin."""


def task(annotation: Any) -> Callable[..., Any]:
    def take(value: Any) -> None: ...

    take.__annotations__["value"] = annotation
    return take


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
def test_any_pair(annotation: Any, optional: bool) -> None:
    codec = Codec.of(task(annotation | None if optional and annotation not in (Any, None) else annotation))
    taken = 0
    sentences: list[str] = []
    for value in VALUES:
        try:
            text = codec.encode((value,), {}, max_bytes=10_000)
        except EnqueueError as error:
            sentences.append(str(error))
            continue
        taken += 1
        back = codec.decode(text)["value"]
        assert "\\u0000" not in text
        if back != value or type(back) is not type(value):
            assert isinstance(back, FORMS[type(value)]), (value, back)
        if isinstance(back, datetime):
            assert back.tzinfo is not None
    assert taken > 0
    assert all("argument value" in sentence and sentence.isprintable() for sentence in sentences)
