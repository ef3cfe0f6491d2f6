"""Middleware as such: order, errors on each side, what is refused; on calls that are never written."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq import Discard, InvalidOption, MiddlewareError, Queue, Retry, Snooze, TaskError
from pgjobq.current import entered
from pgjobq.events import Event, JobEvent, JobFailed, JobSucceeded
from pgjobq.listeners import Listeners


def run(task: Any, headers: dict[str, str] | None = None, **arguments: Any) -> Any:
    """As a worker calls it, with a job that has these headers."""

    def call() -> Any:
        entered(SimpleNamespace(headers=headers or {}, task=task.name))  # type: ignore[arg-type]
        called = task.handler(**arguments)
        return asyncio.run(_value(called)) if task.is_async else called

    return contextvars.copy_context().run(call)


async def _value(called: Any) -> Any:
    return await called


PLANS = st.lists(st.sampled_from(["pass", "raise in", "raise out", "swallow", "replace", "plain", "early"]), max_size=6)


@given(plan=PLANS, is_async=st.booleans(), fails=st.booleans())
def test_whatever_middlewares_do_each_that_was_entered_is_left_and_an_error_stays_an_error(
    plan: list[str], is_async: bool, fails: bool
) -> None:
    """In through each in order, out in reverse order; the handler is called unless one refused, and succeeds only when
    neither it nor a middleware has failed."""
    queue = Queue()
    trail: list[str] = []

    def declare(number: int, kind: str) -> None:
        if kind == "plain":
            queue.around_run(lambda job: trail.append(f"in {number}"))
            return

        def middleware(job: Any) -> Iterator[None]:
            if kind == "raise in":
                raise KeyError(number)
            trail.append(f"in {number}")
            if kind == "early":
                return
            try:
                yield
            except Exception:
                trail.append(f"error {number}")
                if kind == "swallow":
                    return
                if kind == "replace":
                    raise Discard("replaced") from None
                raise
            trail.append(f"out {number}")
            if kind == "raise out":
                raise OSError(number)

        queue.around_run(middleware)

    for number, kind in enumerate(plan):
        declare(number, kind)
    if is_async:

        @queue.task
        async def handler() -> int:
            return _handle()
    else:

        @queue.task
        def handler() -> int:
            return _handle()

    def _handle() -> int:
        trail.append("handler")
        if fails:
            raise ValueError("the handler's")
        return 42

    error: BaseException | None = None
    try:
        result = run(handler)
    except BaseException as raised:
        error = raised
    else:
        assert result == 42

    refused = plan.index("raise in") if "raise in" in plan else None
    entered_ones = list(range(len(plan) if refused is None else refused))
    assert [t for t in trail if t.startswith("in ")] == [f"in {n}" for n in entered_ones]
    assert ("handler" in trail) == (refused is None)
    inside = [n for n in entered_ones if plan[n] not in ("plain", "early")]
    left = [int(t.split()[1]) for t in trail if t.startswith(("out ", "error "))]
    assert left == inside[::-1], "each that was entered is left, innermost first"
    should_fail = fails or refused is not None or any(plan[n] == "raise out" for n in inside)
    assert (error is not None) == should_fail, "what a middleware swallows has happened all the same"


def test_what_a_middleware_raises_on_purpose_stays_what_it_is() -> None:
    queue = Queue()

    @queue.around_run
    def later(job: Any) -> None:
        raise Snooze(7)

    @queue.task
    def handler() -> None: ...

    with pytest.raises(Snooze) as raised:
        run(handler)
    assert raised.value.seconds == 7


def test_rules_for_a_retry_see_what_a_middleware_raised() -> None:
    queue = Queue()

    @queue.around_run
    def committed(job: Any) -> Iterator[None]:
        yield
        raise ConnectionResetError("at the commit")

    @queue.task
    def handler() -> None: ...

    with pytest.raises(MiddlewareError) as raised:
        run(handler)
    assert Retry(rules={ConnectionError: 7.0}).rule_for(raised.value) == 7.0
    assert Retry(give_up_on=(OSError,)).rule_for(raised.value) is False
    assert Retry(rules={ConnectionError: 7.0, MiddlewareError: 9.0}).rule_for(raised.value) == 9.0
    plain = Retry()
    assert plain.rule_for(raised.value) is plain


def test_a_replaced_error_says_by_whom() -> None:
    queue = Queue()

    @queue.around_run
    def translate(job: Any) -> Iterator[None]:
        try:
            yield
        except ConnectionResetError as error:
            raise TimeoutError("the relay is busy") from error

    @queue.task
    async def handler() -> None:
        raise ConnectionResetError

    with pytest.raises(TimeoutError, match="busy") as raised:
        run(handler)
    assert raised.value.__notes__ == ["(raised by middleware translate, in place of ConnectionResetError)"]
    assert isinstance(raised.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize("error", [StopIteration("x"), StopAsyncIteration("x"), GeneratorExit(), KeyboardInterrupt()])
def test_awkward_errors_come_through_as_they_are(error: BaseException) -> None:
    queue = Queue()

    @queue.around_run
    def one(job: Any) -> Iterator[None]:
        yield

    @queue.task
    def handler() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        run(handler)
    assert raised.value is error


def test_async_middleware_around_async_handlers() -> None:
    queue, trail = Queue(), list[str]()
    connection: ContextVar[str] = ContextVar("connection")

    @queue.around_run
    async def connected(job: Any) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        connection.set("open")
        try:
            yield
        except ValueError:
            trail.append("rolled back")
            raise
        finally:
            await asyncio.sleep(0)
            trail.append("closed")

    @queue.around_run
    async def checked(job: Any) -> None:
        await asyncio.sleep(0)
        trail.append("checked")

    @queue.task
    async def handler(fails: bool) -> str:
        if fails:
            raise ValueError
        return connection.get()

    assert run(handler, fails=False) == "open"
    with pytest.raises(ValueError):
        run(handler, fails=True)
    assert trail == ["checked", "closed", "checked", "rolled back", "closed"]
    with pytest.raises(TaskError, match="connected is async, and task 'plain' is a plain function"):

        @queue.task
        def plain() -> None: ...

    assert "plain" not in queue.registry.names


def test_a_plain_function_around_a_coroutine_is_left_when_that_has_ended() -> None:
    queue, trail = Queue(), list[str]()

    @queue.around_run
    def outer(job: Any) -> Iterator[None]:
        trail.append("in")
        result = yield
        trail.append(f"out {result}")

    async def inner() -> int:
        trail.append("inner")
        return 7

    @queue.task
    def handler() -> Any:
        return inner()

    assert asyncio.run(_value(run(handler))) == 7
    assert trail == ["in", "inner", "out 7"]


# ---------------------------------------------------------------------------------------------- context

NAMES = st.sampled_from(["tenant", "request", "trace"])
VALUES = st.dictionaries(NAMES, st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")))


@given(values=VALUES, given_headers=VALUES)
def test_context_is_carried_and_headers_that_are_given_win(
    values: dict[str, str], given_headers: dict[str, str]
) -> None:
    queue = Queue()
    variables: dict[str, ContextVar[str]] = {name: ContextVar(name) for name in ("tenant", "request", "trace")}
    queue.carry(**variables)

    @queue.task
    def handler() -> dict[str, str]:
        return {name: var.get() for name, var in variables.items() if var.get(None) is not None}

    def enqueue() -> dict[str, str]:
        for name, value in values.items():
            variables[name].set(value)
        return handler.using(headers=given_headers).call().options.headers

    headers = contextvars.copy_context().run(enqueue)
    assert headers == values | given_headers
    assert run(handler, headers) == headers, "what is carried is there in the handler"
    assert handler.call().options.headers == {}, "and nowhere else"


def test_a_task_of_a_queue_with_nothing_around_it_is_called_directly() -> None:
    queue = Queue()

    @queue.task
    def handler() -> None: ...

    assert handler.handler is handler.function
    assert handler.dress is None
    queue.carry(tenant=ContextVar("tenant"))
    assert handler.handler is not handler.function, "declared later, it holds for what was there before"


def test_what_is_no_text_is_refused_with_its_name() -> None:
    queue = Queue()
    tenant: ContextVar[Any] = ContextVar("tenant")
    queue.carry(tenant=tenant)

    @queue.task
    def handler() -> None: ...

    token = tenant.set(7)
    with pytest.raises(InvalidOption, match="the context 'tenant' holds 7"):
        handler.call()
    tenant.reset(token)


# ---------------------------------------------------------------------------------------------- refusals


class Nothing:
    """Has neither half."""


class Broken:
    run = 7


REFUSED: list[tuple[Callable[[Queue], Any], str]] = [
    (lambda queue: queue.middleware(Nothing), "neither a method run"),
    (lambda queue: queue.middleware(Broken), "neither a method run"),
    (lambda queue: queue.around_run(lambda: None), "must take one argument"),
    (lambda queue: queue.around_run("text"), "is no function"),
    (lambda queue: queue.carry(tenant="acme"), "wants a ContextVar"),
    (lambda queue: queue.carry(schedule=ContextVar("x")), "schedules write the header"),
    (lambda queue: (queue.carry(a=ContextVar("x")), queue.carry(a=ContextVar("y"))), "carries 'x' already"),
    (lambda queue: queue.on()(print), "name the kinds of event"),
    (lambda queue: queue.on(int)(print), "wants kinds of event"),
    (lambda queue: queue.on(JobFailed)(asyncio.sleep), "write it with def"),
    (lambda queue: queue.on(JobFailed)(None), "write it with def"),
]


@pytest.mark.parametrize(("declare", "sentence"), REFUSED)
def test_refusals(declare: Callable[[Queue], Any], sentence: str) -> None:
    with pytest.raises(MiddlewareError, match=sentence):
        declare(Queue())


def test_async_middleware_around_enqueue_is_refused() -> None:
    async def enqueue(job: Any) -> AsyncIterator[None]:
        yield

    with pytest.raises(MiddlewareError, match="enqueue is async"):
        Queue().around_enqueue(enqueue)


def test_a_second_yield_is_an_error() -> None:
    queue = Queue()

    @queue.around_run
    def twice(job: Any) -> Iterator[None]:
        yield
        yield

    @queue.task
    def handler() -> None: ...

    with pytest.raises(MiddlewareError, match="twice yields more than once"):
        run(handler)


# ---------------------------------------------------------------------------------------------- listeners


def succeeded(job: int) -> JobSucceeded:
    return JobSucceeded(job=job, task="t", queue="q", attempt=1, max_attempts=1, ran=0.1)


def test_a_listener_hears_its_kinds_in_order_and_nothing_before_it_is_open() -> None:
    listeners, heard, reported = Listeners(), list[Any](), list[Event]()
    listeners.add([JobEvent], heard.append)
    assert listeners.wants(JobSucceeded)
    assert not listeners.wants(Event)
    listeners.tell(succeeded(0))
    listeners.open(reported.append)
    for job in range(1, 500):
        listeners.tell(succeeded(job))
    listeners.close()
    assert [event.job for event in heard] == list(range(1, 500))
    assert not reported


def test_a_slow_listener_holds_nobody_up_and_what_it_misses_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    gate, heard, reported = threading.Event(), list[Any](), list[Event]()
    monkeypatch.setattr("pgjobq.listeners.MOST_WAITING", 10)
    listeners = Listeners()

    def listen(event: Event) -> None:
        assert gate.wait(60)
        heard.append(event)

    listeners.add([JobSucceeded], listen)
    listeners.open(reported.append)
    for job in range(100):
        listeners.tell(succeeded(job))
    gate.set()
    listeners.close()
    assert [event.name() for event in reported] == ["events_dropped"]
    assert len(heard) + reported[0].events == 100  # type: ignore[attr-defined]
    assert len(heard) >= 10
