"""What the queue promises, as a pure model: where each job stands, and what every operation makes of it.

Times are whole seconds since the model began. The numbers of ready rows are the database's to choose; the model only
says that what becomes ready draws a new one, greater than any before.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Held", "Model", "ModelJob"]

WAITING = ("ready", "scheduled", "blocked")
ENDED = ("succeeded", "failed", "cancelled")
FATES = {"s": "succeeded", "f": "failed", "c": "cancelled"}


class Held(NamedTuple):
    """A lease as its owner knows it: the three that make the fence."""

    job: int
    attempt: int
    worker: str


@dataclass
class ModelJob:
    """One job; everything that the view `jobs` tells of it."""

    id: int
    task: str
    queue: str
    priority: int
    max_attempts: int
    created_at: int
    state: str = "ready"
    attempt: int = 0
    spared: int | None = 0
    run_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    worker: str | None = None
    waits_for: str | None = None
    said: str | None = None
    result: Any = None
    seq: int = 0
    errors: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def reason(self) -> str | None:
        """What the view says: what it waits for, why it ended, or its latest error."""
        if self.state == "blocked":
            return f"waits for {self.waits_for}"
        if self.said is not None or self.state == "succeeded" or not self.errors:
            return self.said
        _, kind, message = max(self.errors)
        return f"{kind}: {message}"

    def move(self, state: str, **facts: Any) -> None:
        """Stand somewhere else: of what was true of the old place, nothing stays."""
        for name in ("run_at", "started_at", "finished_at", "worker", "waits_for", "said", "result"):
            setattr(self, name, None)
        self.state, self.seq = state, 0
        for name, value in facts.items():
            setattr(self, name, value)
        if state in ENDED:
            self.spared = None


class Model:
    """The jobs and the workers. Each operation returns what the real one must return."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: dict[int, ModelJob] = {}
        self.workers: set[str] = set()

    def copy(self) -> Model:
        """As it is now, to come back to after a rollback."""
        return copy.deepcopy(self)

    # ------------------------------------------------------------------------------------------ applications

    def enqueue(self, job: int, task: str, queue: str, priority: int, max_attempts: int, due: int | None) -> None:
        """A new job, under the id that the database gave it."""
        assert job not in self.jobs, f"the id {job} was given twice"
        new = self.jobs[job] = ModelJob(job, task, queue, priority, max_attempts, self.now, seq=job)
        if due is not None and due > self.now:
            new.move("scheduled", run_at=due)

    def retry(self, job: int) -> bool:
        """An operator's retry."""
        found = self.jobs.get(job)
        if found is None or found.state not in ("failed", "cancelled"):
            return False
        found.move("ready", spared=found.attempt)
        return True

    def cancel(self, job: int) -> bool:
        """An operator's cancel."""
        found = self.jobs.get(job)
        if found is None or found.state not in WAITING:
            return False
        found.move("cancelled", finished_at=self.now, said="cancelled while it waited")
        return True

    # ------------------------------------------------------------------------------------------ workers

    def any(self, *states: str) -> bool:
        """Whether some job is in one of these states."""
        return any(job.state in states for job in self.jobs.values())

    def holds(self, lease: Held) -> bool:
        """The fence."""
        job = self.jobs.get(lease.job)
        return job is not None and job.state == "running" and (job.attempt, job.worker) == lease[1:]

    def claim(self, worker: str, limit: int, queues: Collection[str] | None) -> list[Held]:
        """Best lane first, and in each lane the smallest number first; nothing for who is not known."""
        ready = [j for j in self.jobs.values() if j.state == "ready" and (queues is None or j.queue in queues)]
        ready.sort(key=lambda job: (job.priority, job.queue, job.seq))
        return [self._lease(job, worker) for job in ready[:limit]] if worker in self.workers else []

    def adopt(self, worker: str, tasks: Collection[str], limit: int) -> list[Held]:
        """The same from `blocked`, for tasks that the worker knows."""
        wanted = {f"task:{task}" for task in tasks}
        parked = [j for j in self.jobs.values() if j.state == "blocked" and j.waits_for in wanted]
        parked.sort(key=lambda job: (job.priority, job.id))
        return [self._lease(job, worker) for job in parked[:limit]] if worker in self.workers else []

    def _lease(self, job: ModelJob, worker: str) -> Held:
        job.move("running", attempt=job.attempt + 1, started_at=self.now, worker=worker)
        return Held(job.id, job.attempt, worker)

    def complete(self, leases: Iterable[Held]) -> list[int]:
        """Successes; the jobs that were still held."""
        return sorted(lease.job for lease in leases if self.settle(lease, {"fate": "s"}))

    def settle(self, lease: Held, outcome: dict[str, Any]) -> bool:
        """Any outcome; False, and nothing changed, when the lease is lost."""
        if not self.holds(lease):
            return False
        job, fate = self.jobs[lease.job], outcome["fate"]
        made, spared = job.attempt - outcome.get("back", 0), (job.spared or 0) + outcome.get("spare", 0)
        if "kind" in outcome:
            job.errors.append((job.attempt, outcome["kind"], outcome["message"]))
        if fate in FATES:
            told = {"said": outcome.get("reason"), "result": outcome.get("result")}
            job.move(FATES[fate], started_at=job.started_at, finished_at=self.now, worker=job.worker, **told)
        elif fate == "blocked":
            job.move("blocked", attempt=made, spared=spared, waits_for=outcome["waits_for"])
        elif outcome.get("delay", 0) > 0:
            job.move("scheduled", attempt=made, spared=spared, run_at=self.now + outcome["delay"])
        else:
            job.move("ready", attempt=made, spared=spared)
        return True

    def stray(self, worker: str, known: Collection[int]) -> list[int]:
        """What the worker holds without knowing it."""
        strays = [j for j in self.jobs.values() if j.state == "running" and j.worker == worker and j.id not in known]
        for job in strays:
            job.move("ready", attempt=job.attempt - 1)
        return sorted(job.id for job in strays)

    # ------------------------------------------------------------------------------------------ chores

    def promote(self, limit: int) -> list[int]:
        """What is due; of many, what was due first."""
        due = [
            j for j in self.jobs.values() if j.state == "scheduled" and j.run_at is not None and j.run_at <= self.now
        ]
        due.sort(key=lambda job: (job.run_at, job.id))
        for job in due[:limit]:
            job.move("ready")
        return [job.id for job in due[:limit]]

    def rescue(
        self,
        dead: Sequence[str],
        told: bool,
        reason: str,
        started: Collection[int] | None = None,
        spare: Collection[int] | None = None,
    ) -> list[int]:
        """Take back what the dead hold; `told`: their supervisor said so, and perhaps which jobs they had started."""
        taken = [j for j in self.jobs.values() if j.state == "running" and j.worker in dead]
        for job in taken:
            unstarted = told and started is not None and job.id not in started
            spared = (job.spared or 0) + int(told and not unstarted and spare is not None and job.id in spare)
            spent = job.attempt - spared
            if unstarted:
                job.move("ready", attempt=job.attempt - 1)
                continue
            job.errors.append((job.attempt, "WorkerDied", reason))
            if spent >= job.max_attempts:
                job.move("failed", started_at=job.started_at, finished_at=self.now, worker=job.worker)
            elif spent > 1:
                job.move("scheduled", spared=spared, run_at=self.now + min(2 ** min(spent - 1, 10) - 1, 60))
            else:
                job.move("ready", spared=spared)
        self.workers -= set(dead)
        return sorted(job.id for job in taken)

    def retain(self, succeeded: int | None, failed: int | None) -> int:
        """Forget what ended longer ago than so many seconds; None: never."""
        old = []
        for job in self.jobs.values():
            keep = failed if job.state == "failed" else succeeded
            if job.finished_at is not None and keep is not None and job.finished_at < self.now - keep:
                old.append(job.id)
        for job_id in old:
            del self.jobs[job_id]
        return len(old)
