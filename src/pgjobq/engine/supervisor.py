"""The supervisor: starts the worker processes, keeps their leases, ends what must be ended, restarts what died.

It imports no user code, so nothing that a handler does (hold the GIL, block the loop, crash the interpreter) can keep
it from renewing leases or from noticing.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from typing import Any
from uuid import UUID

import msgspec

from pgjobq.engine.board import Board
from pgjobq.engine.crew import Process, Sums
from pgjobq.engine.discipline import Discipline, overdue_reason, too_large_reason
from pgjobq.engine.figures import Figures
from pgjobq.engine.keeper import Keeper
from pgjobq.engine.shutdown import SHUT_DOWN, Shutdown
from pgjobq.engine.switchboard import Switchboard
from pgjobq.engine.upkeep import Burial
from pgjobq.engine.wakeups import catch_signals
from pgjobq.events import (
    DrainEnded,
    ProcessDied,
    ProcessRetired,
    ProcessStarted,
    WorkerStarted,
    WorkerStopped,
)
from pgjobq.logs import Journal
from pgjobq.migrate import library_version
from pgjobq.settings.arguments import WorkerArguments

__all__ = ["Supervisor"]

OK, CRASHED, MISCONFIGURED, FAILED_JOBS = 0, 1, 2, 3
LOOK_EVERY, LOOK_EVERY_IDLE = 0.25, 0.5
"""Seconds between looks at time-outs and restarts, and while no job runs and nothing else is under way; messages,
signals and deaths are noticed at once."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 10.0
UNSETTLED = 4_000
"""Places on the board beyond the concurrency: jobs that have ended and are not yet settled. Four of the largest claims:
while the last one is settled the next is run and may end, too."""


class Supervisor:
    """Runs the worker processes of one app until a signal, or until they have drained.

    Args:
        arguments: the worker's command line.
        journal: hears what happens.
    """

    def __init__(self, arguments: WorkerArguments, journal: Journal) -> None:
        self._arguments = arguments
        self._settings = arguments.settings
        self._journal = journal
        self._selector = selectors.DefaultSelector()
        self._processes: dict[int, Process] = {}
        """By process id: one that retires has the same number as its successor."""
        self._restarts: dict[int, tuple[float, int | None]] = {}
        """Numbers to be started again: when, and how many jobs they may take."""
        self._discipline = Discipline(self._settings, journal, self._retire)
        self._deaths = 0
        self._backoff: dict[int, float] = {}
        self._keeper: Keeper | None = None
        several = self._settings.processes > 1 and not self._settings.poll_only
        self._switchboard = Switchboard(self._settings, journal) if several else None
        self._hello: dict[str, Any] = {}
        self._sums = Sums()
        self._began = time.monotonic()
        self._signals: list[int] = []
        self._shutdown = Shutdown(self._settings, journal, self._processes.values)
        self._refusal: tuple[int, str] | None = None
        self._figures = Figures(arguments.app, self._settings, journal, self._processes.values)

    # ---------------------------------------------------------------------------------------- the life of a worker

    def run(self) -> int:
        """Start, look after, end. Gives the exit code; `refusal` then says why it is 2."""
        restore = catch_signals(self._selector, self._signals)
        try:
            for number in range(1, self._wanted + 1):
                self._start(number, self._share(number))
            self._figures.start()
            while self._processes or self._restarts:
                self._look()
            return self._exit_code()
        finally:
            self._end_everything()
            restore()

    @property
    def _wanted(self) -> int:
        """How many processes to run: no more than there may be jobs."""
        return min(self._settings.processes, self._settings.max_jobs or self._settings.processes)

    def _share(self, number: int) -> int | None:
        """How many jobs this one may take of those that a drain may take in all."""
        if self._settings.max_jobs is None:
            return None
        share, rest = divmod(self._settings.max_jobs, self._wanted)
        return share + (number <= rest)

    @property
    def refusal(self) -> str | None:
        """Why the app could not be started, if it could not."""
        return self._refusal[1] if self._refusal else None

    def _exit_code(self) -> int:
        if self._refusal is not None:
            return self._refusal[0]
        sums, seconds = self._sums, time.monotonic() - self._began
        failed = sums.failed + (self._keeper.failed if self._keeper is not None else 0)
        counts = {"succeeded": sums.succeeded, "retried": sums.retried, "failed": failed, "deaths": self._deaths}
        if self._settings.drain:
            reason = "max_seconds" if self._shutdown.under_way else sums.ended_by
            self._journal.emit(DrainEnded(reason=reason, seconds=seconds, **counts))
            return FAILED_JOBS if failed else OK
        worker = self._hello.get("worker", "")
        self._journal.emit(
            WorkerStopped(worker=worker, seconds=seconds, returned=sums.returned, exit_code=OK, **counts)
        )
        return OK

    def _look(self) -> None:
        for key, _ in self._selector.select(self._pause):
            key.data()
        while self._signals:
            self._shutdown.obey(signal.Signals(self._signals.pop(0)).name)
        for process in list(self._processes.values()):
            if process.popen.poll() is not None:
                self._bury(process)
        now = time.monotonic()
        for process in list(self._processes.values()):
            self._discipline.look(process, now)
        self._shutdown.look()
        if self._shutdown.under_way:
            self._restarts.clear()
        for number, (due, max_jobs) in list(self._restarts.items()):
            if now >= due:
                del self._restarts[number]
                self._start(number, max_jobs, restart=True)

    @property
    def _pause(self) -> float:
        under_way = self._restarts or self._shutdown.under_way or self._settings.max_memory is not None
        busy = under_way or any(process.board.entries() for process in self._processes.values())
        return LOOK_EVERY if busy else LOOK_EVERY_IDLE

    # ---------------------------------------------------------------------------------------- processes

    def _start(self, number: int, max_jobs: int | None, *, restart: bool = False) -> None:
        board = Board.create(self._settings.concurrency + UNSETTLED)
        seat = None if self._switchboard is None else self._switchboard.seat()
        process = Process.spawn(number, board, seat, max_jobs=max_jobs, replaces=restart)
        self._processes[process.popen.pid] = process
        self._selector.register(process.link.end, selectors.EVENT_READ, lambda: self._hear(process))
        settings = msgspec.to_builtins(self._settings) | {"max_jobs": max_jobs}
        order = {"app": self._arguments.app, "dsn": self._arguments.dsn, "schema": self._arguments.schema}
        process.link.say("start", order | {"settings": settings, "replaces": restart})
        if self._settings.processes > 1 or restart:
            self._journal.emit(ProcessStarted(number=number, pid=process.popen.pid, restart=restart))

    def _retire(self, process: Process, reason: str) -> None:
        """It takes no more jobs, or will soon have taken all it may: another one takes its place."""
        if process.retired is not None or self._shutdown.under_way or self._keeper is None:
            return
        process.retired = reason
        self._journal.emit(ProcessRetired(number=process.number, pid=process.popen.pid, reason=reason))
        if process.max_jobs is None:  # else how many the next one may take is known when this one has ended
            self._start(process.number, None, restart=True)

    def _hear(self, process: Process) -> bool:
        """Do as the process says; False when there is nothing more to hear."""
        said = process.link.hear(wait=False)
        if said is None:
            self._selector.unregister(process.link.end)
            return False  # it is ending; poll() will say how
        for kind, value in said:
            match kind:
                case "hello":
                    self._greet(process, value)
                case "watch":
                    process.workers.add(UUID(value))
                    self._hello.setdefault("worker", value)
                    self._kept.watch(UUID(value))
                case "forget":
                    process.workers.discard(UUID(value))
                    self._kept.forget(UUID(value))
                case "summary":
                    process.ended = True
                    self._sums.add(value)
                    if process.max_jobs is not None:
                        process.max_jobs -= value["claimed"]
                case "claims no more":
                    process.claims_no_more = True
                case "churn":
                    self._kept.churn(value)
                case "tally":
                    self._figures.add(value)
                case "spent":
                    self._retire(process, f"it has taken {value:,} jobs, and --max-jobs-per-process is near")
                case "due":
                    self._kept.look_at_due()
                case "refused":
                    self._refuse(process, *value)
        return bool(said)

    @property
    def _kept(self) -> Keeper:
        assert self._keeper is not None, "a process registers its worker only after its hello"
        return self._keeper

    def _greet(self, process: Process, hello: dict[str, Any]) -> None:
        process.greeted = True
        if self._keeper is not None:
            return
        limit = self._settings.max_memory
        if limit is not None and process.memory > limit:
            self._refuse(process, MISCONFIGURED, too_large_reason(process.memory, limit))
            process.popen.kill()
            return
        self._hello.update(hello)
        self._keeper = Keeper(
            hello["dsn"],
            hello["schema"],
            self._settings,
            self._journal,
            lost=self._tell_lost,
            alive=self._deserves,
            listens=self._settings.processes > 1,  # a lone process hears for both
        )
        self._keeper.start()
        if self._switchboard is not None:
            self._switchboard.start(hello["dsn"], hello["schema"])
        self._journal.emit(self._banner(hello))

    def _banner(self, hello: dict[str, Any]) -> WorkerStarted:
        settings = self._settings
        return WorkerStarted(
            worker="",
            pid=os.getpid(),
            version=library_version(),
            app=self._arguments.app,
            queues=settings.queues,
            tasks=tuple(hello["tasks"]),
            concurrency=settings.concurrency,
            processes=settings.processes,
            database=hello["database"],
            server_version=hello["server_version"],
            schema=hello["schema"],
            lease=settings.lease,
            heartbeat=settings.heartbeat,
            poll_interval=settings.poll_interval,
            grace=settings.grace,
            mode="polling" if settings.poll_only else "listening",
            drain=settings.drain,
        )

    def _refuse(self, process: Process, code: int, why: str) -> None:
        """It cannot start. The first time round that is the end; later it is tried again. Where a sibling was let in
        already, the database has gone away since: that is no death, and whoever replaces it waits for the database."""
        if self._keeper is None:
            self._refusal = self._refusal or (code, why)
            process.ended = True
        elif code == MISCONFIGURED and not process.replaces:
            process.ended = process.refused = True

    def _tell_lost(self, worker: UUID) -> None:
        """From the heart's thread: a worker id was declared dead."""
        for process in list(self._processes.values()):
            if worker in process.workers:
                process.link.say("lost", str(worker))

    def _deserves(self, worker: UUID) -> bool:
        """From the heart's thread: whether this id's lease is to be renewed."""
        return any(
            worker in process.workers and process.popen.returncode is None and not process.frozen
            for process in list(self._processes.values())
        )

    # ---------------------------------------------------------------------------------------- deaths

    def _bury(self, process: Process) -> None:
        """It is gone: what it had started spends its attempt, what was only claimed goes back; and it is replaced."""
        while process.link.end in self._selector.get_map() and self._hear(process):
            pass  # its last words
        if process.link.end in self._selector.get_map():
            self._selector.unregister(process.link.end)
        del self._processes[process.popen.pid]
        if process.place is not None and self._switchboard is not None:
            self._switchboard.vacate(process.place)
        code = process.popen.returncode
        if not process.ended:
            self._report_death(process, code)
            if self._keeper is None:
                why = process.killed_for or f"the worker process ended with {_how(code)} before it was ready"
                self._refusal = self._refusal or (MISCONFIGURED if process.killed_for else CRASHED, why)
            elif not self._shutdown.under_way and (process.retired is None or process.max_jobs is not None):
                self._restart_later(process)
        else:
            if process.workers:
                shut_down = not process.overdue
                reason = SHUT_DOWN if shut_down else f"{overdue_reason(process.overdue)}, and was left behind"
                self._take_back(process, reason, spare=shut_down)
            again = process.refused or (process.retired and process.max_jobs)
            if again and not self._shutdown.under_way:
                self._restarts[process.number] = time.monotonic(), process.max_jobs
        if self._refusal is not None:
            self._shutdown.begin("refused")
        process.link.close()
        process.board.close()

    def _report_death(self, process: Process, code: int) -> None:
        self._deaths += 1
        jobs = tuple(entry.job for entry in process.board.entries())
        how: dict[str, Any] = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
        if self._keeper is not None:
            died = ProcessDied(
                number=process.number, pid=process.popen.pid, jobs=jobs, reason=process.killed_for, **how
            )
            self._journal.emit(died)
        reason = process.killed_for or f"its worker process (pid {process.popen.pid}) ended with {_how(code)}"
        self._take_back(process, reason, spare=process.killed_for == SHUT_DOWN)

    def _take_back(self, process: Process, reason: str, *, spare: bool) -> None:
        """`spare`: no job is to blame. Nor are the others where one had to be ended by force."""
        started = [entry.job for entry in process.board.entries()]
        spared = [job for job in started if spare or (process.overdue and job not in process.overdue)]
        for worker in process.workers:
            self._kept.bury(Burial(worker, reason, started, spared))

    def _restart_later(self, process: Process) -> None:
        now = time.monotonic()
        if now - process.started_at > 60:
            self._backoff.pop(process.number, None)
        pause = self._backoff.get(process.number, FIRST_BACKOFF)
        self._backoff[process.number] = min(pause * 2, LONGEST_BACKOFF)
        self._restarts[process.number] = now + pause, process.max_jobs

    def _end_everything(self) -> None:
        self._figures.stop()
        for process in self._processes.values():
            process.popen.kill()
            process.popen.wait()
        if self._switchboard is not None:
            self._switchboard.stop()
        if self._keeper is not None:
            self._keeper.stop()


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
