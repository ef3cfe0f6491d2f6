"""Arguments of every annotated kind, through the real database and back as the handler gets them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import psycopg
import pydantic
import pytest

from pgjobq import Queue

KATHMANDU = timezone(timedelta(hours=5, minutes=45))


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass
class Line:
    sku: str
    price: Decimal
    due: datetime | None = None
    colours: list[Colour] = field(default_factory=list)


class Parcel(msgspec.Struct, frozen=True):
    id: UUID
    lines: list[Line]
    weights: dict[str, float] = {}


class Address(pydantic.BaseModel):
    street: str
    since: datetime
    tags: set[str] = set()


class Customer(pydantic.BaseModel):
    name: str
    addresses: list[Address]


class Point(NamedTuple):
    x: float
    y: float


class Filter(TypedDict, total=False):
    text: str
    since: date


def take_int(value: int) -> None: ...
def take_float(value: float) -> None: ...
def take_str(value: str) -> None: ...
def take_bytes(value: bytes) -> None: ...
def take_bool(value: bool) -> None: ...
def take_datetime(value: datetime) -> None: ...
def take_date(value: date) -> None: ...
def take_time(value: time) -> None: ...
def take_timedelta(value: timedelta) -> None: ...
def take_uuid(value: UUID) -> None: ...
def take_decimal(value: Decimal) -> None: ...
def take_enum(value: Colour) -> None: ...
def take_int_enum(value: Size) -> None: ...
def take_path(value: Path) -> None: ...
def take_posix_path(value: PurePosixPath) -> None: ...
def take_literal(value: Literal["a", "b", 3]) -> None: ...
def take_optional(value: datetime | None) -> None: ...
def take_union(value: int | str | None) -> None: ...
def take_list(value: list[UUID]) -> None: ...
def take_tuple(value: tuple[int, str, Decimal]) -> None: ...
def take_set(value: set[int]) -> None: ...
def take_frozenset(value: frozenset[str]) -> None: ...
def take_dict(value: dict[str, list[Decimal]]) -> None: ...
def take_int_keys(value: dict[int, str]) -> None: ...
def take_dataclass(value: Line) -> None: ...
def take_struct(value: Parcel) -> None: ...
def take_model(value: Customer) -> None: ...
def take_named_tuple(value: Point) -> None: ...
def take_typed_dict(value: Filter) -> None: ...
def take_anything(value: Any) -> None: ...


NOON = datetime(2030, 6, 1, 12, 0, 0, 123456, tzinfo=KATHMANDU)
LINE = Line("a\"'\\ü🐘", Decimal("12.30"), NOON, [Colour.RED, Colour.BLUE])
VALUES: list[tuple[Callable[..., None], Any]] = [
    (take_int, 0),
    (take_int, -(2**63)),
    (take_int, 2**64 - 1),
    (take_float, 0.1),
    (take_float, 1e308),
    (take_float, 5e-324),
    (take_float, -1.0),
    (take_float, 3),
    (take_str, ""),
    (take_str, "50% %s %(x)s :n $1 {} \\n \\u0001 ' \" \t\r\n ü 🐘 \x7f \x01"),
    (take_str, "\\u0000"),
    (take_str, "null"),
    (take_bytes, bytes(range(256))),
    (take_bytes, b""),
    (take_bool, True),
    (take_bool, False),
    (take_datetime, NOON),
    (take_datetime, datetime(1, 1, 1, tzinfo=UTC)),
    (take_datetime, datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    (take_date, date(2030, 2, 28)),
    (take_time, time(23, 59, 59, 999999)),
    (take_timedelta, timedelta(days=1, microseconds=1)),
    (take_uuid, UUID(int=1)),
    (take_decimal, Decimal("0.10")),
    (take_decimal, Decimal("12345678901234567890.123456789")),
    (take_decimal, Decimal("1E+20")),
    (take_enum, Colour.BLUE),
    (take_int_enum, Size.LARGE),
    (take_path, Path("/tmp/ä b/c.txt")),
    (take_posix_path, PurePosixPath("a/b")),
    (take_literal, "b"),
    (take_literal, 3),
    (take_optional, None),
    (take_optional, NOON),
    (take_union, 5),
    (take_union, "5"),
    (take_union, None),
    (take_list, [UUID(int=1), UUID(int=2)]),
    (take_list, []),
    (take_tuple, (1, "x", Decimal("0.5"))),
    (take_set, {1, 2, 3}),
    (take_frozenset, frozenset({"a"})),
    (take_dict, {"a": [Decimal("1.0")], "": []}),
    (take_int_keys, {1: "a", -2: "b"}),
    (take_dataclass, LINE),
    (take_struct, Parcel(UUID(int=7), [LINE, Line("b", Decimal(0))], {"net": 1.5})),
    (take_model, Customer(name="Ann", addresses=[Address(street="x", since=NOON, tags={"a", "b"})])),
    (take_named_tuple, Point(1.5, -0.0)),
    (take_typed_dict, {"text": "x", "since": date(2030, 1, 1)}),
    (take_anything, {"a": [1, 2.5, None, True, "x", {"b": []}]}),
    (take_anything, None),
    (take_anything, [[[[]]]]),
]


@pytest.mark.parametrize("many", [False, True], ids=["enqueue", "enqueue_many"])
def test_every_kind_comes_back_as_it_was(queue: Queue, dsn: str, many: bool) -> None:
    """One database for all of them: each value goes in through the door and is decoded as a worker does it."""
    tasks = {function: queue.task(function) for function, _ in VALUES}
    if many:
        ids = queue.enqueue_many(tasks[function].call(value=value) for function, value in VALUES)
    else:
        ids = [tasks[function].enqueue(value=value).id for function, value in VALUES]
    with psycopg.connect(dsn) as conn:
        stored = dict(conn.execute("SELECT id, args::text FROM pgjobq.job").fetchall())
    for job, (function, value) in zip(ids, VALUES, strict=True):
        back = tasks[function].codec.decode(stored[job])["value"]
        assert back == value, function
        if function not in (take_float, take_anything):
            assert type(back) is type(value), function
        if isinstance(value, Decimal):
            assert str(back) == str(value)
        if isinstance(value, datetime):
            assert back.utcoffset() == value.utcoffset()


def test_defaults_that_were_left_out_stay_out(queue: Queue) -> None:
    def greet(name: str, greeting: str = "hello") -> None: ...

    job = queue.get(queue.task(greet).enqueue("Ann").id)
    assert job is not None
    assert job.args == {"name": "Ann"}


def test_positional_and_by_name_are_the_same(queue: Queue) -> None:
    def move(source: Path, target: Path, *, force: bool = False) -> None: ...

    task = queue.task(move)
    ids = [
        task.enqueue(Path("a"), Path("b"), force=True).id,
        task.enqueue(source=Path("a"), target=Path("b"), force=True).id,
        queue.enqueue("move", {"source": "a", "target": "b", "force": True}).id,
    ]
    assert [job.args for job in queue.jobs()] == [{"source": "a", "target": "b", "force": True}] * 3
    assert len(set(ids)) == 3


AWKWARD = ["a", 'b"c', "d,e", "{f}", "NULL", "\\", "\\\\", " ", "'", "ü🐘", "%s", "$1", "\n", "null"]


@pytest.mark.parametrize("many", [False, True], ids=["enqueue", "enqueue_many"])
def test_options_come_back_as_they_were(queue: Queue, many: bool) -> None:
    @queue.task(queue="mail", priority=3, tags=["of the task", "a"])
    def send() -> None: ...

    bound = send.using(
        ref="%s'\"\\", tags=AWKWARD, headers={text: text for text in AWKWARD}, priority=-9, queue="ü 🐘 'q'"
    )
    job = queue.get(queue.enqueue_many([bound.call()])[0] if many else bound.enqueue().id)
    assert job is not None
    assert (job.ref, job.priority, job.queue, job.max_attempts) == ("%s'\"\\", -9, "ü 🐘 'q'", send.retry.max_attempts)
    assert job.tags == ("of the task", *AWKWARD)
    assert job.headers == {text: text for text in AWKWARD}
    assert (job.state, job.attempt, job.task, job.args) == ("ready", 0, "send", {})


@pytest.mark.parametrize("many", [False, True], ids=["enqueue", "enqueue_many"])
@pytest.mark.parametrize(
    "delay",
    [1e-7, 1e-05, 0.0001, 0.5, 59.999999, 86_400, 3_155_695_200.0, timedelta(days=400, microseconds=1)],
    ids=str,
)
def test_delays_of_any_size(queue: Queue, many: bool, delay: float | timedelta) -> None:
    """1e-05 is how Python writes a small number, and no interval PostgreSQL reads by itself everywhere."""

    @queue.task
    def send() -> None: ...

    bound = send.using(delay=delay)
    job = queue.get(queue.enqueue_many([bound.call()])[0] if many else bound.enqueue().id)
    assert job is not None
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    waits = (job.run_at - job.created_at).total_seconds() if job.run_at else 0.0
    assert waits == pytest.approx(seconds, abs=2e-6)
    assert job.state == ("ready" if seconds < 1e-6 else "scheduled")


@pytest.mark.parametrize("many", [False, True], ids=["enqueue", "enqueue_many"])
def test_instants(queue: Queue, many: bool) -> None:
    @queue.task
    def send() -> None: ...

    instants = [
        NOON,
        datetime(9999, 12, 31, 23, 59, tzinfo=UTC),
        datetime(2001, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(2040, 1, 1, tzinfo=timezone(timedelta(hours=-12))),
    ]
    calls = [send.using(run_at=instant).call() for instant in instants]
    ids = queue.enqueue_many(calls) if many else [queue.enqueue_call(call).id for call in calls]
    jobs = {job.id: job for job in queue.jobs()}
    for job, instant in zip(ids, instants, strict=True):
        past = instant < datetime.now(UTC)
        assert jobs[job].state == ("ready" if past else "scheduled")
        assert jobs[job].run_at == (None if past else instant)
