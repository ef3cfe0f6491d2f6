"""Chores that any worker may do at any time: promote what is due, rescue what is dead, forget what is old, vacuum.

No leader: each chore takes a transaction-level lock by itself, and two at once would do no harm.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import psycopg

from pgjobq.engine.lease import SILENT
from pgjobq.engine.retention import Retention
from pgjobq.engine.ticks import Ticks
from pgjobq.engine.wire import OUTAGES, bounded, due_channel, is_passing, open_sync, take_notifications
from pgjobq.events import ChoreFailed, JobsReturned, JobsTakenBack, VacuumRefused
from pgjobq.logs import Journal
from pgjobq.outcome import describe
from pgjobq.settings import WorkerSettings
from pgjobq.statements import statement_text

__all__ = ["Burial", "Upkeep"]

PROMOTED_AT_ONCE = 1_000
GATES_AT_ONCE = 100
SWEEP_EVERY = 30.0
"""Seconds between looks at every gate where jobs wait: for what a worker that died left undone."""
VACUUM_EVERY = 1.0
CHURN = 20_000
"""Settled jobs after which `running` is vacuumed out of turn: 2 MB of dead rows with their index. A burst of 100,000
jobs in a second would else leave five times as much: the statistics that tell of dead rows arrive once a second."""
CHURN_PAUSE = 50
"""… but not before fifty times as long as it took last: while a snapshot is held open it finds more each time, and can
remove nothing. With ten times as long, a drain under such a snapshot lost a tenth of its pace."""
LANES_EVERY = 5.0
DEPENDENCIES_EVERY = 30.0
METERS_EVERY, METERS_AT_ONCE = 10.0, 1_000
HISTORY_EVERY = 60.0
"""Unless the database says when the next minute is over."""
ORDERS_EVERY = 1.0
EXPIRED_AT_ONCE = 1_000
EXPIRE_EVERY = 1.0
LIMITS_EVERY = 1.0
AGED_AT_ONCE = 1_000
AGE_EVERY = 1.0
LONG_CHORES = frozenset({"find_old", "retain", "write_history"})
"""They may take long where there is much to do. Anything else is short."""
LONGEST_CHORE = 120.0
"""Seconds that a long one may take before its connection is given up. Until then the server is asked whether it is
still at work on it: a connection that died meanwhile must not keep due jobs waiting for so long."""
LONGEST_VACUUM = 15.0
"""Seconds; of tables that are tiny."""


class Burial:
    """A worker known to be dead: its id, why, which jobs it had started, and which of these are spared the attempt."""

    def __init__(self, worker: UUID, reason: str, started: Sequence[int], spared: Sequence[int] = ()) -> None:
        self.worker, self.reason, self.started, self.spared = worker, reason, started, spared


class Upkeep:
    """Does the chores in a thread of its own, sleeping exactly to the next due time.

    Args:
        contact: for how many seconds our own contact with the database has been unbroken.
        listens: whether to hear by a connection of our own that a job is due before we would look; else `look` is
            called. PostgreSQL wakes each session that listens for each notification, whatever its channel is called:
            one more on a machine with few cores is in the way of the worker that was called.
    """

    def __init__(
        self,
        dsn: str,
        schema: str,
        settings: WorkerSettings,
        *,
        session: bool,
        journal: Journal,
        contact: Callable[[], float],
        listens: bool = True,
    ) -> None:
        self._listens = listens
        self._dsn, self._schema, self._settings, self._session = dsn, schema, settings, session
        self._journal = journal
        self._contact = contact
        self._bound = max(3.0, settings.lease / 3)
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._may_vacuum: bool | None = None
        self._settled = self._settled_before = 0
        self._due: dict[str, float] = {}
        self._burials: list[Burial] = []
        self._retention = Retention(self._say, settings, journal)
        self._ticks = Ticks(self._say, journal)
        self.failed = 0
        """Jobs that had no attempt left when they were taken back from the worker processes of our own that died."""
        self._stopped = False
        self._calls, self._hears = socket.socketpair()
        self._hears.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="pgjobq-upkeep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def bury(self, burial: Burial) -> None:
        """Take back what a worker held that is known to be dead; as soon as the database can be reached."""
        self._burials.append(burial)
        self._call()

    def look(self) -> None:
        """Look at once at what is due; may be called from any thread."""
        self._call()

    def churn(self, jobs: int) -> None:
        """So many jobs more were settled by our processes."""
        self._settled += jobs
        if self._has_churned():
            self._call()

    def _has_churned(self) -> bool:
        """Whether `running` is to be vacuumed out of turn."""
        return self._settled - self._settled_before >= CHURN and time.monotonic() >= self._due.get("churn", 0.0)

    def stop(self) -> None:
        """End, with the last burials done if the database can be reached."""
        self._stopped = True
        self._call()
        self._thread.join(timeout=10)

    def _call(self) -> None:
        with contextlib.suppress(OSError):  # the thread has ended
            self._calls.send(b"!")

    # ---------------------------------------------------------------------------------------- the loop

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._wait(self._round())
            except (psycopg.OperationalError, psycopg.InterfaceError, OSError):
                self._hang_up()  # the heart says that the database is away
                self._pause(1.0)
            except psycopg.Error as error:
                if not is_passing(error):  # else as above: read-only (25006) is filed under InternalError
                    told = describe(error)
                    self._journal.emit(ChoreFailed(chore="upkeep", error=told.kind, error_message=told.message))
                self._hang_up()
                self._pause(min(self._settings.poll_interval, 1.0))
        with contextlib.suppress(*OUTAGES):  # else their leases run out by themselves
            self._bury()
        self._hang_up()
        self._calls.close()
        self._hears.close()

    def _round(self) -> float:
        """Do what is to be done now; returns the seconds until the next look."""
        self._bury()
        self._rescue()
        deleting = self._retention.work()
        if self._turn("lanes", LANES_EVERY):
            self._say("find_lanes")
            self._say("tidy_lanes")
            self._say("forget_awaited")
        if self._turn("dependencies", DEPENDENCIES_EVERY):
            self._say("watch_dependencies")
        if self._turn("orders", ORDERS_EVERY):
            self._say("follow_orders")
        if self._turn("expire", EXPIRE_EVERY):
            while self._say("expire", EXPIRED_AT_ONCE)[0][0] == EXPIRED_AT_ONCE:
                pass
        if self._turn("limits", LIMITS_EVERY):
            self._say("follow_limits")
        rising = self._turn("ageing", AGE_EVERY) and self._say("age", AGED_AT_ONCE)[0][0] == AGED_AT_ONCE
        if rising:
            self._due.pop("ageing")  # there are more; the other chores have their turn first
        if self._turn("vacuum", VACUUM_EVERY) and self._can_vacuum() and self._say("churned")[0][0]:
            self._vacuum("vacuum")
        elif self._has_churned():
            self._settled_before = self._settled
            if self._can_vacuum():
                begun = time.monotonic()
                self._vacuum("vacuum_running")
                self._due["churn"] = begun + CHURN_PAUSE * (time.monotonic() - begun)
        if self._turn("history", HISTORY_EVERY):
            self._due["history"] = time.monotonic() + max(1.0, self._say("write_history")[0][0])
        while self._say("promote", PROMOTED_AT_ONCE)[0][0] == PROMOTED_AT_ONCE:
            pass
        self._let_through()
        while self._say("look_at_workflows", PROMOTED_AT_ONCE)[0][0] >= PROMOTED_AT_ONCE:
            pass
        while self._say("release", PROMOTED_AT_ONCE)[0][0] >= PROMOTED_AT_ONCE:
            pass
        longest = min(self._settings.poll_interval, 1.0)
        due, _, tick = self._say("next_due", longest)[0]
        if self._settings.drain:
            tick = None  # a drain works off what there is: how much that is must not depend on the clock
        elif tick is not None and tick <= 0:
            tick = self._ticks.fire()
        self._journal.tick()
        if deleting or rising:
            return 0.0
        return max(0.0, min(seconds for seconds in (due, tick, longest) if seconds is not None))

    def _turn(self, chore: str, every: float) -> bool:
        """Whether it is time for this chore (again)."""
        now = time.monotonic()
        if now < self._due.get(chore, 0.0):
            return False
        self._due[chore] = now + every
        return True

    def _wait(self, seconds: float) -> None:
        """Until the time is over, somebody schedules an earlier job, or an order comes."""
        connection = self._connected()
        with selectors.DefaultSelector() as selector:
            selector.register(self._hears, selectors.EVENT_READ)
            selector.register(connection.fileno(), selectors.EVENT_READ)
            for key, _ in selector.select(seconds):
                if key.fileobj is self._hears:
                    self._hears.recv(1024)
                else:
                    take_notifications(connection.pgconn)

    def _pause(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._hears, selectors.EVENT_READ)
            if selector.select(seconds):
                self._hears.recv(1024)

    # ---------------------------------------------------------------------------------------- the chores

    def _bury(self) -> None:
        while self._burials:
            burial = self._burials[0]
            self._due.pop("gates", None)  # it may have died between a commit and what follows from it
            rows = self._say("rescue", [burial.worker], burial.reason, burial.started, 0.0, list(burial.spared))
            self.failed += sum(1 for row in rows if row[5])
            self._tell_taken_back(rows, burial.reason)
            self._burials.pop(0)

    def _rescue(self) -> None:
        """Only after one lease of unbroken contact: after an outage every heartbeat looks old and proves nothing."""
        if self._contact() < self._settings.lease:
            return
        if self._turn("rescue", min(1.0, self._settings.lease / 3)):
            rows = self._say("rescue", None, SILENT, None, 0.0, None)
            self._tell_taken_back(rows, SILENT)

    def _tell_taken_back(self, rows: list[tuple[Any, ...]], reason: str) -> None:
        by_worker: dict[str, list[tuple[Any, ...]]] = {}
        for row in rows:
            by_worker.setdefault(row[1], []).append(row)
        for worker, jobs in by_worker.items():
            failed = sum(1 for row in jobs if row[5])
            unstarted = sum(1 for row in jobs if row[6])
            if unstarted:
                self._journal.emit(JobsReturned(jobs=unstarted))
            if len(jobs) > unstarted:
                rescued = len(jobs) - unstarted - failed
                self._journal.emit(JobsTakenBack(worker=worker, reason=reason, jobs=rescued, failed=failed))

    def _let_through(self) -> None:
        """Look at the gates where somebody should. A worker frees places itself as it settles; this is for all else."""
        if self._turn("gates", SWEEP_EVERY):
            self._say("sweep_gates")
        if self._turn("meters", METERS_EVERY):
            self._say("forget_meters", METERS_AT_ONCE)
        while self._say("look_at_gates", GATES_AT_ONCE)[0][0] == GATES_AT_ONCE:
            pass

    def _can_vacuum(self) -> bool:
        if self._may_vacuum is None:
            self._may_vacuum = bool(self._say("may_vacuum")[0][0])
            if not self._may_vacuum:
                reason = "the worker's role neither owns the tables nor has MAINTAIN on them (PostgreSQL 17)"
                self._journal.emit(VacuumRefused(table=f"{self._schema}.ready", reason=reason))
        return self._may_vacuum

    def _vacuum(self, statement: str) -> None:
        self._settled_before = self._settled
        connection = self._connected()
        with bounded(lambda: self._connection, LONGEST_VACUUM):
            connection.execute(statement_text(statement, self._schema), prepare=False)

    # ---------------------------------------------------------------------------------------- the connection

    def _say(self, name: str, *params: object) -> list[tuple[Any, ...]]:
        connection = self._connected()
        at_it = self._watch(connection.info.backend_pid) if name in LONG_CHORES else None
        with bounded(lambda: self._connection, self._bound, at_it=at_it):
            cursor = connection.execute(statement_text(name, self._schema), params)
            return cursor.fetchall() if cursor.description else []

    def _watch(self, server_pid: int) -> Callable[[], bool]:
        """For `bounded`: whether the server is at work for our connection, asked over another one. Behind a pooler it
        is taken for granted: nobody can tell there which connection is ours."""
        until = time.monotonic() + LONGEST_CHORE

        def at_it() -> bool:
            if time.monotonic() > until:
                return False
            if not self._session:
                return True
            connection, _ = open_sync(self._dsn, "upkeep", session=False)
            with connection, bounded(lambda: connection, self._bound):
                return bool(connection.execute(statement_text("is_at_work", self._schema), [server_pid]).fetchall())

        return at_it

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None:
            self._connection, self._session = open_sync(self._dsn, "upkeep", session=self._session)
            if self._session and self._listens:
                with bounded(lambda: self._connection, self._bound):
                    self._connection.execute(f'LISTEN "{due_channel(self._schema)}"')
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
