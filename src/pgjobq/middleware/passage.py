"""One job's way through the middleware of its queue."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from types import TracebackType
from typing import Any

from pgjobq.errors import MiddlewareError
from pgjobq.middleware.wrapper import Wrapper
from pgjobq.outcome import Discard, Snooze

__all__ = ["Passage"]


class Passage:
    """One job's way through the middleware: in through each, and out again in reverse order, with a result or an error.

    An error that a middleware raises takes the place of what was there; one that it swallows is still there.
    """

    __slots__ = ("_inside", "_written", "queue", "task")

    def __init__(self, task: str, queue: str = "", *, written: bool = False) -> None:
        self.task = task
        self.queue = queue
        self._written = written
        self._inside: list[tuple[Wrapper, Any]] = []

    # ------------------------------------------------------------------------------------------ without await

    def enter(self, wrappers: Iterable[Wrapper], job: Any) -> None:
        for wrapper in wrappers:
            try:
                if wrapper.kind == "plain":
                    wrapper.call(job)
                    continue
                generator = wrapper.call(job)
                if _first(generator):
                    self._inside.append((wrapper, generator))
            except BaseException as error:
                failure = self.fail(self._before(wrapper, error))
                if failure is error:
                    raise
                raise failure from failure.__cause__ or error

    def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        try:
            return function(**arguments)
        except BaseException as error:
            failure = self.fail(error)
            if failure is error:
                raise
            raise failure from failure.__cause__ or error

    def leave(self, result: Any) -> None:
        """Out again, well."""
        while self._inside:
            wrapper, generator = self._inside.pop()
            try:
                generator.send(result)
            except StopIteration:
                continue
            except BaseException as error:
                failure = self.fail(self._after(wrapper, error))
                if failure is error:
                    raise
                raise failure from failure.__cause__ or error
            raise self.fail(self._twice(wrapper, generator.close))

    async def leave_later(self, result: Any) -> Any:
        """For a plain function that gave something to await, where that is awaited."""
        try:
            result = await result
        except BaseException as error:
            failure = self.fail(error)
            if failure is error:
                raise
            raise failure from failure.__cause__ or error
        self.leave(result)
        return result

    def fail(self, error: BaseException) -> BaseException:
        """Out again, with an error; gives the one that counts in the end."""
        while self._inside:
            (wrapper, generator), trace = self._inside.pop(), error.__traceback__
            try:
                generator.throw(error)
            except StopIteration:
                continue
            except BaseException as raised:
                error = _noted(raised, error, wrapper, trace)
            else:
                error = self._twice(wrapper, generator.close)
        return error

    # ------------------------------------------------------------------------------------------ awaited

    async def aenter(self, wrappers: Iterable[Wrapper], job: Any) -> None:
        for wrapper in wrappers:
            try:
                made = wrapper.call(job)
                if wrapper.kind == "coroutine":
                    await made
                elif wrapper.kind != "plain" and (await _afirst(made) if wrapper.awaits else _first(made)):
                    self._inside.append((wrapper, made))
            except BaseException as error:
                failure = await self.afail(self._before(wrapper, error))
                if failure is error:
                    raise
                raise failure from failure.__cause__ or error

    async def acall(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        try:
            return await function(**arguments)
        except BaseException as error:
            failure = await self.afail(error)
            if failure is error:
                raise
            raise failure from failure.__cause__ or error

    async def aleave(self, result: Any) -> None:
        while self._inside:
            wrapper, generator = self._inside.pop()
            try:
                await generator.asend(result) if wrapper.awaits else generator.send(result)
            except (StopIteration, StopAsyncIteration):
                continue
            except BaseException as error:
                failure = await self.afail(self._after(wrapper, error))
                if failure is error:
                    raise
                raise failure from failure.__cause__ or error
            raise await self.afail(await self._atwice(wrapper, generator))

    async def afail(self, error: BaseException) -> BaseException:
        while self._inside:
            (wrapper, generator), trace = self._inside.pop(), error.__traceback__
            try:
                await generator.athrow(error) if wrapper.awaits else generator.throw(error)
            except (StopIteration, StopAsyncIteration):
                continue
            except BaseException as raised:
                error = _noted(raised, error, wrapper, trace)
            else:
                error = await self._atwice(wrapper, generator)
        return error

    # ------------------------------------------------------------------------------------------ sentences

    def _before(self, wrapper: Wrapper, error: BaseException) -> BaseException:
        what = "anything was written" if self._written else "the handler was called"
        return _told(error, f"middleware {wrapper.name} failed before {what}, for {self.task}")

    def _after(self, wrapper: Wrapper, error: BaseException) -> BaseException:
        what = "the job was written" if self._written else "the handler had returned"
        return _told(error, f"middleware {wrapper.name} failed after {what}, for {self.task}")

    def _twice(self, wrapper: Wrapper, close: Callable[[], object]) -> BaseException:
        close()
        return MiddlewareError(f"middleware {wrapper.name} yields more than once; it is one yield around {self.task}")

    async def _atwice(self, wrapper: Wrapper, generator: Any) -> BaseException:
        if not wrapper.awaits:
            return self._twice(wrapper, generator.close)
        await generator.aclose()
        return self._twice(wrapper, lambda: None)


def _first(generator: Generator[None, Any, None]) -> bool:
    """Up to its yield; False when it returned before."""
    try:
        next(generator)
    except StopIteration:
        return False
    return True


async def _afirst(generator: AsyncGenerator[None, Any]) -> bool:
    try:
        await anext(generator)
    except StopAsyncIteration:
        return False
    return True


def _noted(raised: BaseException, error: BaseException, wrapper: Wrapper, trace: TracebackType | None) -> BaseException:
    """What counts when a middleware was told of an error and raised something; the way through it is left out of the
    error's own traceback."""
    if raised is error or (isinstance(raised, RuntimeError) and raised.__cause__ is error):  # a StopIteration
        return error.with_traceback(trace)
    if isinstance(raised, Exception):
        raised.add_note(f"(raised by middleware {wrapper.name}, in place of {type(error).__name__})")
    return raised


def _told(error: BaseException, where: str) -> BaseException:
    """What a middleware raises on purpose (Snooze, Discard), and what comes from outside (a cancellation, a time-out),
    stays what it is."""
    if not isinstance(error, Exception) or isinstance(error, Snooze | Discard | MiddlewareError):
        return error
    told = MiddlewareError(f"{where}: {type(error).__name__}: {error}")
    told.__cause__ = error
    return told
