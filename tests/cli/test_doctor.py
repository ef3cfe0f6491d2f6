"""What `pgjobq doctor` can find, each made to be there."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest

from pgjobq import Queue
from pgjobq.cli import doctor
from sql.support.hand import Hand

Run = Callable[..., tuple[int, str, str]]


def found(run: Run, check: str) -> list[tuple[str, str, str | None]]:
    """The findings of one check: verdict, what was found, cure."""
    report = json.loads(run("doctor", "--json")[1])
    return [(one["verdict"], one["found"], one["cure"]) for one in report["findings"] if one["check"] == check]


def test_autovacuum_off_and_settings_lost(run: Run, hand: Hand) -> None:
    assert found(run, "autovacuum")[0][0] == "ok"
    hand.sql("ALTER TABLE pgjobq.ready SET (autovacuum_enabled = false)")
    ((verdict, said, cure),) = found(run, "autovacuum")
    assert (verdict, said) == ("bad", "switched off for pgjobq.ready")
    assert cure is not None
    hand.sql(cure.partition(": ")[2])
    assert found(run, "autovacuum")[0][0] == "ok"
    hand.sql("ALTER TABLE pgjobq.running RESET (autovacuum_vacuum_scale_factor)")
    ((verdict, said, cure),) = found(run, "autovacuum")
    assert (verdict, said) == ("warning", "pgjobq.running has lost the settings it was made with")
    assert cure is not None
    hand.sql(cure)
    assert found(run, "autovacuum")[0][0] == "ok"


def test_a_very_old_row(run: Run, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLD", -1)
    ((verdict, said, _),) = found(run, "autovacuum")
    assert verdict == "bad"
    assert "transactions old" in said


def test_a_long_transaction(run: Run, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LONG", 0)
    with psycopg.connect(dsn, application_name="a report") as conn:
        conn.execute("SELECT 1")
        rows = found(run, "transactions")
        assert any(verdict == "warning" and said.startswith("a report has one") for verdict, said, _ in rows)
        assert all("idle in transaction" in (cure or "") for _, said, cure in rows if said.startswith("a report"))
    monkeypatch.undo()


def test_a_slot_that_nobody_reads(run: Run, hand: Hand) -> None:
    assert [row[:2] for row in found(run, "replication")] == [("ok", "none")]
    slot = "pgjobq_test_" + str(hand.value("SELECT oid FROM pg_database WHERE datname = current_database()"))
    hand.sql("SELECT pg_create_physical_replication_slot($1, true)", slot)
    try:
        ((verdict, said, cure),) = (row for row in found(run, "replication") if slot in row[1])
        assert (verdict, said.startswith(f"slot {slot} has no reader and keeps ")) == ("warning", True)
        assert "pg_drop_replication_slot" in (cure or "")
    finally:
        hand.sql("SELECT pg_drop_replication_slot($1)", slot)


@pytest.mark.lawless("rows without jobs, to be deleted in bulk")
def test_bloat(run: Run, hand: Hand) -> None:
    hand.sql("ALTER TABLE pgjobq.scheduled SET (autovacuum_enabled = false)")
    hand.sql(
        "INSERT INTO pgjobq.scheduled (job, run_at, priority, queue) "
        "SELECT n, now(), 0, 'q' FROM generate_series(1, 60000) n"
    )
    hand.sql("DELETE FROM pgjobq.scheduled")
    if hand.conn.info.server_version >= 150000:  # before that the statistics are sent by themselves
        hand.sql("SELECT pg_stat_force_next_flush()")
    hand.sql("SELECT 1")
    ((verdict, said, cure),) = found(run, "bloat")
    assert (verdict, said) == ("warning", "scheduled: 60,000 dead rows for 0 live ones")
    assert "VACUUM" in (cure or "")


def test_settings(run: Run, hand: Hand) -> None:
    name = hand.value("SELECT quote_ident(current_database())")
    hand.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    ((verdict, said, cure),) = found(run, "setting synchronous_commit")
    assert (verdict, said) == ("warning", "off")
    assert "may be missing" in (cure or "")


def test_few_connections_left(run: Run, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(run, "connections") == []
    monkeypatch.setattr(doctor, "CROWDED", 0)
    assert found(run, "connections")[0][0] == "warning"


def test_queues_tasks_pauses_and_workers(run: Run, queue: Queue, hand: Hand) -> None:
    job = hand.enqueue("unknown")
    hand.settle_as("blocked", hand.claim_one(), back=1, waits_for="task:unknown")
    assert found(run, "tasks") == [
        (
            "warning",
            "1 jobs wait for unknown",
            "deploy a worker whose app declares it (or has the key), or cancel these jobs",
        )
    ]
    queue.cancel(job)
    queue.pause(queue="mail")
    assert found(run, "pauses")[0][2] == "`pgjobq resume --queue mail`, if that is still not wanted to be so"
    hand.enqueue(queue="nobody")
    hand.sql("UPDATE pgjobq.worker SET queues = '{default}'")
    assert found(run, "queues")[0][:2] == ("bad", "nobody: 1 ready jobs, no live worker")
    hand.sql("UPDATE pgjobq.worker SET expires_at = now() - interval '1 s'")
    assert [verdict for verdict, _, _ in found(run, "workers")] == ["warning", "warning"]


def test_a_clock_that_is_off(run: Run, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.time.time
    monkeypatch.setattr(doctor.time, "time", lambda: real() - 90)
    assert found(run, "clock")[0][:2] == ("warning", "the server is 90 s ahead")
    monkeypatch.setattr(doctor.time, "time", lambda: real() + 90)
    assert found(run, "clock")[0][:2] == ("warning", "the server is 90 s behind")


def test_a_newer_schema(run: Run, hand: Hand) -> None:
    hand.sql("INSERT INTO pgjobq.migration (version, name, library) VALUES (900, 'later', '9.1')")
    assert found(run, "schema")[0][2] == "upgrade this installation of pgjobq"
