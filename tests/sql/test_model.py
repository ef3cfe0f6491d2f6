"""The queue against a pure model of it: hypothesis makes up lives of a queue, and after each step both must agree.

The lives are led in support/life.py. PGJOBQ_MODEL_EXAMPLES=1000 searches for longer than 60, and tries every mutant.
"""

from __future__ import annotations

import os

import psycopg
import pytest
from psycopg.errors import IntegrityError

from pgjobq.statements import statement_text
from sql.support.hand import doctored, function_text
from sql.support.life import live


@pytest.mark.timeout(600)
def test_the_queue_lives_as_its_model_does(dsn: str) -> None:
    live(dsn, {})


MUTANTS: dict[str, tuple[str, str, str]] = {
    "complete without the worker": ("complete", "AND r.worker = $3::uuid", "AND $3::uuid IS NOT NULL"),
    "complete without the attempt": ("complete", "AND r.attempt = x.attempt", ""),
    "settle without the worker": (
        "settle",
        "AND r.worker = $2::uuid FOR UPDATE",
        "AND $2::uuid IS NOT NULL FOR UPDATE",
    ),
    "a snooze that spends": ("settle", "l.spared + coalesce(x.spare, 0)", "l.spared"),
    "a return that is counted": ("settle", "l.attempt - coalesce(x.back, 0)", "l.attempt"),
    "an error that is not kept": ("settle", "FROM held WHERE kind IS NOT NULL", "FROM held WHERE fate = 'f'"),
    "ready again under the old number": ("settle", "SELECT nextval('pgjobq.job_id_seq'), job", "SELECT job, job"),
    "a claim that is not counted": (
        "claim",
        "$5::uuid, attempt + 1, spared FROM taken",
        "$5::uuid, attempt, spared FROM taken",
    ),
    "the newest first": ("claim", "ORDER BY r.seq LIMIT", "ORDER BY r.seq DESC LIMIT"),
    "a claim for the dead": (
        "claim",
        "CASE WHEN EXISTS (SELECT FROM pgjobq.worker w WHERE w.id = $5::uuid)",
        "CASE WHEN true",
    ),
    "lanes in any order": ("lanes", "ORDER BY priority, queue", "ORDER BY priority DESC, queue"),
    "a counter lost while adopting": (
        "adopt",
        "$4::uuid, attempt + 1, spared FROM taken",
        "$4::uuid, attempt + 1, 0 FROM taken",
    ),
    "a stray that is counted": ("stray", "r.attempt - 1 AS made", "r.attempt AS made"),
    "promoted too early": ("promote", "s.run_at <= pgjobq.clock()", "s.run_at <= pgjobq.clock() + interval '9 s'"),
    "promoted last first": (
        "promote",
        "(SELECT * FROM due ORDER BY priority, run_at)",
        "(SELECT * FROM due ORDER BY run_at DESC)",
    ),
    "the dead get every attempt back": (
        "rescue",
        "AND NOT job = ANY ($3::bigint[]), false)",
        "AND ($3::bigint[] IS NULL OR true), false)",
    ),
    "a poison pill that never ends": ("rescue", ">= j.max_attempts AS over", "> j.max_attempts AS over"),
    "all are spared": ("rescue", "AND h.job = ANY ($5::bigint[]) THEN", "AND ($5::bigint[] IS NULL OR true) THEN"),
    "a rescue of the living": ("rescue", "w.expires_at < now()", "w.expires_at < now() + interval '1 h'"),
    "forgotten too early": ("retain", "CASE outcome WHEN 'f' THEN $3", "CASE outcome WHEN 's' THEN $3"),
}


QUICKLY_FOUND = [
    "complete without the worker",
    "complete without the attempt",
    "settle without the worker",
    "a claim that is not counted",
    "ready again under the old number",
    "promoted too early",
    "a rescue of the living",
]
"""What the suite tries each time; the others take up to a minute, and are tried when a longer search is asked for."""


@pytest.mark.timeout(300)
@pytest.mark.lawless("a mutant may lose jobs")
@pytest.mark.parametrize("mutant", MUTANTS if "PGJOBQ_MODEL_EXAMPLES" in os.environ else QUICKLY_FOUND)
def test_a_mutant_does_not_live_like_the_model(dsn: str, mutant: str) -> None:
    """The search would notice: each of these statements, one thing in it changed, is caught."""
    name, old, new = MUTANTS[mutant]
    with pytest.raises((AssertionError, ExceptionGroup, IntegrityError)):
        live(dsn, {name: doctored(statement_text(name), (old, new))}, search=False)


@pytest.mark.lawless("a mutant may lose jobs")
@pytest.mark.parametrize(
    ("function", "old", "new"),
    [
        ("retry", "AND f.outcome <> 's'", ""),
        ("complete", "AND r.attempt = complete.attempt", ""),
        ("enqueue", "IF due > started", "IF due >= started"),
    ],
)
def test_a_mutant_function_does_not_live_like_the_model(dsn: str, function: str, old: str, new: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(doctored(function_text(function), (old, new)).encode())
    with pytest.raises((AssertionError, ExceptionGroup, IntegrityError)):
        live(dsn, {}, search=False)
