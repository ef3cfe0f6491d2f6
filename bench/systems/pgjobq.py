"""pgjobq from this checkout: its real worker, supervisor and all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.systems.base import System
from bench.systems.environments import Ours
from pgjobq.migrate import library_version


@dataclass(frozen=True, kw_only=True)
class _Pgjobq(System):
    def worker_commands(self, dsn: str, processes: int, concurrency: int, **options: Any) -> list[list[str]]:
        del options  # both kinds of handler are there, the job says which; and --concurrency is always exact
        flags = ["--processes", str(processes), "--concurrency", str(concurrency), "--log-level", "warning"]
        worker = "import desk; desk.ready(); from pgjobq.worker import main; raise SystemExit(main())"
        return [[self.environment.program(), "-c", worker, "on_pgjobq:queue", "--dsn", dsn, *flags]]


SYSTEM = _Pgjobq(
    name="pgjobq",
    version=library_version(),
    settings="psycopg 3; conn= of the caller in autocommit; python -m pgjobq.worker, defaults but --concurrency",
    environment=Ours(),
    driver="on_pgjobq.py",
    unfinished="SELECT EXISTS (SELECT FROM pgjobq.ready) OR EXISTS (SELECT FROM pgjobq.running)",
    ended="SELECT extract(epoch FROM max(finished_at))::float8 FROM pgjobq.finished",
    gate="pgjobq.ready",
    pace=80_000,
    bulk_pace=200_000,
    supervised=True,
    has_sync=True,
    prunes=True,
    fill="""
        WITH job AS (
            INSERT INTO pgjobq.job (created_at, priority, max_attempts, queue, task, args)
            SELECT now(), 0, 20, 'default', 'confirm',
                   jsonb_build_object('order_id', n, 'email', 'user@example.com')
            FROM generate_series(1, %(jobs)s) n WHERE pg_current_xact_id() IS NOT NULL RETURNING id)
        , lane AS (INSERT INTO pgjobq.lane (queue, priority) VALUES ('default', 0))
        INSERT INTO pgjobq.ready (seq, job, priority, queue) SELECT id, id, 0, 'default' FROM job""",
    lanes="""
        WITH job AS (
            INSERT INTO pgjobq.job (created_at, priority, max_attempts, queue, task, args)
            SELECT now(), n %% 10, 20, 'queue' || n %% 10 * 7, 'confirm',
                   jsonb_build_object('order_id', n, 'email', 'user@example.com')
            FROM generate_series(1, %(jobs)s) n WHERE pg_current_xact_id() IS NOT NULL RETURNING id, queue, priority)
        , lane AS (INSERT INTO pgjobq.lane (queue, priority)
                   SELECT 'queue' || q, p FROM generate_series(0, 99) q, generate_series(0, 9) p)
        INSERT INTO pgjobq.ready (seq, job, priority, queue) SELECT id, id, priority, queue FROM job""",
    history="""
        WITH job AS (
            INSERT INTO pgjobq.job (created_at, priority, max_attempts, queue, task, args)
            SELECT now() - make_interval(days => %(days)s), 0, 20, 'default', 'confirm',
                   jsonb_build_object('order_id', n, 'email', 'user@example.com')
            FROM generate_series(1, %(jobs)s) n RETURNING id, created_at)
        INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome)
        SELECT id, created_at, created_at, '00000000-0000-0000-0000-000000000000', 1, 's' FROM job""",
)
