"""A whole run, small: pgjobq and raw, 500 jobs, on a server of its own."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from bench.__main__ import measure
from bench.progress import Progress
from bench.server import Server, open_server
from bench.stage import set_stage
from bench.steps import Sizes, choose_steps
from bench.systems.base import DriverFailed
from bench.workers import WorkersDied, run_workers

from bench import machine, systems
from pgjobq.devdb import Postgres

TINY = Sizes(
    rounds=1, one=50, bulk=500, probes=5, held=300, held_tail=200, seconds=0.2, idle=0.2, depths=(10_000,), crowd=2
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Not the benchmark's own settings: no figure of a test is worth an fsync."""
    with Postgres(tcp=True) as postgres, open_server(postgres.dsn()) as opened:
        yield opened


def test_a_small_run_measures_both_systems(server: Server) -> None:
    chosen = systems.choose(["pgjobq", "raw"])
    results = measure(server, TINY, choose_steps("a,c,e", quick=True), chosen, Progress())
    assert results.troubles == []
    for system in ("pgjobq", "raw"):
        for metric in ("one", "bulk", "drain1", "pickup50", "pickup99", "waiting", "done", "wal_run"):
            value = results.value(metric, system)
            assert (value or 0) > 0, (metric, system)
        assert results.value("pickup50", system) <= results.value("pickup99", system)
    assert results.figures["drain1", "pgjobq"].jobs == 500
    assert results.against_floor("drain1", "raw") == 1
    left = server.admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'bench%'").fetchall()
    assert left == []


def test_a_drain_counts_every_job_once(server: Server) -> None:
    (system,) = systems.choose(["pgjobq"])
    system.prepare(server.recreate("pgjobq_made"))
    with set_stage(server, system) as stage:
        system.enqueue_bulk(stage.dsn, 500)
        drained = stage.drain(500, processes=2, tail=200)
        assert drained.jobs == 500
        assert drained.tail is not None
        assert drained.tail[0] == 200
        with psycopg.connect(stage.dsn) as connection:
            assert connection.execute("SELECT count(*) FROM pgjobq.finished WHERE outcome = 's'").fetchone() == (500,)
    server.drop("pgjobq_made")


def test_a_system_that_fails_is_shown_with_its_reason(server: Server) -> None:
    (system,) = systems.choose(["raw"])
    with pytest.raises(DriverFailed, match="does not exist"):
        system.enqueue_one(server.database("of_nobody"), jobs=1)


def test_a_worker_that_dies_is_told_with_its_last_words() -> None:
    command = ["sh", "-c", "echo out of luck; exit 7"]
    with run_workers([command], {}, supervised=False) as workers:
        workers._processes[0].wait()
        with pytest.raises(WorkersDied, match="ended with 7: out of luck"):
            workers.check()


def test_the_servers_cpu_is_that_of_its_sessions(server: Server) -> None:
    before = server.cpu()
    assert before is not None
    server.admin.execute("SELECT sum(n) FROM generate_series(1, 3000000) n")
    assert server.cpu() > before


def test_the_machine_is_described() -> None:
    told = machine.describe()
    assert told["cores"] >= 1
    assert told["memory_gb"] > 0
    assert told["processor"]
