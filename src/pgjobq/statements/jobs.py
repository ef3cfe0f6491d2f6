"""What an application and its operators say to the queue, as Statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from pgjobq.errors import InvalidOption
from pgjobq.job import AttemptError, Job, JobState, Progress
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text
from pgjobq.task import Call, Options
from pgjobq.wording import quote

__all__ = [
    "complete_within",
    "edit",
    "enqueue",
    "enqueue_alike",
    "enqueue_many",
    "enqueue_unique",
    "entry",
    "errors",
    "get",
    "id_text",
    "jobs",
    "misplaced",
    "read_job",
    "watch",
]

_encode = msgspec.json.Encoder().encode


def enqueue(schema: str, call: Call) -> Statement[int]:
    """Enqueue one call; gives the job's id."""
    if call.is_plain and call.task.version > 1:
        alike = enqueue_alike(schema, call, [call.args_text])
        return Statement("enqueue", alike.sql, alike.params, _only_id)
    if call.is_plain:
        plain = (call.task.name, call.args_text, call.queue, str(call.priority), str(call.max_attempts))
        return Statement("enqueue", statement_text("enqueue_plain", schema), plain, _id)
    if call.needs_the_third_road:  # more than enqueue()'s parameters: the third road
        text = f"[{entry(call)}]"
        name = "enqueue_after" if call.options.depends_on else "enqueue_many"
        return Statement("enqueue", statement_text(name, schema), (text,), _only_id)
    options = call.options
    params = (
        call.task.name,
        call.args_text,
        call.queue,
        str(call.priority),
        options.run_at.isoformat() if options.run_at else None,
        None if options.delay is None else repr(float(options.delay)),
        options.ref,
        _text_array(call.tags) if call.tags else None,
        str(call.max_attempts),
        _encode(options.headers).decode() if options.headers else None,
    )
    return Statement("enqueue", statement_text("enqueue", schema), params, _id)


def enqueue_alike(schema: str, first: Call, arguments: Iterable[str]) -> Statement[list[int]]:
    """Enqueue calls that are like the first one but for their arguments; gives the ids in the same order."""
    arguments = list(arguments)
    lines = "\n".join(arguments)
    if lines.count("\n") >= len(arguments):  # JSON as somebody else laid it out: outside strings it is all the same
        lines = "\n".join(text.replace("\n", " ") for text in arguments)
    params = (
        first.task.name,
        lines,
        first.queue,
        str(first.priority),
        str(first.max_attempts),
        str(first.task.version),
    )
    return Statement("enqueue_many", statement_text("enqueue_alike", schema), params, _ids)


def enqueue_many(schema: str, calls: Iterable[Call]) -> Statement[list[int]]:
    """Enqueue calls in one statement; gives the ids in the same order."""
    calls = list(calls)
    text = "[" + ",".join(map(entry, calls)) + "]"
    name = "enqueue_after" if any(call.options.depends_on for call in calls) else "enqueue_many"
    return Statement("enqueue_many", statement_text(name, schema), (text,), _ids)


def enqueue_unique(schema: str, call: Call) -> Statement[tuple[int, bool, str | None]]:
    """Enqueue one call that has a unique key; gives a job's id (0: skipped), whether it is new, and if not its queue.

    `on_conflict="raise"` is the caller's to look after: an error of the server's would end its transaction.
    """
    text = f"[{entry(call, on_conflict='return')}]"
    name = "enqueue_linked" if call.options.depends_on else "enqueue_unique"
    return Statement("enqueue", statement_text(name, schema), (text,), _receipt)


def edit(schema: str, job: int, call: Call | None, options: Options, by: str | None) -> Statement[bool]:
    """Change a job that waits; False when it does not wait. `call`: with the new arguments, for its task."""
    expires = options.expires
    params = (
        id_text(job),
        None if call is None else call.args_text,
        None if options.priority is None else str(options.priority),
        options.run_at.isoformat() if options.run_at else None,
        None if options.delay is None else repr(float(options.delay)),
        None if call is None else str(call.task.version),
        expires.isoformat() if isinstance(expires, datetime) else None,
        repr(float(expires)) if isinstance(expires, float | int) else None,
        by,
    )
    return Statement("edit", statement_text("edit", schema), params, _flag)


def get(schema: str, job: int) -> Statement[Job | None]:
    """The job of this id, or None."""
    return Statement("get", statement_text("get", schema), (id_text(job),), _job_or_none)


def jobs(
    schema: str,
    *,
    ref: str | None,
    state: JobState | None,
    queue: str | None,
    task: str | None,
    before: int | None,
    limit: int,
) -> Statement[list[Job]]:
    """Jobs that pass every filter given, newest first."""
    params = (
        ref,
        state and state.value,
        queue,
        task,
        None if before is None else str(max(0, min(before, 2**63 - 1))),
        str(limit),
    )
    return Statement("list", statement_text("list", schema), params, _jobs)


def errors(schema: str, job: int) -> Statement[list[AttemptError]]:
    """The failed attempts of a job, first one first."""
    return Statement("errors", statement_text("errors", schema), (id_text(job),), _errors)


def complete_within(schema: str, job: int, attempt: int, worker: str, result: str | None) -> Statement[bool]:
    """Complete an attempt inside the caller's transaction; False when it no longer holds the job."""
    params = (id_text(job), str(attempt), worker, result)
    return Statement("complete_within", statement_text("complete_within", schema), params, _flag)


def watch(schema: str, job: int, seconds: float) -> Statement[object]:
    """Have the end of a job told, for so many seconds."""
    return Statement("watch", statement_text("watch", schema), (id_text(job), repr(float(seconds))), _nothing)


def misplaced(schema: str) -> Statement[list[tuple[int, str]]]:
    """The jobs that break the conservation law, and where they stand."""
    return Statement("misplaced", statement_text("misplaced", schema), (), _places)


# ------------------------------------------------------------------------------------------------ parameters


def entry(
    call: Call,
    on_conflict: str | None = None,
    *,
    after: Sequence[int] = (),
    depends_on: Sequence[int] | None = None,
    needs: str | None = None,
) -> str:
    """One object of enqueue_many's array; what equals the SQL function's own default is left out.

    `on_conflict` stands in for "raise"; `after` (places in the array), `depends_on` and `needs` for what the call says.
    """
    options, queue, tags = call.options, call.queue, call.tags
    made: dict[str, Any] = {"task": call.task.name, "args": msgspec.Raw(call.args_text.encode())}
    if queue != "default":
        made["queue"] = queue
    if call.priority:
        made["priority"] = call.priority
    if options.run_at is not None:
        made["run_at"] = options.run_at.isoformat()
    if options.delay is not None:
        made["delay"] = _interval(options.delay)
    if options.ref is not None:
        made["ref"] = options.ref
    if tags:
        made["tags"] = tags
    if call.max_attempts != 20:
        made["max_attempts"] = call.max_attempts
    if options.headers:
        made["headers"] = options.headers
    if call.task.version > 1:
        made["version"] = call.task.version
    if isinstance(options.expires, datetime):
        made["expires_at"] = options.expires.isoformat()
    elif options.expires is not None:
        made["expires_in"] = _interval(options.expires)
    depends_on = options.depends_on if depends_on is None else depends_on
    if depends_on:
        made["depends_on"] = depends_on
    if after:
        made["after"] = after
    if depends_on or after:
        made["needs"] = needs or options.needs
    if call.gates is not None:
        made["gates"] = msgspec.Raw(call.gates.encode())
    if call.key is not None and (unique := call.unique) is not None:
        made["unique"] = {
            "key": call.key,
            "until": unique.until,
            "on_conflict": on_conflict if on_conflict and unique.on_conflict == "raise" else unique.on_conflict,
        }
        if unique.seconds is not None:
            made["unique"]["period"] = _interval(unique.seconds)
    return _encode(made).decode()


def _interval(span: float) -> str:
    hours, seconds = divmod(span, 3600)  # PostgreSQL 14 takes no more than 2^31 seconds in one number
    return f"{int(hours)} hours {seconds:.6f} seconds"


def id_text(job: object) -> str:
    """An id may come from a URL: one that no bigint holds is simply nobody's, like 0.

    Raises:
        InvalidOption: it is no whole number.
    """
    if not isinstance(job, int) or isinstance(job, bool):
        raise InvalidOption(f"job={quote(job)}: wants the number of a job, such as the id of what enqueue() returns.")
    return str(job) if 0 < job < 2**63 else "0"


def _text_array(values: Iterable[str]) -> str:
    """PostgreSQL's own text form of an array, so that no driver has to adapt a list."""
    escaped = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in escaped) + "}"


# ------------------------------------------------------------------------------------------------ rows


class _JobRow(msgspec.Struct):
    """A row of the view `jobs` as to_jsonb() writes it."""

    id: int
    task: str
    queue: str
    priority: int
    ref: str | None
    tags: tuple[str, ...] | None
    args: dict[str, Any]
    headers: dict[str, Any] | None
    created_at: datetime
    max_attempts: int
    state: JobState
    attempt: int
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    worker: str | None
    result: Any
    reason: str | None
    version: int = 1  # a database that is yet to be migrated does not tell
    expires_at: datetime | None = None
    progress: Progress | None = None
    workflow: int | None = None


_decode_job = msgspec.json.Decoder(_JobRow).decode
_decode_error = msgspec.json.Decoder(AttemptError).decode


def read_job(text: str) -> Job:
    """A row of the view `jobs` as to_jsonb() writes it."""
    row = _decode_job(text)
    values = {field: getattr(row, field) for field in row.__struct_fields__}
    return Job(**{**values, "tags": row.tags or (), "headers": row.headers or {}})


def _jobs(rows: Rows) -> list[Job]:
    return [read_job(text) for (text,) in rows]


def _job_or_none(rows: Rows) -> Job | None:
    return read_job(rows[0][0]) if rows else None


def _errors(rows: Rows) -> list[AttemptError]:
    return [_decode_error(text) for (text,) in rows]


def _id(rows: Rows) -> int:
    return int(rows[0][0])


def _ids(rows: Rows) -> list[int]:
    """The ids as PostgreSQL writes an array of them, or as FIRST+COUNT: one value to fetch, not a thousand rows."""
    text: str = rows[0][0]
    first, follows, count = text.partition("+")
    if follows:
        return [*range(int(first), int(first) + int(count))]
    if "N" in text:  # NULL: a unique job that was skipped
        text = text.replace("NULL", "0")
    return [*map(int, text[1:-1].split(","))] if len(text) > 2 else []


def _only_id(rows: Rows) -> int:
    return _ids(rows)[0]


def _receipt(rows: Rows) -> tuple[int, bool, str | None]:
    job, is_new, queue = rows[0]
    return int(job), bool(is_new == "true"), queue


def _flag(rows: Rows) -> bool:
    return bool(rows[0][0] == "true")


def _nothing(_: Rows) -> object:
    return None


def _places(rows: Rows) -> list[tuple[int, str]]:
    return [(int(job), places) for job, places in rows]
