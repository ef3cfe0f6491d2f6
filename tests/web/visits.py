"""Everything that a visitor can ask of the dashboard, and an operator of the command line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import psycopg

from pgjobq import Queue
from pgjobq.job import JobState
from pgjobq.survey import Survey

__all__ = ["Found", "Visit", "commands", "look_around", "visits"]


@dataclass(frozen=True)
class Found:
    """What stands in the furnished queue, to be asked for."""

    failed: int
    blocked: int
    running: int
    first: int
    flow: int
    worker: str
    fingerprint: str
    rare_fingerprint: str


@dataclass(frozen=True)
class Visit:
    """One kind of page, by all the addresses that are of the kind."""

    name: str
    addresses: list[str]
    form: dict[str, str] = field(default_factory=dict)
    """Sent with POST, the query of each address with it; empty: GET."""


def look_around(dsn: str, queue: Queue) -> Found:
    """Find them."""
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            "SELECT (SELECT max(job) FROM pgjobq.finished WHERE outcome = 'f'), (SELECT max(job) FROM pgjobq.blocked),"
            " (SELECT max(job) FROM pgjobq.running), (SELECT min(id) FROM pgjobq.job),"
            " (SELECT id FROM pgjobq.workflow WHERE name = 'month'), (SELECT min(id::text) FROM pgjobq.worker)"
        ).fetchone()
    assert row
    groups = Survey(queue).failures().groups
    return Found(*row, groups[0].fingerprint, groups[-1].fingerprint)


def conditions(found: Found) -> dict[str, list[str]]:
    """What each condition of the filter may be: met by many jobs, by few, by none."""
    now = datetime.now(UTC)
    return {
        "queue": ["mail", "tenant-7", "no-such-queue"],
        "task": ["charge_card", "close_books", "no_such_task"],
        "ref": ["merchant:kiln", f"order:{(found.failed - found.first) // 4}", "nobody"],
        "tag": ["monthly", "audited", "nowhere"],
        "text": ["customer 4711", "printer is on fire", "nowhere-to-be-found"],
        "argument": ["customer.id=4711", "order_id=7", "nothing=1"],
        "worker": [found.worker],
        "since": [_stamp(now - timedelta(minutes=5)), _stamp(now - timedelta(days=2)), "2099-01-01T00:00:00"],
        "until": [_stamp(now - timedelta(minutes=5)), _stamp(now - timedelta(days=2)), "2020-01-01T00:00:00"],
    }


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def visits(found: Found) -> Iterator[Visit]:
    """Every page whose time could depend on how many jobs there are."""
    named = {name: values[:2] for name, values in conditions(found).items()}
    states = [None, *JobState]
    yield Visit("overview", ["/"])
    yield Visit("overview, 24 hours", ["/?span=24h"])
    yield Visit("overview, 3 days", ["/?span=3d"])
    yield Visit("jobs, all and of each state", [_jobs(state=state) for state in states])
    yield Visit("the same, page by page to the last", [])
    for name, values in conditions(found).items():
        yield Visit(f"jobs by {name}", [_jobs(state=state, **{name: value}) for state in states for value in values])
    errors = [found.fingerprint, found.rare_fingerprint]
    yield Visit(
        "failed jobs of a group",
        [_jobs(state="failed", error=error) for error in errors]
        + [_jobs(state="failed", error=errors[0], **{name: values[-1]}) for name, values in named.items()],
    )
    yield Visit(
        "jobs by two conditions, with and without a state",
        [
            _jobs(state=state, **dict(zip(pair, values, strict=True)))
            for pair in itertools.combinations(named, 2)
            for values in zip(*(named[name][-2:] for name in pair), strict=False)
            for state in (None, "ready", "failed", "succeeded")
        ],
    )
    yield Visit("the box on top", [f"/find?q={text}" for text in ("4711", "merchant:kiln", "nowhere-to-be-found")])
    yield Visit("one job", [f"/jobs/{job}" for job in (found.first, found.failed, found.blocked, found.running)])
    yield Visit("one ref", ["/ref?ref=merchant:kiln", f"/ref?ref=order:{(found.failed - found.first) // 4}"])
    yield Visit("failed, by what went wrong", ["/failed"])
    yield Visit(
        "workflows", ["/workflows", "/workflows?state=running", "/workflows?state=failed", "/workflows?name=month"]
    )
    yield Visit("one workflow of 50,000 jobs", [f"/workflows/{found.flow}{query}" for query in _of_workflow()])
    yield Visit("queues", ["/queues"])
    yield Visit("workers", ["/workers"])
    yield Visit("gates", ["/gates"])
    yield Visit("schedules", ["/schedules"])
    yield Visit("audit", ["/audit", "/audit?before=50000", "/audit?before=60"])
    yield Visit("metrics", ["/metrics"])
    retried = [_jobs(state=state, **more) for state in ("failed", "cancelled") for more in _narrowed(found)]
    yield Visit("retry all that a filter finds: what it would be", retried, {"verb": "retry", "all": "1"})
    waiting = ("scheduled", "blocked", "ready", "running")
    cancelled = [_jobs(state=state, **more) for state in waiting for more in _narrowed(found)]
    yield Visit("cancel all that a filter finds: what it would be", cancelled, {"verb": "cancel", "all": "1"})


def _of_workflow() -> list[str]:
    return ["", *(f"?state={state}" for state in JobState)]


def _narrowed(found: Found) -> list[dict[str, str]]:
    return [{}, *({name: value} for name, values in conditions(found).items() for value in values[1:])]


def _jobs(**wanted: str | None) -> str:
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    return f"/jobs?{query}" if query else "/jobs"


def commands(found: Found) -> dict[str, list[list[str]]]:
    """The same on the command line."""
    lists = [
        ["jobs", "list", *state, f"--{name}", values[-1] if name in ("since", "until") else values[0]]
        for name, values in conditions(found).items()
        if name in ("queue", "task", "ref", "tag", "worker")
        for state in ([], ["--state", "failed"], ["--state", "ready"], ["--state", "succeeded"])
    ]
    rare = [
        ["jobs", "list", *state, *condition]
        for state in ([], ["--state", "failed"], ["--state", "ready"], ["--state", "succeeded"])
        for condition in (
            ["--queue", "tenant-7"],
            ["--task", "close_books"],
            ["--tag", "audited"],
            ["--args", "customer.id=4711"],
            ["--error", "printer is on fire"],
            ["--workflow", str(found.flow)],
        )
    ]
    return {
        "pgjobq stats": [["stats"]],
        "pgjobq queues, workers, gates, audit": [["queues"], ["workers"], ["gates"], ["audit"]],
        "pgjobq jobs list": [["jobs", "list", *more] for more in ([], *(["--state", state] for state in JobState))],
        "the same by one condition that many jobs meet": lists,
        "the same by one condition that few jobs meet": rare,
        "pgjobq jobs retry, cancel --dry-run": [
            ["jobs", "retry", "--state", "failed", "--dry-run"],
            ["jobs", "retry", "--state", "failed", "--queue", "mail", "--dry-run"],
            ["jobs", "cancel", "--state", "ready", "--dry-run"],
            ["jobs", "cancel", "--task", "charge_card", "--dry-run"],
        ],
        "pgjobq explain": [["explain", str(job)] for job in (found.failed, found.blocked, found.running)],
    }
