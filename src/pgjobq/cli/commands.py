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


def _web(argv: list[str]) -> int:
    from pgjobq.cli.web import web

    return web(argv)


def _devdb(argv: list[str]) -> int:
    from pgjobq.devdb.__main__ import main

    return main(argv)


def _jobs(argv: list[str]) -> int:
    from pgjobq.cli.jobs import jobs

    return jobs(argv)


def _metrics(argv: list[str]) -> int:
    from pgjobq.cli.metrics import metrics

    return metrics(argv)


def _queues(argv: list[str]) -> int:
    from pgjobq.cli.overview import queues

    return queues(argv)


def _workers(argv: list[str]) -> int:
    from pgjobq.cli.overview import workers

    return workers(argv)


def _stats(argv: list[str]) -> int:
    from pgjobq.cli.overview import stats

    return stats(argv)


def _explain(argv: list[str]) -> int:
    from pgjobq.cli.overview import explain

    return explain(argv)


def _pause(argv: list[str]) -> int:
    from pgjobq.cli.overview import pause

    return pause(argv)


def _resume(argv: list[str]) -> int:
    from pgjobq.cli.overview import resume

    return resume(argv)


def _doctor(argv: list[str]) -> int:
    from pgjobq.cli.doctor import doctor

    return doctor(argv)


def _health(argv: list[str]) -> int:
    from pgjobq.cli.overview import health

    return health(argv)


def _purge(argv: list[str]) -> int:
    from pgjobq.cli.jobs import purge

    return purge(argv)


COMMANDS = {
    "worker": Command("run the jobs of an app", _worker),
    "migrate": Command("create pgjobq's tables, or bring them up to date", _migrate),
    "jobs": Command("look for jobs; retry, cancel or move them", _jobs),
    "queues": Command("what waits and runs in each queue", _queues),
    "workers": Command("who is alive, and what they run", _workers),
    "stats": Command("how many jobs in each state, and the pace", _stats),
    "explain": Command("why a job does not run, or why it failed", _explain),
    "pause": Command("let no job of a queue or a task start", _pause),
    "resume": Command("let them start again", _resume),
    "doctor": Command("what may be wrong, with its cure", _doctor),
    "health": Command("one line and an exit code, for a monitor", _health),
    "metrics": Command("what stands in the queue, for Prometheus", _metrics),
    "purge": Command("delete ended jobs before their time", _purge),
    "web": Command("serve the dashboard to this machine", _web),
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
  NO_COLOR       no colours in tables
  PGJOBQ_...     every flag of the worker: --poll-interval is
                 PGJOBQ_POLL_INTERVAL

exit codes:
  0    done
  1    crashed; migrate --check: not current; explain, jobs show: no such job;
       health, doctor: not well; a question answered with no
  2    wrong usage or configuration, or no answer from the database
  130  interrupted

examples:
  pgjobq migrate --dsn postgresql://localhost/shop
  pgjobq worker shop.jobs:queue --concurrency 20
  pgjobq jobs list --state failed
  pgjobq devdb ./devdata
"""
