"""What a job costs while a backlog is drained: microseconds of CPU in Python and in PostgreSQL, and bytes of WAL.

    python -m bench.cost [JOBS] [SYSTEM:PROCESSES …]        100000 raw:1 pgjobq:1 raw:2 pgjobq:2

CPU times come from /proc, so they mean something on a busy machine, too, where jobs a second do not.
"""

from __future__ import annotations

import sys
import time

import psycopg

from bench import systems
from bench.machine import cpu_seconds
from bench.server import SETTINGS, Server
from bench.stage import set_stage
from bench.systems import System
from pgjobq.devdb import Postgres

STATISTICS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"}
TOP = """
SELECT calls, total_exec_time * 1000 / %(jobs)s, shared_blks_hit::float8 / %(jobs)s,
       regexp_replace(left(query, 300), '\\s+', ' ', 'g')
FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid AND datname = current_database()
ORDER BY total_exec_time DESC LIMIT 3"""


def main() -> None:
    """Measure each system in turn, on one server."""
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with Postgres(settings={**SETTINGS, **STATISTICS}, tcp=True) as postgres, Server.connect(postgres.dsn()) as server:
        for wanted in sys.argv[2:] or ["raw:1", "pgjobq:1", "raw:2", "pgjobq:2"]:
            name, _, processes = wanted.partition(":")
            (system,) = systems.choose([name])
            _weigh(server, system, int(processes or 1), jobs)


def _weigh(server: Server, system: System, processes: int, jobs: int) -> None:
    dsn = server.recreate(f"{system.slug}_made")
    _say(dsn, "CREATE EXTENSION pg_stat_statements")
    system.prepare(dsn)
    with set_stage(server, system) as stage, psycopg.connect(stage.dsn, autocommit=True) as connection:
        connection.execute(system.fill.encode(), {"jobs": jobs})
        connection.execute("VACUUM ANALYZE")
        connection.execute("SELECT pg_stat_statements_reset()")
        with server.gate(stage.dsn, system.gate) as gate, stage.workers(processes) as workers:
            gate.wait_for(processes)
            python, database, wal, begun = cpu_seconds(workers.pids()), server.cpu(), server.wal_position(), time.time()
            gate.open()
            while workers.started() < jobs or _say(stage.dsn, system.unfinished or ""):
                time.sleep(0.01)
            python, database = cpu_seconds(workers.pids()) - python, server.cpu() - database
            print(
                f"{system.name}, {processes}: {jobs / (time.time() - begun):,.0f} a second; a job: "
                f"Python {python / jobs * 1e6:.1f} us, PostgreSQL {database / jobs * 1e6:.1f} us, "
                f"WAL {(server.wal_position() - wal) / jobs:.0f} B; RSS {workers.resident():.0f} MB"
            )
        for calls, micros, hits, text in connection.execute(TOP.encode(), {"jobs": jobs}):
            print(f"    {micros:5.2f} us, {hits:4.1f} pages in {calls} calls: {text[:70]}", flush=True)


def _say(dsn: str, query: str) -> bool:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return bool(cursor.description and cursor.fetchone() == (True,))


if __name__ == "__main__":
    main()
