"""`pgjobq jobs watch`: what happens to a job, or to those that pass a filter, as it happens."""

from __future__ import annotations

import math
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

import msgspec

from pgjobq.cli.cells import plain
from pgjobq.cli.desk import COLOURS, duration, paints
from pgjobq.cli.selection import hint, selected
from pgjobq.errors import ConfigError, NoSuchJob, WaitTimeout
from pgjobq.explanation import brief, span
from pgjobq.filters import Filters
from pgjobq.job import Job, JobState
from pgjobq.queue import Queue

__all__ = ["SUCCEEDED", "TIMED_OUT", "UNSUCCESSFUL", "Watch", "watch"]

SUCCEEDED, NONE_FOUND, UNSUCCESSFUL, TIMED_OUT = 0, 1, 3, 124
LOOK_EVERY = 1.0
"""Seconds between looks. The end of a job is told at once, where notifications arrive; its start by the next look."""
MOST = 1_000
"""Jobs that are followed at once."""

Seen = tuple[JobState, int, datetime | None]


def watch(queue: Queue, options: Namespace) -> int:
    """Tell what happens to the jobs that the options name; returns the exit code."""
    filters = selected(options)
    if not filters:
        raise ConfigError("pgjobq jobs watch: wants IDs or a filter, such as --ref order:42")
    limit = duration(options.timeout, "--timeout")
    until = math.inf if limit is None else time.monotonic() + limit.total_seconds()
    watched = Watch(queue, filters, as_json=options.json)
    while True:
        watched.look()
        if not watched.jobs and not options.follow:
            hint(queue, options)
            named = f"there is no job {options.ids[0]}" if options.ids else "no job passes these filters"
            print(f"pgjobq: {named}", file=sys.stderr)
            return NONE_FOUND
        if not watched.open and not options.follow:
            return watched.verdict()
        if time.monotonic() >= until:
            print(f"pgjobq: {len(watched.open):,} had not ended in time", file=sys.stderr)
            return TIMED_OUT
        watched.wait(min(LOOK_EVERY, until - time.monotonic()))


class Watch:
    """The jobs that passed the filters once, each followed to its end."""

    def __init__(self, queue: Queue, filters: Filters, *, as_json: bool) -> None:
        self.queue, self.filters, self.as_json = queue, filters, as_json
        self.jobs: dict[int, Job] = {}
        self.open: set[int] = set()
        self._seen: dict[int, Seen] = {}

    def look(self) -> None:
        """Print what has changed since the last look."""
        found = {job.id: job for job in self.queue.find(limit=MOST, **self.filters)}
        missing = self.open - found.keys()  # those that no longer pass, such as --state ready
        if missing:
            found |= {job.id: job for job in self.queue.find(limit=MOST, ids=missing)}
            for gone in missing - found.keys():  # deleted
                self.open.discard(gone)
        for number in sorted(found):
            self._follow(found[number])
        sys.stdout.flush()

    def _follow(self, job: Job) -> None:
        seen: Seen = (job.state, job.attempt, job.run_at)
        self.jobs[job.id] = job
        if self._seen.get(job.id) == seen:
            return
        self._seen[job.id] = seen
        (self.open.discard if job.state.final else self.open.add)(job.id)
        print(msgspec.json.encode(job).decode() if self.as_json else told(job))

    def wait(self, seconds: float) -> None:
        """Until one of them has ended, or so many seconds are over."""
        if not self.open:
            time.sleep(max(0.0, seconds))
            return
        with suppress(WaitTimeout, NoSuchJob):
            self.queue.wait(min(self.open), max(0.0, seconds))

    def verdict(self) -> int:
        """The exit code that says how they ended."""
        return SUCCEEDED if all(job.state is JobState.SUCCEEDED for job in self.jobs.values()) else UNSUCCESSFUL


def told(job: Job) -> str:
    """What has just happened to it, in a line."""
    at, *words = _words(job)
    state = f"{job.state:<9}"
    code = COLOURS.get(job.state) if paints() else None
    painted = f"\033[{code}m{state}\033[0m" if code else state
    about = " ".join(filter(None, (job.task, job.ref)))
    return f"{at}  {job.id}  {painted}  {plain(', '.join((about, *words)))}".rstrip()


def _words(job: Job) -> Iterator[str]:
    when = {
        JobState.RUNNING: job.started_at,
        JobState.SUCCEEDED: job.finished_at,
        JobState.FAILED: job.finished_at,
        JobState.CANCELLED: job.finished_at,
    }.get(job.state)
    yield (when or datetime.now().astimezone()).astimezone().strftime("%H:%M:%S")
    if job.state is JobState.RUNNING:
        yield f"attempt {job.attempt} of {job.max_attempts}"
    if job.state is JobState.SCHEDULED and job.run_at:
        yield f"due at {job.run_at.astimezone():%H:%M:%S}"
    if job.state.final and job.started_at and job.finished_at:
        yield f"after {span(job.finished_at, job.started_at)}"
    if job.reason and job.state not in (JobState.RUNNING, JobState.READY):
        yield brief(job.reason, 120)
