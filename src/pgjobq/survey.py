"""The survey: a queue as people look at it, in figures and pages. What the dashboard shows; each call is bounded.

survey = Survey(queue)
survey.counts(), survey.queues(), survey.workers(), survey.failures()
page = survey.look(Filter(state=JobState.FAILED, queue="mail"))
survey.look(Filter(state=JobState.FAILED, queue="mail"), after=page.after)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from pgjobq.doors import Doors, Saying
from pgjobq.errors import InvalidOption
from pgjobq.overview import GateFigures, Holder
from pgjobq.queue import Queue
from pgjobq.search import LOOK_FOR, MOST_SEARCHED, Portions, added, passes_all
from pgjobq.statements import Statement
from pgjobq.statements import survey as statements
from pgjobq.statements.survey import (
    Counts,
    FailureGroup,
    Failures,
    Filter,
    GateLimit,
    Listed,
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
    "Failures",
    "Filter",
    "GateFigures",
    "GateLimit",
    "Holder",
    "Listed",
    "Page",
    "QueueFigures",
    "RunningJob",
    "Survey",
    "WorkerFigures",
]

T = TypeVar("T")

CAP = 10_000
"""Counts end here: what is behind them is read off the planner's estimate, or not at all."""
MOST_FAILED = 20_000
"""Failed jobs that are grouped at once."""
MOST_GATES = 200
MOST_ON_A_PAGE = 1_000


class Survey(Doors):
    """What stands in a queue, for people. Every call has its awaited twin.

    Args:
        queue: whose jobs. It needs no tasks; those it has tell which arguments are secret.
        search_payloads: whether `Filter.text` is looked for in arguments and errors, and not in refs only.
    """

    def __init__(self, queue: Queue, *, search_payloads: bool = True) -> None:
        self.queue = queue
        self.schema, self.registry, self.pools = queue.schema, queue.registry, queue.pools
        self.search_payloads = search_payloads

    def counts(self, *, conn: object = None) -> Counts:
        """How many jobs stand in each state."""
        return self._run(statements.counts(self.schema, CAP), conn)

    async def acounts(self, *, conn: object = None) -> Counts:
        """The async twin of `counts`."""
        return await self._arun(statements.counts(self.schema, CAP), conn)

    def queues(self, *, conn: object = None) -> list[QueueFigures]:
        """Every queue, what stands in it and how many workers serve it, by name."""
        return self._run(statements.queues(self.schema, CAP), conn)

    async def aqueues(self, *, conn: object = None) -> list[QueueFigures]:
        """The async twin of `queues`."""
        return await self._arun(statements.queues(self.schema, CAP), conn)

    def workers(self, *, most_jobs: int = 50, conn: object = None) -> list[WorkerFigures]:
        """Every worker process, with at most so many of the jobs that it runs now."""
        return self._run(statements.workers(self.schema, most_jobs), conn)

    async def aworkers(self, *, most_jobs: int = 50, conn: object = None) -> list[WorkerFigures]:
        """The async twin of `workers`."""
        return await self._arun(statements.workers(self.schema, most_jobs), conn)

    def gates(self, *, most: int = MOST_GATES, conn: object = None) -> list[GateFigures]:
        """At most so many gates where jobs wait or hold places, those where most wait first."""
        return self.queue.gates(limit=most, conn=conn)

    async def agates(self, *, most: int = MOST_GATES, conn: object = None) -> list[GateFigures]:
        """The async twin of `gates`."""
        return await self.queue.agates(limit=most, conn=conn)

    def gate_limits(self, *, conn: object = None) -> list[GateLimit]:
        """The limits that `set_gate` set, by key, whether jobs wait there or not."""
        return self._run(statements.gate_limits(self.schema), conn)

    async def agate_limits(self, *, conn: object = None) -> list[GateLimit]:
        """The async twin of `gate_limits`."""
        return await self._arun(statements.gate_limits(self.schema), conn)

    def pulse(self, *, conn: object = None) -> str:
        """A text that changes when anything does."""
        return self._run(statements.pulse(self.schema), conn)

    async def apulse(self, *, conn: object = None) -> str:
        """The async twin of `pulse`."""
        return await self._arun(statements.pulse(self.schema), conn)

    def failures(self, *, newest: int = MOST_FAILED, after: str | None = None, conn: object = None) -> Failures:
        """The newest failed jobs, grouped by what went wrong; the largest groups first.

        Args:
            newest: at most so many jobs; fewer, when more would take too long.
            after: `Failures.after`, to go on with older ones.
            conn: the connection whose transaction this joins; None: one of our own.
        """
        return self._say(self._failures(newest, after), conn)

    async def afailures(self, *, newest: int = MOST_FAILED, after: str | None = None, conn: object = None) -> Failures:
        """The async twin of `failures`."""
        return await self._asay(self._failures(newest, after), conn)

    def _failures(self, newest: int, after: str | None) -> Saying[Failures]:
        portions = Portions(LOOK_FOR, newest)
        found: Failures = yield statements.failures(self.schema, portions.size, after, portions.left)
        while found.after is not None and portions.go_on(found.searched):
            found = added(found, (yield statements.failures(self.schema, portions.size, found.after, portions.left)))
        return found

    def look(self, wanted: Filter, *, after: str | None = None, limit: int = 50, conn: object = None) -> Page:
        """Jobs that pass the filter: newest first, scheduled ones by when they are due, ended badly by when they did
        (by when they were enqueued, where the filter asks for that).

        A page may be short, or empty, and yet say how it goes on (`after`): one call looks through jobs for some
        hundredths of a second. `limit`: 1..1,000.
        """
        return self._opened(self._say(self._look(wanted, after, limit), conn))

    async def alook(self, wanted: Filter, *, after: str | None = None, limit: int = 50, conn: object = None) -> Page:
        """The async twin of `look`."""
        return self._opened(await self._asay(self._look(wanted, after, limit), conn))

    def _look(self, wanted: Filter, after: str | None, limit: int) -> Saying[Page]:
        if type(limit) is not int or not 1 <= limit <= MOST_ON_A_PAGE:
            raise InvalidOption(f"limit={limit!r}: wants a whole number from 1 to {MOST_ON_A_PAGE:,}")
        return self._searched(statements.look, wanted, after, limit, LOOK_FOR)

    def pick(
        self, wanted: Filter, *, most: int = 10_000, seconds: float | None = LOOK_FOR, conn: object = None
    ) -> Listed[int]:
        """The ids of what `look` finds, up to `most` of them; `after` tells whether there may be more.

        Args:
            wanted: which jobs.
            most: ids, 1 or more.
            seconds: for how long to look; None: until so many are found, or there are no more.
            conn: the connection whose transaction this joins; None: one of our own.
        """
        return self._say(self._pick(wanted, most, seconds), conn)

    async def apick(
        self, wanted: Filter, *, most: int = 10_000, seconds: float | None = LOOK_FOR, conn: object = None
    ) -> Listed[int]:
        """The async twin of `pick`."""
        return await self._asay(self._pick(wanted, most, seconds), conn)

    def _pick(self, wanted: Filter, most: int, seconds: float | None) -> Saying[Listed[int]]:
        return self._searched(statements.pick, wanted, None, most, seconds)

    def _searched(
        self,
        statement: Callable[..., Statement[Listed[T]]],
        wanted: Filter,
        after: str | None,
        limit: int,
        seconds: float | None,
    ) -> Saying[Listed[T]]:
        """A search, portion by portion."""
        if wanted.argument is not None and not self.search_payloads:
            raise InvalidOption(f"argument={quote(wanted.argument)}: arguments are not searched here")
        schema, hidden = self.schema, self._secrets() if self.search_payloads else None
        ids = statements.ALL_IDS
        if wanted.since is not None or wanted.until is not None:
            ids = yield statements.between(schema, wanted.since, wanted.until)
        portions = Portions(seconds, MOST_SEARCHED)
        if passes_all(wanted):
            portions.size = min(limit + 1, MOST_SEARCHED)
        jobs: list[T] = []
        searched = 0
        while True:
            found: Listed[T] = yield statement(
                schema,
                wanted,
                after=after,
                limit=limit - len(jobs),
                window=portions.size,
                unsearched=hidden,
                ids=ids,
                seconds=portions.left,
            )
            jobs += found.jobs
            searched += found.searched
            after = found.after
            if after is None or len(jobs) >= limit or not portions.go_on(searched):
                return Listed(jobs, after, searched)

    def _secrets(self) -> dict[str, list[str] | None]:
        """The arguments that a search must not find, by task (None: all): whoever guesses would learn them."""
        hidden = {task.name: task.codec.hidden_names for task in self.registry}
        return {
            task: None if names is None else sorted(names) for task, names in hidden.items() if names != frozenset()
        }

    def _opened(self, page: Page) -> Page:
        return replace(page, jobs=[shown(job, self.registry) for job in page.jobs])
