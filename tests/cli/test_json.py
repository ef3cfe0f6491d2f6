"""The keys of `--json`, written down: programs read them, so they stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pgjobq import Gate, Queue
from sql.support.hand import Hand

Run = Callable[..., tuple[int, str, str]]

JOB = {
    "id",
    "task",
    "queue",
    "state",
    "args",
    "ref",
    "tags",
    "headers",
    "priority",
    "attempt",
    "max_attempts",
    "created_at",
    "run_at",
    "started_at",
    "finished_at",
    "worker",
    "reason",
    "result",
    "version",
    "expires_at",
    "progress",
    "workflow",
}
STEP = {"name", "kind", "attempt", "started_at", "ended_at", "until", "event", "timed_out", "value"}
ERROR = {"job", "attempt", "started_at", "failed_at", "worker", "kind", "message", "traceback"}
AUDIT = {"id", "at", "who", "what", "jobs", "about"}
SCHEDULE = {
    "name",
    "task",
    "expression",
    "tz",
    "missed",
    "overlap",
    "queue",
    "priority",
    "ref",
    "args",
    "next_at",
    "last_at",
    "last_job",
    "paused_at",
    "paused_because",
    "retired_at",
    "changed_at",
    "app",
    "edited",
}
QUEUE = {"name", "ready", "running", "scheduled", "blocked", "oldest", "workers", "paused"}
PAUSE = {"kind", "name", "since", "until", "reason", "who"}
LIMIT = {"queue", "waiting", "when_full", "set_at", "who", "now"}
AGEING = {"queue", "step", "up_to", "set_at", "who"}
WORKER = {
    "id",
    "app",
    "host",
    "pid",
    "version",
    "started_at",
    "beat_at",
    "expires_at",
    "alive",
    "concurrency",
    "running",
    "queues",
    "tasks",
}
STATS = {
    "ready",
    "running",
    "scheduled",
    "blocked",
    "failed",
    "cancelled",
    "succeeded",
    "finished_last_minute",
    "failed_last_hour",
    "workers",
}
GATE = {"key", "limit", "in_order", "is_fair", "holding", "waiting", "holders", "first", "since", "cap", "set_at"}
GATE |= {"rate", "quota", "weights", "pause"}
FINDING = {"check", "verdict", "found", "cure"}
CHANGE = {"action", "jobs", "dry_run"}

KEYS: dict[str, Any] = {
    "jobs list --state failed": [JOB],
    "jobs show 1": {"job": JOB, "errors": [ERROR], "steps": [STEP], "why": [str]},
    "jobs retry --state failed --dry-run": CHANGE,
    "jobs cancel 999": CHANGE,
    "jobs move 999 --to other": CHANGE,
    "jobs edit 2 --priority 1": CHANGE,
    "purge --state failed --dry-run": CHANGE,
    "queues": {"queues": [QUEUE], "paused": [PAUSE], "limits": [LIMIT], "ageing": [AGEING]},
    "workers": [WORKER],
    "stats": STATS,
    "explain 1": {"job", "state", "sentences"},
    "audit": [AUDIT],
    "schedules": [SCHEDULE],
    "schedules show nightly": {"schedule": SCHEDULE, "next_runs": [str]},
    "schedules pause nightly": {"action", "schedule", "done"},
    "schedules run nightly": {"action", "schedule", "done", "job"},
    "gates": {"gates": [GATE], "set": [{"key", "concurrency", "rate", "quota", "weights", "set_at"}]},
    "gates set api 1": {"action", "gate", "done"},
    "enqueue send n=1 --yes": {"id", "task", "queue", "is_new"},
    "doctor": {"healthy": bool, "findings": [FINDING]},
    "health": {"healthy", "troubles"},
}


@pytest.fixture
def furnished(hand: Hand, queue: Queue) -> None:
    """Something of everything; the failed job is the first one."""
    failed = hand.enqueue("send")
    lease = hand.claim_one()
    hand.sql("SELECT pgjobq.remember_step($1, $2, $3, 'charge')", failed, lease.attempt, hand.id)
    hand.settle_as("f", lease, kind="CardError", message="declined")
    assert (failed, hand.enqueue("send")) == (1, 2)
    hand.sql("UPDATE pgjobq.worker SET queues = '{mail}'")

    @queue.task(gates=[Gate("api", concurrency=1)])
    def pull() -> None: ...

    pull.enqueue()
    queue.set_gate("api", concurrency=0)
    queue.schedule("nightly", "0 3 * * *", pull)
    queue.pause(queue="mail", by="ann")
    queue.limit("mail", waiting=5)
    queue.set_ageing("mail", step=60)


@pytest.mark.usefixtures("furnished")
@pytest.mark.parametrize("command", KEYS)
def test_keys(run: Run, command: str) -> None:
    code, out, err = run(*command.split(), "--json")
    assert (code in (0, 1), err) == (True, "")
    assert shape(json.loads(out), KEYS[command]) == KEYS[command]


def shape(found: Any, like: Any) -> Any:
    """What was found, in the terms of what is expected: sets of keys, lists of one of a kind."""
    if isinstance(like, list):
        assert found, "nothing to look at"
        (inner,) = like
        shapes = [shape(one, inner) for one in found]
        assert all(one == shapes[0] for one in shapes)
        return shapes[:1]
    if isinstance(like, dict):
        return {name: shape(value, like.get(name)) for name, value in found.items()}
    if isinstance(like, set):
        return set(found)
    return like if isinstance(like, type) and isinstance(found, like) else type(found)
