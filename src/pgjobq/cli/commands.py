"""The subcommands of `pgjobq`, and its help."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["COMMANDS", "HELP", "Command"]


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: what it does in a line, and the function that does it with its arguments."""

    summary: str
    run: Callable[[list[str]], int]


def _worker(argv: list[str]) -> int:
    from pgjobq.worker import main

    return main(argv, prog="pgjobq worker")


def _migrate(argv: list[str]) -> int:
    from pgjobq.cli.migrate import migrate

    return migrate(argv)


def _devdb(argv: list[str]) -> int:
    from pgjobq.devdb.__main__ import main

    return main(argv)


COMMANDS = {
    "worker": Command("run the jobs of an app", _worker),
    "migrate": Command("create pgjobq's tables, or bring them up to date", _migrate),
    "devdb": Command("run a private PostgreSQL to develop against", _devdb),
}

_LIST = "\n".join(f"{name:<9} {command.summary}" for name, command in COMMANDS.items())

HELP = f"""\
usage: pgjobq COMMAND [flags]

A job queue that lives in your PostgreSQL.

commands:
{textwrap.indent(_LIST, "  ")}

`pgjobq COMMAND --help` tells the rest.

flags:
  -h, --help     show this and exit
  -V, --version  show the versions of pgjobq, Python and libpq and exit

environment:
  PGJOBQ_DSN     the database, as postgresql://user@host/name; without it
                 DATABASE_URL, then libpq's PGHOST, PGDATABASE, PGSERVICE
  PGJOBQ_SCHEMA  the schema of pgjobq's tables (default: pgjobq)
  PGJOBQ_...     every flag of the worker: --poll-interval is
                 PGJOBQ_POLL_INTERVAL

exit codes:
  0    done
  1    crashed; migrate --check: not current
  2    wrong usage or configuration, or no answer from the database
  130  interrupted

examples:
  pgjobq migrate --dsn postgresql://localhost/shop
  pgjobq worker shop.jobs:queue --concurrency 20
  pgjobq devdb ./devdata
"""
