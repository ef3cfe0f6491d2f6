"""What the operators' commands share: the database, tables, JSON, and the question before something dangerous."""

from __future__ import annotations

import getpass
import os
import sys
from argparse import Namespace, _ArgumentGroup
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pgjobq.cli.cells import cells, fit, plain
from pgjobq.errors import ConfigError, InvalidOption, MissingDsn
from pgjobq.explanation import span as roughly
from pgjobq.queue import Queue
from pgjobq.run.dsn import find_dsn
from pgjobq.run.pools import Pools
from pgjobq.settings import check_schema_name
from pgjobq.settings.arguments import CommandLine

__all__ = [
    "CODES",
    "add_by",
    "add_care",
    "age",
    "columns",
    "confirm",
    "desk",
    "duration",
    "named_queue",
    "paints",
    "parser",
    "show_json",
    "show_table",
    "whoami",
]

CODES = """\
exit codes:
  0  done
  2  wrong usage or configuration, or no answer from the database
"""
WIDTH = 80
COLOURS = {
    "failed": "31", "bad": "31", "dead": "31", "cancelled": "33", "warning": "33", "paused": "33",
    "running": "36", "succeeded": "32", "ok": "32", "alive": "32",
}  # fmt: skip
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parser(prog: str, usage: str, description: str, epilog: str, *, json: bool = True) -> CommandLine:
    """A command line with the flags that all these commands have."""
    made = CommandLine(prog, description, epilog)
    made.usage = usage
    if json:
        made.add_argument("--json", action="store_true", help="print one JSON document, for programs")
    made.add_argument("--dsn", metavar="DSN", help="the database [PGJOBQ_DSN, then DATABASE_URL, then PG*]")
    made.add_argument("--schema", metavar="NAME", help="schema of pgjobq's tables (default: pgjobq) [PGJOBQ_SCHEMA]")
    return made


@contextmanager
def desk(options: Namespace) -> Iterator[Queue]:
    """The queue that the flags and the environment name; with `options.app`, that of the application."""
    queue = named_queue(getattr(options, "app", None), options.dsn, options.schema)
    try:
        yield queue
    finally:
        queue.close()


def named_queue(app: str | None, dsn: str | None, schema: str | None) -> Queue:
    """The app's queue, on this database and schema if they are named; without an app, one without tasks."""
    schema = schema or os.environ.get("PGJOBQ_SCHEMA", "").strip() or None
    checked = None if schema is None else check_schema_name(schema)
    if app is not None:
        from pgjobq.engine.app import load_app

        queue = load_app(app)
        if checked is not None:
            queue.schema = checked
        if dsn is not None:
            queue.pools = Pools(dsn, None, None)
        return queue
    try:
        return Queue(find_dsn(dsn, os.environ), schema=checked or "pgjobq")
    except MissingDsn:
        raise MissingDsn(
            "no database is named: give --dsn postgresql://user@host/name, or set PGJOBQ_DSN, DATABASE_URL "
            "or libpq's PGHOST, PGSERVICE or PGDATABASE"
        ) from None


def add_care(made: CommandLine) -> None:
    """The flags of what is dangerous."""
    care = made.add_argument_group("care")
    care.add_argument("--dry-run", action="store_true", help="change nothing, say how many it would be")
    care.add_argument("--yes", action="store_true", help="do not ask")
    add_by(care)


def add_by(made: CommandLine | _ArgumentGroup) -> None:
    """The flag of whatever is written to the audit."""
    made.add_argument("--by", metavar="NAME", help="who wants this, for the audit (default: your login)")


def whoami() -> str | None:
    """Who types: for the audit."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return None


def duration(text: str | None, flag: str) -> timedelta | None:
    """30s, 5m, 2h, 7d or 4w. Raises ConfigError."""
    if text is None:
        return None
    unit = UNITS.get(text[-1:])
    try:
        span = timedelta(seconds=float(text[:-1]) * unit if unit else float(text))
        if span < timedelta(0):
            raise ValueError
        return span
    except (ValueError, OverflowError):
        raise ConfigError(f"{flag} {text!r}: wants a duration such as 30s, 5m, 2h or 7d") from None


def age(when: datetime | None) -> str:
    """How long ago that was; in the future: with a plus."""
    if when is None:
        return "-"
    now = datetime.now(UTC)
    return roughly(now, when) if when <= now else f"+{roughly(when, now)}"


def show_json(value: object) -> None:
    """One document, indented; the keys are the names of the fields."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(text.decode() + "\n")


def show_table(
    head: Sequence[str], rows: Sequence[Sequence[Any]], *, colour: int | None = None, nothing: str = "nothing"
) -> None:
    """Columns as wide as they have to be; the last one is cut so that a line fits. No rows: says `nothing`."""
    if not rows:
        print(nothing)
        return
    texts = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(head, *texts, strict=True)]
    width = columns()
    room = max(8, width - sum(widths[:-1]) - 2 * (len(widths) - 1))
    widths[-1] = min(widths[-1], room)
    coloured = paints()
    for number, row in enumerate([list(head), *texts]):
        line = []
        for place, (cell, most) in enumerate(zip(row, widths, strict=True)):
            padded = fit(cell, most)
            code = COLOURS.get(cell) if number and place == colour else None if number else "1"
            line.append(f"\033[{code}m{padded}\033[0m" if code and coloured else padded)
        print("  ".join(line).rstrip())


def paints() -> bool:
    """Whether stdout shows colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns() -> int:
    """How wide a line may be: COLUMNS, else the terminal, else 80."""
    try:
        return max(40, int(os.environ["COLUMNS"]))
    except (KeyError, ValueError):
        return os.get_terminal_size().columns if sys.stdout.isatty() else WIDTH


def confirm(options: Namespace, sentence: str) -> bool:
    """Whether to do it: `--yes`, or the answer of whoever sits there. Raises InvalidOption when nobody does."""
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidOption(f"{sentence}: add --yes to do it (nobody is here to be asked)")
    try:
        return input(f"{sentence}. Go on? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False
