"""One worker process, as its supervisor starts it: loads the app, runs the pump, and does what it is told.

Leases are renewed by the supervisor. When that dies this process must not outlive it: its jobs are about to be taken
back and run elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from pgjobq import migrate
from pgjobq.current import note_job
from pgjobq.engine.app import load_app
from pgjobq.engine.board import Board
from pgjobq.engine.contact import Identity
from pgjobq.engine.link import Link
from pgjobq.engine.loops import new_event_loop
from pgjobq.engine.overdue import interrupt_overdue_handlers
from pgjobq.engine.parent import die_with_parent
from pgjobq.engine.pump import Pump
from pgjobq.engine.report import Report
from pgjobq.engine.sleepers import Sleeper
from pgjobq.engine.wire import FIRST_ANSWER, OUTAGES, bounded, open_sync
from pgjobq.errors import PgjobqError
from pgjobq.events import SchemaNewer
from pgjobq.logs import Journal
from pgjobq.queue import Queue
from pgjobq.settings import WorkerSettings
from pgjobq.statements import statement_text

__all__ = ["main"]

OK, CRASHED, MISCONFIGURED = 0, 1, 2
YOUNG_OBJECTS = 10_000
"""New objects between two garbage collections: with Python's 700 they took a tenth of a busy worker's time."""
DECLARED_AGAIN_AFTER = 1.0
"""Seconds between attempts to declare schedules to a server that only reads."""
_HERE = str(Path(__file__).parent)
_IMPORTLIB = str(Path(importlib.__file__).parent)


def main(link_fd: int, board_fd: int, board_size: int, *seat: int) -> int:
    """Live a worker process's life; gives its exit code. `seat`: what the switchboard gave it, where there is one."""
    for fd in (link_fd, board_fd, *seat[:2]):
        os.set_inheritable(fd, False)  # not for the programs that jobs start
    link = Link(socket.socket(fileno=link_fd))
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ctrl-C and process managers signal the whole group; the supervisor decides. A handler of ours and not SIG_IGN,
        # which the programs that a job starts would inherit.
        signal.signal(number, lambda *_: None)
    # The supervisor started us with both blocked, so that neither could meet a process without handlers.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    said = link.hear()
    if not said:
        return CRASHED
    (_, order), *early = said  # a supervisor that is told to stop at once says so right behind
    settings = msgspec.convert(order["settings"], WorkerSettings)
    with Journal(settings.log_format, settings.log_level, sys.stderr) as journal:
        try:
            queue = _load(order, journal)
            dsn, facts = _find_database(order, queue, settings, journal)
        except _Refusal as refusal:
            link.say("refused", [refusal.code, str(refusal)])
            return refusal.code
        link.say("hello", facts | {"dsn": dsn, "schema": queue.schema, "tasks": list(queue.registry.names)})
        gc.freeze()  # what the app has loaded stays for good: not to be looked at again in every collection
        gc.set_threshold(YOUNG_OBJECTS)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            board = Board(board_fd, board_size)
            sleeper = Sleeper.seated(*seat) if seat else None
            runner.run(_work(link, early, board, sleeper, journal, dsn, queue, settings, order["app"]))
    return OK


class _Refusal(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def _load(order: dict[str, Any], journal: Journal) -> Queue:
    """The app's queue. What the app raises while it is imported is shown from its own first line on."""
    try:
        queue = load_app(order["app"])
    except PgjobqError as error:
        raise _Refusal(MISCONFIGURED, str(error)) from error
    except Exception as error:
        raise _Refusal(CRASHED, f"{order['app']} could not be imported:\n{_where(error)}") from error
    journal.adopt_root()
    journal.adorn(note_job)
    if order["schema"] is not None:
        queue.schema = order["schema"]
    return queue


def _find_database(
    order: dict[str, Any], queue: Queue, settings: WorkerSettings, journal: Journal
) -> tuple[str, dict[str, Any]]:
    """The connection string, and what the banner tells. A process that replaces a dead one may meet a database that is
    away: that one is not looked at here, the pump waits for it."""
    try:
        dsn = queue.pools.dsn(order["dsn"])
        return dsn, {} if order["replaces"] else _check_database(dsn, queue, settings, journal, order["app"])
    except (PgjobqError, *OUTAGES) as error:
        raise _Refusal(MISCONFIGURED, str(error).strip()) from error


async def _work(
    link: Link,
    early: list[tuple[str, Any]],
    board: Board,
    sleeper: Sleeper | None,
    journal: Journal,
    dsn: str,
    queue: Queue,
    settings: WorkerSettings,
    app: str,
) -> None:
    tally = None
    if settings.metrics_port is not None:
        from pgjobq.metrics import Tally

        tally = Tally(lambda told: link.offer("tally", told))
        tally.expect((task.queue, task.name) for task in queue.registry)
    report = Report(journal, queue.listeners, tally, lambda jobs: link.offer("churn", jobs))
    queue.listeners.open(journal.emit)
    identity = Identity(app, socket.gethostname(), os.getpid(), migrate.library_version())
    pump = Pump(
        dsn,
        queue,
        settings,
        identity,
        report,
        board,
        watch=lambda worker: link.say("watch", str(worker)),
        forget=lambda worker: link.say("forget", str(worker)),
        spent=lambda taken: link.say("spent", taken),
        claims_no_more=lambda: link.say("claims no more"),
        on_due=None if settings.processes > 1 else lambda: link.say("due"),
        sleeper=sleeper,
    )
    interrupt_overdue_handlers(board)
    orders: dict[str, Callable[[Any], None]] = {
        "stop": lambda _: pump.stop(),
        "hurry": lambda _: pump.hurry(),
        "overdue": lambda jobs: pump.abandon(set(jobs)),
        "lost": lambda worker: pump.lease_lost(UUID(worker)),
    }
    loop = asyncio.get_running_loop()
    for kind, value in early:
        orders[kind](value)

    def obey() -> None:
        while (said := link.hear()) is not None:
            for kind, value in said:
                loop.call_soon_threadsafe(orders[kind], value)
        os._exit(CRASHED)  # the supervisor is gone, and with it our leases

    threading.Thread(target=obey, name="pgjobq-link", daemon=True).start()
    await pump.run()
    await asyncio.to_thread(queue.listeners.close)
    if tally is not None:
        tally.hand_over()
    link.say(
        "summary",
        {
            "succeeded": report.succeeded,
            "retried": report.retried,
            "failed": report.failed,
            "returned": report.returned,
        }
        | pump.summary,
    )


def _check_database(dsn: str, queue: Queue, settings: WorkerSettings, journal: Journal, app: str) -> dict[str, Any]:
    """What the banner tells; raises SchemaMissing and the like before anything is claimed. The database learns which
    schedules this code declares, also when it is none: there may have been some."""
    connection, _ = open_sync(dsn, "start", session=not settings.poll_only)
    with connection, bounded(lambda: connection, max(FIRST_ANSWER, settings.lease / 3)):
        status = migrate.check(connection, queue.schema)
        if status.current > status.wanted:
            journal.emit(SchemaNewer(current=status.current, wanted=status.wanted))
        try:
            _declare_schedules(connection, queue, app)
        except psycopg.errors.ReadOnlySqlTransaction:  # a standby: once it is promoted
            again = threading.Thread(target=_declare_later, args=(dsn, queue, settings, app), daemon=True)
            again.start()
        info = connection.info
        host = info.host or "local"
        return {"database": f"{host}/{info.dbname}", "server_version": info.parameter_status("server_version")}


def _declare_schedules(connection: psycopg.Connection[Any], queue: Queue, app: str) -> None:
    connection.execute(statement_text("declare_schedules", queue.schema), (app, queue.declarations()))


def _declare_later(dsn: str, queue: Queue, settings: WorkerSettings, app: str) -> None:
    """Ask again until the server can be written to. Nobody waits for this: schedules declared before go on."""
    while True:
        time.sleep(DECLARED_AGAIN_AFTER)
        with contextlib.suppress(*OUTAGES):
            connection, _ = open_sync(dsn, "start", session=not settings.poll_only)
            with connection, bounded(lambda: connection, FIRST_ANSWER):  # noqa: B023
                _declare_schedules(connection, queue, app)
            return


def _where(error: Exception) -> str:
    """The traceback from the user's first frame on, without the import machinery above it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((_HERE, "<frozen importlib", _IMPORTLIB)):
        trace = trace.tb_next
    return "".join(traceback.format_exception(error.with_traceback(trace))).rstrip()


if __name__ == "__main__":
    # Handlers left behind (threads that never return) must not keep the process: no waiting for them at the exit.
    code = main(*map(int, sys.argv[1:]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
