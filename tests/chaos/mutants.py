"""The engine with one mistake each. A checker that lets one of them pass is blind on that side.

A mistake in SQL that the worker says is made in its processes, by a `sitecustomize` of the test's own; one in a
function of the schema is made in the test's database; one in Python replaces an attribute. Nothing in `src` knows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import psycopg

__all__ = ["MUTANTS", "Mutant"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake.

    drill: in which it shows; breaks: the promise that must be found broken (see checker); about: what is wrong;
    statement: (name of the statement, what is replaced, by what); function: the same for a function of the schema;
    code: does it to the modules.
    """

    drill: str
    breaks: str
    about: str
    statement: tuple[str, str, str] | None = None
    function: tuple[str, str, str] | None = None
    code: Callable[[], None] | None = None

    def infect_process(self) -> None:
        """Make it in this process, before the engine is loaded by anybody else."""
        if self.statement is not None:
            from pgjobq.statements import text

            name, wrong, instead = self.statement
            texts = text._statements()
            texts[name] = _replace(texts[name], wrong, instead)
            text.statement_text.cache_clear()
        if self.code is not None:
            self.code()

    def infect_database(self, dsn: str) -> None:
        """Make it in this database, in every function (of that name) in which the wrong text stands."""
        if self.function is None:
            return
        name, wrong, instead = self.function
        sql = """SELECT pg_get_functiondef(oid) FROM pg_proc
                 WHERE pronamespace = 'pgjobq'::regnamespace AND proname LIKE %s"""
        with psycopg.connect(dsn, autocommit=True) as conn:
            bodies = [row[0] for row in conn.execute(sql, (name,)) if wrong in row[0]]
            if not bodies:
                raise LookupError(f"{wrong!r} stands in no function {name}")
            for body in bodies:
                conn.execute(body.replace(wrong, instead).encode())


def _replace(text: str, old: str, new: str) -> str:
    if old not in text:
        raise LookupError(f"{old!r} does not stand in\n{text}")
    return text.replace(old, new)


def _patch(module: str, path: str, value: Any) -> Callable[[], None]:
    def patch() -> None:
        from importlib import import_module

        holder: Any = import_module(module)
        *steps, last = path.split(".")
        for step in steps:
            holder = getattr(holder, step)
        getattr(holder, last)  # it must be there
        setattr(holder, last, value)

    return patch


def _plan_naively(self: Any, now: float, *, idle: bool = False) -> Any:
    from pgjobq.engine.cursor import Look

    return Look("fast", self.lanes, tuple(self.fast.get(lane, 0) for lane in self.lanes))


def _trust_old_heartbeats() -> None:
    from pgjobq.engine.upkeep import Upkeep

    lawful = Upkeep._rescue

    def rescue(self: Any) -> None:
        self._contact = lambda: inf  # as if it had been unbroken for ever
        lawful(self)

    _patch("pgjobq.engine.upkeep", "Upkeep._rescue", rescue)()


def _forget_in_an_outage() -> None:
    from pgjobq.engine.pump import Pump

    lawful = Pump._outage

    async def forget(self: Any, error: BaseException) -> None:
        self._outbox.take()
        await lawful(self, error)

    _patch("pgjobq.engine.pump", "Pump._outage", forget)()


def _forget_missed_ticks() -> None:
    from dataclasses import replace

    from pgjobq import schedule

    lawful = schedule.plan

    def plan(definition: dict[str, Any], since: Any, now: Any) -> Any:
        found = lawful(definition, since, now)
        return replace(found, ticks=found.ticks[-1:])

    _patch("pgjobq.engine.ticks", "plan", plan)()


def _overlook_the_dead() -> None:
    _patch("pgjobq.engine.supervisor", "Supervisor._report_death", lambda self, process, code: None)()
    _patch("pgjobq.engine.supervisor", "Supervisor._deserves", lambda self, worker: True)()


MUTANTS: dict[str, Mutant] = {
    "complete_by_job_alone": Mutant(
        "storm",
        "c",
        "a success is settled for whoever holds the job now",
        statement=("complete", "r.job = x.job AND r.attempt = x.attempt AND r.worker = $3::uuid", "r.job = x.job"),
    ),
    "settle_by_job_alone": Mutant(
        "storm",
        "c",
        "a failure is settled for whoever holds the job now",
        statement=("settle", "AND r.attempt = x.attempt", "AND $2::uuid IS NOT NULL OR r.job = x.job"),
    ),
    "complete_within_by_job_alone": Mutant(
        "storm",
        "c",
        "complete(conn) does not ask whose attempt it is",
        function=("complete", "AND r.attempt = complete.attempt AND r.worker = complete.worker", ""),
    ),
    "rescue_gives_the_attempt_back": Mutant(
        "storm",
        "d",
        "an attempt that killed its worker is not counted",
        statement=("rescue", "attempt - unstarted::int", "attempt - 1"),
    ),
    "rescue_without_the_lease": Mutant(
        "outage",
        "f",
        "whoever is not me is dead, whatever its lease says",
        statement=("rescue", "w.expires_at < now() - make_interval(secs => $4::float8)", "$4::float8 IS NOT NULL"),
    ),
    "rescue_forgets_to_put_back": Mutant(
        "storm",
        "law",
        "what a dead worker held is deleted and stands nowhere",
        statement=("rescue", "WHERE (unstarted OR (NOT over AND spent <= 1)) AND ahead IS NULL", "WHERE false"),
    ),
    "rescue_never_gives_up": Mutant(
        "storm",
        "d",
        "a job that kills its workers does so for ever",
        statement=(
            "rescue",
            "NOT h.unstarted AND h.attempt - h.spared - s.spare >= j.max_attempts AS over",
            "false AS over",
        ),
    ),
    "rescue_at_once_after_an_outage": Mutant(
        "outage",
        "f",
        "after an outage every heartbeat looks old, and is believed",
        code=_trust_old_heartbeats,
    ),
    "claim_leaves_the_ready_row": Mutant(
        "storm",
        "law",
        "a claimed job is still offered",
        statement=(
            "claim",
            "DELETE FROM pgjobq.ready WHERE ctid",
            "UPDATE pgjobq.ready SET attempt = attempt WHERE ctid",
        ),
    ),
    "claim_takes_no_lease": Mutant(
        "storm",
        "law",
        "a claimed job is held by nobody",
        statement=("claim", "attempt + 1, spared FROM taken", "attempt + 1, spared FROM taken WHERE false"),
    ),
    "cursor_naive": Mutant(
        "late",
        "a",
        "claims start at the highest number seen, and miss who commits late",
        code=_patch("pgjobq.engine.cursor", "ClaimCursor.plan", _plan_naively),
    ),
    "settle_drops_retries": Mutant(
        "storm",
        "law",
        "a job that failed and is to be tried again is forgotten",
        statement=("settle", "FROM placed WHERE fate = 'again' AND due IS NOT NULL", "FROM placed WHERE false"),
    ),
    "settle_takes_the_attempt_back": Mutant(
        "storm",
        "d",
        "a failure spends no attempt",
        statement=("settle", "l.attempt - coalesce(x.back, 0)", "l.attempt - 1"),
    ),
    "promote_leaves_the_row": Mutant(
        "storm",
        "law",
        "a due job is ready and stays scheduled",
        statement=(
            "promote",
            "DELETE FROM pgjobq.scheduled WHERE ctid",
            "UPDATE pgjobq.scheduled SET attempt = attempt WHERE ctid",
        ),
    ),
    "heart_beats_for_the_dead": Mutant(
        "storm",
        "e",
        "a process that is stopped keeps its leases",
        code=_patch("pgjobq.engine.supervisor", "Process.frozen", False),
    ),
    "the_dead_keep_their_leases": Mutant(
        "storm",
        "a",
        "nobody notices that a process has died, and its leases are renewed",
        code=_overlook_the_dead,
    ),
    "lost_leases_are_not_told": Mutant(
        "storm",
        "a",
        "a worker that was declared dead goes on under its old name",
        code=_patch("pgjobq.engine.pump", "Pump.lease_lost", lambda self, worker: None),
    ),
    "outcomes_lost_in_an_outage": Mutant(
        "outage",
        "d",
        "what could not be written is forgotten",
        code=_forget_in_an_outage,
    ),
    "nobody_is_woken": Mutant(
        "quiet",
        "e",
        "enqueue tells no sleeping worker",
        function=("%", "pg_notify('pgjobq',", "pg_notify('nobody',"),
    ),
    "nobody_says_that_he_sleeps": Mutant(
        "quiet",
        "e",
        "a worker goes to sleep without saying so",
        statement=("doze", "WHERE last_value", "WHERE false AND last_value"),
    ),
    "a_gate_counts_nobody": Mutant(
        "shared",
        "limit",
        "a gate lets everybody through",
        function=("gate_room", "AND pgjobq.pass_counts(p.job, p.keeps))", "AND false)"),
    ),
    "a_gate_forgets_the_ready": Mutant(
        "shared",
        "limit",
        "whoever was let through and has not started yet is not counted",
        function=(
            "pass_counts",
            "OR EXISTS (SELECT FROM pgjobq.ready r WHERE r.job = pass_counts.job AND r.seq <> r.job)",
            "",
        ),
    ),
    "the_last_comes_first": Mutant(
        "shared",
        "order",
        "the youngest of a line goes first",
        function=("admit_at", "here ORDER BY b.job LIMIT 1) b", "here ORDER BY b.job DESC LIMIT 1) b"),
    ),
    "a_failed_job_is_overtaken": Mutant(
        "shared",
        "order",
        "a job that will be tried again holds up nobody",
        function=("gate_keeps", "'hold') = 'hold'", "'hold') = 'never'"),
    ),
    "a_key_is_had_by_many": Mutant(
        "shared",
        "unique",
        "whoever holds a key, the next one takes it",
        function=("take_key", "IF holder.until > started OR holder.job = 0 OR EXISTS (", "IF false AND EXISTS ("),
    ),
    "a_key_is_held_for_ever": Mutant(
        "shared",
        "unique",
        "a job that has ended still holds its key",
        function=("take_key", "AND NOT EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = j.id)", ""),
    ),
    "a_tick_fires_twice": Mutant(
        "shared",
        "cron",
        "a tick makes two jobs",
        function=("tick", "ARRAY coalesce(plan.ticks, '{}')", "ARRAY coalesce(plan.ticks || plan.ticks, '{}')"),
    ),
    "a_memory_is_taken_from_anybody": Mutant(
        "storm",
        "c",
        "a step is remembered without asking who holds the job",
        function=(
            "remember_step",
            "IF NOT pgjobq.keep_lease(remember_step.job, remember_step.attempt, remember_step.worker) THEN",
            "IF false THEN",
        ),
    ),
    "a_checkpoint_is_taken_from_anybody": Mutant(
        "storm",
        "c",
        "a checkpoint is kept without asking who holds the job",
        function=(
            "keep_checkpoint",
            "IF NOT pgjobq.keep_lease(keep_checkpoint.job, keep_checkpoint.attempt, keep_checkpoint.worker) THEN",
            "IF false THEN",
        ),
    ),
    "steps_are_forgotten": Mutant(
        "lasting",
        "step",
        "an attempt does not ask what earlier ones have done",
        statement=("recall", "WHERE s.job = $1::text::bigint)", "WHERE s.job = $1::text::bigint AND s.kind <> 'step')"),
    ),
    "a_sleep_is_cut_short": Mutant(
        "lasting",
        "sleep",
        "whoever is to sleep for less than ten seconds goes on",
        function=("sleep_step", "IF due > started THEN", "IF due > started + interval '10 seconds' THEN"),
    ),
    "an_emission_is_dropped": Mutant(
        "lasting",
        "a",
        "an emission is deleted, and its event not written",
        function=("deliver", "FROM met m ORDER BY m.event, m.id", "FROM met m WHERE false ORDER BY m.event, m.id"),
    ),
    "the_last_emission_stands": Mutant(
        "lasting",
        "event",
        "an event that has happened happens again, with another payload",
        function=("deliver", "WHERE e.keep <= started", "WHERE true"),
    ),
    "released_before_the_last_has_ended": Mutant(
        "lasting",
        "flow",
        "a job goes as soon as all but one of those have ended that it waits for",
        function=("release", "WHEN s.open > 0 THEN NULL", "WHEN s.open > 1 THEN NULL"),
    ),
    "a_batch_is_over_at_the_first_failure": Mutant(
        "lasting",
        "flow",
        "what waits for the end of all runs when one has failed",
        function=("workflow_fate", "workflow_fate.needs <> 'a'", "true"),
    ),
    "a_callback_is_called_in_vain": Mutant(
        "lasting",
        "flow",
        "what waits for a failure runs, though there was none",
        function=("release", "WHEN s.needs = 'f' THEN 'c' ELSE 'r' END", "ELSE 'r' END"),
    ),
    "tokens_are_given_back": Mutant(
        "lasting",
        "rate",
        "a start costs no token",
        function=(
            "see_starts",
            "greatest(full_at, began) + step * interval '1 microsecond'",
            "greatest(full_at, began)",
        ),
    ),
    "the_oldest_come_first": Mutant(
        "lasting",
        "fair",
        "whoever has enqueued first passes first, whatever his share",
        function=(
            "take_turns",
            "ORDER BY s.turn, s.share LIMIT",
            (
                "ORDER BY (SELECT min(x.job) FROM pgjobq.blocked x "
                "WHERE x.waits_for = 'gate:' || s.key || chr(31) || s.share) LIMIT"
            ),
        ),
    ),
    "missed_ticks_are_forgotten": Mutant(
        "shared",
        "cron",
        "only the last of the ticks that nobody saw makes a job",
        code=_forget_missed_ticks,
    ),
}
