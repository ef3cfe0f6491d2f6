"""Task, Bound and Call: the function stays what it was, and enqueuing goes through the door as one value."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from pgjobq.errors import InvalidOption, TaskError, UnknownArgument, UnsupportedAnnotation
from pgjobq.job import EnqueuedJob
from pgjobq.retry import Retry
from pgjobq.task import Call, Options, Task


class Book:
    """A door that keeps the calls in a list instead of a database."""

    max_payload_bytes = 1_000

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def enqueue_call(self, call: Call) -> EnqueuedJob:
        self.calls.append(call)
        return EnqueuedJob(len(self.calls), call.task.name, call.queue)

    async def aenqueue_call(self, call: Call) -> EnqueuedJob:
        return self.enqueue_call(call)


def send(order_id: int, email: str = "") -> str:
    """Send it."""
    return f"{order_id} to {email}"


async def send_later(order_id: int) -> int:
    return order_id


@pytest.fixture
def book() -> Book:
    return Book()


def test_a_task_is_still_its_function(book: Book) -> None:
    task = Task(send, book)
    assert task(7, email="a") == "7 to a"
    assert (task.__name__, task.__doc__, task.__module__) == ("send", "Send it.", __name__)
    assert task.__wrapped__ is send  # type: ignore[attr-defined]
    assert inspect.signature(task) == inspect.signature(send)
    assert book.calls == []


def test_an_async_task_is_still_its_coroutine(book: Book) -> None:
    task = Task(send_later, book)
    assert task.is_async
    assert not Task(send, book).is_async
    assert asyncio.run(task(7)) == 7


def test_the_defaults(book: Book) -> None:
    task = Task(send, book)
    assert (task.name, task.queue, task.priority, task.timeout, task.tags) == ("send", "default", 0, None, ())
    assert task.retry == Retry()
    assert repr(task).startswith(f"<Task send ({__name__}:send, line ")


def test_enqueue_writes_one_call(book: Book) -> None:
    task = Task(send, book, queue="mail", priority=3, retry=Retry(max_attempts=8), tags=("a",), name="mailer")
    assert task.enqueue(7, email="x") == EnqueuedJob(1, "mailer", "mail")
    (call,) = book.calls
    assert call.args_text == '{"order_id":7,"email":"x"}'
    assert (call.queue, call.priority, call.tags, call.max_attempts) == ("mail", 3, ("a",), 8)
    assert call.options == Options()


def test_options_on_the_left_arguments_on_the_right(book: Book) -> None:
    conn = object()
    bound = Task(send, book, queue="mail", tags=("a", "b")).using(
        conn=conn,
        ref="order:7",
        delay=timedelta(minutes=1),
        priority=-2,
        queue="fast",
        tags=["b", "c"],
        headers={"k": "v"},
    )
    assert bound.enqueue(order_id=7).queue == "fast"
    (call,) = book.calls
    assert (call.queue, call.priority, call.tags) == ("fast", -2, ("a", "b", "c"))
    assert (call.options.delay, call.options.ref, call.options.headers) == (60.0, "order:7", {"k": "v"})
    assert call.options.conn is conn


def test_using_can_be_refined(book: Book) -> None:
    base = Task(send, book).using(ref="order:7", queue="mail")
    base.using(ref="order:8").enqueue(1)
    base.enqueue(1)
    assert [(call.options.ref, call.queue) for call in book.calls] == [
        ("order:8", "mail"),
        ("order:7", "mail"),
    ]


def test_the_async_twins_do_the_same(book: Book) -> None:
    task = Task(send_later, book)

    async def both() -> list[EnqueuedJob]:
        return [await task.aenqueue(1), await task.using(queue="mail").aenqueue(order_id=2)]

    assert asyncio.run(both()) == [
        EnqueuedJob(1, "send_later", "default"),
        EnqueuedJob(2, "send_later", "mail"),
    ]
    assert [call.args_text for call in book.calls] == ['{"order_id":1}', '{"order_id":2}']


def test_a_call_is_a_value_and_writes_nothing(book: Book) -> None:
    task = Task(send, book)
    assert task.call(7) == task.call(order_id=7)
    assert task.using(ref="a").call(7) != task.call(7)
    assert book.calls == []
    assert "private" not in repr(task.call(7, email="private"))


def test_wrong_arguments_reach_no_door(book: Book) -> None:
    task = Task(send, book)
    for attempt in (task.enqueue, task.call, task.using(ref="a").enqueue):
        with pytest.raises(UnknownArgument):
            attempt(order_id=1, colour="red")  # type: ignore[call-arg]
    with pytest.raises(UnknownArgument):
        asyncio.run(task.aenqueue(order_id=1, colour="red"))  # type: ignore[call-arg]
    assert book.calls == []


def test_the_doors_limit_holds(book: Book) -> None:
    with pytest.raises(Exception, match="the limit is 1000"):
        Task(send, book).enqueue(1, email="x" * 1_000)


def test_options_and_arguments_never_shadow_each_other(book: Book) -> None:
    def odd(self: int, queue: int, conn: int, options: int) -> None: ...

    task = Task(odd, book)
    task.using(queue="mail").enqueue(self=1, queue=2, conn=3, options=4)
    assert book.calls[0].args_text == '{"self":1,"queue":2,"conn":3,"options":4}'
    assert book.calls[0].queue == "mail"
    assert task(self=1, queue=2, conn=3, options=4) is None


def test_an_unknown_option_is_refused_at_once(book: Book) -> None:
    with pytest.raises(InvalidOption, match=r"Did you mean 'delay'\?"):
        Task(send, book).using(dealy=5)  # type: ignore[call-arg]


# ----------------------------------------------------------------------------------------- refusals


class Shop:
    def method(self, order_id: int) -> None: ...

    @staticmethod
    def static(order_id: int) -> None: ...

    @classmethod
    def of_class(cls, order_id: int) -> None: ...

    def __call__(self, order_id: int) -> None: ...


def generator(order_id: int) -> Iterator[int]:
    yield order_id


async def async_generator(order_id: int) -> AsyncIterator[int]:
    yield order_id


@functools.wraps(generator)
def wrapped_generator(order_id: int) -> Any:
    return generator(order_id)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (Shop.method, ["stands in a class", "function at module level"]),
        (Shop().method, ["is a method"]),
        (Shop.static, ["stands in a class"]),
        (Shop.__dict__["static"], ["is a method"]),
        (Shop.__dict__["of_class"], ["is a method"]),
        (Shop.of_class, ["is a method"]),
        (Shop(), ["not a function written with def"]),
        (Shop, ["not a function written with def"]),
        (functools.partial(send, 1), ["not a function", "Wrap it in one"]),
        (len, ["not a function"]),
        ("send", ["not a function"]),
        (None, ["not a function"]),
        (generator, ["is a generator"]),
        (async_generator, ["is a generator"]),
        (wrapped_generator, ["is a generator"]),
        (lambda order_id: None, ["a lambda has no name"]),
    ],
)
def test_what_cannot_be_a_task(function: Any, words: list[str], book: Book) -> None:
    with pytest.raises(TaskError) as refused:
        Task(function, book)
    for word in words:
        assert word in str(refused.value)


def test_a_lambda_with_a_name_will_do(book: Book) -> None:
    task: Task[..., Any] = Task(lambda order_id: order_id, book, name="echo")
    assert task.enqueue(order_id=1).task == "echo"


def test_a_function_within_a_function_will_do(book: Book) -> None:
    def inner(order_id: int) -> None: ...

    assert Task(inner, book).name == "inner"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": ""}, ["name='' is empty"]),
        ({"name": "x" * 256}, ["255 is the most"]),
        ({"name": 7}, ["name=7 is no text"]),
        ({"queue": ""}, ["queue='' is empty"]),
        ({"queue": "a\0"}, ["U+0000"]),
        ({"priority": 10}, ["priority=10"]),
        ({"priority": True}, ["priority=True"]),
        ({"retry": 3}, ["retry=3", "Retry(max_attempts=8)"]),
        ({"timeout": 0}, ["timeout=0", "above 0"]),
        ({"timeout": -1}, ["timeout=-1"]),
        ({"timeout": float("nan")}, ["timeout=nan"]),
        ({"timeout": "30"}, ["timeout='30'"]),
        ({"timeout": True}, ["timeout=True"]),
        ({"tags": "nightly"}, ["['nightly']"]),
        ({"tags": [1]}, ["tag=1"]),
    ],
)
def test_a_declaration_out_of_range_is_a_task_error(settings: dict[str, Any], words: list[str], book: Book) -> None:
    with pytest.raises(TaskError) as refused:
        Task(send, book, **settings)
    assert "task " in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_a_timeout_may_be_a_timedelta(book: Book) -> None:
    assert Task(send, book, timeout=timedelta(minutes=2)).timeout == 120.0


def test_an_argument_that_cannot_travel_is_refused_at_the_declaration(book: Book) -> None:
    def bad(thing: Callable[[], None]) -> None: ...

    with pytest.raises(UnsupportedAnnotation, match="bad\\(thing"):
        Task(bad, book)
