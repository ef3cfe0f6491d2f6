"""Isolated handlers, each in a process of its own: cells, started as they are needed and used again.

Whatever a handler does to its process (crash it, hold the GIL, eat its memory, leave it), nobody else is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from pgjobq.engine.attempt import Attempt
from pgjobq.engine.crossing import HEAD, Halt, Message, Order, Reply, Setup, length, pack, unpack
from pgjobq.errors import ConfigError, IsolatedProcessDied
from pgjobq.outcome import Outcome

__all__ = ["Cells"]

START_UP = 60.0
"""Seconds that a new cell may take to load the app."""
KILL_AFTER = 3.0
"""Seconds between the interruption of an isolated handler (time-out, hurried shutdown, lost lease) and SIGKILL."""
JOBS_PER_CELL = 1_000
"""Jobs after which a cell is replaced, when `max_jobs_per_process` says nothing."""
IDLE = 60.0
"""Seconds after which a cell that has nothing to do is let go."""

Ended = Callable[[Attempt, Outcome], None]


class Cells:
    """Runs attempts whose task is isolated, each alone in a process, as many at once as are started.

    Args:
        setup: gives what a new cell is told; None: no cell can be started, since nobody could load the app.
        most_jobs: jobs after which a cell is replaced.
        ended: called on the loop with each attempt and its outcome.
    """

    def __init__(self, setup: Callable[[], Setup | None], most_jobs: int | None, ended: Ended) -> None:
        self._setup = setup
        self._most_jobs = most_jobs or JOBS_PER_CELL
        self._ended = ended
        self._idle: list[_Cell] = []
        self._running: dict[Attempt, _Cell] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, attempt: Attempt) -> None:
        """Run an attempt in a cell that waits, or in a new one."""
        self._spawn(self._run(attempt))

    def interrupt(self, should: Callable[[Attempt], bool]) -> None:
        """End the handlers for which `should` says so: a signal, and SIGKILL if that does not help."""
        for attempt, cell in list(self._running.items()):
            if should(attempt):
                cell.halt(attempt)

    async def close(self) -> None:
        """Kill what is left."""
        for cell in self._idle:
            self._spawn(cell.end())
        for cell in self._running.values():
            cell.kill()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    def _spawn(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, attempt: Attempt) -> None:
        attempt.begin()
        outcome: Outcome
        cell = self._take() or self._make()
        if cell is None:
            outcome = attempt.outcome(ConfigError(_NO_APP), None, timed_out=False)
            self._ended(attempt, outcome)
            return
        self._running[attempt] = cell
        try:
            outcome = await cell.run(attempt)
        except BaseException as error:
            outcome = attempt.outcome(error, None, timed_out=False)
        del self._running[attempt]
        if cell.usable and cell.jobs < self._most_jobs:
            self._put(cell)
        else:
            await cell.end()
        self._ended(attempt, outcome)

    def _take(self) -> _Cell | None:
        while self._idle:
            cell = self._idle.pop()
            if cell.usable:
                return cell
            self._spawn(cell.end())
        return None

    def _make(self) -> _Cell | None:
        setup = self._setup()
        return None if setup is None else _Cell(setup)

    def _put(self, cell: _Cell) -> None:
        cell.idle_since = time.monotonic()
        self._idle.append(cell)
        asyncio.get_running_loop().call_later(IDLE, self._let_go)

    def _let_go(self) -> None:
        long_ago = time.monotonic() - IDLE + 0.1
        for cell in [cell for cell in self._idle if cell.idle_since <= long_ago]:
            self._idle.remove(cell)
            self._spawn(cell.end())


_NO_APP = (
    "an isolated handler runs in a process that imports the app, and this embedded worker's Queue stands in no module "
    "from which it could be imported; put it at the top of one, or run `python -m pgjobq.worker module:queue`"
)


class _Cell:
    """One process, seen from the worker process."""

    def __init__(self, setup: Setup) -> None:
        self.jobs = 0
        self.idle_since = 0.0
        self._setup = setup
        self._popen: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._ready = False
        self._killer: asyncio.TimerHandle | None = None
        self._watched: int | None = None

    @property
    def usable(self) -> bool:
        """Whether it can run another job."""
        return self._ready and self._popen is not None and self._popen.poll() is None

    async def run(self, attempt: Attempt) -> Outcome:
        """One job, to its end or to the end of the process."""
        self.jobs += 1
        timer = None
        try:
            if self._popen is None:
                await self._start()
            if attempt.job.cancelled:  # while the cell was starting
                return attempt.outcome(IsolatedProcessDied("interrupted before it began"), None, timed_out=False)
            attempt.begin()
            self._send(Order(attempt.lease, attempt.worker))
            if attempt.task.timeout is not None:
                timer = asyncio.get_running_loop().call_later(attempt.task.timeout, self._time_out, attempt)
            reply = await self._receive()
        finally:
            for pending in (timer, self._killer):
                if pending is not None:
                    pending.cancel()
            self._killer = None
        if reply is None:
            died = IsolatedProcessDied(await self._how_it_ended())
            return attempt.outcome(died, None, timed_out=attempt.timed_out)
        attempt.job.completing, attempt.lease.hooks = reply.completing, reply.hooks
        self._ready = not reply.spent
        return reply.read()

    def _time_out(self, attempt: Attempt) -> None:
        attempt.timed_out = True
        self.halt(attempt)

    def halt(self, attempt: Attempt) -> None:
        """Interrupt the handler, and kill it a little later."""
        attempt.job.cancelled = True
        if not self._ready:
            self.kill()
            return
        self._send(Halt(timed_out=attempt.timed_out, spare=attempt.interrupted))
        if self._killer is None:
            self._killer = asyncio.get_running_loop().call_later(KILL_AFTER, self.kill)

    def kill(self) -> None:
        """End the process at once."""
        if self._popen is None:
            return
        if self._popen.poll() is None:
            self._popen.kill()
        self._unwatch()
        self._writer.close()

    async def end(self) -> int:
        """Kill it if it is there, and wait until it is gone; its exit code."""
        self.kill()
        return 0 if self._popen is None else await asyncio.to_thread(self._popen.wait)

    # ---------------------------------------------------------------------------------------- the process

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        popen = _launch(theirs)
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        self._popen = popen
        self._watch(popen.pid)
        self._send(self._setup)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_UP):
                self._ready = await self._receive() is not None
        if not self._ready:
            self.kill()
            raise IsolatedProcessDied(f"before it was ready, {await self._how_it_ended()}")

    def _watch(self, pid: int) -> None:
        """A process that the handler forked may keep the connection open for ever: so wait for the process itself."""
        if sys.platform == "linux":
            self._watched = os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(self._watched, self._gone)

    def _unwatch(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None

    def _gone(self) -> None:
        self._unwatch()
        # Its last words may still be on their way through the loop.
        asyncio.get_running_loop().call_later(0.01, self._reader.feed_eof)

    def _send(self, message: Message) -> None:
        self._writer.write(pack(message))  # to a process that is gone: nothing, and reading tells

    async def _receive(self) -> Reply | None:
        try:
            head = await self._reader.readexactly(HEAD)
            message = unpack(await self._reader.readexactly(length(head)))
        except (asyncio.IncompleteReadError, OSError):
            return None
        assert isinstance(message, Reply)
        return message

    async def _how_it_ended(self) -> str:
        # It may have closed its connection and gone on; to be killed changes nothing for one that has ended.
        code = await self.end()
        assert self._popen is not None
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"its process (pid {self._popen.pid}) ended with {how}"


def _launch(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """A new process, which has that end of the connection."""
    command = [sys.executable, "-m", "pgjobq.engine.cell", str(theirs.fileno())]
    # A signal to the whole group must not meet a process that has no handlers yet; it unblocks them itself.
    former = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
        theirs.close()
