"""Contact with the database: connect, say who we are, come back after an outage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import psycopg

from pgjobq.engine.exchange import Exchange
from pgjobq.engine.report import Report
from pgjobq.engine.wire import OUTAGES, Wire, refuses_settings
from pgjobq.events import ConnectionBack, ConnectionLost, Polling
from pgjobq.outcome import describe
from pgjobq.run.health import is_pooled
from pgjobq.settings import WorkerSettings

__all__ = ["Contact", "Identity"]

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
"""Seconds between attempts to reach a database that is away."""
SHORTEST_BOUND = 3.0
"""Seconds that any round trip may take before its connection is given up; a third of the lease when that is longer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker process is, for the table `worker`."""

    app: str
    host: str
    pid: int
    version: str


class Contact:
    """Holds the pump's connection and the worker id under which it claims.

    Args:
        dsn, schema, settings, identity, tasks: where, and as whom.
        listens: whether to LISTEN, or somebody else does it for this process.
        on_notify: called with the queue of each notification.
        on_due: called when a job is due before upkeep would look; None: upkeep hears that by itself.
        watch, forget: ask the keeper to renew, and no longer to renew, the lease of a worker id.
    """

    def __init__(
        self,
        dsn: str,
        schema: str,
        settings: WorkerSettings,
        identity: Identity,
        tasks: Callable[[], Sequence[str]],
        report: Report,
        listens: bool,
        on_notify: Callable[[str], None],
        watch: Callable[[UUID], None],
        forget: Callable[[UUID], None],
        on_due: Callable[[], None] | None = None,
    ) -> None:
        self._dsn, self._schema, self._settings, self._identity = dsn, schema, settings, identity
        self._tasks = tasks
        self._report = report
        self._listens, self._on_notify, self._on_due = listens, on_notify, on_due
        self._watch, self._forget = watch, forget
        self._bound = max(SHORTEST_BOUND, settings.lease / 3)
        self._pause = FIRST_PAUSE
        self._away_since: float | None = None
        self.may_listen = not settings.poll_only
        """Whether a session of our own could LISTEN here; with a pooler in between it could not."""
        self.exchange: Exchange | None = None
        self.worker: UUID | None = None

    @property
    def away_for(self) -> float:
        """Seconds since the database was last heard of; 0 while it answers."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    async def reach(self) -> Exchange:
        """Connect, listen, and register if that has not been done. Raises one of OUTAGES."""
        exchange = await self._open()
        wire = exchange.wire
        try:
            if self._listens and self.may_listen:
                await exchange.listen(self._on_notify, self._on_due)
            if self.worker is None:
                await self._register(exchange)
        except BaseException:
            await wire.close()
            raise
        self.exchange = exchange
        if self._away_since is not None:
            self._report.say(ConnectionBack(purpose="claims", seconds=self.away_for))
        self._away_since, self._pause = None, FIRST_PAUSE
        return exchange

    async def _open(self) -> Exchange:
        """A connection to a server that can be written to, with our settings; without them behind a pooler."""
        try:
            exchange = await self._try_to_open()
        except psycopg.OperationalError as error:
            if not self.may_listen or not refuses_settings(error):
                raise
        else:
            if exchange is not None:
                return exchange
        self.may_listen = False
        reason = "a connection pooler stands in between; docs/operations.md says what to set on the role"
        self._report.say(Polling(reason=reason, poll_interval=self._settings.poll_interval))
        exchange = await self._try_to_open()
        assert exchange is not None, "without listening a pooler is no reason to give up"
        return exchange

    async def _try_to_open(self) -> Exchange | None:
        """None: a pooler stands in between, and we meant to listen."""
        wire = await Wire.open(self._dsn, session=self.may_listen)
        exchange = Exchange(wire, self._schema, self.worker or uuid4(), self._bound)
        try:
            server_pid, is_standby = await exchange.server()
            if is_standby:
                raise psycopg.OperationalError("the server is a standby: waiting for a primary")
            if not self.may_listen or not is_pooled(wire.connection, server_pid):
                return exchange
        except BaseException:
            await wire.close()
            raise
        await wire.close()
        return None

    async def _register(self, exchange: Exchange) -> None:
        who, settings = self._identity, self._settings
        facts = (who.pid, settings.concurrency, who.host, who.app, who.version)
        await exchange.register(settings.lease, [*facts, list(settings.queues), list(self._tasks())])
        self.worker = exchange.worker
        self._watch(exchange.worker)

    async def become_somebody_new(self, exchange: Exchange) -> None:
        """The present id was declared dead: go on under a fresh one."""
        self._forget(exchange.worker)
        exchange.worker = uuid4()
        await self._register(exchange)

    async def lose(self, error: BaseException) -> float:
        """The database is away, read-only or full: drop the connection. Gives the seconds until the next try."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            told = describe(error)
            self._report.say(ConnectionLost(purpose="claims", error=told.kind, error_message=told.message))
        await self._hang_up()
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return pause

    async def leave(self) -> None:
        """Go from the list of workers, unless a handler was left behind: its job is the supervisor's to take back."""
        try:
            if self.exchange is not None and await self.exchange.leave():
                self._forget(self.exchange.worker)
        except OUTAGES:
            pass  # the lease will run out by itself
        await self._hang_up()

    async def _hang_up(self) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            await exchange.wire.close()
