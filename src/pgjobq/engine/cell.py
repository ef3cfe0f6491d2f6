"""A cell: the process in which isolated handlers run, one job at a time, as its worker process starts it.

The main thread runs the handlers, so that a signal can interrupt them; another thread listens to the worker process,
and ends the cell when that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable
from queue import SimpleQueue
from types import FrameType
from typing import Any

from pgjobq.current import entered, note_job
from pgjobq.engine.app import load_app
from pgjobq.engine.attempt import Attempt, prepare
from pgjobq.engine.crossing import HEAD, Halt, Message, Order, Reply, Setup, length, pack, unpack
from pgjobq.engine.memory import limited
from pgjobq.engine.parent import die_with_parent
from pgjobq.engine.threads import Interruption
from pgjobq.logs import Journal
from pgjobq.outcome import Outcome
from pgjobq.queue import Queue

__all__ = ["Cell", "main"]


def main(fd: int) -> None:
    """Live a cell's life. It ends by being killed, or with its worker process."""
    os.set_inheritable(fd, False)  # not for the programs that jobs start
    die_with_parent()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what a job printed survives its death
    end = socket.socket(fileno=fd)
    setup = _receive(end)
    assert isinstance(setup, Setup)
    sys.path[:] = setup.path
    with Journal(setup.log_format, setup.log_level, sys.stderr) as journal:
        queue = load_app(setup.app)
        queue.schema = setup.schema
        queue.serve(setup.dsn)
        journal.adopt_root()
        journal.adorn(note_job)
        Cell(end, queue).serve()


class Cell:
    """Runs what it is told, until the other side hangs up."""

    def __init__(self, end: socket.socket, queue: Queue) -> None:
        self._end = end
        self._queue = queue
        self._orders: SimpleQueue[Order] = SimpleQueue()
        self._attempt: Attempt | None = None
        self._halt: Halt | None = None
        self._inside = False
        """The handler's own code is running: then it may be interrupted."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._main = threading.get_ident()

    def serve(self) -> None:
        """One order after the other."""
        signal.signal(signal.SIGINT, lambda *_: None)  # to the whole group: the supervisor decides
        signal.signal(signal.SIGTERM, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
        threading.Thread(target=self._listen, name="pgjobq-cell", daemon=True).start()
        self._end.sendall(pack(Reply()))
        while True:
            order = self._orders.get()
            reply = contextvars.copy_context().run(self._run, order)
            if self._queue.reporter.is_waiting:  # this process may be ended right after
                with contextlib.suppress(Exception):
                    self._queue.reporter.flush()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            self._end.sendall(pack(reply))

    def _listen(self) -> None:
        """In a thread of its own: orders, and word that the running job is to end."""
        while (message := _receive(self._end)) is not None:
            if isinstance(message, Order):
                self._orders.put(message)
            elif isinstance(message, Halt):
                self._halt = message
                signal.pthread_kill(self._main, signal.SIGTERM)
        os._exit(1)  # the worker process is gone, and with it our lease

    # ---------------------------------------------------------------------------------------- one job

    def _run(self, order: Order) -> Reply:
        self._halt = None
        attempt = prepare(order.lease, self._queue.registry, self._queue.schema, order.worker)
        if not isinstance(attempt, Attempt):  # the worker process could prepare it, and this one sees it otherwise
            return Reply.of(attempt, hooks=order.lease.hooks)
        self._attempt = attempt
        entered(attempt.job)
        attempt.begin()
        result, error = self._call(attempt)
        halt: Halt | None = self._halt
        attempt.interrupted = halt is not None and halt.spare
        timed_out = halt is not None and halt.timed_out and error is not None
        outcome: Outcome = attempt.outcome(error, result, timed_out=timed_out)
        # What was broken off in the middle of something is not used again, nor what ran out of memory.
        spent = halt is not None or isinstance(error, MemoryError)
        return Reply.of(outcome, completing=attempt.job.completing, spent=spent, hooks=attempt.lease.hooks)

    def _call(self, attempt: Attempt) -> tuple[Any, BaseException | None]:
        result, error = None, None
        try:
            with limited(attempt.task.memory_limit):
                try:
                    self._inside = True
                    if self._halt is not None:  # it came before we did
                        raise Interruption
                    result = attempt.task.handler(**attempt.arguments)
                    if inspect.isawaitable(result):
                        result, error = self._await(result)
                finally:
                    self._inside = False
        except BaseException as raised:
            error = raised
        self._inside = False
        return result, error

    def _await(self, awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
        """In an event loop of the job's own, so that nothing it leaves behind goes on."""

        async def outcome() -> tuple[Any, BaseException | None]:
            self._task = asyncio.current_task()
            try:
                return await awaitable, None
            except BaseException as error:  # SystemExit and KeyboardInterrupt would end the loop in disorder
                return None, error

        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                return runner.run(outcome())
        finally:
            self._loop = self._task = None

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """SIGTERM: end what runs, if that is what the worker process wants (others signal whole groups)."""
        if self._halt is None or not self._inside or self._attempt is None:
            return
        self._attempt.job.cancelled = True
        loop, task = self._loop, self._task
        if loop is not None and task is not None and asyncio.current_task(loop) is None:
            loop.call_soon_threadsafe(task.cancel)  # it waits for something
        else:
            raise Interruption


def _receive(end: socket.socket) -> Message | None:
    """The next message; None when the other side is gone."""
    try:
        head = _exactly(end, HEAD)
        return unpack(_exactly(end, length(head)))
    except (OSError, EOFError):
        return None


def _exactly(end: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = end.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


if __name__ == "__main__":
    main(int(sys.argv[1]))
