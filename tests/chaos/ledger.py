"""What the database says at the end, and a record of every job that was written and every lease that was taken,
given up or settled, and by whom.

The record is kept by triggers of the test's own. They note the session's application_name, in which the engine and the
handlers give their process: so the record tells who made a move, and not only under which name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg

__all__ = ["Effect", "Entry", "Ledger", "Limit", "Move", "install", "read"]

INSTALL = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.effect (key text NOT NULL, attempt int NOT NULL);
CREATE TABLE chaos.move (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    place text NOT NULL, deed text NOT NULL, job bigint NOT NULL, attempt int NOT NULL, worker uuid,
    by text NOT NULL DEFAULT current_setting('application_name'), at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON chaos.effect (key);
CREATE FUNCTION chaos.note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved record := coalesce(new, old);
BEGIN
    INSERT INTO chaos.move (place, deed, job, attempt, worker)
    VALUES (TG_TABLE_NAME, TG_OP, moved.job, moved.attempt, moved.worker);
    RETURN NULL;
END $$;
CREATE FUNCTION chaos.note_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.move (place, deed, job, attempt) VALUES ('job', TG_OP, new.id, 0);
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT ON pgjobq.job FOR EACH ROW EXECUTE FUNCTION chaos.note_job();
CREATE TRIGGER note AFTER INSERT OR DELETE ON pgjobq.running FOR EACH ROW EXECUTE FUNCTION chaos.note();
CREATE TRIGGER note AFTER INSERT OR DELETE ON pgjobq.finished FOR EACH ROW EXECUTE FUNCTION chaos.note();
"""
# to_jsonb: the version before has no gates.
JOBS = """
SELECT j.id, coalesce(j.args->>'key', (j.headers->>'schedule') || ' ' || (j.headers->>'scheduled_for'), ''), j.task,
       coalesce(v.state, 'nowhere'), coalesce(v.attempt, 0), j.max_attempts, to_jsonb(j)->'gates',
       coalesce(j.task || ':' || (j.args->>'slot'), ''), coalesce(j.headers->>'schedule', ''),
       coalesce(date_part('epoch', (j.headers->>'scheduled_for')::timestamptz), 0)
FROM pgjobq.job j JOIN pgjobq.jobs v ON v.id = j.id ORDER BY j.id
"""
MOVES = """
SELECT place, deed, job, attempt, coalesce(worker::text, ''), by, date_part('epoch', at) FROM chaos.move ORDER BY n
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """A gate of a job's: of its key `most` may run at once; in_order, holds: one after the other, and whether one that
    is to be tried again holds up the others."""

    key: str
    most: int
    in_order: bool = False
    holds: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One job as it stands. unique: what no other may share until it has ended; schedule, tick: what made it, and for
    when (seconds since 1970)."""

    job: int
    key: str
    task: str
    state: str
    attempt: int
    max_attempts: int
    limits: list[Limit] = field(default_factory=list)
    unique: str = ""
    schedule: str = ""
    tick: float = 0.0


@dataclass(frozen=True, slots=True)
class Move:
    """A row that came into or went out of `running` or `finished`, or came into `job`; `by` is the session's
    application_name, `at` the time of the server's clock in seconds since 1970."""

    place: str
    deed: str
    job: int
    attempt: int
    worker: str
    by: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Effect:
    """A row that a handler wrote in the transaction in which it completed its job."""

    key: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """All of it."""

    jobs: list[Entry] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    misplaced: list[tuple[int, str]] = field(default_factory=list)


def install(dsn: str) -> None:
    """Put the record and the table of effects beside pgjobq's schema."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(INSTALL)


def read(dsn: str) -> Ledger:
    """The ledger as it is now, in one snapshot."""
    with psycopg.connect(dsn) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        jobs = [Entry(*row[:6], [_limit(gate) for gate in row[6] or ()], *row[7:]) for row in conn.execute(JOBS)]
        moves = [Move(*row) for row in conn.execute(MOVES)]
        effects = [Effect(*row) for row in conn.execute("SELECT key, attempt FROM chaos.effect")]
        misplaced = [(row[0], row[1]) for row in conn.execute("SELECT job, places FROM pgjobq.misplaced")]
        return Ledger(jobs, moves, effects, misplaced)


def _limit(gate: dict[str, Any]) -> Limit:
    in_order = gate.get("order") == "fifo"
    holds = in_order and gate.get("on_failure", "hold") == "hold"
    return Limit(gate["key"], 1 if in_order else int(gate["concurrency"]), in_order, holds)
