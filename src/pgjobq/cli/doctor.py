"""`pgjobq doctor`: what may be wrong with a database that a queue lives in, each finding with its cure."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pgjobq import migrate
from pgjobq.cli.desk import age, desk, parser, show_json, show_table
from pgjobq.cli.progress import Progress
from pgjobq.queue import Queue
from pgjobq.settings import put_schema_name
from pgjobq.statements import statement_text

__all__ = ["doctor"]

_DESCRIPTION = """\
Examine the queue and its database: schema, conservation law, autovacuum, long
transactions, replication, bloat, indexes, queues nobody serves, tasks nobody
knows, dead workers, clocks, settings. Changes nothing. Each finding names its
cure."""
_EPILOG = """\
exit codes:
  0  all well, or warnings only
  1  something is bad
  2  wrong usage or configuration, or no answer from the database

examples:
  pgjobq doctor
  pgjobq doctor --json
"""
MANY = 100_000
"""Jobs from which a search through all of them takes long enough to be noticed."""
LONG = 300
"""Seconds from which a transaction is long: rows that it may still see cannot be removed."""


OLD = 1_000_000_000
"""Transactions since the oldest row was written from which that is a danger: autovacuum comes at 200,000,000."""
FAR_BEHIND = 100_000
"""Transactions that a reader of the replication may be behind before that is worth a word."""
CROWDED = 0.8
"""The share of max_connections from which there are few left."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one examination."""

    check: str
    verdict: Literal["ok", "warning", "bad"]
    found: str
    cure: str | None = None


def doctor(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    options = parser("pgjobq doctor", "pgjobq doctor [--json]", _DESCRIPTION, _EPILOG).read(argv)
    with desk(options) as queue, Progress("examining", quiet=options.json):
        findings = list(_examine(queue))
    if options.json:
        show_json({"healthy": all(one.verdict != "bad" for one in findings), "findings": findings})
    else:
        show_table(("CHECK", "VERDICT", "FOUND"), [(one.check, one.verdict, one.found) for one in findings], colour=1)
        for one in findings:
            if one.cure:
                print(f"\n{one.check}: {one.found}\n  cure: {one.cure}")
    return 1 if any(one.verdict == "bad" for one in findings) else 0


def _examine(queue: Queue) -> Iterator[Finding]:
    with queue.pools.connection() as conn:

        def ask(name: str) -> list[tuple[Any, ...]]:
            return conn.execute(statement_text(name, queue.schema).encode()).fetchall()

        status = migrate.status(conn, queue.schema)
        if status.current > status.wanted:
            found = f"version {status.current}, this pgjobq knows {status.wanted}"
            yield Finding("schema", "bad", found, "upgrade this installation of pgjobq")
            return
        if not status.is_current:
            yield Finding("schema", "bad", f"version {status.current} of {status.wanted}", "run `pgjobq migrate`")
            return
        yield Finding("schema", "ok", f"version {status.current}")
        for check in CHECKS:
            yield from check(queue, ask)


Ask = Callable[[str], list[tuple[Any, ...]]]


def _law(queue: Queue, _ask: Ask) -> Iterator[Finding]:
    broken = queue.misplaced()
    if broken:
        shown = ", ".join(f"{job} ({places})" for job, places in broken[:3])
        cure = "a defect, or somebody wrote to the tables by hand: keep a dump, and see docs/concepts.md"
        yield Finding("conservation law", "bad", f"{len(broken)} jobs misplaced: {shown}", cure)
    else:
        yield Finding("conservation law", "ok", "every job stands in exactly one place")


def _indexes(queue: Queue, ask: Ask) -> Iterator[Finding]:
    text = put_schema_name((migrate._HERE / "schema.sql").read_text("utf-8"), queue.schema)
    wanted = set(re.findall(r"^CREATE (?:UNIQUE )?INDEX (\w+)", text, re.MULTILINE))
    there: dict[str, bool] = dict(ask("doctor_indexes"))
    lost = sorted(wanted - there.keys()) + sorted(name for name, valid in there.items() if not valid)
    if lost:
        cure = "create them again as in `pgjobq migrate --sql` for a new database, or REINDEX those that are not valid"
        yield Finding("indexes", "bad", f"missing or not valid: {', '.join(lost)}", cure)
    else:
        yield Finding("indexes", "ok", f"all {len(there)} are there")


_SETTINGS = {
    "fsync": ("bad", "a crash of the server may ruin the whole database: set fsync = on"),
    "full_page_writes": ("bad", "a crash of the server may ruin pages: set full_page_writes = on"),
    "autovacuum": ("bad", "tables grow without end and transaction ids run out: set autovacuum = on"),
    "track_counts": ("bad", "autovacuum is blind without it: set track_counts = on"),
    "synchronous_commit": (
        "warning",
        "after a crash of the server jobs may be missing that were committed: set it to on, or accept that",
    ),
}


def _settings(_queue: Queue, ask: Ask) -> Iterator[Finding]:
    found: dict[str, str] = dict(ask("doctor_settings"))
    wrong = 0
    for name, (verdict, cure) in _SETTINGS.items():
        if found[name] == "off":
            wrong += 1
            yield Finding(f"setting {name}", "bad" if verdict == "bad" else "warning", found[name], cure)
    if not wrong:
        yield Finding("settings", "ok", ", ".join(f"{name} = {found[name]}" for name in ("fsync", "autovacuum")))
    used, most = int(found["connections"]), int(found["max_connections"])
    if used > most * CROWDED:
        cure = "raise max_connections, or put PgBouncer in front (docs/operations.md)"
        yield Finding("connections", "warning", f"{used} of {most} in use", cure)


def _autovacuum(_queue: Queue, ask: Ask) -> Iterator[Finding]:
    """Whether it comes to the tables that churn, and how old the oldest row of the database is in transactions."""
    tables = ask("doctor_autovacuum")
    off = [name for name, is_off, _, _ in tables if is_off]
    for name in off:
        cure = f"it grows without end: ALTER TABLE {name} RESET (autovacuum_enabled)"
        yield Finding("autovacuum", "bad", f"switched off for {name}", cure)
    plain = [name for name, is_off, is_ours, _ in tables if not is_off and not is_ours]
    for name in plain:
        cure = f"ALTER TABLE {name} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)"
        yield Finding("autovacuum", "warning", f"{name} has lost the settings it was made with", cure)
    age_of_oldest, most = tables[0][3]
    if age_of_oldest > OLD:
        cure = "something keeps VACUUM from it (see transactions): at 2,000,000,000 the server refuses to write"
        yield Finding("autovacuum", "bad", f"the oldest row is {age_of_oldest:,} transactions old", cure)
    elif not off and not plain:
        yield Finding("autovacuum", "ok", f"on; oldest row {age_of_oldest:,} of {most:,} transactions old")


def _transactions(_queue: Queue, ask: Ask) -> Iterator[Finding]:
    long = [row for row in ask("doctor_transactions") if row[1] > LONG]
    if not long:
        yield Finding("transactions", "ok", "none is long")
    for who, seconds, kind in long[:3]:
        cure = (
            f"{kind}: end it (pg_terminate_backend, ROLLBACK PREPARED), set idle_in_transaction_session_timeout: "
            "while it lasts no dead row is removed and claims grow slower"
        )
        yield Finding("transactions", "warning", f"{who} has one for {round(seconds / 60)} min", cure)


def _replication(_queue: Queue, ask: Ask) -> Iterator[Finding]:
    """Slots that nobody reads keep WAL until the disk is full; those and standbys with feedback also keep dead rows."""
    rows = ask("doctor_replication")
    wrong = 0
    for who, is_active, transactions, wal in rows:
        held = f"holds back rows of the last {transactions:,} transactions" if transactions is not None else ""
        if not is_active:
            wrong += 1
            kept = f"keeps {wal / 2**20:,.0f} MiB of WAL" if wal else ""
            told = " and ".join(filter(None, (kept, held))) or "keeps what comes from now on"
            cure = (
                "bring its reader back, or pg_drop_replication_slot(); max_slot_wal_keep_size bounds what it may keep"
            )
            yield Finding("replication", "warning", f"{who} has no reader and {told}", cure)
        elif transactions is not None and transactions > FAR_BEHIND:
            wrong += 1
            cure = (
                "end the long query on the standby, or set hot_standby_feedback = off there: while it lasts no dead "
                "row is removed and claims grow slower"
            )
            yield Finding("replication", "warning", f"{who} {held}", cure)
    if not wrong:
        yield Finding("replication", "ok", "nobody holds rows back" if rows else "none")


def _bloat(_queue: Queue, ask: Ask) -> Iterator[Finding]:
    bloated = [(name, live, dead) for name, live, dead in ask("doctor_bloat") if dead > 50_000 and dead > 2 * live]
    if not bloated:
        yield Finding("bloat", "ok", "few dead rows in the tables that churn")
    for name, live, dead in bloated:
        cure = "see transactions above; if there is none, VACUUM it, and let workers do so (docs/operations.md)"
        yield Finding("bloat", "warning", f"{name}: {dead:,} dead rows for {live:,} live ones", cure)


def _searches(queue: Queue, ask: Ask) -> Iterator[Finding]:
    """An index that not everybody wants, since every enqueue pays for it: named only where there is much to search."""
    ((jobs, is_indexed),) = ask("doctor_searches")
    if jobs > MANY and not is_indexed:
        sql = f"CREATE INDEX CONCURRENTLY job_args ON {queue.schema}.job USING gin (args jsonb_path_ops)"
        cure = f"if you look for arguments often, and can spare it at each enqueue: {sql}"
        yield Finding("searches", "ok", f"one for arguments alone reads all of about {jobs:,} jobs", cure)


def _unserved(queue: Queue, ask: Ask) -> Iterator[Finding]:
    bare = [one for one in queue.queues() if one.ready and not one.workers and not one.paused]
    if not bare:
        yield Finding("queues", "ok", "every queue with ready jobs is served or paused")
    for one in bare:
        cure = f"start a worker that has {one.name} among its --queues, or serves all"
        yield Finding("queues", "bad", f"{one.name}: {one.ready:,} ready jobs, no live worker", cure)
    for waits_for, count in ask("doctor_unknown"):
        cure = "deploy a worker whose app declares it (or has the key), or cancel these jobs"
        yield Finding("tasks", "warning", f"{count:,} jobs wait for {waits_for.partition(':')[2]}", cure)
    for pause in queue.paused():
        if pause.until is None:
            cure = f"`pgjobq resume --{pause.kind} {pause.name}`, if that is still not wanted to be so"
            yield Finding(
                "pauses", "warning", f"{pause.kind} {pause.name}, for {age(pause.since)}, without an end", cure
            )


def _leases(queue: Queue, _ask: Ask) -> Iterator[Finding]:
    workers = queue.workers()
    dead = [one for one in workers if not one.alive]
    if dead:
        held = sum(one.running for one in dead)
        cure = "a live worker takes their jobs back within a lease: start one if there is none"
        yield Finding("workers", "warning", f"{len(dead)} stopped renewing their lease, with {held} jobs", cure)
    if not any(one.alive for one in workers):
        yield Finding("workers", "warning", "none is alive", "start one: `pgjobq worker APP`")
    elif not dead:
        yield Finding("workers", "ok", f"{len(workers)} alive")


def _clock(_queue: Queue, ask: Ask) -> Iterator[Finding]:
    before = time.time()
    theirs = float(ask("doctor_clock")[0][0])
    skew = theirs - (before + time.time()) / 2
    if abs(skew) > 2:
        cure = "only the server's clock counts for jobs; set this host's by NTP: a run_at made here is off by as much"
        yield Finding("clock", "warning", f"the server is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}", cure)
    else:
        yield Finding("clock", "ok", "this host and the server agree")


CHECKS = (
    _law, _indexes, _settings, _autovacuum, _transactions, _replication, _bloat, _searches, _unserved, _leases, _clock
)  # fmt: skip
