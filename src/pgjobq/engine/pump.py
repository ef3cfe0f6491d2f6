"""The loop of a worker process: what has ended is settled and what comes next is claimed, one round trip at a time.

While a round trip is under way jobs go on and their outcomes gather for the next one: so batches grow with the load by
themselves, and an idle worker settles at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from pgjobq.engine.board import Board
from pgjobq.engine.contact import Contact, Identity
from pgjobq.engine.exchange import Exchange
from pgjobq.engine.floor import Floor
from pgjobq.engine.intake import Intake
from pgjobq.engine.orders import Orders
from pgjobq.engine.outbox import Outbox
from pgjobq.engine.report import Report
from pgjobq.engine.runners import Runners
from pgjobq.engine.settling import settle_singly
from pgjobq.engine.sleepers import Solitary
from pgjobq.engine.wire import CALL, OUTAGES, is_passing

if TYPE_CHECKING:
    from pgjobq.queue import Queue
    from pgjobq.settings import WorkerSettings

__all__ = ["Pump"]

HURRY = 5.0
"""Seconds that interrupted handlers have to come to an end before they are left behind."""
SPENT = 0.8  # share of `max_jobs_per_process` at which a successor is asked for, to be there when this process ends
CHORES_EVERY, PROMOTED_AT_ONCE, GATES_AT_ONCE = 1.0, 1_000, 100
DUE_PAUSE = 0.02  # seconds before a drain looks again for a job that somebody else is promoting just now


class Pump:
    """Claims jobs, has them run and settles what became of them, until it is told to stop.

    Args:
        dsn, queue, settings, identity: what to work on, and as whom.
        report: hears what happens.
        board: where started jobs are noted for the supervisor.
        watch, forget: ask the keeper to renew, and no longer to renew, the lease of a worker id.
        spent: told how many jobs were taken when `max_jobs_per_process` is near: time for a successor.
        claims_no_more: told when no more jobs are taken, by a claim under way neither.
        on_due: told that a job is due before upkeep would look, for an upkeep that does not listen.
        sleeper: how calls come to this process; None: it listens by itself.
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
        spent: Callable[[int], None] = lambda _: None,
        claims_no_more: Callable[[], None] = lambda: None,
        on_due: Callable[[], None] | None = None,
        sleeper: Solitary | None = None,
    ) -> None:
        self._queue, self._settings = queue, settings
        queue.serve(dsn)
        self.report = report
        self._names = list(settings.queues) or None
        self._sleeper = sleeper or Solitary()
        names = queue.registry
        self._contact = Contact(
            dsn,
            queue.schema,
            settings,
            identity,
            lambda: names.names_and_aliases,
            report,
            self._sleeper.listens,
            self._notified,
            watch,
            forget,
            on_due,
        )
        self._intake = Intake(
            settings.concurrency, settings.poll_interval, settings.most_jobs, announces=not settings.poll_only
        )
        self._intake.call_at((settings.max_jobs_per_process or inf) * SPENT, spent)
        self._runners: Runners
        self._orders = Orders(names, queue.schema, lambda should: self._runners.interrupt(should))
        self._bell = asyncio.Event()
        self._outbox = Outbox(board, report, self._bell.set)
        self._floor = Floor(
            queue,
            settings,
            report,
            board,
            self._intake,
            self._orders,
            self._outbox,
            contact=self._contact,
            start=lambda attempt: self._runners.start(attempt),
            stir=self._bell.set,
        )
        self._runners = Runners(queue, settings, identity.app, self._floor.ended, self._floor.next_for_slot)
        self._lost: set[UUID] = set()
        self._stopping = self._told_so = self._last_look = False
        self._claims_no_more = claims_no_more
        self._gives_up_at: float | None = None
        self._chores_at = self._strays_at = 0.0

    # ---------------------------------------------------------------------------------------- orders

    def stop(self) -> None:
        """Claim no more; run() returns once the running jobs have ended."""
        self._stopping = True
        self._sleeper.busy()
        self._bell.set()

    def hurry(self) -> None:
        """Interrupt the running handlers: their jobs run again later, without having spent an attempt."""
        self._gives_up_at = self._gives_up_at or time.monotonic() + HURRY
        others = self._floor.running - self._runners.abandoned
        for attempt in others:
            attempt.interrupted = True
        self._runners.interrupt(others.__contains__)
        for attempt, outcome in self._floor.chunks.interrupt():
            self._outbox.put(attempt, outcome)
        self.stop()

    def abandon(self, jobs: set[int]) -> None:
        """These did not end after their time-out: try once more, let the others finish, and go without them, for the
        supervisor to take back once this process is gone: no two attempts at once."""
        overdue = {one for one in self._floor.running if any(its.lease.job in jobs for its in one.members or (one,))}
        self._runners.abandon(overdue, self.hurry)
        self.stop()

    def lease_lost(self, worker: UUID) -> None:
        """The keeper found that this worker id was declared dead: what runs under it runs in vain."""
        self._lost.add(worker)
        self._bell.set()

    @property
    def summary(self) -> dict[str, int | str]:
        """How many jobs were claimed, and why a drain ended."""
        return {"claimed": self._intake.claimed, "ended_by": "max_jobs" if self._intake.exhausted else "nothing left"}

    # ---------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Work until stopped; when draining, until there is nothing left."""
        self._sleeper.attach(self._called)
        try:
            while not self._finished():
                try:
                    await self._turn()
                except OUTAGES as error:
                    await self._outage(error)
        finally:
            self._sleeper.close()
            await self._runners.close()
            if self._queue.reporter.is_waiting:
                with contextlib.suppress(Exception):
                    await asyncio.to_thread(self._queue.reporter.flush)
            await self._contact.leave()

    async def _turn(self) -> None:
        exchange = self._contact.exchange or await self._reach()
        self._intake.announces = self._contact.may_listen and self._sleeper.hears
        if exchange.worker in self._lost:
            await self._start_anew(exchange)
        if self._intake.exhausted and not (self._settings.drain or self._floor.buffer or self._stopping):
            self.stop()
        if self._stopping or self._floor.is_stale():
            self._floor.give_back()
        if self._stopping and not self._told_so:
            self._told_so = True
            self._claims_no_more()
        self._floor.resume()
        if self._has_business():
            await self._exchange_once(exchange)
        elif self._settings.drain and not self._stopping and not self._busy():
            await self._drained(exchange)
        else:
            await self._sleep(exchange)
            if self._has_business():
                return  # first what we were woken for
        await self._chores(exchange)

    def _has_business(self) -> bool:
        return bool(self._outbox) or (self._demand() > 0 and not self._intake.dry)

    def _busy(self) -> bool:
        return bool(self._floor.running or self._outbox.jobs or self._floor.waits)

    def _finished(self) -> bool:
        if not self._stopping:
            return False
        if self._gives_up_at is not None and time.monotonic() > self._gives_up_at:
            return True  # handlers that do not end are left behind; their leases end with this process
        return not (self._outbox.jobs or self._floor.waits or self._floor.running - self._runners.abandoned)

    def _demand(self) -> int:
        floor = self._floor
        enough = self._stopping or floor.chunks.is_full
        return 0 if enough else self._intake.demand(len(floor.running), len(floor.buffer))

    async def _sleep(self, exchange: Exchange) -> None:
        """Wait for an outcome, a notification, an order, or the time of the next look."""
        waits_for_jobs = self._intake.dry and self._demand() > 0
        if not waits_for_jobs:
            self._sleeper.busy()
            self._intake.stay_awake()
        elif not self._sleeper.sleep(len(self._floor.running)):
            self._intake.wake()
            return
        timeout = min(self._intake.until_look(), CHORES_EVERY) if waits_for_jobs else CHORES_EVERY
        exchange.wire.watch(self._notified, self._bell.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._bell.wait()
        finally:
            exchange.wire.unwatch()
        self._bell.clear()
        if exchange.wire.broken:
            raise psycopg.OperationalError("the server closed the connection")

    def _notified(self, queue: str) -> None:
        if queue == CALL or self._names is None or queue in self._names:
            self._called(queue == CALL)

    def _called(self, everything: bool) -> None:
        """Look for jobs; or, as operators want something or calls may have been lost, at everything."""
        if everything:
            self._chores_at = 0.0
            self._intake.forget()
        self._intake.wake()
        self._bell.set()

    # ---------------------------------------------------------------------------------------- one exchange

    async def _exchange_once(self, exchange: Exchange) -> None:
        batch, want = self._outbox.take(), self._demand()
        if want:
            self._sleeper.look()
        else:
            self._sleeper.busy()
        try:
            idle = not batch and not self._floor.running and not self._floor.buffer
            if want and not self._intake.knows_lanes:
                self._intake.see_lanes(self._orders.see(await exchange.lanes(self._names)))
            listing = (self._names,) if want and self._intake.lanes_are_stale(idle=idle) else None
            look = self._intake.look(idle=idle) if want else None
            sent_at = time.monotonic()
            announces = want and self._intake.must_announce and not self._intake.answers  # else on the look after it
            doze = int(self._intake.announcement * 1000) if announces else 0
            settled, locked, claimed, listed = await exchange.turn(batch, look, want, doze_ms=doze, listing=listing)
            if doze:
                self._intake.announced(sent_at)
        except OUTAGES as error:
            self._outbox.keep(batch)
            if batch and not is_passing(error):
                await settle_singly(exchange, self._outbox)
                return
            self._outbox.uncertain = self._outbox.uncertain or bool(batch)
            raise
        self._outbox.account(batch, settled, locked)
        del batch  # what was settled makes room for what is started now
        if claimed is None or look is None:
            return
        self._intake.learn(look, want, claimed)
        self._floor.store(claimed.leases, sent_at)
        if claimed.leases or look.whole:
            self._sleeper.looked(sent_at)
        if len(claimed.leases) >= want:
            self._sleeper.leave_some()
        if claimed.leases:
            self._last_look = False
            if idle:  # let them start before the next exchange; of a short one it can take the outcome along
                await asyncio.sleep(0)
        elif listed is None and self._intake.misses_lanes:
            listed = await exchange.lanes(self._names)
        # Who called meanwhile made the list one that is to be read anew.
        if listed is not None and self._intake.knows_lanes and self._intake.see_lanes(self._orders.see(listed)):
            self._intake.wake()  # a lane was opened that we did not know

    # ---------------------------------------------------------------------------------------- contact

    async def _reach(self) -> Exchange:
        if self._contact.away_for:
            exchange = await self._contact.reach()
            self._sleeper.doubt()
        else:
            exchange = await self._contact.reach()
        self._intake.forget()
        self._strays_at = 0.0
        return exchange

    async def _start_anew(self, exchange: Exchange) -> None:
        """We were declared dead, so others may run our jobs: end ours, and go on as somebody new."""
        lost = exchange.worker
        await self._contact.become_somebody_new(exchange)
        self._outbox.drop(lost)
        self._floor.buffer.clear()
        self._floor.chunks.unstarted()
        for attempt, outcome in self._floor.chunks.interrupt():
            self._outbox.drop_one(attempt, outcome)
        self._runners.interrupt(lambda attempt: attempt.worker == lost)
        self._intake.forget()

    async def _outage(self, error: BaseException) -> None:
        """Come back to a database that is away, for as long as it takes."""
        self._sleeper.busy()
        pause = await self._contact.lose(error)
        if self._stopping and not self._floor.running and self._contact.away_for > self._settings.lease:
            self._gives_up_at = time.monotonic()  # the leases have run out: whatever we could write would be refused
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._bell.wait()
        self._bell.clear()

    # ---------------------------------------------------------------------------------------- now and then

    async def _chores(self, exchange: Exchange) -> None:
        now = time.monotonic()
        if self._stopping or now < self._chores_at:
            return
        self._chores_at = now + CHORES_EVERY
        self.report.tick()
        await self._orders.cancel(exchange, self._floor.attempts)
        for attempt, outcome in self._floor.chunks.remove_cancelled():
            self._floor.put(attempt, outcome)
        await self._adopt(exchange)
        if now >= self._strays_at:
            await self._give_back_strays(exchange)
            self._strays_at = now + self._settings.lease / 2

    async def _give_back_strays(self, exchange: Exchange) -> list[int]:
        return await exchange.give_back_strays(self._floor.jobs + self._outbox.jobs)

    async def _adopt(self, exchange: Exchange) -> int:
        """Take jobs that were parked because their task was unknown to whoever had them; how many."""
        places = self._intake.left(self._settings.concurrency - len(self._floor.running) - len(self._floor.buffer))
        if places <= 0 or not self._queue.registry.names:
            return 0
        sent_at = time.monotonic()
        adopted = await exchange.adopt(self._queue.registry.waited_for, self._names, places)
        self._intake.count(len(adopted))
        self._floor.store(adopted, sent_at)
        return len(adopted)

    async def _drained(self, exchange: Exchange) -> None:
        """Draining, and nothing is ready: nobody else may be alive to promote what is due or to rescue what is dead,
        and a claim of our own may have been lost on its way to us.

        Over only when a look from zero that began after these chores has found nothing, too: our own upkeep, or another
        worker, may have promoted a job between our look and our chore.
        """
        if self._intake.exhausted or self._last_look:
            self.stop()
            return
        found = (
            await self._adopt(exchange)
            or await self._give_back_strays(exchange)
            or await exchange.promote(PROMOTED_AT_ONCE)
            or await exchange.look_at_gates(GATES_AT_ONCE)
            or await exchange.look_at_workflows(PROMOTED_AT_ONCE)
            or await exchange.release(PROMOTED_AT_ONCE)
            or await exchange.rescue(self._settings.lease)
        )
        if await exchange.anything_due():
            await asyncio.sleep(DUE_PAUSE)
        else:
            self._last_look = not found
        self._intake.forget()
