"""What is measured. PostgreSQL queues first, Redis last."""

from __future__ import annotations

from collections.abc import Iterable

from bench.systems import awa, celery, chancy, graphile_worker, oban, pg_boss, pgjobq, pgqueuer, procrastinate, raw
from bench.systems.base import DriverFailed, System
from bench.systems.environments import NotInstallable

__all__ = ["ALL", "QUICK", "DriverFailed", "NotInstallable", "System", "choose"]

ALL = [
    module.SYSTEM
    for module in (pgjobq, raw, procrastinate, pgqueuer, oban, chancy, awa, graphile_worker, pg_boss, celery)
]
QUICK = ("pgjobq", "raw", "procrastinate", "pgqueuer")


def choose(names: Iterable[str]) -> list[System]:
    """The systems of these names, in the order of ALL.

    Raises ValueError naming the unknown one and those there are.
    """
    wanted = list(names)
    known = {system.name: system for system in ALL}
    for name in wanted:
        if name not in known:
            raise ValueError(f"no system {name!r}: there are {', '.join(known)}")
    return [system for system in ALL if system.name in wanted]
