"""Leases: whoever is alive keeps its jobs, whatever its handlers do and wherever the database is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pgjobq.devdb import Postgres
from pgjobq.migrate import install
from support.conservation import check_conservation
from support.databases import name_of
from worker.stage import Stage, wait_until

LEASE, SHORTER = 6.0, 4.0
SHORT = ("--lease", f"{LEASE:g}", "--heartbeat", "0.5")
"""A machine that stands still for some seconds is no reason to take a job away."""
BRIEF = ("--lease", f"{SHORTER:g}", "--heartbeat", "0.5")
"""Where an outage is to last for several leases."""
TELLING = 2.5
"""Seconds in which others would notice that a lease is over: they look every second."""


def play_long(stage: Stage, task: str, seconds: float) -> None:
    """Two workers; a job of that length; it is run once."""
    workers = [stage.worker(*SHORT).ready() for _ in range(2)]
    job = stage.enqueue(task, {"seconds": seconds})
    row = stage.wait_state(job, "succeeded")
    assert row["attempt"] == 1
    assert len(stage.starts(job)) == 1
    assert stage.errors(job) == []
    assert [worker.events("jobs_taken_back") for worker in workers] == [[], []]
    assert [worker.events("process_died") for worker in workers] == [[], []]
    assert [worker.stop() for worker in workers] == [0, 0]


@pytest.mark.parametrize("task", ["nap", "nap_plain"])
def test_a_live_job_is_never_taken_away(stage: Stage, task: str) -> None:
    """A job that runs for longer than its lease is run once, with another worker watching."""
    play_long(stage, task, LEASE + TELLING)


def test_a_handler_that_holds_the_gil_keeps_its_lease(stage: Stage) -> None:
    """No Python code of its process moves for longer than the lease: it is run once."""
    play_long(stage, "hold_gil", 9)


def test_a_handler_that_blocks_the_loop_keeps_its_lease(stage: Stage) -> None:
    """time.sleep in a coroutine stops the whole event loop for longer than the lease: it is run once."""
    play_long(stage, "block_loop", LEASE + TELLING)


# ---------------------------------------------------------------------------------------- outages


@contextmanager
def closed(stage: Stage, pg_server: str) -> Iterator[None]:
    """Cut every connection to the test's database and let nobody in."""
    name = name_of(stage.dsn)
    with psycopg.connect(pg_server, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            conn.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


def test_workers_cut_off_for_long_do_not_rescue_each_other(stage: Stage, pg_server: str) -> None:
    """All workers are cut off for several leases while jobs run: when they are back every lease looks dead, which
    proves nothing, and the jobs are run once."""
    workers = [stage.worker(*BRIEF).ready() for _ in range(2)]
    job = stage.enqueue("hold")
    ended = stage.enqueue("nap", {"seconds": 1})
    stage.wait_marks("start", 2)
    with closed(stage, pg_server):
        for worker in workers:
            worker.wait_event("connection_lost", 2)
        stage.wait_marks("end", job=ended)
        away = time.monotonic()
        wait_until(lambda: time.monotonic() - away > 2 * SHORTER)
    for worker in workers:
        worker.wait_event("connection_back", 2)
    # longer than a lease of contact: time enough for a rescue, were there to be one
    after = stage.enqueue("nap", {"seconds": SHORTER + TELLING})
    stage.wait_state(after, "succeeded")
    stage.open_gate()
    for one in (job, ended, after):
        assert stage.wait_state(one, "succeeded")["attempt"] == 1
        assert len(stage.starts(one)) == 1
    assert [worker.events("jobs_taken_back") for worker in workers] == [[], []]
    assert [worker.stop() for worker in workers] == [0, 0]


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server of this test's own, to be crashed."""
    with Postgres() as server:
        yield server


@pytest.fixture
def fragile(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A stage on that server."""
    with psycopg.connect(server.dsn()) as conn:
        install(conn)
    stage = Stage(server.dsn(), tmp_path_factory.mktemp("fragile"))
    yield stage
    stage.destroy()
    check_conservation(server.dsn())


def test_a_server_that_is_away_for_several_leases_costs_no_job(server: Postgres, fragile: Stage) -> None:
    """The server crashes and comes back two leases later: running jobs are run once, what ended meanwhile is
    written then, the workers' processes live on and go on by themselves."""
    workers = [fragile.worker(*BRIEF).ready() for _ in range(2)]
    held = fragile.enqueue("hold")
    ended = fragile.enqueue("nap", {"seconds": 1.0})
    fragile.wait_marks("start", 2)
    fragile.query("CHECKPOINT")  # a claim commits lazily, and one that a crash forgets never happened
    server.crash()
    fragile.wait_marks("end", job=ended)
    gone = time.monotonic()
    for worker in workers:
        worker.wait_event("connection_lost")
    wait_until(lambda: time.monotonic() - gone > 2 * SHORTER)
    server.restart()
    wait_until(lambda: fragile.state(ended) == "succeeded")
    after = fragile.enqueue("nap", {"seconds": SHORTER + TELLING})
    fragile.wait_state(after, "succeeded")
    fragile.open_gate()
    for job in (held, ended, after):
        assert fragile.wait_state(job, "succeeded")["attempt"] == 1
        assert len(fragile.starts(job)) == 1
    for worker in workers:
        assert worker.events("process_died") == []
        assert worker.stop() == 0


def test_a_process_that_starts_a_little_later_and_meets_no_server(server: Postgres, fragile: Stage) -> None:
    """Its sibling was let in, so the worker has started: the server that went away in between is waited for, and
    nobody has died."""
    worker = fragile.worker(*SHORT, "--processes", "2", app="apps.one_by_one:queue").ready()
    wait_until(lambda: Path(f"{fragile.gate}.waits").exists())
    server.crash()
    late = set(worker.children())
    fragile.open_gate()
    wait_until(lambda: set(worker.children()) - late)
    server.restart()
    wait_until(lambda: fragile.value("SELECT count(*) FROM pgjobq.worker") == 2)
    fragile.wait_state(fragile.enqueue("note"), "succeeded")
    assert worker.events("process_died") == []
    assert worker.stop() == 0
    assert worker.events("worker_stopped")[0]["deaths"] == 0


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_a_server_that_goes_down_under_load(server: Postgres, fragile: Stage, how: str) -> None:
    """It goes down three times while jobs run: every job succeeds once, no process dies, and the workers come back by
    themselves. After an orderly restart nothing is even started twice; a crash may forget claims (they commit
    lazily), whose jobs are then started again under the same attempt number, and the fence lets one of them count."""
    workers = [fragile.worker("--lease", "10", "--heartbeat", "1", "--processes", "2").ready() for _ in range(2)]
    wait_until(lambda: fragile.value("SELECT count(*) FROM pgjobq.worker") == 4)
    jobs = fragile.enqueue_many("nap", 700, {"seconds": 0.03})
    for number in range(3):
        fragile.wait_marks("end", 60 * (number + 1))
        if how == "crash":
            server.crash()
        server.restart()
    fragile.wait_all("succeeded")
    starts = [mark["job"] for mark in fragile.marks("start")]
    assert set(starts) == set(jobs)
    again = len(starts) - len(jobs)
    print(f"{len(jobs)} jobs, 3 times {how}: {again} started again")
    assert again <= {"restart": 0, "crash": 200}[how]
    assert fragile.value("SELECT count(*) FROM pgjobq.finished") == len(jobs)
    logs = [worker.events(name) for worker in workers for name in ("jobs_taken_back", "lease_lost")]
    assert fragile.value("SELECT count(*) FROM pgjobq.finished WHERE attempt > 1") == 0, logs
    for worker in workers:
        assert worker.events("process_died") == []
        assert worker.stop() == 0
    assert fragile.value("SELECT count(*) FROM pgjobq.worker") == 0


# ---------------------------------------------------------------------------------------- answers that never came


def test_claims_whose_answer_was_lost_are_given_back(stage: Stage) -> None:
    """The worker's connection is cut again and again under load: every job is run once as its first attempt, and none
    stays in running, though the database counts claims of which the worker never heard."""
    worker = stage.worker("--lease", "10", "--heartbeat", "1", "--concurrency", "20").ready()
    jobs = stage.enqueue_many("nap", 1500, {"seconds": 0.01})
    cut = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'pgjobq worker %'"""
    cuts = 0
    with psycopg.connect(stage.dsn, autocommit=True) as conn:
        while cuts < 20:
            seen = len(stage.marks("end"))
            if seen > len(jobs) - 60:
                break
            stage.wait_marks("end", seen + 30)
            cuts += conn.execute(cut).fetchall()[0][0]
    assert cuts >= 5
    stage.wait_all("succeeded")
    starts = [mark["job"] for mark in stage.marks("start")]
    assert set(starts) == set(jobs)
    assert len(starts) == len(jobs)
    spent = stage.query(
        """SELECT f.job, f.attempt, f.worker, e.kind, e.message, e.worker FROM pgjobq.finished f
           LEFT JOIN pgjobq.attempt_error e USING (job) WHERE f.attempt > 1 OR e.job IS NOT NULL"""
    )
    assert spent == [], worker.events("jobs_taken_back") + worker.events("lease_lost")
    assert worker.events("process_died") == []
    assert worker.stop() == 0
