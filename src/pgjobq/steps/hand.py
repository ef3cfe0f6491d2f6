"""The two shells around a ledger, plain and awaited: they read, call the step's function and write."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast, overload

from pgjobq import run
from pgjobq.errors import LeaseLost, StepError
from pgjobq.outcome import Awaiting, Snoozed
from pgjobq.run.pools import Pools
from pgjobq.statements import Statement
from pgjobq.statements.steps import Memory, Met, Remembered
from pgjobq.steps.ledger import Ledger
from pgjobq.steps.values import Read, promised, reader

__all__ = ["RAISE", "UNSAID", "Hand"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

UNSAID: Any = object()
"""No type was given: the function's annotation says it."""
RAISE: Any = object()
"""No default was given: EventTimeout is raised."""
WRITES_WITHIN = 5.0
"""Seconds for which a handler that is cancelled waits for what its step gave to be written down."""


class Stepping(Protocol):
    """The running job, as far as it matters here."""

    @property
    def ledger(self) -> Ledger:
        """Its steps."""

    @property
    def stores(self) -> Pools:
        """Connections to the worker's database."""

    def join(self) -> None:
        """Note that a transaction of the handler's own holds the lease."""

    def lose(self, lost: LeaseLost) -> LeaseLost:
        """Note that this attempt no longer holds it."""

    def suspend(self, outcome: Snoozed | Awaiting) -> BaseException:
        """What to raise to leave the handler until later."""

    def check_suspension(self) -> None:
        """Raises TaskError if it cannot be left until later."""


class Hand:
    """Takes steps for a job, with options; `current_job().using(…)` gives one.

    Args:
        job: the running job.
        conn: the connection in whose transaction a step is remembered, and which reads what earlier attempts have left;
            None: one of the library's own.
        returns: the type that a step gives back; left out: what the annotation of its function says.
    """

    __slots__ = ("_conn", "_job", "_returns")

    def __init__(self, job: Stepping, conn: object = None, returns: Any = UNSAID) -> None:
        self._job, self._conn, self._returns = job, conn, returns

    def step(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """See CurrentJob.step."""
        if inspect.iscoroutinefunction(function):
            raise StepError(f"step {name!r}: its function is to be awaited: await job.astep(…)")
        self._recall()
        read, found = self._meet(name, function)
        if found is not None:
            return cast("R", read(self._job.ledger.text_of(name, found)))
        began = time.perf_counter()
        value = function(*args, **kwargs)
        text, statement = self._job.ledger.remember(name, value, time.perf_counter() - began)
        self._held(self._run(statement))
        return cast("R", read(text))

    @overload
    async def astep(
        self, name: str, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def astep(self, name: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def astep(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """See CurrentJob.astep."""
        await self._arecall()
        read, found = self._meet(name, function)
        if found is not None:
            return read(self._job.ledger.text_of(name, found))
        began = time.perf_counter()
        value = function(*args, **kwargs)
        if inspect.isawaitable(value):
            value = await value
        text, statement = self._job.ledger.remember(name, value, time.perf_counter() - began)
        self._held(await self._to_the_end(statement))
        return read(text)

    def checkpoint(self, value: Any) -> None:
        """See CurrentJob.checkpoint."""
        self._held(self._run(self._job.ledger.keep(value)))

    async def acheckpoint(self, value: Any) -> None:
        """The async twin of `checkpoint`."""
        self._held(await self._to_the_end(self._job.ledger.keep(value)))

    def last_checkpoint(self, default: Any = None) -> Any:
        """See CurrentJob.last_checkpoint."""
        self._recall()
        return self._read_checkpoint(default)

    async def alast_checkpoint(self, default: Any = None) -> Any:
        """The async twin of `last_checkpoint`."""
        await self._arecall()
        return self._read_checkpoint(default)

    # ------------------------------------------------------------------------------------------ not public

    def sleep(self, name: str, seconds: float) -> None:
        """Leave the handler until the sleep is over."""
        self._job.check_suspension()
        self._recall()
        if self._job.ledger.meet(name, "sleep") is None:
            self._slept(self._run(self._job.ledger.sleep(name, seconds)))

    async def asleep(self, name: str, seconds: float) -> None:
        """The async twin of `sleep`."""
        self._job.check_suspension()
        with self._job.ledger.asking:
            await self._arecall()
            if self._job.ledger.meet(name, "sleep") is not None:
                return
            left = await self._to_the_end(self._job.ledger.sleep(name, seconds))
        if left:
            await self._job.ledger.asking.all_have_asked(WRITES_WITHIN)
        self._slept(left)

    def wait_for(self, name: str, event: str, seconds: float | None, default: Any) -> Any:
        """Leave the handler until the event has come, or the time is over."""
        self._job.check_suspension()
        read = reader(name, Any if self._returns is UNSAID else self._returns)
        self._recall()
        found = self._job.ledger.meet(name, "wait", event)
        met = _known(found) if found else self._run(self._job.ledger.wait(name, event, seconds))
        return self._judged(name, event, met, read, default)

    async def await_for(self, name: str, event: str, seconds: float | None, default: Any) -> Any:
        """The async twin of `wait_for`."""
        self._job.check_suspension()
        read = reader(name, Any if self._returns is UNSAID else self._returns)
        with self._job.ledger.asking:
            await self._arecall()
            found = self._job.ledger.meet(name, "wait", event)
            met = _known(found) if found else await self._to_the_end(self._job.ledger.wait(name, event, seconds))
        if met.state == "waits":
            await self._job.ledger.asking.all_have_asked(WRITES_WITHIN)
        return self._judged(name, event, met, read, default)

    # ------------------------------------------------------------------------------------------ what both do

    def _meet(self, name: str, function: Callable[..., Any]) -> tuple[Read, Remembered | None]:
        read = reader(name, promised(function) if self._returns is UNSAID else self._returns)
        return read, self._job.ledger.meet(name, "step")

    def _held(self, holds: bool) -> None:
        if not holds:
            raise self._job.lose(self._job.ledger.lost())

    def _slept(self, left: float | None) -> None:
        if left is None:
            raise self._job.lose(self._job.ledger.lost())
        if left > 0:
            raise self._job.suspend(Snoozed(left))

    def _judged(self, name: str, event: str, met: Met, read: Read, default: Any) -> Any:
        match met.state:
            case None:
                raise self._job.lose(self._job.ledger.lost())
            case "waits":
                raise self._job.suspend(Awaiting(event))
            case "late" if default is RAISE:
                raise self._job.ledger.late(name, event)
            case "late":
                return default
        return read(self._job.ledger.payload_of(event, met.text))

    def _read_checkpoint(self, default: Any) -> Any:
        text = self._job.ledger.checkpoint()
        return (
            default if text is None else reader("checkpoint", Any if self._returns is UNSAID else self._returns)(text)
        )

    # ------------------------------------------------------------------------------------------ the database

    def _recall(self) -> None:
        if not self._job.ledger.is_known:
            self._learn(self._run(self._job.ledger.recall()))

    async def _arecall(self) -> None:
        if not self._job.ledger.is_known:
            self._learn(await self._arun(self._job.ledger.recall()))

    def _learn(self, memory: Memory | None) -> None:
        if memory is None:
            raise self._job.lose(self._job.ledger.lost())
        self._job.ledger.learn(memory)

    def _run(self, statement: Statement[T]) -> T:
        if self._conn is None:
            return self._job.stores.execute(statement)
        self._job.join()
        return run.execute(self._conn, statement)

    async def _arun(self, statement: Statement[T]) -> T:
        if self._conn is None:
            return await self._job.stores.aexecute(statement)
        self._job.join()
        return await run.aexecute(self._conn, statement)

    async def _to_the_end(self, statement: Statement[T]) -> T:
        """What has been done is written down, also when the handler is cancelled meanwhile."""
        writing = asyncio.ensure_future(self._arun(statement))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([writing], timeout=WRITES_WITHIN)
            raise


def _known(found: Remembered) -> Met:
    return Met("late" if found.timed_out else "came", found.text)
