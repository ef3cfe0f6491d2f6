"""What goes in comes back: every supported type, alone and nested, through the text and through decode."""

from __future__ import annotations

import enum
import subprocess
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.codec import Codec
from pgjobq.errors import WrongArgumentType

T = TypeVar("T")
LIMIT = 1_000_000
AWARE = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)


class Size(enum.Enum):
    SMALL = "s"


class Level(enum.IntEnum):
    LOW = 1


class Kind(enum.StrEnum):
    MAIL = "mail"


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Customer(pydantic.BaseModel):
    name: str
    born: date | None = None
    site: Annotated[str, pydantic.Field(alias="homePage")] = ""


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime
    id: UUID


@dataclass(frozen=True)
class Address:
    street: str
    customer: Customer
    kind: Kind = Kind.MAIL


@dataclass
class Box(Generic[T]):
    content: T


class Order(msgspec.Struct):
    id: int
    address: Address
    lines: list[tuple[str, Decimal]] = []


class Tagged(msgspec.Struct, tag=True):
    a: int


class OtherTag(msgspec.Struct, tag=True):
    b: int


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Filter(TypedDict):
    text: str
    since: NotRequired[datetime]


@dataclass
class Node:
    name: str
    children: list[Node] = field(default_factory=list)


def annotated(annotation: Any) -> Callable[..., Any]:
    def take(value: Any) -> None: ...

    take.__annotations__["value"] = annotation
    return take


def there_and_back(annotation: Any, value: Any) -> Any:
    codec = Codec.of(annotated(annotation))
    text = codec.encode((value,), {}, max_bytes=LIMIT)
    assert codec.decode(text) == codec.decode(text.encode())
    return codec.decode(text)["value"]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 2**200),
        (int, -(2**64)),
        (float, 1),
        (float, 5e-324),
        (bool, True),
        (str, "grün \U0001f600 \x01 \u2028"),
        (bytes, bytes(range(256))),
        (bytearray, bytearray(b"x")),
        (datetime, AWARE),
        (datetime, datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Paris"))),
        (datetime, datetime.max.replace(tzinfo=UTC)),
        (datetime, datetime.min.replace(tzinfo=UTC)),
        (date, date(1, 1, 1)),
        (time, time(23, 59, 59, 999_999)),
        (time, time(1, 2, tzinfo=UTC)),
        (timedelta, timedelta(days=-3, microseconds=7)),
        (timedelta, timedelta.max),
        (UUID, UUID(int=7)),
        (Decimal, Decimal("0.10")),
        (Decimal, Decimal("1E+100")),
        (Path, Path("/tmp/ü/x.pdf")),
        (PurePosixPath, PurePosixPath("a/b")),
        (Path | None, None),
        (Size, Size.SMALL),
        (Level, Level.LOW),
        (Kind, Kind.MAIL),
        (Rights, Rights.READ | Rights.WRITE),
        (Literal["a", 1, None], 1),
        (Optional[int], None),  # noqa: UP045 - the old spelling works as well
        (int | str | None, "x"),
        (int | float, 1.5),
        (list[int] | str, [1]),
        (datetime | int, AWARE),
        (Tagged | OtherTag, OtherTag(2)),
        (set[int], {1, 2}),
        (frozenset[str], frozenset({"a"})),
        (tuple[int, str], (1, "a")),
        (tuple[int, ...], (1, 2, 3)),
        (tuple[()], ()),
        (list[list[int]], [[1], []]),
        (Sequence[int], [1]),
        (Mapping[str, int], {"a": 1}),
        (dict[int, str], {1: "a"}),
        (dict[UUID, Decimal], {UUID(int=1): Decimal(1)}),
        (dict[Kind, int], {Kind.MAIL: 1}),
        (dict[datetime, int], {AWARE: 1}),
        (dict[str, Any], {"a": [1, None, True, {"b": 1.5}]}),
        (Any, {"a": [1, None, True, "x", 1.5]}),
        (list, [1, "a", None]),
        (dict, {"a": 1}),
        (Customer, Customer(name="x", born=date(2000, 1, 1), homePage="h")),
        (Customer | None, Customer(name="x")),
        (Strict, Strict(at=AWARE, id=UUID(int=1))),
        (Address, Address("s", Customer(name="x", born=date(2000, 1, 1)))),
        (Order, Order(1, Address("s", Customer(name="x")), [("sku", Decimal("1.5"))])),
        (list[Order], [Order(1, Address("s", Customer(name="x")))]),
        (Box[int], Box(1)),
        (Box[Customer], Box(Customer(name="x"))),
        (Box[datetime], Box(AWARE)),
        (Point, Point(1.5)),
        (Filter, {"text": "x", "since": AWARE}),
        (Filter, {"text": "x"}),
        (Node, Node("a", [Node("b", [Node("c")])])),
        (typing.NewType("OrderId", int), 7),
        (Annotated[int, msgspec.Meta(gt=0)], 7),
    ],
    ids=lambda value: str(value)[:40].replace("\n", " "),
)
def test_it_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    back = there_and_back(annotation, value)
    assert back == value
    if annotation is not float:
        assert type(back) is type(value) or isinstance(value, datetime)


@pytest.mark.parametrize(
    ("annotation", "form", "value"),
    [
        (datetime, "2026-03-01T12:00:00.123456Z", AWARE),
        (date, "2026-03-01", date(2026, 3, 1)),
        (UUID, str(UUID(int=7)), UUID(int=7)),
        (Decimal, "0.10", Decimal("0.10")),
        (Decimal, 3, Decimal(3)),
        (Path, "a/b", Path("a/b")),
        (Size, "s", Size.SMALL),
        (Point, [1.0, 2.0], Point(1.0, 2.0)),
        (set[int], [1, 2], {1, 2}),
        (Customer, {"name": "x", "homePage": "h"}, Customer(name="x", homePage="h")),
        (
            Address,
            {"street": "s", "customer": {"name": "x"}, "kind": "mail"},
            Address("s", Customer(name="x")),
        ),
        (float, 1, 1.0),
        (Any, (1, (2,)), [1, [2]]),
    ],
)
def test_the_json_form_of_a_value_is_taken_as_well(annotation: Any, form: Any, value: Any) -> None:
    assert there_and_back(annotation, form) == value


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), inner)
    ),
    max_leaves=20,
)
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(
    min_value=datetime(1, 1, 3),  # noqa: DTZ001 - the zone is drawn
    max_value=datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=zones,
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(json_values)
def test_any_json_value_without_an_annotation(value: Any) -> None:
    assert there_and_back(Any, value) == value


@given(instants)
def test_any_instant(value: datetime) -> None:
    back = there_and_back(datetime, value)
    assert (back, back.utcoffset()) == (value, value.utcoffset())


@given(st.decimals(allow_nan=False, allow_infinity=False), st.timedeltas(), st.binary(), st.uuids())
def test_any_scalar(amount: Decimal, span: timedelta, data: bytes, uuid: UUID) -> None:
    assert str(there_and_back(Decimal, amount)) == str(amount)
    assert there_and_back(timedelta, span) == span
    assert there_and_back(bytes, data) == data
    assert there_and_back(UUID, uuid) == uuid


orders = st.builds(
    Order,
    id=st.integers(),
    address=st.builds(
        Address,
        street=texts,
        customer=st.builds(Customer, name=texts, born=st.none() | st.dates(), homePage=texts),
    ),
    lines=st.lists(st.tuples(texts, st.decimals(allow_nan=False, allow_infinity=False))),
)


@given(st.lists(orders, max_size=3))
def test_any_nested_mixture(value: list[Order]) -> None:
    assert there_and_back(list[Order], value) == value


@given(st.dictionaries(st.integers(), st.sets(instants) | st.none()))
def test_any_containers(value: dict[int, set[datetime] | None]) -> None:
    assert there_and_back(dict[int, set[datetime] | None], value) == value


# ------------------------------------------------------------------------------------- arguments


def send(order_id: int, email: str = "nobody", *, tags: list[str] | None = None) -> None: ...


def test_left_out_arguments_stay_out() -> None:
    codec = Codec.of(send)
    assert codec.encode((7,), {}, max_bytes=LIMIT) == '{"order_id":7}'
    assert codec.decode('{"order_id":7}') == {"order_id": 7}


def test_a_default_given_explicitly_is_kept() -> None:
    assert Codec.of(send).encode((7,), {"email": "nobody"}, max_bytes=LIMIT) == '{"order_id":7,"email":"nobody"}'


def test_named_and_unnamed_mean_the_same() -> None:
    codec = Codec.of(send)
    one = codec.encode((7, "a"), {"tags": ["x"]}, max_bytes=LIMIT)
    two = codec.encode((), {"order_id": 7, "email": "a", "tags": ["x"]}, max_bytes=LIMIT)
    assert one == two


def test_no_arguments_at_all() -> None:
    def tick() -> None: ...

    assert Codec.of(tick).encode((), {}, max_bytes=2) == "{}"
    assert Codec.of(tick).decode("{}") == {}


def test_extra_named_arguments() -> None:
    def event(name: str, count: int = 0, **extra: int) -> None: ...

    codec = Codec.of(event)
    text = codec.encode(("x",), {"a": 1, "b": 2}, max_bytes=LIMIT)
    assert codec.decode(text) == {"name": "x", "a": 1, "b": 2}


def test_extra_arguments_without_an_annotation() -> None:
    def event(**extra):  # type: ignore[no-untyped-def]
        ...

    codec = Codec.of(event)
    assert codec.decode(codec.encode((), {"a": [1], "self": None}, max_bytes=LIMIT)) == {
        "a": [1],
        "self": None,
    }


def test_arguments_may_have_awkward_names() -> None:
    def odd(self: int, cls: int, _0: int, id: int, args: int, __x: int) -> None: ...  # noqa: A002

    codec = Codec.of(odd)
    values = {"self": 1, "cls": 2, "_0": 3, "id": 4, "args": 5, "__x": 6}
    assert codec.decode(codec.encode((), values, max_bytes=LIMIT)) == values


def test_the_callers_values_are_not_touched() -> None:
    tags = ["a"]
    kwargs = {"order_id": 1, "tags": tags}
    Codec.of(send).encode((), kwargs, max_bytes=LIMIT)
    assert kwargs == {"order_id": 1, "tags": ["a"]}
    assert kwargs["tags"] is tags


# ------------------------------------------------------------------------------------- stored and stale


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"order_id":"x"}', ["argument order_id wants int, but got 'x'", "was the annotation changed?"]),
        ('{"email":"x"}', ["missing required field `order_id`", "signature changed?"]),
        ('{"order_id":1,"colour":"x"}', ["unknown field `colour`", "signature changed?"]),
        ('{"order_id":1,"tags":["a",2]}', ["argument tags[1] wants str, but got 2"]),
        ("[1]", ["do not fit the task"]),
        ("{", ["cannot be read"]),
        ("", ["cannot be read"]),
        (b"\xff", ["cannot be read"]),
        ("[" * 100_000, ["send"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_payload_that_no_longer_fits(text: Any, words: list[str]) -> None:
    with pytest.raises(WrongArgumentType) as refused:
        Codec.of(send).decode(text)
    for word in words:
        assert word in str(refused.value)


def test_an_extra_argument_that_no_longer_fits() -> None:
    def event(name: str, **extra: int) -> None: ...

    with pytest.raises(WrongArgumentType, match=r"argument a wants int, but got 'x'"):
        Codec.of(event).decode('{"name":"n","a":"x"}')


def test_what_the_database_makes_of_a_payload_still_fits() -> None:
    """jsonb sorts keys, writes spaces, and writes 1e20 out."""
    codec = Codec.of(annotated(float))
    assert codec.decode('{"value": 100000000000000000000}') == {"value": 1e20}
    assert Codec.of(send).decode('{"email": "a", "order_id": 7}') == {"order_id": 7, "email": "a"}


def test_pydantic_is_never_imported_by_us() -> None:
    source = (
        "import sys\n"
        "from pgjobq.codec import Codec\n"
        "from pathlib import Path\n"
        "def take(path: Path, n: int): ...\n"
        "codec = Codec.of(take)\n"
        "print(codec.decode(codec.encode((Path('x'), 1), {}, max_bytes=100))['path'])\n"
        "assert 'pydantic' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("x\n", "")
