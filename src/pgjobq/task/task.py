"""Tasks: functions that can be enqueued, the calls made of them, and the registry that knows them by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, Generic, Literal, ParamSpec, Protocol, TypeVar, Unpack

import msgspec

from pgjobq.codec import Codec
from pgjobq.encryption import Keyring, is_sealed, open_sealed
from pgjobq.job import EnqueuedJob
from pgjobq.retry import Retry
from pgjobq.task.chunk import Chunk, check_chunk, item_maker
from pgjobq.task.declaration import (
    check_function,
    check_settings,
    checked_encryption,
    checked_gates,
    checked_isolation,
    checked_memory_limit,
    checked_secrets,
    checked_tags,
    checked_timeout,
    checked_unique,
    place,
)
from pgjobq.task.evolution import Upcast, checked_aliases, checked_upcasts, checked_version, read_older
from pgjobq.task.gate import Gate, gates_text
from pgjobq.task.options import Options, UsingOptions
from pgjobq.task.unique import Unique

__all__ = ["Bound", "Call", "Door", "Options", "Task"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)

_AS_THE_TASK_SAYS: Final = Options()


class Door(Protocol):
    """Who takes a call to the database: the Queue, of which a task knows no more than this."""

    max_payload_bytes: int

    def enqueue_call(self, call: Call) -> EnqueuedJob:
        """Write the job of this call, on `call.options.conn` or on a connection of its own."""

    async def aenqueue_call(self, call: Call) -> EnqueuedJob:
        """The async twin of `enqueue_call`."""


class Task(Generic[P, R]):
    """A function that can be called as ever, and enqueued.

    Attributes:
        name: under which its jobs are stored; 1 to 255 characters.
        function: the function itself.
        codec: its arguments as JSON text and back.
        queue, priority, tags: where its jobs go unless `using(...)` says otherwise; tags add up.
        retry: when a failed attempt is tried again.
        timeout: seconds an attempt may take, above 0; None: any time.
        encryption: the key ring that its payloads are sealed with; None: they are stored as they are.
        version: of its arguments, from 1.
        upcasts: for older versions, what makes arguments of that version into those of the next.
        chunk: how many jobs go into one call of the handler, which takes a list of ChunkJobs; None: one, by itself.
        takes: what has the signature of one job's arguments: the function, but for chunks.
        aliases: other names under which jobs of it may be stored.
        gates: the limits that its jobs share, unless `using(gates=…)` says otherwise.
        unique: what only one of its jobs may have, unless `using(unique=…)` says otherwise; None: nothing.
        is_async: whether calling the function gives a coroutine.
        isolation: "process": each attempt runs in a process that it shares with no other job; None: with the others.
        memory_limit: bytes of memory that this process may use, with isolation; None: no limit.
        on_loop: whether it runs on the worker's event loop.

    Raises:
        TaskError: the function or an option cannot work; the sentence says why and what to do.
        UnsupportedAnnotation: an argument cannot travel as JSON.
    """

    def __init__(
        self,
        function: Callable[P, R],
        door: Door,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: int = 0,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        tags: Iterable[str] = (),
        secrets: Iterable[str] = (),
        encryption: Keyring | None = None,
        isolation: Literal["process"] | None = None,
        memory_limit: int | str | None = None,
        gates: Iterable[Gate] = (),
        unique: Unique | None = None,
        version: int = 1,
        upcasts: Mapping[int, Upcast] | None = None,
        aliases: Iterable[str] = (),
        chunk: Chunk | None = None,
    ) -> None:
        check_function(function)
        self.function: Callable[P, R] = function
        self.name: str = function.__name__ if name is None else name
        self.takes: Callable[..., Any] = function
        self.jobs_argument: str | None = None
        if chunk is not None:
            self.jobs_argument, self.takes = item_maker(self.name, function)
            check_chunk(self.name, chunk, isolation, self.takes)
        self.chunk: Chunk | None = chunk
        self.queue = queue
        self.priority = priority
        self.retry: Retry = Retry() if retry is None else retry
        self.timeout: float | None = checked_timeout(self.name, timeout)
        self.tags: tuple[str, ...] = checked_tags(self.name, tags)
        self.is_async: bool = inspect.iscoroutinefunction(function)
        self.isolation = checked_isolation(self.name, isolation)
        self.memory_limit: int | None = checked_memory_limit(self.name, memory_limit, isolation)
        self.on_loop: bool = self.is_async and self.isolation is None
        check_settings(self.name, queue, priority, self.retry)
        self.version: int = checked_version(self.name, version)
        self.upcasts: dict[int, Upcast] = checked_upcasts(self.name, version, upcasts)
        self.aliases: tuple[str, ...] = checked_aliases(self.name, aliases)
        self.encryption: Keyring | None = checked_encryption(self.name, encryption)
        known = checked_secrets(self.name, self.takes, secrets, version)
        self.codec: Codec = Codec.of(self.takes, known, hides_all=encryption is not None)
        self.gates: tuple[Gate, ...] = checked_gates(self.name, self.takes, gates)
        self.unique: Unique | None = checked_unique(self.name, self.takes, unique)
        self._door = door
        self.handler: Callable[..., Any] = function
        """What a worker calls: the function, in whatever the queue puts around it."""
        self.dress: Callable[[Options], Options] | None = None
        """Adds what jobs carry along; None: nothing."""
        functools.update_wrapper(self, function, updated=())

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now; nothing is enqueued."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name} ({place(self.function)})>"

    def seal(self, text: str, queue: str, *, part: str = "args", name: str | None = None) -> str:
        """Arguments or a result, as JSON text, in the form in which they are stored; `name`: the job's, if an alias."""
        if self.encryption is None:
            return text
        return self.encryption.seal(text, task=name or self.name, queue=queue, part=part)

    def read(self, stored: str, queue: str, *, name: str | None = None, version: int = 1) -> dict[str, Any]:
        """Stored arguments as typed values, ready for `function(**arguments)`.

        Args:
            stored: as the job holds them.
            queue, name: of the job; the name, if it is an alias.
            version: of the arguments, up to the task's own.

        Raises:
            KeyMissing: they are sealed with a key that is not here; CannotDecrypt: they do not open.
            UpcastFailed: they are older, and an up-caster of the task raised.
            WrongArgumentType: they do not fit the task (any more).
        """
        if is_sealed(stored):
            stored = open_sealed(self.encryption, stored, task=name or self.name, queue=queue)
        return self.codec.decode(stored) if version == self.version else read_older(self, stored, version)

    def using(self, /, **options: Unpack[UsingOptions]) -> Bound[P]:
        """This task with options for its next enqueue; Options says what each of them takes.

        Raises:
            InvalidOption, NaiveDatetime: an option is unknown or out of its range.
        """
        return Bound(self, _AS_THE_TASK_SAYS.merged(**options))

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call of this task as a value, for `queue.enqueue_many`; checked now, written later.

        Raises:
            EnqueueError: the arguments do not fit the task; the subclass says how.
        """
        return _called(self, args, kwargs, _AS_THE_TASK_SAYS)

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> EnqueuedJob:
        """Enqueue a job on a connection of the queue's own; it is committed when this returns.

        Raises:
            EnqueueError: the arguments do not fit the task, and nothing was written; the subclass says how.
        """
        return self._door.enqueue_call(self.call(*args, **kwargs))

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> EnqueuedJob:
        """The async twin of `enqueue`."""
        return await self._door.aenqueue_call(self.call(*args, **kwargs))


class Bound(Generic[P]):
    """A task and the options its next job is enqueued with; made by `task.using(...)`."""

    __slots__ = ("options", "task")

    def __init__(self, task: Task[P, Any], options: Options) -> None:
        self.task = task
        self.options = options

    def __repr__(self) -> str:
        return f"<{self.task.name}.using({self.options!r})>"

    def using(self, /, **options: Unpack[UsingOptions]) -> Bound[P]:
        """The same with more options; a later value replaces an earlier one."""
        return Bound(self.task, self.options.merged(**options))

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call as a value, with these options."""
        return _called(self.task, args, kwargs, self.options)

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> EnqueuedJob:
        """Enqueue a job with these options; with `conn=` it is part of that connection's transaction."""
        return self.task._door.enqueue_call(self.call(*args, **kwargs))

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> EnqueuedJob:
        """The async twin of `enqueue`."""
        return await self.task._door.aenqueue_call(self.call(*args, **kwargs))


def _called(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Call:
    if task.dress is not None:
        options = task.dress(options)
    text = task.codec.encode(args, kwargs, max_bytes=task._door.max_payload_bytes)
    gates = task.gates if options.gates is None else options.gates
    passes = None if not gates else _gates(task, gates, options, text)
    unique = task.unique if options.unique is None else options.unique
    key = None if unique is None else _key(task, unique, text)
    if task.encryption is not None:
        text = task.seal(text, task.queue if options.queue is None else options.queue)
    return Call(task, text, options, passes, key)


def _gates(task: Task[..., Any], gates: tuple[Gate, ...], options: Options, text: str) -> str:
    if gates is not task.gates:
        for gate in gates:
            gate.check_arguments(task.name, task.takes)
    queue = task.queue if options.queue is None else options.queue
    hidden = task.codec.hides_all or task.codec.hides_any
    return gates_text(gates, task.name, task.takes, queue, text, hidden=hidden)


def _key(task: Task[..., Any], unique: Unique, text: str) -> str:
    if unique is not task.unique:
        unique.check_arguments(task.name, tuple(inspect.signature(task.takes).parameters))
    return unique.key_of(text, hidden=task.codec.hides_all or task.codec.hides_any)


class Call(msgspec.Struct, frozen=True, gc=False):
    """One call of a task, its arguments checked and encoded, ready to be written.

    A Struct because a bulk makes a hundred thousand of them: 0.2 µs each, a frozen dataclass takes 1.
    """

    task: Task[..., Any]
    args_text: str
    options: Options = _AS_THE_TASK_SAYS
    gates: str | None = None
    """The gates it passes, as JSON."""
    key: str | None = None
    """The unique key."""

    def __repr__(self) -> str:
        return f"<call of {self.task.name}>"

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to it but the task, its arguments, a queue, a priority and a number of attempts."""
        plain = self.gates is None and self.key is None and not self.task.tags
        return plain and self.options.are_plain

    @property
    def needs_the_third_road(self) -> bool:
        """Whether there is more to it than the SQL function enqueue() takes: see decision 0011."""
        options = self.options
        return bool(
            self.gates is not None or options.depends_on or options.expires is not None or self.task.version > 1
        )

    @property
    def queue(self) -> str:
        """The options' queue, else the task's."""
        return self.task.queue if self.options.queue is None else self.options.queue

    @property
    def priority(self) -> int:
        """The options' priority, else the task's."""
        return self.task.priority if self.options.priority is None else self.options.priority

    @property
    def tags(self) -> tuple[str, ...]:
        """The task's tags and then the options', each once."""
        return tuple(dict.fromkeys((*self.task.tags, *self.options.tags)))

    @property
    def unique(self) -> Unique | None:
        """What only one job may have: the options', else the task's."""
        return self.task.unique if self.options.unique is None else self.options.unique

    @property
    def max_attempts(self) -> int:
        """How many attempts the job is stored with."""
        return self.task.retry.max_attempts
