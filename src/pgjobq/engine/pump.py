"""The loop of a worker process: what has ended is settled and what comes next is claimed, one round trip at a time.

While a round trip is under way jobs go on and their outcomes gather for the next one: so batches grow with the load by
themselves, and an idle worker settles at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg

from pgjobq.engine.attempt import HARD_MARGIN, Attempt, prepare
from pgjobq.engine.board import Board
from pgjobq.engine.exchange import Exchange
from pgjobq.engine.intake import Intake
from pgjobq.engine.lease import Lease
from pgjobq.engine.outbox import Batch, Entry, Outbox
from pgjobq.engine.report import Report
from pgjobq.engine.slots import Slots
from pgjobq.engine.threads import Threads
from pgjobq.engine.wire import OUTAGES, Wire
from pgjobq.events import ConnectionBack, ConnectionLost, Polling
from pgjobq.outcome import Failed, Failure, Outcome, Returned, describe

if TYPE_CHECKING:
    from pgjobq.queue import Queue
    from pgjobq.settings import WorkerSettings

__all__ = ["Identity", "Pump"]

HURRY = 5.0
"""Seconds that interrupted handlers have to come to an end before they are left behind."""
LONGEST_PAUSE = 2.0
"""Seconds between attempts to reach a database that is away, at the most."""
CHORES_EVERY = 1.0
LOCKED_PAUSE = 0.2
"""Seconds before asking again about a job that its handler's own, unfinished transaction is completing."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this worker is, for the table `worker`."""

    app: str
    host: str
    pid: int
    version: str


class Pump:
    """Claims jobs, has them run and settles what became of them, until it is told to stop.

    Args:
        dsn, queue, settings, identity: what to work on, and as whom.
        report: hears what happens.
        board: where started jobs are noted for the supervisor.
        watch, forget: ask the keeper to renew, and no longer to renew, the lease of a worker id.
    """

    def __init__(
        self,
        dsn: str,
        queue: Queue,
        settings: WorkerSettings,
        identity: Identity,
        report: Report,
        board: Board,
        watch: Callable[[UUID], None],
        forget: Callable[[UUID], None],
    ) -> None:
        self._dsn, self._queue, self._settings, self._identity = dsn, queue, settings, identity
        self.report = report
        self._board = board
        self._watch, self._forget = watch, forget
        self._names = list(settings.queues) or None
        self._bound = max(1.0, settings.lease / 3)
        self._listens = not settings.poll_only
        self._intake = Intake(settings.concurrency, settings.poll_interval, settings.max_jobs)
        self._outbox = Outbox(board, report)
        self._slots = Slots(self._ended, self._next_for_slot)
        self._threads = Threads(settings.concurrency, self._ended)
        self._exchange: Exchange | None = None
        self._worker: UUID | None = None
        self._lost: set[UUID] = set()
        self._buffer: deque[Lease] = deque()
        self._running: set[Attempt] = set()
        self._locked: list[Entry] = []
        self._bell = asyncio.Event()
        self._stopping = False
        self._gives_up_at: float | None = None
        self._chores_at = 0.0
        self._strays_at = 0.0
        self._away_since: float | None = None
        self._pause = 0.1

    # ---------------------------------------------------------------------------------------- orders

    def stop(self) -> None:
        """Claim no more; run() returns once the running jobs have ended."""
        self._stopping = True
        self._bell.set()

    def hurry(self) -> None:
        """Interrupt the running handlers: their jobs run again later, without having spent an attempt."""
        self._gives_up_at = self._gives_up_at or time.monotonic() + HURRY
        for attempt in self._running:
            attempt.interrupted = True
        self._slots.interrupt(lambda _: True)
        self._threads.interrupt(lambda _: True)
        self.stop()

    def lease_lost(self, worker: UUID) -> None:
        """The keeper found that this worker id was declared dead: what runs under it runs in vain."""
        self._lost.add(worker)
        self._bell.set()

    @property
    def running(self) -> int:
        """Jobs whose handler has not ended."""
        return len(self._running)

    @property
    def ended_by(self) -> str:
        """Why a drain ended."""
        return "max_jobs" if self._intake.exhausted else "nothing left"

    # ---------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Work until stopped; when draining, until there is nothing left."""
        try:
            while not self._finished():
                try:
                    await self._turn()
                except OUTAGES as error:
                    await self._outage(error)
        finally:
            await self._leave()

    async def _turn(self) -> None:
        exchange = self._exchange or await self._connect()
        if exchange.worker in self._lost:
            await self._renew_identity(exchange)
        if self._stopping:
            self._give_back()
        if self._outbox or (self._demand() and not self._intake.dry):
            await self._exchange_once(exchange)
        elif self._settings.drain and not self._stopping and not self._busy():
            await self._drained(exchange)
        else:
            await self._sleep(exchange)
        await self._chores(exchange)

    def _busy(self) -> bool:
        return bool(self._running or self._outbox or self._buffer or self._locked)

    def _finished(self) -> bool:
        if not self._stopping:
            return False
        if self._gives_up_at is not None and time.monotonic() > self._gives_up_at:
            return True  # handlers that do not end are left behind; their leases end with this process
        return not self._busy()

    def _demand(self) -> int:
        return 0 if self._stopping else self._intake.demand(len(self._running), len(self._buffer))

    async def _sleep(self, exchange: Exchange) -> None:
        """Wait for an outcome, a notification, an order, or the time of the next look."""
        waits_for_jobs = self._intake.dry and self._demand() > 0
        timeout = self._intake.nap() if waits_for_jobs else CHORES_EVERY
        exchange.wire.watch(self._notified, self._bell.set)
        try:
            async with asyncio.timeout(timeout):
                await self._bell.wait()
        except TimeoutError:
            self._intake.dry = False
        finally:
            exchange.wire.unwatch()
        self._bell.clear()
        if exchange.wire.broken:
            raise psycopg.OperationalError("the server closed the connection")

    def _notified(self, queue: str) -> None:
        if self._names is None or queue in self._names:
            self._intake.wake()
            self._bell.set()

    # ---------------------------------------------------------------------------------------- one exchange

    async def _exchange_once(self, exchange: Exchange) -> None:
        batch = self._outbox.take()
        try:
            want = self._demand()
            if want and self._intake.lanes_are_stale and not batch:
                self._intake.see_lanes(await exchange.lanes(self._names))
            idle = not batch and not self._running and not self._buffer
            look = self._intake.look(idle=idle) if want else None
            doze = self._doze_ms() if idle and self._listens else 0
            settled, locked, claimed = await exchange.turn(batch, look, want, doze_ms=doze)
        except psycopg.Error as error:
            self._outbox.keep(batch)
            if isinstance(error, OUTAGES):
                self._outbox.uncertain = self._outbox.uncertain or bool(batch)
                raise
            await self._settle_singly(exchange, error)
            return
        self._hold_locked(self._outbox.account(batch, settled, locked))
        if claimed is not None and look is not None:
            self._intake.learn(look, want, claimed)
            self._buffer.extend(claimed.leases)
            self._feed()
            if not claimed.leases:
                await self._look_for_lanes(exchange)

    async def _look_for_lanes(self, exchange: Exchange) -> None:
        """Nothing there: perhaps a lane was opened that we do not know."""
        if self._intake.see_lanes(await exchange.lanes(self._names)):
            self._intake.wake()

    def _doze_ms(self) -> int:
        """How long others should think that somebody may be asleep: until well after our next look."""
        return int((2 * self._settings.poll_interval + 1) * 1000)

    async def _settle_singly(self, exchange: Exchange, error: psycopg.Error) -> None:
        """One outcome that cannot be written must not take its neighbours with it."""
        batch = self._outbox.take()
        for attempt in batch.done:
            await self._settle_one(exchange, Batch([attempt], []))
        for entry in batch.others:
            try:
                await self._settle_one(exchange, Batch([], [entry]))
            except OUTAGES:
                raise
            except psycopg.Error as refusal:
                told = describe(refusal)
                failure = Failure("OutcomeRefused", f"the outcome could not be stored: {told.message}", told.traceback)
                await self._settle_one(exchange, Batch([], [Entry(entry.lease, Failed(failure), entry.attempt)]))

    async def _settle_one(self, exchange: Exchange, batch: Batch) -> None:
        try:
            settled, locked, _ = await exchange.turn(batch, None, 0)
        except OUTAGES:
            self._outbox.keep(batch)
            raise
        self._hold_locked(self._outbox.account(batch, settled, locked))

    def _hold_locked(self, entries: list[Entry]) -> None:
        """These wait until their handler's own transaction has ended; then the database can say how."""
        if not entries:
            return
        self._locked += entries

        def ask_again() -> None:
            for entry in entries:
                self._locked.remove(entry)
            self._outbox.keep(Batch([], entries))
            self._bell.set()

        asyncio.get_running_loop().call_later(LOCKED_PAUSE, ask_again)

    # ---------------------------------------------------------------------------------------- jobs

    def _feed(self) -> None:
        """Start what there are places for."""
        while (attempt := self._next()) is not None:
            if attempt.task.is_async:
                self._slots.start(attempt)
            else:
                self._threads.start(attempt)

    def _next_for_slot(self) -> Attempt | None:
        """Another attempt for a slot that has just become free; plain functions on the way go to their threads."""
        while (attempt := self._next()) is not None:
            if attempt.task.is_async:
                return attempt
            self._threads.start(attempt)
        return None

    def _next(self) -> Attempt | None:
        """The next attempt to start, noted on the board; None when there is no place or no job."""
        worker = self._worker
        assert worker is not None
        while self._buffer and len(self._running) < self._settings.concurrency and not self._board.full:
            lease = self._buffer.popleft()
            attempt = prepare(lease, self._queue.registry, self._queue.schema, worker)
            if not isinstance(attempt, Attempt):
                self._outbox.put_unstarted(lease, attempt)
                self._bell.set()
                continue
            limit = attempt.task.timeout
            deadline = float("inf") if limit is None else time.monotonic() + limit + HARD_MARGIN
            attempt.place = self._board.start(lease.job, lease.attempt, deadline)
            self._running.add(attempt)
            self._intake.note_start()
            self.report.started(attempt)
            return attempt
        return None

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """A handler has ended, whatever it did."""
        attempt.ran = attempt.seconds
        self._running.discard(attempt)
        if attempt.worker != self._worker:
            self._outbox.drop_one(attempt, outcome)
        else:
            self._outbox.put(attempt, outcome)
        if not attempt.task.is_async:
            self._feed()
        self._bell.set()

    def _give_back(self) -> None:
        """What was claimed but not started goes back as if it had not been claimed."""
        while self._buffer:
            self._outbox.put_unstarted(self._buffer.popleft(), Returned())

    # ---------------------------------------------------------------------------------------- connection and identity

    async def _connect(self) -> Exchange:
        wire = await self._open()
        worker = self._worker or uuid4()
        exchange = Exchange(wire, self._queue.schema, worker, self._bound)
        try:
            await exchange.insist_on_primary()
            if self._listens:
                await wire.listen(self._queue.schema, self._notified)
            if self._worker is None:
                await self._register(exchange)
        except BaseException:
            await wire.close()
            raise
        self._exchange = exchange
        self._intake.forget()
        self._strays_at = 0.0
        if self._away_since is not None:
            self.report.say(ConnectionBack(purpose="claims", seconds=time.monotonic() - self._away_since))
            self._away_since = None
        self._pause = 0.1
        return exchange

    async def _open(self) -> Wire:
        """A connection with our settings; without them when a pooler in between refuses to pass them on."""
        try:
            return await Wire.open(self._dsn, session=self._listens)
        except psycopg.OperationalError as error:
            if not self._listens or "unsupported startup parameter" not in str(error):
                raise
        self._listens = False
        reason = "a connection pooler refuses session settings; docs/operations.md says what to set on the role"
        self.report.say(Polling(reason=reason, poll_interval=self._settings.poll_interval))
        return await Wire.open(self._dsn, session=False)

    async def _register(self, exchange: Exchange) -> None:
        who = self._identity
        facts = (who.pid, self._settings.concurrency, who.host, who.app, who.version)
        await exchange.register(self._settings.lease, [*facts, self._names or [], list(self._queue.registry.names)])
        self._worker = exchange.worker
        self._watch(exchange.worker)

    async def _renew_identity(self, exchange: Exchange) -> None:
        """We were declared dead, so others may run our jobs: end ours, and go on as somebody new."""
        lost = exchange.worker
        self._forget(lost)
        self._outbox.drop(lost)
        self._buffer.clear()
        self._locked.clear()
        self._slots.interrupt(lambda attempt: attempt.worker == lost)
        self._threads.interrupt(lambda attempt: attempt.worker == lost)
        exchange.worker = uuid4()
        await self._register(exchange)
        self._intake.forget()

    async def _outage(self, error: BaseException) -> None:
        """The database is away, read-only or full: drop the connection and come back, for as long as it takes."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            told = describe(error)
            self.report.say(ConnectionLost(purpose="claims", error=told.kind, error_message=told.message))
        await self._hang_up()
        if self._stopping and not self._running and time.monotonic() - self._away_since > self._settings.lease:
            self._gives_up_at = time.monotonic()  # the leases have run out: whatever we could write would be refused
        try:
            async with asyncio.timeout(self._pause):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _hang_up(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.wire.close()

    async def _leave(self) -> None:
        self._threads.close()
        await self._slots.close()
        try:
            if self._exchange is not None:
                await self._exchange.leave()
        except OUTAGES:
            pass  # the lease will run out by itself
        await self._hang_up()
        if self._worker is not None:
            self._forget(self._worker)

    # ---------------------------------------------------------------------------------------- now and then

    async def _chores(self, exchange: Exchange) -> None:
        now = time.monotonic()
        if self._stopping or now < self._chores_at:
            return
        self._chores_at = now + CHORES_EVERY
        places = self._settings.concurrency - len(self._running)
        if places > 0 and self._queue.registry.names:
            adopted = await exchange.adopt(self._queue.registry.names, self._names, places)
            self._intake.claimed += len(adopted)
            self._buffer.extend(adopted)
            self._feed()
        if now >= self._strays_at:
            known = [attempt.lease.job for attempt in self._running] + [lease.job for lease in self._buffer]
            known += [entry.lease.job for entry in self._locked] + self._outbox.jobs
            await exchange.give_back_strays(known)
            self._strays_at = now + self._settings.lease / 2

    async def _drained(self, exchange: Exchange) -> None:
        """Draining, and nothing is ready: nobody else may be alive to promote what is due or to rescue what is dead."""
        if not self._intake.exhausted:
            if await exchange.promote(1000) or await exchange.rescue(self._settings.lease):
                self._intake.forget()
                return
        self.stop()
