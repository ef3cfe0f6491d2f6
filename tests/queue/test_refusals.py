"""Everything that cannot be enqueued: an error class of its own, the value and the cure in words, no job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from pgjobq import (
    EnqueueError,
    InvalidOption,
    MissingArgument,
    NaiveDatetime,
    NotSerializable,
    NulCharacter,
    PayloadTooLarge,
    Queue,
    UnknownArgument,
    UnknownTask,
    UnsupportedConnection,
    WrongArgumentType,
)
from pgjobq.task import Task

NAIVE = datetime(2030, 1, 1, 12)  # noqa: DTZ001 - what is to be refused
LIMIT = 1_048_576


@dataclass
class Line:
    sku: str
    quantity: int


def send(
    order_id: int, note: str = "", at: datetime | None = None, lines: list[Line] | None = None, extra: Any = None
) -> None: ...


ARGUMENTS: list[tuple[str, dict[str, Any], type[EnqueueError], str]] = [
    ("unknown", {"order_id": 1, "ordr": 2}, UnknownArgument, "has no argument 'ordr'"),
    ("unknown with a guess", {"order_id": 1, "nota": "x"}, UnknownArgument, "note"),
    ("missing", {"note": "x"}, MissingArgument, "order_id must be given"),
    ("wrong type", {"order_id": "seven"}, WrongArgumentType, "order_id.*'seven'"),
    ("a bool for an int", {"order_id": True}, WrongArgumentType, "order_id"),
    ("wrong type inside", {"order_id": 1, "lines": [Line("a", "many")]}, WrongArgumentType, "quantity.*'many'"),  # type: ignore[arg-type]
    ("not serialisable", {"order_id": 1, "extra": object()}, NotSerializable, "extra"),
    ("a set without annotation", {"order_id": 1, "extra": {1}}, NotSerializable, "extra"),
    ("a UUID without annotation", {"order_id": 1, "extra": UUID(int=1)}, NotSerializable, "annotate"),
    ("not a number", {"order_id": 1, "extra": float("nan")}, NotSerializable, "nan"),
    ("a lone surrogate", {"order_id": 1, "note": "\ud800"}, NotSerializable, "surrogate"),
    ("NUL", {"order_id": 1, "note": "a\0b"}, NulCharacter, r"note contains the character U\+0000"),
    ("NUL in a key", {"order_id": 1, "extra": {"a\0": 1}}, NulCharacter, "extra"),
    ("NUL deep inside", {"order_id": 1, "lines": [Line("a\0", 1)]}, NulCharacter, r"lines\[0\]\.sku"),
    ("too large", {"order_id": 1, "note": "x" * LIMIT}, PayloadTooLarge, f"the limit is {LIMIT}"),
    ("naive", {"order_id": 1, "at": NAIVE}, NaiveDatetime, "without a time zone"),
    ("naive as text", {"order_id": 1, "at": "2030-01-01T12:00:00"}, NaiveDatetime, "without a time zone"),
]

OPTIONS: list[tuple[str, dict[str, Any], type[EnqueueError], str]] = [
    ("naive run_at", {"run_at": NAIVE}, NaiveDatetime, "run_at=.* has no time zone"),
    ("run_at a text", {"run_at": "tomorrow"}, InvalidOption, "run_at='tomorrow'.*datetime"),
    ("run_at a number", {"run_at": 60}, InvalidOption, "for a span of time use delay"),
    ("both", {"run_at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 5}, InvalidOption, "give one of them"),
    ("negative delay", {"delay": -1}, InvalidOption, "delay=-1"),
    ("endless delay", {"delay": float("inf")}, InvalidOption, "delay=inf"),
    ("delay not a number", {"delay": float("nan")}, InvalidOption, "delay=nan"),
    ("delay of 200 years", {"delay": timedelta(days=365 * 200)}, InvalidOption, "100 years"),
    ("delay a text", {"delay": "60"}, InvalidOption, "delay='60'"),
    ("priority 10", {"priority": 10}, InvalidOption, r"priority=10.*-9 .*to 9"),
    ("priority -10", {"priority": -10}, InvalidOption, "priority=-10"),
    ("priority a float", {"priority": 1.5}, InvalidOption, "whole number"),
    ("priority a bool", {"priority": True}, InvalidOption, "priority=True"),
    ("empty queue", {"queue": ""}, InvalidOption, "queue='' is empty"),
    ("long queue", {"queue": "q" * 256}, InvalidOption, "256 characters; 255 is the most"),
    ("queue no text", {"queue": 7}, InvalidOption, "queue=7 is no text"),
    ("empty ref", {"ref": ""}, InvalidOption, "ref='' is empty"),
    ("ref no text", {"ref": 42}, InvalidOption, "ref=42 is no text"),
    ("NUL in ref", {"ref": "a\0"}, InvalidOption, r"ref=.*U\+0000"),
    ("NUL in a tag", {"tags": ["a\0"]}, InvalidOption, r"tag=.*U\+0000"),
    ("NUL in a header", {"headers": {"a": "\0"}}, InvalidOption, r"headers\['a'\].*U\+0000"),
    ("NUL in a header's name", {"headers": {"\0": "a"}}, InvalidOption, r"U\+0000"),
    ("a surrogate in ref", {"ref": "\udfff"}, InvalidOption, "lone surrogate"),
    ("tags a text", {"tags": "nightly"}, InvalidOption, r"\['nightly'\]"),
    ("too many tags", {"tags": [str(n) for n in range(51)]}, InvalidOption, "51 entries; 50 is the most"),
    ("headers no texts", {"headers": {"a": 1}}, InvalidOption, "headers are texts"),
    ("headers a list", {"headers": ["a"]}, InvalidOption, "dict of text to text"),
    ("no such option", {"prioritty": 1}, InvalidOption, "priority"),
    ("an argument among the options", {"order_id": 1}, InvalidOption, "no option 'order_id'"),
    ("conn a DSN", {"conn": "postgresql://localhost"}, UnsupportedConnection, "got a str"),
    ("conn a number", {"conn": 42}, UnsupportedConnection, "enqueue.* takes: psycopg"),
    ("conn an object", {"conn": object()}, UnsupportedConnection, "enqueue.* takes: psycopg"),
]


@pytest.fixture
def task(queue: Queue) -> Task[..., None]:
    return queue.task(send)


def _calls(
    task: Task[..., None], queue: Queue, arguments: dict[str, Any], options: dict[str, Any]
) -> list[Callable[[], object]]:
    """Every door by which the same could come in."""
    return [
        lambda: task.using(**options).enqueue(**arguments),
        lambda: asyncio.run(_awaited(task, arguments, options)),
        lambda: queue.enqueue("send", arguments, **options),
        lambda: asyncio.run(queue.aenqueue("send", arguments, **options)),  # type: ignore[arg-type]
        lambda: queue.enqueue_many([task.call(order_id=1), task.using(**options).call(**arguments)]),
    ]


async def _awaited(task: Task[..., None], arguments: dict[str, Any], options: dict[str, Any]) -> None:
    await task.using(**options).aenqueue(**arguments)


def _refused(queue: Queue, calls: list[Callable[[], object]], error: type[EnqueueError], says: str) -> None:
    for call in calls:
        with pytest.raises(error, match=says) as caught:
            call()
        assert type(caught.value) is error
        assert len(str(caught.value)) < 700, "a sentence, not the payload"
        assert "\0" not in str(caught.value)
    assert queue.jobs() == [], "nothing was written"


@pytest.mark.parametrize(
    ("arguments", "error", "says"), [row[1:] for row in ARGUMENTS], ids=[row[0] for row in ARGUMENTS]
)
def test_arguments(
    task: Task[..., None], queue: Queue, arguments: dict[str, Any], error: type[EnqueueError], says: str
) -> None:
    _refused(queue, _calls(task, queue, arguments, {}), error, says)


@pytest.mark.parametrize(("options", "error", "says"), [row[1:] for row in OPTIONS], ids=[row[0] for row in OPTIONS])
def test_options(
    task: Task[..., None], queue: Queue, options: dict[str, Any], error: type[EnqueueError], says: str
) -> None:
    calls = _calls(task, queue, {"order_id": 1}, options)
    if "conn" in options:
        calls[-1] = lambda: queue.enqueue_many([task.call(order_id=1)], **options)
    _refused(queue, calls, error, says)


def test_a_refusal_leaves_the_callers_transaction_usable(task: Task[..., None], queue: Queue, dsn: str) -> None:
    """All of it is checked before the connection is touched."""
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE orders (id int)")
        for _, arguments, error, _ in ARGUMENTS:
            with pytest.raises(error):
                task.using(conn=conn).enqueue(**arguments)
        task.using(conn=conn).enqueue(order_id=1)
        conn.commit()
    assert [job.args for job in queue.jobs()] == [{"order_id": 1}]


def test_unknown_task(task: Task[..., None], queue: Queue) -> None:
    calls: list[Callable[[], object]] = [
        lambda: queue.enqueue("sendd", {"order_id": 1}),
        lambda: asyncio.run(queue.aenqueue("sendd", {"order_id": 1})),  # type: ignore[arg-type]
    ]
    _refused(queue, calls, UnknownTask, "no task 'sendd' is registered.*send")
    with pytest.raises(UnknownTask, match="none is registered at all"):
        Queue("").enqueue("send")


def test_a_limit_of_ones_own(dsn: str) -> None:
    small = Queue(dsn, max_payload_bytes=100)
    task = small.task(send)
    try:
        over = 100 - len('{"order_id":1,"note":""}') + 1
        _refused(
            small, [lambda: task.enqueue(order_id=1, note="x" * over)], PayloadTooLarge, "take 101 bytes.*limit is 100"
        )
        _refused(small, [lambda: task.enqueue(order_id=1, note="ü" * (over // 2 + 1))], PayloadTooLarge, "limit is 100")
        assert task.enqueue(order_id=1, note="x" * (over - 1)).id
    finally:
        small.close()


def test_exactly_the_default_limit_is_taken(task: Task[..., None], queue: Queue) -> None:
    room = LIMIT - len('{"order_id":1,"note":""}')
    job = task.enqueue(order_id=1, note="x" * room)
    stored = queue.get(job.id)
    assert stored is not None
    assert len(stored.args["note"]) == room
    with pytest.raises(PayloadTooLarge):
        task.enqueue(order_id=1, note="x" * (room + 1))


@pytest.mark.parametrize("wrong", [7, "send", ("send", {}), None, {"task": "send"}], ids=repr)
def test_an_element_that_is_no_call(task: Task[..., None], queue: Queue, wrong: Any) -> None:
    with pytest.raises(EnqueueError, match=r"element 1 is .*write send\.call"):
        queue.enqueue_many([task.call(order_id=1), wrong])
    assert queue.jobs() == []


def test_a_call_with_a_connection_of_its_own_is_no_element(task: Task[..., None], queue: Queue, dsn: str) -> None:
    with psycopg.connect(dsn) as conn, pytest.raises(InvalidOption, match=r"element 0 carries a conn= of its own"):
        queue.enqueue_many([task.using(conn=conn).call(order_id=1)])
    assert queue.jobs() == []


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"state": "done"}, "state='done': wants one of scheduled"),
        ({"limit": 0}, "limit=0"),
        ({"limit": 10_001}, "10,000"),
        ({"limit": True}, "limit=True"),
        ({"limit": "5"}, "limit='5'"),
    ],
    ids=str,
)
def test_filters(queue: Queue, filters: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        queue.jobs(**filters)
    with pytest.raises(InvalidOption, match=says):
        asyncio.run(queue.ajobs(**filters))
