"""The worker's own connections: their settings, their bounded waits, their notifications."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row

from pgjobq.run.health import is_pooled

__all__ = [
    "CALL",
    "FIRST_ANSWER",
    "OUTAGES",
    "Wire",
    "bounded",
    "due_channel",
    "is_passing",
    "open_sync",
    "take_notifications",
    "worker_conninfo",
]

OUTAGES = (psycopg.Error, OSError, TimeoutError)
"""What a worker meets when a server is away, read-only, full or otherwise unwell: drop the connection, come back."""

CALL = ""
"""A notification that names no queue: operators want something."""
# SQLSTATE classes of trouble that passes: connection, resources, operator, system, serialization, internal; and a
# server or transaction that may only read, a lock that was not to be had, an idle time-out.
FIRST_ANSWER = 5.0
"""Seconds for the first answer on a new connection."""

_PASSING = {"08", "53", "57", "58", "40", "XX"}
_PASSING_STATES = {"25006", "55P03", "25P03"}


def due_channel(schema: str) -> str:
    """Where it is told that a job is due before upkeep would look (schema.sql: wake_at)."""
    return f"{schema}:due"


def is_passing(error: BaseException) -> bool:
    """Whether the same statement may go through later; else the trouble is in what it was to write.

    psycopg's classes do not tell: it files what a trigger raises under OperationalError.
    """
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is None or state[:2] in _PASSING or state in _PASSING_STATES


# A statement prepared while its table was empty keeps a sequential scan for ever, and autoanalyze of a near-empty table
# flips plans later: hence generic plans and no sequential scans. The rest undoes what a role or database may impose.
_SETTINGS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "jit": "off",
    "default_transaction_isolation": "read\\ committed",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
# Packets that are dropped while a query is in flight hang default libpq for minutes; keepalives alone do not end that.
_BOUNDS = {
    "connect_timeout": "5",
    "tcp_user_timeout": "5000",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}


def worker_conninfo(dsn: str, part: str, *, session: bool = True) -> str:
    """`dsn` with the settings of a worker's connection; what the user wrote there wins.

    `part` shows in pg_stat_activity. Without `session` no settings are sent: a pooler in transaction mode refuses them
    (there they belong on the role: docs/operations.md).
    """
    given = conninfo_to_dict(dsn)
    wanted: dict[str, Any] = {"application_name": f"pgjobq {part} {os.getpid()}", **_BOUNDS}
    hosts = str(given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST", ""))
    if "," in hosts and not os.environ.get("PGTARGETSESSIONATTRS"):
        wanted["target_session_attrs"] = "read-write"  # else libpq keeps to whichever answers first, standby or not
    if session:
        options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        wanted["options"] = f"{options} {given.get('options') or os.environ.get('PGOPTIONS', '')}".strip()
        given.pop("options", None)
    return make_conninfo("", **{**wanted, **{key: value for key, value in given.items() if value is not None}})


def open_sync(dsn: str, part: str, *, session: bool) -> tuple[psycopg.Connection[tuple[Any, ...]], bool]:
    """A connection for the keeper's threads, and whether it is a session of our own (see run.health)."""
    try:
        connection = _connect(dsn, part, session=session)
    except psycopg.OperationalError as error:
        if not session or not refuses_settings(error):
            raise
        return _connect(dsn, part, session=False), False
    if not session:
        return connection, False
    with bounded(lambda: connection, FIRST_ANSWER):
        pooled = is_pooled(connection, connection.execute("SELECT pg_backend_pid()").fetchall()[0][0])
    if not pooled:
        return connection, True
    connection.close()
    return _connect(dsn, part, session=False), False


def _connect(dsn: str, part: str, *, session: bool) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        worker_conninfo(dsn, part, session=session),
        autocommit=True,
        row_factory=tuple_row,
        cursor_factory=psycopg.RawCursor,
        prepare_threshold=1 if session else None,
    )


def refuses_settings(error: psycopg.OperationalError) -> bool:
    """Whether a pooler in between does not pass our settings on."""
    return "unsupported startup parameter" in str(error)


@contextlib.contextmanager
def bounded(
    connection: Callable[[], psycopg.Connection[Any] | None],
    seconds: float,
    *,
    at_it: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Sever the connection if the block takes longer: a hung server or proxy still acknowledges what TCP sends it.

    `at_it`: for what may take long. It is asked every `seconds`, in a thread of its own, whether the server is still at
    work on it; the connection is severed when it is not, or when that cannot be found out.
    """
    token = _watchdog.guard(_Bound(connection, seconds, at_it))
    try:
        yield
    finally:
        _watchdog.release(token)


@dataclass(slots=True, eq=False)
class _Bound:
    connection: Callable[[], psycopg.Connection[Any] | None]
    seconds: float
    at_it: Callable[[], bool] | None
    ends: float = 0.0

    def sever(self) -> None:
        with contextlib.suppress(psycopg.Error, OSError):  # closed meanwhile: there is no wait to end
            if (hung := self.connection()) is not None:
                sever(hung)


def sever(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """End every wait on this connection now. Cancelling would first ask the server, which may be what hangs."""
    if connection.closed:
        return
    twin = socket.socket(fileno=os.dup(connection.fileno()))
    with twin, contextlib.suppress(OSError):  # already down, which is what we want
        twin.shutdown(socket.SHUT_RDWR)


class _Watchdog:
    """One thread for all bounds, which sleeps to the earliest; a timer each would start a thread for every statement.

    What is released in time does not wake it, nor does a bound later than the one it sleeps to. When it wakes and there
    is nothing to watch it ends, and the next bound starts another.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._bounds: set[_Bound] = set()
        self._wakes_at: float | None = None

    def guard(self, bound: _Bound) -> _Bound:
        with self._changed:
            self._add(bound)
        return bound

    def _add(self, bound: _Bound) -> None:
        bound.ends = time.monotonic() + bound.seconds
        if self._wakes_at is None:
            threading.Thread(target=self._run, name="pgjobq-watchdog", daemon=True).start()
            self._wakes_at = bound.ends
        elif bound.ends < self._wakes_at:
            self._changed.notify()
        self._bounds.add(bound)

    def release(self, bound: _Bound) -> None:
        with self._changed:  # and so never while it is being severed: the connection may be another one right after
            self._bounds.discard(bound)
            bound.ends = _RELEASED

    def _run(self) -> None:
        with self._changed:
            while self._bounds:
                self._wakes_at = min(bound.ends for bound in self._bounds)
                self._changed.wait(max(0.0, self._wakes_at - time.monotonic()))
                now = time.monotonic()
                for bound in [bound for bound in self._bounds if bound.ends <= now]:
                    self._bounds.discard(bound)
                    if bound.at_it is None:
                        bound.sever()
                    else:
                        threading.Thread(target=self._ask, args=(bound, bound.at_it), daemon=True).start()
            self._wakes_at = None

    def _ask(self, bound: _Bound, at_it: Callable[[], bool]) -> None:
        try:
            goes_on = at_it()
        except OUTAGES:
            goes_on = False
        with self._changed:
            if bound.ends == _RELEASED:
                return
            if goes_on:
                self._add(bound)
            else:
                bound.sever()


_RELEASED = float("-inf")
_watchdog = _Watchdog()


def take_notifications(pgconn: psycopg.pq.abc.PGconn) -> list[str]:
    """What has arrived, as payloads. Raises OperationalError when the server is gone."""
    return [payload for _, payload in _take(pgconn)]


def _take(pgconn: psycopg.pq.abc.PGconn) -> list[tuple[str, str]]:
    """The same with the channel in front."""
    pgconn.consume_input()
    taken = []
    while (notify := pgconn.notifies()) is not None:
        taken.append((notify.relname.decode("utf-8", "replace"), notify.extra.decode("utf-8", "replace")))
    return taken


class Wire:
    """The pump's connection: pipelined, prepared, listening, and never waited for without end."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]], *, session: bool) -> None:
        self.connection = connection
        self.session = session
        self._loop = asyncio.get_running_loop()
        self._hear_due: tuple[str, Callable[[], None]] | None = None
        # A descriptor of our own to watch: libpq closes its own at once when it meets the end of the connection, and a
        # loop that still watches a closed and soon reused descriptor goes wrong (libuv aborts the process).
        self._ear = os.dup(connection.fileno())

    @classmethod
    async def open(cls, dsn: str, *, session: bool) -> Wire:
        """Connect; raises one of OUTAGES. Without `session` nothing is relied on that a pooler may take away."""
        connection: psycopg.AsyncConnection[tuple[Any, ...]] = await psycopg.AsyncConnection.connect(
            worker_conninfo(dsn, "worker", session=session),
            autocommit=True,
            row_factory=tuple_row,
            cursor_factory=psycopg.AsyncRawCursor,
            prepare_threshold=0 if session else None,
        )
        return cls(connection, session=session)

    @property
    def broken(self) -> bool:
        """Whether the server is known to be gone."""
        return self.connection.closed or self.connection.pgconn.status != psycopg.pq.ConnStatus.OK

    async def listen(
        self, channel: str, on_notify: Callable[[str], None], on_due: Callable[[], None] | None = None
    ) -> None:
        """Hear notifications during statements; `watch` hears them in between.

        `on_due`: called when a job is due before upkeep would look, which then need not listen.
        """
        await self.connection.execute(f'LISTEN "{channel}"')
        if on_due is not None:
            self._hear_due = due_channel(channel), on_due
            await self.connection.execute(f'LISTEN "{self._hear_due[0]}"')
        self.connection.add_notify_handler(lambda notify: self._hear(notify.channel, notify.payload, on_notify))

    def _hear(self, channel: str, payload: str, on_notify: Callable[[str], None]) -> None:
        if self._hear_due is not None and channel == self._hear_due[0]:
            self._hear_due[1]()
        else:
            on_notify(payload)

    def watch(self, on_notify: Callable[[str], None], on_loss: Callable[[], None]) -> None:
        """Hear notifications, and a server that goes away, while nothing is being executed; until `unwatch`."""

        def readable() -> None:
            try:
                for channel, payload in _take(self.connection.pgconn):
                    self._hear(channel, payload, on_notify)
            except psycopg.Error:
                self.unwatch()
                on_loss()

        self._loop.add_reader(self._ear, readable)
        readable()  # what arrived behind the last answer has been read already, and makes the socket ready no more

    def unwatch(self) -> None:
        """Stop hearing, so that statements may use the connection again."""
        self._loop.remove_reader(self._ear)

    def sever(self) -> None:
        """End every wait on this connection now."""
        sever(self.connection)

    async def close(self) -> None:
        """Close without asking the server."""
        self.unwatch()
        self.sever()
        await self.connection.close()
        if self._ear >= 0:
            os.close(self._ear)
            self._ear = -1
