"""The doors of a Queue to middleware, carried context and listeners."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

from pgjobq.enqueuing import Enqueuing
from pgjobq.events import Event
from pgjobq.job import EnqueuedJob
from pgjobq.listeners import Listener, Listeners
from pgjobq.middleware.passage import Passage
from pgjobq.middleware.surroundings import Surroundings
from pgjobq.task import Call

__all__ = ["Around"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L", bound=Listener)


class Around(Enqueuing):
    """The half of `Queue` that has middleware, context and listeners declared, and passes enqueues through them."""

    surroundings: Surroundings
    listeners: Listeners

    # ------------------------------------------------------------------------------------------ declaration

    def middleware(self, middleware: T) -> T:
        """Put a class or an object around every enqueue and every run of this queue's tasks.

        Args:
            middleware: has a method `enqueue(self, job)`, `run(self, job)` or both; a class is made without arguments.
                Each is a generator function with one `yield`, which gives the receipt or the handler's result; or a
                plain function, which is called before. `run` gets the current job and may be async where all tasks of
                the queue are; `enqueue` gets an Outgoing, whose headers it may change.

        An error in it is the enqueue's error, or the attempt's, which is then tried again. Raises MiddlewareError.
        """
        self.surroundings.add(middleware)
        return middleware

    def around_run(self, function: F) -> F:
        """The same for a function around every run: `@queue.around_run`."""
        self.surroundings.add_run(function)
        return function

    def around_enqueue(self, function: F) -> F:
        """The same for a function around every enqueue: `@queue.around_enqueue`."""
        self.surroundings.add_enqueue(function)
        return function

    def carry(self, **variables: ContextVar[str]) -> None:
        """Let jobs carry context variables from where they are enqueued to where they run.

        Args:
            variables: each by the name of its header: `queue.carry(tenant=tenant)`. One that is set when a job is
                enqueued is set to that value while it runs, and so goes on to the jobs which that one enqueues.

        Raises MiddlewareError when a name is taken, InvalidOption at an enqueue when the value is no text.
        """
        self.surroundings.carry(variables)

    def on(self, *kinds: type[Event]) -> Callable[[L], L]:
        """Have a function called with each event of these kinds (pgjobq.events) in a worker: `@queue.on(JobFailed)`.

        It is called after the fact, in a thread of the worker process that is there for this: it may take its time, and
        an error in it is logged and harms no job. Raises MiddlewareError for what is no kind of event, or is async.
        """

        def declare(function: L) -> L:
            self.listeners.add(kinds, function)
            return function

        return declare

    # ------------------------------------------------------------------------------------------ enqueues

    def enqueue_call(self, call: Call) -> EnqueuedJob:
        """Write the job of a call (`task.call(…)`): what `task.enqueue(…)` does."""
        if not self.surroundings.enqueues:
            return super().enqueue_call(call)
        passage, call = self.surroundings.begin(call)
        receipt: EnqueuedJob = passage.call(super().enqueue_call, {"call": call})
        passage.leave(receipt)
        return receipt

    async def aenqueue_call(self, call: Call) -> EnqueuedJob:
        """The async twin of `enqueue_call`."""
        if not self.surroundings.enqueues:
            return await super().aenqueue_call(call)
        passage, call = self.surroundings.begin(call)
        receipt: EnqueuedJob = await passage.leave_later(super().aenqueue_call(call))
        return receipt

    def _write_many(self, calls: Iterable[Call], conn: object) -> list[int]:
        if not self.surroundings.enqueues:
            return super()._write_many(calls, conn)
        passages: list[Passage] = []
        try:
            ids = super()._write_many(self.surroundings.each(calls, passages), conn)
        except BaseException as error:
            _fail_all(passages, error)
            raise
        _leave_all(passages, ids)
        return ids

    def _outgoing(self, calls: Iterable[Call], passages: list[Any]) -> Iterable[Call]:
        return self.surroundings.each(calls, passages) if self.surroundings.enqueues else calls

    def _turned_back(self, passages: list[Any], error: BaseException) -> None:
        _fail_all(passages, error)

    def _through(self, passages: list[Any], ids: list[int]) -> None:
        if passages:
            _leave_all(passages, ids)

    async def _awrite_many(self, calls: Iterable[Call] | AsyncIterable[Call], conn: object) -> list[int]:
        if not self.surroundings.enqueues:
            return await super()._awrite_many(calls, conn)
        passages: list[Passage] = []
        try:
            ids = await super()._awrite_many(self.surroundings.aeach(calls, passages), conn)
        except BaseException as error:
            _fail_all(passages, error)
            raise
        _leave_all(passages, ids)
        return ids


def _fail_all(passages: list[Passage], error: BaseException) -> None:
    """Each middleware of a bulk hears of the error; what it makes of it does not matter, for it is one error of all."""
    for passage in passages:
        passage.fail(error)


def _leave_all(passages: list[Passage], ids: list[int]) -> None:
    for passage, job in zip(passages, ids, strict=True):
        passage.leave(EnqueuedJob(job, passage.task, passage.queue))
