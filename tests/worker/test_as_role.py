"""A worker that connects as the role that ships for it: everything it does is possible with those rights alone."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from support.roles import role_on
from support.waiting import eventually
from worker.stage import Stage


def test_a_worker_lives_its_whole_life_as_the_worker_role(stage: Stage) -> None:
    """Claims, retries, snoozes, parks, promotes, rescues, and leaves; nothing is refused and nothing fails."""
    with role_on(stage.dsn, "worker") as dsn:
        worker = stage.worker("--lease", "2", "--heartbeat", "0.5", "--keep-succeeded", "0", dsn=dsn).ready()
        kept = [
            stage.enqueue("fail_once"),
            stage.enqueue("die_once"),
            stage.enqueue("note_plain", delay=0.5),
            stage.enqueue("snooze_once", {"seconds": 0.2}),
        ]
        parked = stage.enqueue("rare")
        lost = stage.enqueue("fail", max_attempts=1)
        dropped = stage.enqueue("discard")
        for job in kept:
            stage.wait_state(job, "succeeded")
        assert stage.wait_state(parked, "blocked")["reason"] == "waits for task:rare"
        assert stage.wait_state(lost, "failed")["reason"] == "ValueError: as asked"
        stage.wait_state(dropped, "cancelled")
        sessions = "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name LIKE 'pgjobq %'"
        assert stage.query(f"{sessions} AND datname = current_database()") == [(conninfo_to_dict(dsn)["user"],)]
        assert worker.stop() == 0
        assert stage.query("SELECT * FROM pgjobq.worker") == []
        assert worker.events("chore_failed") == worker.events("connection_lost") == []


def test_handlers_take_steps_and_wait_as_the_worker_role(stage: Stage) -> None:
    """Steps, sleeps, waits, checkpoints and progress are kept over the worker's own connections, isolated ones
    included."""
    with role_on(stage.dsn, "worker") as dsn:
        worker = stage.worker(app="apps.durable:queue", dsn=dsn).ready()
        job = stage.enqueue("isolated", {"order": 1})
        every = stage.enqueue("all_of_it")
        stage.wait_state(every, "blocked")
        stage.query("SELECT pgjobq.emit('order:1:paid'), pgjobq.emit('all')")
        assert stage.wait_state(every, "succeeded")["result"] == [1, "charge"]
        stage.wait_state(job, "succeeded")
        assert stage.value("SELECT count(*) FROM pgjobq.progress") == 2
        assert worker.stop() == 0
        assert worker.events("chore_failed") == worker.events("connection_lost") == []


def test_from_postgresql_17_on_a_worker_role_may_vacuum(stage: Stage) -> None:
    if stage.value("SELECT current_setting('server_version_num')::int") < 170_000:
        pytest.skip("before PostgreSQL 17 only the owner of a table can vacuum it")
    with role_on(stage.dsn, "worker") as dsn:
        worker = stage.worker(dsn=dsn).ready()
        stage.enqueue_many("note", 2_000)
        stage.wait_all("succeeded")

        def vacuumed() -> bool:
            stage.enqueue_many("note", 200)
            vacuums = "SELECT relname FROM pg_stat_all_tables WHERE schemaname = 'pgjobq' AND vacuum_count > 0"
            found = stage.query(vacuums)
            assert ("ready",) in found
            assert ("running",) in found
            return True

        eventually(vacuumed, 20)
        stage.wait_all("succeeded")
        assert worker.stop() == 0
        assert worker.events("vacuum_refused") == []


def test_before_that_a_worker_says_once_that_it_may_not(stage: Stage) -> None:
    """The same on any version when the right is taken away: said once, and everything else goes on."""
    with role_on(stage.dsn, "worker") as dsn:
        if stage.value("SELECT current_setting('server_version_num')::int") >= 170_000:
            name = stage.value("SELECT role FROM pgjobq.allowed")
            for table in ("ready", "running", "scheduled", "blocked"):
                stage.query(f'REVOKE MAINTAIN ON pgjobq.{table} FROM "{name}"')
        worker = stage.worker(dsn=dsn).ready()
        stage.enqueue_many("note", 2_000)
        stage.wait_all("succeeded")
        worker.wait_event("vacuum_refused")
        assert worker.stop() == 0
        assert len(worker.events("vacuum_refused")) == 1
        assert worker.events("chore_failed") == []


def test_a_role_that_only_enqueues_cannot_run_a_worker(stage: Stage) -> None:
    """It says why, with the code for a wrong set-up, instead of trying again for ever."""
    with role_on(stage.dsn, "producer") as dsn:
        worker = stage.worker(dsn=dsn)
        assert worker.wait() == 2
        assert "permission denied" in worker.text
        assert "Traceback" not in worker.text
