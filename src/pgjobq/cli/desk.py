"""What the operators' commands share: the database, tables, JSON, and the question before something dangerous."""

from __future__ import annotations

import getpass
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pgjobq.errors import ConfigError, InvalidOption, MissingDsn
from pgjobq.explanation import span
from pgjobq.queue import Queue
from pgjobq.run.dsn import find_dsn
from pgjobq.settings import CommandLine, check_schema_name

__all__ = ["age", "confirm", "desk", "duration", "parser", "show_json", "show_table", "whoami"]

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
    """The queue that the flags and the environment name."""
    schema = check_schema_name(options.schema or os.environ.get("PGJOBQ_SCHEMA", "").strip() or "pgjobq")
    try:
        find_dsn(options.dsn, os.environ)
    except MissingDsn:
        raise MissingDsn(
            "no database is named: give --dsn postgresql://user@host/name, or set PGJOBQ_DSN, DATABASE_URL "
            "or libpq's PGHOST, PGSERVICE or PGDATABASE"
        ) from None
    queue = Queue(options.dsn, schema=schema)
    try:
        yield queue
    finally:
        queue.close()


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
        seconds = float(text[:-1]) * unit if unit else float(text)
        return timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise ConfigError(f"{flag} {text!r}: wants a duration such as 30s, 5m, 2h or 7d") from None


def age(when: datetime | None) -> str:
    """How long ago that was; in the future: with a plus."""
    if when is None:
        return "-"
    now = datetime.now(UTC)
    return span(now, when) if when <= now else f"+{span(when, now)}"


def show_json(value: object) -> None:
    """One document, indented; the keys are the names of the fields."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(text.decode() + "\n")


def show_table(head: Sequence[str], rows: Sequence[Sequence[Any]], *, colour: int | None = None) -> None:
    """Columns as wide as they have to be; the last one is cut so that a line fits."""
    texts = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    width = _width()
    room = max(8, width - sum(widths[:-1]) - 2 * (len(widths) - 1))
    widths[-1] = min(widths[-1], room)
    paints = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for number, row in enumerate([list(head), *texts]):
        cells = []
        for place, (cell, most) in enumerate(zip(row, widths, strict=True)):
            short = cell if len(cell) <= most else cell[: most - 1] + "…"
            padded = short if place == len(widths) - 1 else short.ljust(most)
            code = (
                COLOURS.get(cell) if number and paints and place == colour else "1" if paints and not number else None
            )
            cells.append(f"\033[{code}m{padded}\033[0m" if code and paints else padded)
        print("  ".join(cells).rstrip())


def _width() -> int:
    try:
        return max(40, int(os.environ["COLUMNS"]))
    except (KeyError, ValueError):
        return os.get_terminal_size().columns if sys.stdout.isatty() else WIDTH


def _plain(cell: Any) -> str:
    """One line without control characters: what comes from a job may hold anything."""
    text = "-" if cell is None else str(cell)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def confirm(options: Namespace, sentence: str) -> bool:
    """Whether to do it: `--yes`, or the answer of whoever sits there. Raises InvalidOption when nobody does."""
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidOption(f"{sentence}: add --yes to do it (nobody is here to be asked)")
    return input(f"{sentence}. Go on? [y/N] ").strip().lower() in ("y", "yes")
