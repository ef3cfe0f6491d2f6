"""Who visits the dashboard, and what that person may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import HTTPConnection
from starlette.responses import Response

__all__ = ["LOCAL", "Authorize", "Role", "Visitor"]


class Role(StrEnum):
    """Each may what the one before may."""

    VIEWER = "viewer"
    """Look."""
    OPERATOR = "operator"
    """Retry, cancel and change jobs, one or some that were chosen one by one; run a schedule now."""
    ADMIN = "admin"
    """The same to all jobs that a filter finds; change arguments; pause and resume queues, tasks and schedules;
    set limits and ageing of queues."""

    def may(self, needed: Role) -> bool:
        """Whether this role includes the other."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person, by the name that the record of their acts shall show."""

    name: str
    role: Role = Role.VIEWER


LOCAL = Visitor("somebody on this machine", Role.ADMIN)
Authorize = Callable[[HTTPConnection], Visitor | Response | Awaitable[Visitor | Response | None] | None]
"""Says who makes a request; None: nobody who may see this; a Response (a redirect to the login) is sent instead."""
