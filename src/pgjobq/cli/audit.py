"""`pgjobq audit`: what operators did."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pgjobq.cli.desk import CODES, desk, parser, show_json, show_table
from pgjobq.cli.selection import number
from pgjobq.overview import AuditEntry

__all__ = ["audit"]

_DESCRIPTION = "Show what operators did, newest first: who, when, what, to how many jobs, and\nabout which."


def audit(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    epilog = f"{CODES}\nexamples:\n  pgjobq audit\n  pgjobq audit --limit 500 --json\n"
    made = parser("pgjobq audit", "pgjobq audit [--limit N] [--before ENTRY] [--json]", _DESCRIPTION, epilog)
    made.add_argument("--limit", metavar="N", default="50", help="how many (default: 50)")
    made.add_argument("--before", metavar="ENTRY", help="only older ones, to go on after the last (its id in --json)")
    options = made.read(argv)
    before = None if options.before is None else number(options.before, "--before")
    limit = number(options.limit, "--limit")
    with desk(options) as queue:
        entries = queue.audit(before=before, limit=limit)
    if options.json:
        show_json(entries)
    else:
        head = ("WHEN", "WHO", "WHAT", "JOBS", "ABOUT")
        rows = [(f"{one.at.astimezone():%m-%d %H:%M:%S}", one.who, one.what, one.jobs, _about(one)) for one in entries]
        show_table(head, rows, nothing="nobody has done anything yet")
    return 0


def _about(entry: AuditEntry) -> str:
    """`queue=mail state=failed`"""
    shown = {name: value for name, value in entry.about.items() if name != "after"}  # where a batch began
    return " ".join(
        f"{name}={value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
        for name, value in shown.items()
    )
