"""What is around the tasks of one queue, and put around each of them when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextvars import ContextVar, Token
from dataclasses import replace
from typing import Any

from pgjobq.current import CurrentJob, current_job
from pgjobq.errors import InvalidOption, MiddlewareError
from pgjobq.middleware.passage import Passage
from pgjobq.middleware.wrapper import Outgoing, Wrapper, check_awaits, read_wrapper
from pgjobq.task import Call, Options, Registry, Task
from pgjobq.wording import quote

__all__ = ["Surroundings", "jobs_of_call"]

RESERVED = frozenset({"schedule", "scheduled_for"})
"""Headers that schedules write."""


class Surroundings:
    """What is around the tasks of one queue: middleware in the order of declaration, the first one outermost, and
    around it the context that jobs carry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._runs: tuple[Wrapper, ...] = ()
        self._carried: dict[str, ContextVar[str]] = {}
        self._latest: tuple[Options, dict[str, str], Options] | None = None
        self.enqueues: tuple[Wrapper, ...] = ()
        """Empty: nothing is to be done around an enqueue."""

    # ------------------------------------------------------------------------------------------ declaration

    def add(self, middleware: Any) -> None:
        """A class (made here, without arguments) or an object that has `enqueue`, `run`, or both."""
        thing = middleware() if isinstance(middleware, type) else middleware
        halves = {half: getattr(thing, half, None) for half in ("enqueue", "run")}
        if not any(map(callable, halves.values())):
            raise MiddlewareError(
                f"{quote(middleware)} is no middleware: it has neither a method run(self, job) nor enqueue(self, job); "
                "a function is declared by @queue.around_run or @queue.around_enqueue"
            )
        name = type(thing).__name__
        made = {half: read_wrapper(f"{name}.{half}", call) for half, call in halves.items() if call is not None}
        if "enqueue" in made:
            self._add_enqueue(made["enqueue"])
        if "run" in made:
            self._add_run(made["run"])

    def add_enqueue(self, function: Callable[[Outgoing], Any]) -> None:
        """A function around every enqueue."""
        self._add_enqueue(read_wrapper(getattr(function, "__name__", repr(function)), function))

    def add_run(self, function: Callable[[CurrentJob], Any]) -> None:
        """A function around every run."""
        self._add_run(read_wrapper(getattr(function, "__name__", repr(function)), function))

    def _add_enqueue(self, wrapper: Wrapper) -> None:
        if wrapper.awaits:
            raise MiddlewareError(
                f"middleware {wrapper.name} is async, and enqueue() could not await it; write it with def, for "
                "enqueue() and aenqueue() alike"
            )
        self.enqueues += (wrapper,)

    def _add_run(self, wrapper: Wrapper) -> None:
        for task in self._registry:
            check_awaits(wrapper, task)
        self._runs += (wrapper,)
        self._wrap_all()

    def carry(self, variables: dict[str, ContextVar[str]]) -> None:
        """Take the values of these along, each as a header of that name."""
        for name, variable in variables.items():
            if not isinstance(variable, ContextVar):
                raise MiddlewareError(f"carry({name}={quote(variable)}): wants a ContextVar, which holds the value")
            if name in RESERVED:
                raise MiddlewareError(f"carry({name}=…): schedules write the header {name!r}; choose another name")
            known = self._carried.get(name)
            if known is not None and known is not variable:
                raise MiddlewareError(f"carry({name}=…): that header carries {known.name!r} already")
        self._carried.update(variables)
        self._wrap_all()

    @property
    def carried(self) -> tuple[str, ...]:
        """The headers that hold the context of a job."""
        return tuple(self._carried)

    def _wrap_all(self) -> None:
        for task in self._registry:
            self.wrap(task)

    def wrap(self, task: Task[..., Any]) -> None:
        """Put what has been declared around this task."""
        for wrapper in self._runs:
            check_awaits(wrapper, task)
        if self._carried:
            task.dress = self._dress
        if self._carried or self._runs:
            task.handler = self._around_async(task) if task.is_async else self._around_plain(task)

    # ------------------------------------------------------------------------------------------ a run

    def _around_plain(self, task: Task[..., Any]) -> Callable[..., Any]:
        function, wrappers, carried = task.function, self._runs, dict(self._carried)

        def handler(**arguments: Any) -> Any:
            job = current_job()
            _restore(job, carried, _jobs_in(task, arguments))  # not taken back: the job has a context of its own
            passage = Passage(task.name)
            passage.enter(wrappers, job)
            result = passage.call(function, arguments)
            if inspect.isawaitable(result):  # a plain function around a coroutine: it ends when that does
                return passage.leave_later(result)
            passage.leave(result)
            return result

        return handler

    def _around_async(self, task: Task[..., Any]) -> Callable[..., Any]:
        function, wrappers, carried = task.function, self._runs, dict(self._carried)

        async def handler(**arguments: Any) -> Any:
            job = current_job()
            restored = _restore(job, carried, _jobs_in(task, arguments))
            passage = Passage(task.name)
            try:
                await passage.aenter(wrappers, job)
                result = await passage.acall(function, arguments)
                await passage.aleave(result)
            finally:
                _reset(restored)
            return result

        return handler

    # ------------------------------------------------------------------------------------------ an enqueue

    def _dress(self, options: Options) -> Options:
        """The options with what is carried; headers that are given win."""
        values = {name: value for name, var in self._carried.items() if (value := var.get(None)) is not None}
        if not values:
            return options
        for name, value in values.items():
            if not isinstance(value, str):
                raise InvalidOption(
                    f"the context {name!r} holds {quote(value)}: what jobs carry along is text; set the variable to "
                    f"str(…)"
                )
        return self._with_headers(options, values | options.headers)

    def _with_headers(self, options: Options, headers: dict[str, str]) -> Options:
        if headers == options.headers:
            return options
        latest = self._latest  # a bulk asks for the same again and again
        if latest is not None and latest[0] is options and latest[1] == headers:
            return latest[2]
        made = replace(options, headers=headers)
        self._latest = options, headers, made
        return made

    def begin(self, call: Call) -> tuple[Passage, Call]:
        """What is done before an enqueue; gives the call as it is to be written."""
        options = call.options
        outgoing = Outgoing(call.task.name, call.queue, call.priority, options.ref, call.tags, dict(options.headers))
        passage = Passage(call.task.name, call.queue, written=True)
        passage.enter(self.enqueues, outgoing)
        dressed = self._with_headers(options, outgoing.headers)
        if dressed is not options:
            call = Call(call.task, call.args_text, dressed, call.gates, call.key)
        return passage, call

    def each(self, calls: Iterable[Call], passages: list[Passage]) -> Iterator[Call]:
        """The calls of a bulk on their way; their passages are kept for the end."""
        for call in calls:
            yield self._passing(call, passages)

    async def aeach(self, calls: Iterable[Call] | AsyncIterable[Call], passages: list[Passage]) -> AsyncIterator[Call]:
        """The same of any iterable, async ones too."""
        if isinstance(calls, AsyncIterable):
            async for call in calls:
                yield self._passing(call, passages)
        else:
            for call in calls:
                yield self._passing(call, passages)

    def _passing(self, call: Call, passages: list[Passage]) -> Call:
        if type(call) is not Call:
            return call  # whoever writes them says what is wrong with it
        passage, call = self.begin(call)
        passages.append(passage)
        return call


def jobs_of_call(job: CurrentJob) -> tuple[CurrentJob, ...]:
    """For middleware: all jobs of the call that it stands around, which are many for a handler of chunks."""
    return _together.get(()) or (job,)


_together: ContextVar[tuple[CurrentJob, ...]] = ContextVar("pgjobq_together")


def _jobs_in(task: Task[..., Any], arguments: dict[str, Any]) -> tuple[CurrentJob, ...]:
    """The jobs of a chunk; none for a handler that takes one."""
    return () if task.jobs_argument is None else tuple(arguments[task.jobs_argument])


def _restore(
    job: CurrentJob, carried: dict[str, ContextVar[str]], jobs: tuple[CurrentJob, ...]
) -> list[tuple[ContextVar[Any], Token[Any]]]:
    """Set the context that a job carries; gives what takes it back."""
    restored: list[tuple[ContextVar[Any], Token[Any]]] = [(_together, _together.set(jobs))] if jobs else []
    headers = job.headers if carried else {}
    for name, variable in carried.items():
        if isinstance(value := headers.get(name), str):
            restored.append((variable, variable.set(value)))
    return restored


def _reset(restored: list[tuple[ContextVar[Any], Token[Any]]]) -> None:
    for variable, token in restored:
        variable.reset(token)
