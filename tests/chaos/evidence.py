"""What a run leaves behind, and what may be found in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from chaos.history import Event
from chaos.ledger import Ledger

__all__ = ["Death", "Evidence", "Finding", "Limits", "gone", "lost_in_crash"]

LOST_IN_A_CRASH = 3.0
"""Seconds before a crash of the server within which a claim may be lost with it: it is committed asynchronously
(three times wal_writer_delay, 0.6 s), and the machine may be busy."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that was not kept."""

    promise: str
    text: str

    def __str__(self) -> str:
        return f"({self.promise}) {self.text}"


@dataclass(frozen=True, slots=True)
class Death:
    """A process of the worker's that ended other than in order."""

    worker: str
    pid: int
    how: str


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: the workers' lease and poll interval, and how much a noisy machine may add."""

    lease: float = 3.0
    poll: float = 0.5
    slack: float = 20.0

    @property
    def most(self) -> float:
        """How long anything may take to come about."""
        return self.lease + self.poll + self.slack


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a run leaves behind.

    ends: how jobs of each task must end; effective: the tasks that complete together with their effect; deaths: of
    worker processes, as their supervisors logged them, and of supervisors.
    """

    history: list[Event]
    ledger: Ledger
    ends: dict[str, str]
    effective: tuple[str, ...]
    deaths: list[Death] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)


def gone(event: Event) -> list[int]:
    """The processes that died or were isolated by this."""
    if event.what in ("dies", "worker_killed"):
        return [event.facts["pid"]]
    return list(event.facts["isolated"]) if event.what == "fault" else []


def crashes(history: list[Event]) -> list[tuple[float, float, float]]:
    """Each crash of the server: from when on claims may be lost with it, when it was, and when it was over."""
    healed = {event.facts["number"]: event.at for event in history if event.what == "healed"}
    last = history[-1].at if history else 0.0
    return [  # backends of a killed postmaster work on for a moment
        (event.at - LOST_IN_A_CRASH, event.at, healed.get(event.facts["number"], last))
        for event in history
        if event.what == "fault" and event.facts["crash"]
    ]


def lost_in_crash(history: list[Event], before: Event, event: Event) -> bool:
    """Whether the claim of the start `before` may have been lost in a crash of the server, with its attempt number."""
    if event.attempt > before.attempt:
        return False
    return any(since <= before.at <= over and event.at > at for since, at, over in crashes(history))
