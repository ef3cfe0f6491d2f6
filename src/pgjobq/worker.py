"""The worker: `python -m pgjobq.worker module:queue`, and Worker for those who embed one."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from uuid import UUID

from pgjobq import migrate
from pgjobq.engine.board import Board
from pgjobq.engine.contact import Identity
from pgjobq.engine.endpoint import Endpoint
from pgjobq.engine.figures import about_worker
from pgjobq.engine.keeper import Keeper
from pgjobq.engine.pump import Pump
from pgjobq.engine.report import Report
from pgjobq.engine.supervisor import UNSETTLED, Supervisor
from pgjobq.errors import PgjobqError
from pgjobq.events import MetricsServed
from pgjobq.logs import Journal
from pgjobq.metrics import Tally, expose
from pgjobq.queue import Queue
from pgjobq.settings import WorkerSettings, read_worker_arguments

__all__ = ["Worker", "main"]


def main(argv: Sequence[str] | None = None, prog: str = "python -m pgjobq.worker") -> int:
    """Run a worker from the command line; gives its exit code (0 well, 1 crashed, 2 wrong usage, 3 failed drain)."""
    try:
        arguments = read_worker_arguments(sys.argv[1:] if argv is None else argv, os.environ, prog)
    except PgjobqError as error:
        sys.stderr.write(f"pgjobq: {error}\n")
        return 2
    with Journal(arguments.settings.log_format, arguments.settings.log_level, sys.stderr) as journal:
        try:
            supervisor = Supervisor(arguments, journal)
        except PgjobqError as error:
            sys.stderr.write(f"pgjobq: {error}\n")
            return 2
        code = supervisor.run()
    if supervisor.refusal is not None:
        sys.stderr.write(f"pgjobq: {supervisor.refusal}\n")
    return code


class Worker:
    """A worker inside your own process: for development, tests and small deployments.

    Its leases are renewed by a thread, which a handler that holds the GIL can hold up; `python -m pgjobq.worker` uses a
    process for that, and more than one process for the jobs. Nor is anybody here who ends a handler by force that does
    not end after its time-out; isolated ones are.

    Args:
        queue: whose jobs to run.
        settings: None: the defaults. `processes` has no meaning here.
        journal: None: events go to the logger `pgjobq`, for your own handlers.
    """

    def __init__(self, queue: Queue, settings: WorkerSettings | None = None, journal: Journal | None = None) -> None:
        self.queue = queue
        self.settings = settings or WorkerSettings()
        self._journal = journal or Journal()
        self.tally: Tally | None = None if self.settings.metrics_port is None else Tally()
        """What is counted for Prometheus, if anything is: give it one, and it counts."""
        self.report = Report(self._journal)
        self._pump: Pump | None = None
        self._stopped = False

    async def run(self) -> None:
        """Work until `stop()`, or until nothing is left when `settings.drain`.

        Raises SchemaMissing or SchemaOutdated at the start; a database that goes away later is waited for.
        """
        dsn = self.queue.pools.dsn()
        if self.tally is not None:
            self.tally.expect((task.queue, task.name) for task in self.queue.registry)
        await asyncio.to_thread(self._check_schema)
        loop = asyncio.get_running_loop()

        def lost(worker: UUID) -> None:
            loop.call_soon_threadsafe(pump.lease_lost, worker)

        keeper = Keeper(dsn, self.queue.schema, self.settings, self._journal, lost=lost)
        self.report = Report(self._journal, self.queue.listeners, self.tally, keeper.churn)
        board = Board.create(self.settings.concurrency + UNSETTLED)
        identity = Identity("embedded", socket.gethostname(), os.getpid(), migrate.library_version())
        pump = Pump(dsn, self.queue, self.settings, identity, self.report, board, keeper.watch, keeper.forget)
        self._pump = pump
        if self._stopped:
            pump.stop()
        self.queue.listeners.open(self._journal.emit)
        endpoint = self._endpoint(board)
        keeper.start()
        timer = loop.call_later(self.settings.max_seconds, pump.stop) if self.settings.max_seconds else None
        try:
            await pump.run()
        finally:
            if timer is not None:
                timer.cancel()
            await asyncio.to_thread(keeper.stop)
            await asyncio.to_thread(self.queue.listeners.close)
            if endpoint is not None:
                await asyncio.to_thread(endpoint.stop)
            board.close()

    def _endpoint(self, board: Board) -> Endpoint | None:
        tally, settings = self.tally, self.settings
        if tally is None or settings.metrics_port is None:
            return None

        def text() -> str:
            return expose([*about_worker("embedded", settings, len(board.entries()), 1), *tally.families()])

        endpoint = Endpoint(settings.metrics_host, settings.metrics_port, text)
        endpoint.start()
        self._journal.emit(MetricsServed(url=endpoint.url))
        return endpoint

    def run_sync(self) -> None:
        """`run()` in an event loop of its own."""
        asyncio.run(self.run())

    def stop(self) -> None:
        """Claim no more; `run()` returns once the running jobs have ended. To be called on the worker's event loop."""
        self._stopped = True
        if self._pump is not None:
            self._pump.stop()

    def hurry(self) -> None:
        """Interrupt the running jobs; they run again later. To be called on the worker's event loop."""
        self._stopped = True
        if self._pump is not None:
            self._pump.hurry()

    def _check_schema(self) -> None:
        with self.queue.pools.connection() as connection:
            migrate.check(connection, self.queue.schema)
        if self.queue.declares_schedules:
            self.queue.declare_schedules()


if __name__ == "__main__":
    sys.exit(main())
