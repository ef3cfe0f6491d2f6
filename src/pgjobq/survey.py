"""The survey: a queue as people look at it, in figures and pages. What the dashboard shows; each call is bounded.

survey = Survey(queue)
survey.counts(), survey.queues(), survey.workers(), survey.failures()
page = survey.look(Filter(state=JobState.FAILED, queue="mail"))
survey.look(Filter(state=JobState.FAILED, queue="mail"), after=page.after)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from pgjobq import run
from pgjobq.errors import InvalidOption
from pgjobq.job import JobState
from pgjobq.overview import GateFigures, Holder
from pgjobq.queue import Queue
from pgjobq.statements import Statement
from pgjobq.statements import survey as statements
from pgjobq.statements.survey import (
    Counts,
    FailureGroup,
    Filter,
    GateLimit,
    Page,
    QueueFigures,
    RunningJob,
    WorkerFigures,
)
from pgjobq.task import shown
from pgjobq.wording import quote

__all__ = [
    "Counts",
    "FailureGroup",
    "Filter",
    "GateFigures",
    "GateLimit",
    "Holder",
    "Page",
    "QueueFigures",
    "RunningJob",
    "Survey",
    "WorkerFigures",
]

T = TypeVar("T")

CAP = 10_000
"""Counts end here: what is behind them is read off the planner's estimate, or not at all."""
WINDOW = 20_000
"""Jobs one page looks at; the next page goes on from there."""
NEWEST_FAILED = 5_000
"""The same for what ended badly: it is rare, so each of these lies on a disk page of its own, in two tables."""
MOST_GATES = 200
MOST_ON_A_PAGE = 1_000


class Survey:
    """What stands in a queue, for people. Every call has its awaited twin.

    Args:
        queue: whose jobs. It needs no tasks; those it has tell which arguments are secret.
        search_payloads: whether `Filter.text` is looked for in arguments and errors, and not in refs only.
    """

    def __init__(self, queue: Queue, *, search_payloads: bool = True) -> None:
        self.queue = queue
        self.search_payloads = search_payloads

    def counts(self, *, conn: object = None) -> Counts:
        """How many jobs stand in each state."""
        return self._run(statements.counts(self.queue.schema, CAP), conn)

    async def acounts(self, *, conn: object = None) -> Counts:
        """The async twin of `counts`."""
        return await self._arun(statements.counts(self.queue.schema, CAP), conn)

    def queues(self, *, conn: object = None) -> list[QueueFigures]:
        """Every queue, what stands in it and how many workers serve it, by name."""
        return self._run(statements.queues(self.queue.schema, CAP), conn)

    async def aqueues(self, *, conn: object = None) -> list[QueueFigures]:
        """The async twin of `queues`."""
        return await self._arun(statements.queues(self.queue.schema, CAP), conn)

    def workers(self, *, most_jobs: int = 50, conn: object = None) -> list[WorkerFigures]:
        """Every worker process, with at most so many of the jobs that it runs now."""
        return self._run(statements.workers(self.queue.schema, most_jobs), conn)

    async def aworkers(self, *, most_jobs: int = 50, conn: object = None) -> list[WorkerFigures]:
        """The async twin of `workers`."""
        return await self._arun(statements.workers(self.queue.schema, most_jobs), conn)

    def gates(self, *, most: int = MOST_GATES, conn: object = None) -> list[GateFigures]:
        """At most so many gates where jobs wait or hold places, those where most wait first."""
        return self.queue.gates(limit=most, conn=conn)

    async def agates(self, *, most: int = MOST_GATES, conn: object = None) -> list[GateFigures]:
        """The async twin of `gates`."""
        return await self.queue.agates(limit=most, conn=conn)

    def gate_limits(self, *, conn: object = None) -> list[GateLimit]:
        """The limits that `set_gate` set, by key, whether jobs wait there or not."""
        return self._run(statements.gate_limits(self.queue.schema), conn)

    async def agate_limits(self, *, conn: object = None) -> list[GateLimit]:
        """The async twin of `gate_limits`."""
        return await self._arun(statements.gate_limits(self.queue.schema), conn)

    def pulse(self, *, conn: object = None) -> str:
        """A text that changes when anything does."""
        return self._run(statements.pulse(self.queue.schema), conn)

    async def apulse(self, *, conn: object = None) -> str:
        """The async twin of `pulse`."""
        return await self._arun(statements.pulse(self.queue.schema), conn)

    def failures(self, *, newest: int = NEWEST_FAILED, conn: object = None) -> list[FailureGroup]:
        """So many of the newest failed jobs, grouped by what went wrong; the largest groups first."""
        return self._run(statements.failures(self.queue.schema, newest), conn)

    async def afailures(self, *, newest: int = NEWEST_FAILED, conn: object = None) -> list[FailureGroup]:
        """The async twin of `failures`."""
        return await self._arun(statements.failures(self.queue.schema, newest), conn)

    def look(self, wanted: Filter, *, after: str | None = None, limit: int = 50, conn: object = None) -> Page:
        """Jobs that pass the filter: newest first, scheduled ones by when they are due, ended badly by when they did.

        A page may be short, or empty, and yet say how it goes on (`after`): one call looks at 20,000 jobs at most,
        at 5,000 of those that ended badly.
        """
        return self._opened(self._run(self._look(wanted, after, limit), conn))

    async def alook(self, wanted: Filter, *, after: str | None = None, limit: int = 50, conn: object = None) -> Page:
        """The async twin of `look`."""
        return self._opened(await self._arun(self._look(wanted, after, limit), conn))

    def _look(self, wanted: Filter, after: str | None, limit: int) -> Statement[Page]:
        if type(limit) is not int or not 1 <= limit <= MOST_ON_A_PAGE:
            raise InvalidOption(f"limit={limit!r}: wants a whole number from 1 to {MOST_ON_A_PAGE:,}")
        if wanted.argument is not None and not self.search_payloads:
            raise InvalidOption(f"argument={quote(wanted.argument)}: arguments are not searched here")
        plain = wanted in (Filter(state=wanted.state), Filter(ref=wanted.ref))  # then every candidate passes
        far_apart = wanted.error or wanted.state in (JobState.FAILED, JobState.CANCELLED)
        window = limit + 1 if plain else NEWEST_FAILED if far_apart else WINDOW
        hidden = self._secrets() if self.search_payloads else None
        return statements.look(self.queue.schema, wanted, after=after, limit=limit, window=window, unsearched=hidden)

    def _secrets(self) -> dict[str, list[str] | None]:
        """The arguments that a search must not find, by task (None: all): whoever guesses would learn them."""
        hidden = {task.name: task.codec.hidden_names for task in self.queue.registry}
        return {
            task: None if names is None else sorted(names) for task, names in hidden.items() if names != frozenset()
        }

    def _opened(self, page: Page) -> Page:
        return replace(page, jobs=[shown(job, self.queue.registry) for job in page.jobs])

    def _run(self, statement: Statement[T], conn: object) -> T:
        return self.queue.pools.execute(statement) if conn is None else run.execute(conn, statement)

    async def _arun(self, statement: Statement[T], conn: object) -> T:
        return await self.queue.pools.aexecute(statement) if conn is None else await run.aexecute(conn, statement)
