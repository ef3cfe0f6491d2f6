"""The heart: renews the leases of a worker's processes, where no handler can hold it up.

It runs in the supervisor, which imports no user code, or in a thread of its own when a worker is embedded. A worker
that was declared dead meanwhile is told so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID

import psycopg

from pgjobq.engine.wire import OUTAGES, bounded, open_sync
from pgjobq.events import ConnectionBack, ConnectionLost
from pgjobq.logs import Journal
from pgjobq.outcome import describe
from pgjobq.statements import statement_text

__all__ = ["Heart"]


def since_boot() -> float:
    """Seconds since the machine was started; where the system counts them, those in which it was suspended, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Heart:
    """Beats every `heartbeat` seconds for all watched worker ids.

    Args:
        dsn, schema: where.
        lease, heartbeat: seconds.
        lost: called from the heart's thread with each id that was declared dead.
        alive: asked before each beat whether this id still deserves one (a stopped process does not).
    """

    def __init__(
        self,
        dsn: str,
        schema: str,
        *,
        lease: float,
        heartbeat: float,
        session: bool,
        journal: Journal,
        lost: Callable[[UUID], None],
        alive: Callable[[UUID], bool] = lambda _: True,
    ) -> None:
        self._dsn, self._session = dsn, session
        self._text = statement_text("beat", schema)
        self._lease, self._heartbeat = lease, heartbeat
        self._journal = journal
        self._tell_lost, self._alive = lost, alive
        self._watched: set[UUID] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = False
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._away_since: float | None = None
        self._contact_since: float | None = None
        self._answered_at = 0.0
        self._longest_gap = max(lease / 2, heartbeat + lease / 4)
        self._thread = threading.Thread(target=self._run, name="pgjobq-heart", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    @property
    def contact(self) -> float:
        """Seconds for which every beat has been answered in time; 0.0 while one is not.

        What looks dead while our own contact is younger than a lease proves nothing: after an outage all do, and when
        this machine was suspended, or had no time for us, whoever runs on it does.
        """
        since, now = self._contact_since, since_boot()
        return 0.0 if since is None or now - self._answered_at > self._longest_gap else now - since

    def watch(self, worker: UUID) -> None:
        """Renew this id's lease from now on."""
        with self._lock:
            self._watched.add(worker)

    def forget(self, worker: UUID) -> None:
        """Renew it no longer."""
        with self._lock:
            self._watched.discard(worker)

    def stop(self) -> None:
        """End; returns when the last beat is over, after a few seconds at the most."""
        self._stopped = True
        self._wake.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopped:
            started, at = time.monotonic(), since_boot()
            try:
                self._beat()
                self._back(at)
                pause = self._heartbeat
            except OUTAGES as error:
                self._away(error)
                pause = min(self._heartbeat, 1.0)
            self._wake.wait(max(0.0, pause - (time.monotonic() - started)))
        self._hang_up()

    def _beat(self) -> None:
        with self._lock:
            deserving = [worker for worker in self._watched if self._alive(worker)]
        if self._connection is None:
            self._connection, self._session = open_sync(self._dsn, "heart", session=self._session)
        with bounded(lambda: self._connection, max(3.0, self._lease / 3)):
            rows = self._connection.execute(self._text, (deserving, self._lease)).fetchall()
        known = {row[0] for row in rows}
        for worker in deserving:
            if str(worker) not in known:
                self.forget(worker)
                self._tell_lost(worker)

    def _back(self, at: float) -> None:
        if self._contact_since is None or at - self._answered_at > self._longest_gap:
            self._contact_since = at
        self._answered_at = at
        if self._away_since is not None:
            self._journal.emit(ConnectionBack(purpose="heartbeat", seconds=time.monotonic() - self._away_since))
            self._away_since = None

    def _away(self, error: BaseException) -> None:
        self._contact_since = None
        if self._away_since is None:
            self._away_since = time.monotonic()
            told = describe(error)
            self._journal.emit(ConnectionLost(purpose="heartbeat", error=told.kind, error_message=told.message))
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
