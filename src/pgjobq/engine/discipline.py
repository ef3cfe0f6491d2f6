"""Discipline: what a supervisor does about processes whose handlers outstay their time-out, or that use much memory."""

from __future__ import annotations

from collections.abc import Callable

from pgjobq.engine.crew import Process
from pgjobq.events import JobsOverdue
from pgjobq.logs import Journal
from pgjobq.settings import WorkerSettings, show_size

__all__ = ["TERM_WINDOW", "Discipline", "overdue_reason", "too_large_reason"]

TERM_WINDOW = 5.0
"""Seconds between SIGTERM to a process whose job did not end after its time-out, and SIGKILL. In the first of them (see
runners) its other jobs may come to their end."""
YOUNG = 3.0
"""Seconds for which a process is not replaced because of its memory: too low a limit must not end in a storm."""
FAR_OVER = 2.0
"""Times its memory limit at which a process is killed: it will not come back to reason, and the machine needs it."""


class Discipline:
    """Looks at one process after the other.

    Args:
        retire: told each process that is to be replaced, with the reason; may be told again.
    """

    def __init__(self, settings: WorkerSettings, journal: Journal, retire: Callable[[Process, str], None]) -> None:
        self._settings = settings
        self._journal = journal
        self._retire = retire

    def look(self, process: Process, now: float) -> None:
        """Do to this process what has to be done at `now` (time.monotonic())."""
        if process.killed_for is None:
            self._look_at_deadlines(process, now)
        if process.killed_for is None and self._settings.max_memory is not None:
            self._look_at_memory(process, self._settings.max_memory, now)

    def _look_at_deadlines(self, process: Process, now: float) -> None:
        late = {entry for entry in process.board.entries() if entry.deadline < now}
        # Seen twice: what was read just now may be half of one entry and half of the next.
        process.late, late = late, late & process.late
        jobs = frozenset(entry.job for entry in late)
        if not jobs or jobs.isdisjoint(process.overdue):
            process.overdue = frozenset()  # SIGTERM has helped: nobody is killed
        if not jobs:
            return
        if not process.overdue:
            process.overdue, process.kill_at = jobs, now + TERM_WINDOW
            event = JobsOverdue(
                number=process.number, pid=process.popen.pid, jobs=tuple(sorted(jobs)), kill_in=TERM_WINDOW
            )
            self._journal.emit(event)
            process.link.say("overdue", sorted(jobs))
            process.popen.terminate()
            self._retire(process, overdue_reason(jobs))
        elif now >= process.kill_at:
            process.overdue = jobs
            self._kill(process, f"{overdue_reason(jobs)}, nor by SIGTERM: its process was killed")

    def _look_at_memory(self, process: Process, limit: int, now: float) -> None:
        used = process.memory
        if used > limit * FAR_OVER:
            if not process.greeted:
                self._kill(process, too_large_reason(used, limit))
                return
            self._kill(
                process,
                f"memory: its worker process used {show_size(used)}, more than twice its --max-memory of "
                f"{show_size(limit)}, and was killed",
            )
        elif used > limit and process.retired is None and now - process.started_at > YOUNG:
            process.link.say("stop", "memory")
            self._retire(process, f"it uses {show_size(used)}, more than its --max-memory of {show_size(limit)}")

    def _kill(self, process: Process, reason: str) -> None:
        process.killed_for = reason
        process.popen.kill()


def overdue_reason(jobs: frozenset[int]) -> str:
    """Why a process had to go that had such jobs."""
    return f"job {', '.join(f'#{job}' for job in sorted(jobs))} did not end after its time-out"


def too_large_reason(used: int, limit: int) -> str:
    """Why a process cannot even start: it would be replaced for ever, before it came to any job."""
    return f"the app alone uses {show_size(used)}, more than --max-memory {show_size(limit)}; raise it"
