"""What operators do and look at, as Statements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from pgjobq.explanation import Facts, explained
from pgjobq.job import Explanation, Job
from pgjobq.overview import AuditEntry, Pause, QueueStats, Stats, WorkerInfo
from pgjobq.settings.schema_name import put_schema_name
from pgjobq.statements.jobs import id_text, read_job
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text

__all__ = [
    "act",
    "act_on_one",
    "audit",
    "cancel_running",
    "clock",
    "count",
    "deepest",
    "explain",
    "find",
    "ids",
    "pause",
    "paused",
    "queues",
    "resume",
    "stats",
    "workers",
]

T = TypeVar("T")


def pause(
    schema: str, kind: str, name: str, reason: str | None, until: datetime | timedelta | None, by: str | None
) -> Statement[bool]:
    """Pause a queue or a task; False when it was paused already. A span counts by the server's clock."""
    at = until.isoformat() if isinstance(until, datetime) else None
    span = repr(until.total_seconds()) if isinstance(until, timedelta) else None
    params = (kind, name, reason, at, by, span)
    return Statement("pause", statement_text("pause", schema), params, _flag)


def resume(schema: str, kind: str, name: str, by: str | None) -> Statement[bool]:
    """Resume it; False when it was not paused."""
    return Statement("resume", statement_text("resume", schema), (kind, name, by), _flag)


def paused(schema: str) -> Statement[list[Pause]]:
    """What is paused now."""
    return Statement("paused", statement_text("paused", schema), (), lambda rows: _read(Pause, rows))


def cancel_running(schema: str, job: int, reason: str | None, by: str | None) -> Statement[bool]:
    """Cancel a job even if it runs; False when it has ended or does not exist."""
    params = (id_text(job), reason, by)
    return Statement("cancel_running", statement_text("cancel_running", schema), params, _flag)


def audit(schema: str, before: int | None, limit: int) -> Statement[list[AuditEntry]]:
    """What operators did, newest first."""
    params = (None if before is None else str(before), str(limit))
    return Statement("audit", statement_text("audit", schema), params, lambda rows: _read(AuditEntry, rows))


# What is not asked for does not stand in the statement: `$1 IS NULL OR …` would keep the planner from the indexes.
# Those in _OF_JOB read the table `job`, the others have the id only ({key}).
_CONDITIONS = {
    "ref": "v.ref = {0}::text",
    "queue": "v.queue = {0}::text",
    "task": "v.task = {0}::text",
    "tag": "v.tags @> ARRAY[{0}::text]",
    "args": "v.args @> {0}::text::jsonb",
    "since": "v.created_at >= {0}::text::timestamptz",
    "until": "v.created_at < {0}::text::timestamptz",
    "worker": (
        "(EXISTS (SELECT FROM pgjobq.running x WHERE x.job = {key} AND x.worker = {0}::text::uuid)"
        " OR EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = {key} AND f.worker = {0}::text::uuid))"
    ),
    "error": (
        "EXISTS (SELECT FROM pgjobq.attempt_error e WHERE e.job = {key}"
        " AND position(lower({0}::text) IN lower(e.kind || ': ' || e.message)) > 0)"
    ),
    "workflow": "{key} IN (SELECT w.job FROM pgjobq.member w WHERE w.workflow = {0}::text::bigint)",
    "ids": "{key} = ANY ({0}::text::bigint[])",
    "wholes": "{key} NOT IN (SELECT l.job FROM ({depths}) l WHERE l.wholes > {0}::text::int)",
    "before": "{key} < {0}::text::bigint",
    "after": "{key} > {0}::text::bigint",
    "finished_before": (
        "EXISTS (SELECT FROM pgjobq.finished f WHERE f.job = {key} AND f.finished_at < {0}::text::timestamptz)"
    ),
}
ENDED_BADLY = "ended_badly"
"""Failed and cancelled jobs, as a state."""
_OF_JOB = {"ref", "queue", "task", "tag", "args", "since", "until"}


def find(schema: str, filters: Mapping[str, str], limit: int, before: int | None = None) -> Statement[list[Job]]:
    """Jobs that pass all filters (by the names in _CONDITIONS, as text), newest first; only those before this id."""
    if before is not None:
        filters = {**filters, "before": str(max(0, min(before, 2**63 - 1)))}
    inner, params = _selection(schema, filters, limit, "DESC")
    shown = f"SELECT to_jsonb(j)::text FROM ({inner}) i JOIN pgjobq.jobs j ON j.id = i.job ORDER BY j.id DESC"  # noqa: S608
    sql = put_schema_name(shown, schema)
    return Statement("find", sql, params, lambda rows: [read_job(text) for (text,) in rows])


def ids(schema: str, filters: Mapping[str, str], limit: int) -> Statement[list[int]]:
    """Their ids, oldest first."""
    inner, params = _selection(schema, filters, limit, "ASC")
    sql = f"SELECT i.job::text FROM ({inner}) i ORDER BY i.job"  # noqa: S608
    return Statement("ids", sql, params, lambda rows: [int(text) for (text,) in rows])


def count(schema: str, filters: Mapping[str, str], most: int | None) -> Statement[int]:
    """How many there are; counts no further than `most`."""
    sql, params = _selection(schema, filters, most, None)
    counted = f"SELECT count(*)::text FROM ({sql}) x"  # noqa: S608  # only our own words
    return Statement("count", counted, params, lambda rows: int(rows[0][0]))


def deepest(schema: str) -> Statement[int]:
    """How many whole workflows a job that ended badly comes after at the most, one after the other."""
    sql = f"SELECT coalesce(max(l.wholes), 0)::text FROM ({statement_text('depths', schema)}) l"  # noqa: S608
    return Statement("deepest", sql, (), lambda rows: int(rows[0][0]))


def act(
    schema: str, what: str, jobs: Iterable[int], about: Mapping[str, str], by: str | None, target: str | None
) -> Statement[int]:
    """Do something to these jobs, in the order of their ids, and write it down; gives how many it changed."""
    array = "{" + ",".join(map(str, jobs)) + "}"
    params = (what, array, msgspec.json.encode(dict(about)).decode(), by, target)
    return Statement("act", statement_text("act", schema), params, lambda rows: int(rows[0][0]))


def act_on_one(schema: str, what: str, job: int, by: str | None) -> Statement[bool]:
    """The same for one job; False when it changed nothing."""
    found = act(schema, what, [int(id_text(job))], {"job": str(job)}, by, None)
    return Statement(what, found.sql, found.params, lambda rows: int(rows[0][0]) > 0)


def queues(schema: str) -> Statement[list[QueueStats]]:
    """All queues, by name."""
    return Statement("queues", statement_text("queues", schema), (), lambda rows: _read(QueueStats, rows))


def workers(schema: str) -> Statement[list[WorkerInfo]]:
    """All worker processes that are on the list."""
    return Statement("workers", statement_text("workers", schema), (), lambda rows: _read(WorkerInfo, rows))


def stats(schema: str) -> Statement[Stats]:
    """How many jobs there are in each state, and the pace."""
    return Statement("stats", statement_text("stats", schema), (), lambda rows: _read(Stats, rows)[0])


def clock(schema: str) -> Statement[datetime]:
    """What time it is, by the database's clock."""
    return Statement(
        "clock", statement_text("clock", schema), (), lambda rows: datetime.fromtimestamp(float(rows[0][0]), UTC)
    )


def explain(schema: str, job: int) -> Statement[Explanation | None]:
    """Why a job is where it is."""

    def decode(rows: Rows) -> Explanation | None:
        return explained(_read(Facts, rows)[0]) if rows else None

    return Statement("explain", statement_text("explain", schema), (id_text(job),), decode)


def _selection(
    schema: str, filters: Mapping[str, str], limit: int | None, order: str | None
) -> tuple[str, tuple[str, ...]]:
    """The ids that are wanted. The table of the wanted state leads: a look for failed jobs reads failed jobs only, and
    what the list shows is read for its own rows only."""
    asked = {name: value for name, value in filters.items() if name != "state"}
    key, source = "v.id", "pgjobq.job v"
    if "state" in filters:
        key, source = "c.job", "(" + statement_text("candidates_" + filters["state"]) + ") c"
        if asked.keys() & _OF_JOB:
            source += " JOIN pgjobq.job v ON v.id = c.job"
    sql = f"SELECT {key} AS job FROM {source}"  # noqa: S608  # only our own words; values are parameters
    if asked:
        words = {"key": key, "depths": statement_text("depths")}
        sql += " WHERE " + " AND ".join(_CONDITIONS[name].format(f"${n}", **words) for n, name in enumerate(asked, 1))
    if order:
        sql += f" ORDER BY {key} {order}"
    params = list(asked.values())
    if limit is not None:
        params.append(str(limit))
        sql += f" LIMIT ${len(params)}::text::bigint"
    return put_schema_name(sql, schema), tuple(params)


def _flag(rows: Rows) -> bool:
    return bool(rows[0][0] == "true")


def _read(kind: type[T], rows: Rows) -> list[T]:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
    return [decoder.decode(text) for (text,) in rows]
