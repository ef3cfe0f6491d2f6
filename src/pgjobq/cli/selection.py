"""Which jobs a command is about: the filters, as flags and as what `queue.find` takes."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from pgjobq.cli.desk import duration
from pgjobq.errors import ConfigError
from pgjobq.filters import Filters
from pgjobq.queue import Queue
from pgjobq.settings.arguments import CommandLine
from pgjobq.survey import Survey
from pgjobq.wording import did_you_mean, quote

__all__ = ["add_filters", "arguments", "hint", "known_queues", "known_tasks", "number", "selected"]

PLAIN = ("state", "queue", "task", "ref", "tag", "worker", "error")


def add_filters(made: CommandLine, *, by_age: bool = True) -> None:
    """The flags of a search. `by_age`: with --older-than, which some commands mean otherwise."""
    group = made.add_argument_group("filters")
    group.add_argument("--state", metavar="STATE", help="scheduled, blocked, ready, running, succeeded, failed, ...")
    group.add_argument("--queue", metavar="NAME", help="in this queue")
    group.add_argument("--task", metavar="NAME", help="of this task")
    group.add_argument("--ref", metavar="REF", help="of this business thing, such as order:42")
    group.add_argument("--workflow", metavar="ID", help="of this workflow or batch")
    group.add_argument("--tag", metavar="TAG", help="with this tag")
    group.add_argument("--worker", metavar="UUID", help="that this worker process runs or ran")
    group.add_argument("--error", metavar="TEXT", help="with this piece of text in an error")
    group.add_argument(
        "--args", metavar="WHAT", action="append",
        help='with this argument: order_id=7, customer.id=7, or JSON, \'{"customer": {"id": 7}}\'; may be repeated',
    )  # fmt: skip
    group.add_argument("--newer-than", metavar="T", help="enqueued within this time, such as 15m, 2h or 7d")
    if by_age:
        group.add_argument("--older-than", metavar="T", help="enqueued longer ago than that")


def selected(options: Namespace, *, ended: bool = False) -> Filters:
    """What `queue.find` takes. `ended`: --older-than is about when they ended, not when they were enqueued.

    Raises ConfigError.
    """
    filters: dict[str, Any] = {name: getattr(options, name) for name in PLAIN}
    if options.args:
        filters["args"] = arguments(options.args)
    if (past := duration(options.newer_than, "--newer-than")) is not None:
        filters["since"] = datetime.now(UTC) - past
    if (past := duration(options.older_than, "--older-than")) is not None:
        filters["finished_before" if ended else "until"] = datetime.now(UTC) - past
    if options.workflow is not None:
        filters["workflow"] = number(options.workflow, "--workflow")
    if options.ids:
        filters["ids"] = [number(text, "ID") for text in options.ids]
    return {name: value for name, value in filters.items() if value is not None}  # type: ignore[return-value]


def arguments(texts: Iterable[str]) -> dict[str, Any]:
    """Arguments as JSON objects or as paths, `customer.id=7`, put together. Raises ConfigError.

    What stands behind `=` is JSON where it can be read as such, else a text: `ok=true`, `name=Zoë`, `zip="75001"`.
    """
    found: dict[str, Any] = {}
    for text in texts:
        _merge(found, _object(text) if text.lstrip().startswith(("{", "[")) else _at_path(text), text)
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError(f"--args {text!r}: wants a JSON object, or a path such as customer.id=7 ({error})") from None


def _at_path(text: str) -> dict[str, Any]:
    path, is_one, value = text.partition("=")
    names = path.split(".")
    if not is_one or not all(names):
        raise ConfigError(f"--args {text!r}: wants name=value, such as order_id=7 or customer.id=7, or a JSON object")
    try:
        found: Any = msgspec.json.decode(value)
    except msgspec.DecodeError:
        found = value
    for name in reversed(names):
        found = {name: found}
    return found  # type: ignore[no-any-return]


def _merge(into: dict[str, Any], more: dict[str, Any], text: str) -> None:
    for name, value in more.items():
        known = into.setdefault(name, value)
        if known is value or known == value:
            continue
        if not (isinstance(known, dict) and isinstance(value, dict)):
            raise ConfigError(f"--args {text!r}: {name!r} is {quote(known)} already; no job has both")
        _merge(known, value, text)


def number(text: str, what: str) -> int:
    """A whole number from 0 on. Raises ConfigError."""
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{what} {text!r}: wants a whole number")
    return int(text)


def known_queues(queue: Queue, conn: object = None) -> set[str]:
    """The queues that have jobs, are paused or limited, or that a worker names."""
    named = {name for worker in queue.workers(conn=conn) for name in worker.queues}
    counted = {one.queue for one in Survey(queue).queues(conn=conn)}
    return named | counted | {one.queue for one in queue.limits(conn=conn)} | {
        one.name for one in queue.paused(conn=conn) if one.kind == "queue"
    }  # fmt: skip


def known_tasks(queue: Queue, conn: object = None) -> set[str]:
    """The tasks that a live worker knows."""
    return {task for worker in queue.workers(conn=conn) if worker.alive for task in worker.tasks}


def hint(queue: Queue, options: Namespace) -> None:
    """Nothing was found: say so when a name looks like a slip, on stderr."""
    for what, known in (("queue", known_queues), ("task", known_tasks)):
        name = getattr(options, what, None)
        if name is None or name in (names := known(queue)):
            continue
        if near := did_you_mean(name, names):
            print(f"pgjobq: no {what} {name!r} is known.{near}", file=sys.stderr)
