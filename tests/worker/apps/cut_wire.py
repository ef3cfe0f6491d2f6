"""Watches a wire whose server has just gone; says so when it has noticed. `python -m apps.cut_wire asyncio|uvloop`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

import psycopg

from pgjobq.engine.wire import Wire
from support.waiting import eventually


async def main(dsn: str) -> None:
    """The end of the connection is met inside `watch` itself, then a new wire is used on the same loop."""
    lost = asyncio.Event()
    wire = await Wire.open(dsn, session=True)
    pid = wire.connection.info.backend_pid
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
        eventually(lambda: admin.execute(gone, (pid,)).fetchall()[0][0])
    wire.connection.pgconn.consume_input()  # the FATAL message, as an exchange reads it behind its answer
    wire.watch(lambda _: None, lost.set)
    await asyncio.wait_for(lost.wait(), 10)
    wire.unwatch()
    await wire.close()
    again = await Wire.open(dsn, session=True)
    again.watch(lambda _: None, lost.set)
    await asyncio.sleep(0)
    again.unwatch()
    await again.connection.execute("SELECT 1")
    await again.close()
    print("survived")


def choose_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=choose_loop(sys.argv[1])) as runner:
        runner.run(main(os.environ["STAGE_DSN"]))
