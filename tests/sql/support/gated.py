"""What tests of gates do: enqueue jobs with gates, look at the gates, and settle as a worker does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pgjobq.engine.lease import Lease
from sql.support.hand import Hand

__all__ = ["NOON", "Clock", "figures", "look", "look_later_in", "put", "settle", "state"]

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def put(hand: Hand, gates: list[dict[str, Any]] | None, count: int = 1, **keys: Any) -> list[int]:
    """Enqueue so many jobs with these gates."""
    jobs = [{"task": "send", "gates": gates, **keys}] * count
    return [job for (job,) in hand.sql("SELECT * FROM pgjobq.enqueue_many($1::text::jsonb)", json.dumps(jobs))]


def look(hand: Hand) -> None:
    """What upkeep does."""
    hand.say("look_at_gates", 1000)


def settle(hand: Hand, fate: str, lease: Lease, **more: Any) -> None:
    """What a worker does with a job that has hooks: one transaction."""
    assert lease.hooks == 1
    with hand.conn.transaction():
        assert hand.settle_as(fate, lease, **more) == [(lease.job, True)]
        hand.say("after", [lease.job])


def state(hand: Hand, job: int) -> str:
    """Where it stands."""
    return str(hand.value("SELECT state FROM pgjobq.jobs WHERE id = $1", job))


def figures(hand: Hand, key: str) -> dict[str, Any]:
    """What people see of a gate."""
    found = {figure["key"]: figure for figure in (json.loads(text) for (text,) in hand.say("gates", "50", "1000"))}
    return found[key]


def look_later_in(hand: Hand, key: str) -> float:
    """In how many seconds somebody is to look at a gate."""
    wait = hand.value("SELECT min(at) - pgjobq.clock() FROM pgjobq.gate_look WHERE key = $1", key)
    assert isinstance(wait, timedelta), "nobody is to look"
    return wait.total_seconds()


class Clock:
    """The virtual clock of a hand."""

    def __init__(self, hand: Hand, now: datetime = NOON) -> None:
        self.hand = hand
        self.now = now
        self.set(now)

    def set(self, now: datetime) -> None:
        """It is that time."""
        self.now = now
        self.hand.set_now(now.isoformat())

    def pass_by(self, seconds: float) -> None:
        """So much later; then upkeep looks."""
        self.set(self.now + timedelta(seconds=seconds))
        look(self.hand)
