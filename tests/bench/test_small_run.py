"""A whole run, small: pgjobq and raw, 500 jobs, on a server of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
from support.waiting import eventually
from worker.stage import is_alive

TINY = Sizes(
    rounds=1,
    one=50,
    bulk=500,
    probes=5,
    held=300,
    held_tail=200,
    seconds=0.2,
    idle=0.2,
    depths=(10_000,),
    crowd=2,
    history=2_000,
    processes=(1, 4),
    flat=20_000,
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
        drained = stage.drain(500, processes=2, tail=200, concurrency=10, handler="sleep", millis=10)
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


def test_a_peer_that_crashes_is_shown_and_the_others_go_on(server: Server) -> None:
    (raw,) = systems.choose(["raw"])
    broken = dataclasses.replace(raw, name="broken", driver="on_nothing.py")
    results = measure(server, TINY, choose_steps("a", quick=True), [broken, raw], Progress())
    (trouble,) = results.troubles
    assert trouble[:2] == ("broken", "install")
    assert "on_nothing.py" in trouble[2]
    half = dataclasses.replace(raw, name="half", ended="SELECT no_such_column FROM raw_job")
    results = measure(server, TINY, choose_steps("d", quick=True), [half, raw], Progress())
    assert [name for name, _, _ in results.troubles] == ["half"]
    assert (results.value("drain2", "raw") or 0) > 0


def test_history_and_growing_are_measured(server: Server) -> None:
    results = measure(server, TINY, choose_steps("c,n,o", quick=False), systems.choose(["pgjobq"]), Progress())
    assert results.troubles == []
    for metric in ("hist", "hist_ratio", "hist_one", "pruned", "pruned_ratio", "sleep1", "sleep4", "noop4"):
        assert (results.value(metric, "pgjobq") or 0) > 0, metric
    assert results.value("cpu_db", "pgjobq") is not None  # the clock of the processes ticks every 10 ms: may be 0 here
    assert (results.value("spread", "pgjobq") or 0) <= 400


def test_flatness_is_measured(server: Server) -> None:
    results = measure(server, TINY, choose_steps("p", quick=False), systems.choose(["pgjobq"]), Progress())
    assert results.troubles == []
    for metric in ("flat_first", "flat_last", "flat_ratio", "lane1", "lane1000", "lane_ratio"):
        assert (results.value(metric, "pgjobq") or 0) > 0, metric


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Neither a server nor a worker nor a driver: every process that the run has started is gone soon after."""
    command = [sys.executable, "-m", "bench", "--quick", "--only", "o", "--systems", "pgjobq"]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: any(map(machine.descendants, _named(run.pid, "on_pgjobq:queue"))), 60)
        started = machine.descendants(run.pid)
        assert _named(run.pid, "postgres")
        run.send_signal(number)
        assert run.wait(60) == (-number if number == signal.SIGKILL else 130), (tmp_path / "log").read_text()
        eventually(lambda: not any(map(is_alive, started)), 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def test_a_child_dies_with_the_runner() -> None:
    """Also one that would go on for ever, such as the worker of a peer, when the runner is killed."""
    program = "from bench.children import start_child; print(start_child(['sleep', '600']).pid, flush=True); input()"
    root = Path(__file__).parents[2]
    runner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with runner:
        assert runner.stdout is not None
        child = int(runner.stdout.readline())
        assert is_alive(child)
        runner.kill()
    try:
        eventually(lambda: not is_alive(child))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _named(root: int, word: str) -> list[int]:
    """The processes below this one that have the word in their command line."""
    found = []
    for pid in machine.descendants(root):
        with contextlib.suppress(OSError):
            if word in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
    return found


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
