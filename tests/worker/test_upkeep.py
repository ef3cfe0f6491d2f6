"""Upkeep: old jobs go, tiny tables stay tiny, several processes share the work."""

from __future__ import annotations

import socket
from datetime import datetime
from math import inf
from types import SimpleNamespace

import psycopg
import pytest

from pgjobq.engine.crew import Process
from pgjobq.engine.link import Link
from pgjobq.engine.report import CHURN_TOLD, Report
from pgjobq.engine.supervisor import Supervisor
from pgjobq.engine.upkeep import CHURN, Upkeep
from pgjobq.logs import Journal
from pgjobq.settings import WorkerSettings
from pgjobq.settings.arguments import WorkerArguments
from support.databases import name_of
from support.dsn import as_url
from worker.stage import Stage, wait_until


def age(stage: Stage, days: float) -> None:
    """Let everything that has finished be so many days old."""
    stage.query("UPDATE pgjobq.finished SET finished_at = finished_at - make_interval(secs => %s)", days * 86400)


@pytest.mark.parametrize("drained", [False, True], ids=["running", "drain"])
def test_retention_deletes_what_is_old(stage: Stage, drained: bool) -> None:
    """Succeeded and cancelled jobs go after a week and failed ones after 30 days, with their errors; nothing else."""
    for days in (31, 8, 1):
        for task in ("note", "discard", "fail_once"):
            stage.enqueue(task, ref=f"{task} {days}")
        stage.enqueue("fail", ref=f"fail {days}", max_attempts=1)
        stage.enqueue("fail", ref=f"waiting {days}")
        stage.drain()
        stage.query(
            """UPDATE pgjobq.scheduled s SET run_at = now()
               FROM pgjobq.job j WHERE j.id = s.job AND j.task = 'fail_once'"""
        )
        stage.drain()
        # the younger ones are aged again in the following rounds: what is left to the wanted age
        age(stage, {31: 23, 8: 7, 1: 1}[days])
    wanted = {"fail 8", "fail 1", "note 1", "discard 1", "fail_once 1", "waiting 31", "waiting 8", "waiting 1"}
    if drained:
        wait_until(lambda: stage.drain() and refs(stage) == wanted)
    else:
        worker = stage.worker().ready()
        wait_until(lambda: refs(stage) == wanted)
        assert worker.stop() == 0
    orphans = "SELECT count(*) FROM pgjobq.attempt_error WHERE job NOT IN (SELECT id FROM pgjobq.job)"
    assert stage.value(orphans) == 0
    kept = "SELECT count(*) FROM pgjobq.attempt_error e JOIN pgjobq.job j ON j.id = e.job WHERE task = 'fail_once'"
    assert stage.value(kept) == 1


def test_a_worker_counts_the_minutes_that_are_over(stage: Stage) -> None:
    """Those before it came, too; and what happens while it runs is counted by nobody twice."""
    stage.enqueue_many("note", 5)
    stage.drain()
    age(stage, 3 / 1440)
    stage.query("DELETE FROM pgjobq.history")  # the drain may have counted minutes to which we have just added
    worker = stage.worker().ready()
    counted = "SELECT coalesce(sum(succeeded), 0)::int FROM pgjobq.history"
    wait_until(lambda: stage.value(counted) == 5)
    assert worker.stop() == 0


def refs(stage: Stage) -> set[str]:
    return {ref for (ref,) in stage.query("SELECT ref FROM pgjobq.job")}


def test_retention_can_be_turned_off(stage: Stage) -> None:
    """forever keeps them; a short time of one kind leaves the other alone; more than one batch is deleted."""
    stage.enqueue_many("note", 2500)
    stage.enqueue("fail", max_attempts=1)
    stage.drain()
    age(stage, 1000)
    worker = stage.worker("--keep-succeeded", "forever", "--keep-failed", "forever").ready()
    stage.wait_state(stage.enqueue("note"), "succeeded")
    assert worker.stop() == 0
    assert stage.states() == {"succeeded": 2501, "failed": 1}
    worker = stage.worker("--keep-succeeded", "2d", "--keep-failed", "forever").ready()
    wait_until(lambda: stage.states() == {"succeeded": 1, "failed": 1})
    assert worker.stop() == 0


def test_a_large_deletion_keeps_no_other_chore_waiting(stage: Stage) -> None:
    """100,000 old jobs go in one pass, told once; a job that falls due meanwhile starts before the last is gone."""
    stage.query(
        """WITH made AS (INSERT INTO pgjobq.job (created_at, priority, max_attempts, queue, task, args)
                         SELECT now(), 0, 20, 'default', 'note', '{}' FROM generate_series(1, 100000) RETURNING id)
           INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome)
           SELECT id, now(), now() - interval '10 days', gen_random_uuid(), 1, 's' FROM made"""
    )
    due = stage.enqueue("note", delay=0.5)
    worker = stage.worker("--log-level", "debug").ready()
    told = worker.wait_event("history_pruned")
    assert told["jobs"] == 100_000
    stage.wait_state(due, "succeeded")
    assert stage.states() == {"succeeded": 1}
    assert stage.value("SELECT started_at FROM pgjobq.finished") < datetime.fromisoformat(told["time"])
    assert worker.stop() == 0
    assert len(worker.events("history_pruned")) == 1


def test_upkeep_vacuums_the_churning_tables(stage: Stage) -> None:
    """Under load the dead rows of ready and running are vacuumed away by the worker, not by autovacuum's launcher."""
    stage.worker("--concurrency", "50").ready()
    stage.enqueue_many("note", 20_000)
    stage.wait_all("succeeded")
    sql = """SELECT count(*) = 2 AND sum(n_dead_tup) < 2000 FROM pg_stat_user_tables
             WHERE schemaname = 'pgjobq' AND relname IN ('ready', 'running') AND last_vacuum IS NOT NULL"""
    wait_until(lambda: stage.value(sql), 30)


def _vacuums(dsn: str) -> tuple[int, int]:
    """How often `running` and `ready` were vacuumed."""
    with psycopg.connect(dsn) as conn:
        query = "SELECT relname, vacuum_count FROM pg_stat_user_tables WHERE schemaname = 'pgjobq'"
        counts = dict(conn.execute(query).fetchall())
        return counts["running"], counts["ready"]


def test_leases_that_go_by_the_ten_thousand_are_vacuumed_out_of_turn(dsn: str) -> None:
    """Before the statistics know of any dead row: `running` alone, and not more often than it pays."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ALTER TABLE pgjobq.running SET (autovacuum_enabled = off)")
    upkeep = Upkeep(dsn, "pgjobq", WorkerSettings(), session=True, journal=Journal(), contact=lambda: 0.0)
    upkeep.start()
    try:
        upkeep.churn(CHURN - 1)
        upkeep.churn(1)
        wait_until(lambda: "churn" in upkeep._due and _vacuums(dsn) == (1, 0), 60)
        upkeep._due["churn"] = inf  # it took long
        upkeep.churn(CHURN)
        assert not upkeep._has_churned()
        upkeep._due["churn"] = 0.0
        assert upkeep._has_churned(), "it waits for its time, and is not forgotten"
        upkeep.churn(1)
        wait_until(lambda: _vacuums(dsn) == (2, 0), 60)
    finally:
        upkeep.stop()


def test_processes_tell_their_supervisor_what_they_have_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some thousand at a time, over the link."""
    ours, theirs = map(Link, socket.socketpair())
    report = Report(Journal(), churn=lambda jobs: theirs.offer("churn", jobs))
    for _ in range(11):
        report.batch(CHURN_TOLD // 5)
    assert ours.hear() == [("churn", CHURN_TOLD), ("churn", CHURN_TOLD)]
    supervisor = Supervisor(WorkerArguments("apps:queue", None, None, WorkerSettings()), Journal())
    told: list[int] = []
    monkeypatch.setattr(Supervisor, "_kept", SimpleNamespace(churn=told.append))
    report.batch(4 * CHURN_TOLD)
    assert supervisor._hear(Process(1, None, ours, None, 0.0))  # type: ignore[arg-type]
    assert told == [4 * CHURN_TOLD + CHURN_TOLD // 5]
    ours.close()
    theirs.close()


def test_a_role_that_may_not_vacuum_is_told_so_once(stage: Stage) -> None:
    """A worker whose role does not own the tables says so and works all the same."""
    role = name_of(stage.dsn)
    with psycopg.connect(stage.dsn, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {role} NOLOGIN")
        try:
            conn.execute(f"GRANT USAGE ON SCHEMA pgjobq TO {role}")
            conn.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgjobq TO {role}")
            conn.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA pgjobq TO {role}")
            conn.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgjobq TO {role}")
            # the session's user stays whoever may log in; the role is taken on at once
            worker = stage.worker(dsn=as_url(stage.dsn, options=f"-c role={role}")).ready()
            stage.wait_state(stage.enqueue("note"), "succeeded")
            refused = worker.wait_event("vacuum_refused")
            assert "ready" in refused["table"]
            assert worker.stop() == 0
            assert len(worker.events("vacuum_refused")) == 1
            assert worker.events("chore_failed") == []
        finally:
            conn.execute(f"DROP OWNED BY {role}")
            conn.execute(f"DROP ROLE {role}")


def test_two_processes_share_the_work(stage: Stage) -> None:
    """--processes 2: both run jobs under identities of their own, and each is limited to `concurrency`."""
    worker = stage.worker("--processes", "2", "--concurrency", "3").ready()
    stage.enqueue_many("hold", 10)
    marks = stage.wait_marks("start", 6)
    by_pid = [sum(mark["pid"] == pid for mark in marks) for pid in {mark["pid"] for mark in marks}]
    assert sorted(by_pid) == [3, 3]
    assert stage.value("SELECT count(DISTINCT worker) FROM pgjobq.running") == 2
    assert stage.value("SELECT count(*) FROM pgjobq.worker") == 2
    stage.open_gate()
    stage.wait_all("succeeded")
    assert len(stage.marks("start")) == 10
    assert worker.stop() == 0
    assert worker.events("worker_stopped")[0]["succeeded"] == 10
    assert stage.value("SELECT count(*) FROM pgjobq.worker") == 0


def test_the_worker_table_tells_who_is_there(stage: Stage) -> None:
    """pid, host, app, version, queues and tasks of each process, with a lease that is renewed."""
    flags = ("--queues", "mail,default", "--concurrency", "4", "--lease", "10", "--heartbeat", "0.3")
    worker = stage.worker(*flags).ready()
    wait_until(lambda: stage.value("SELECT count(*) FROM pgjobq.worker") == 1)
    pid, app, concurrency, queues, tasks, left, beat = stage.query(
        "SELECT pid, app, concurrency, queues, tasks, expires_at - now(), beat_at FROM pgjobq.worker"
    )[0]
    assert [pid] == worker.children()
    assert (app, concurrency, queues) == ("apps.basic:queue", 4, ["mail", "default"])
    assert "note_plain" in tasks
    assert 5 < left.total_seconds() <= 10
    wait_until(lambda: stage.value("SELECT beat_at FROM pgjobq.worker") > beat)
    assert worker.stop() == 0
