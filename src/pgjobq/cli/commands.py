"""The subcommands of `pgjobq`, and its help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["COMMANDS", "HELP", "Command"]


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: what it does in a line, the function that does it with its arguments, its group in the help."""

    summary: str
    run: Callable[[list[str]], int]
    group: str = "look"


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


def _workflows(argv: list[str]) -> int:
    from pgjobq.cli.workflows import workflows

    return workflows(argv)


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


def _enqueue(argv: list[str]) -> int:
    from pgjobq.cli.enqueue import enqueue

    return enqueue(argv)


def _gates(argv: list[str]) -> int:
    from pgjobq.cli.gates import gates

    return gates(argv)


def _schedules(argv: list[str]) -> int:
    from pgjobq.cli.schedules import schedules

    return schedules(argv)


def _audit(argv: list[str]) -> int:
    from pgjobq.cli.audit import audit

    return audit(argv)


def _top(argv: list[str]) -> int:
    from pgjobq.cli.top import top

    return top(argv)


def _completion(argv: list[str]) -> int:
    from pgjobq.cli.completion import completion

    return completion(argv)


GROUPS = {
    "run": "run",
    "look": "look",
    "change": "change (each change is written to the audit)",
    "care": "take care",
}
COMMANDS = {
    "worker": Command("run the jobs of an app", _worker, "run"),
    "enqueue": Command("make a job", _enqueue, "run"),
    "migrate": Command("create pgjobq's tables, or bring them up to date", _migrate, "run"),
    "web": Command("serve the dashboard to this machine", _web, "run"),
    "devdb": Command("run a private PostgreSQL to develop against", _devdb, "run"),
    "top": Command("all of it, live, in this terminal", _top),
    "queues": Command("what waits and runs in each queue; limits", _queues),
    "workers": Command("who is alive, and what they run", _workers),
    "stats": Command("how many jobs in each state, and the pace", _stats),
    "explain": Command("why a job does not run, or why it failed", _explain),
    "audit": Command("who did what, when, to how many jobs", _audit),
    "jobs": Command("find jobs, watch them; retry, cancel, move, edit", _jobs, "change"),
    "workflows": Command("find workflows and batches; cancel or retry one", _workflows, "change"),
    "schedules": Command("what runs when; pause, run now, change, delete", _schedules, "change"),
    "gates": Command("shared limits: who runs, who waits; set, unset", _gates, "change"),
    "pause": Command("let no job of a queue, task or gate start", _pause, "change"),
    "resume": Command("let them start again", _resume, "change"),
    "purge": Command("delete ended jobs before their time", _purge, "change"),
    "doctor": Command("what may be wrong, each with its cure", _doctor, "care"),
    "health": Command("one line and an exit code, for a monitor", _health, "care"),
    "metrics": Command("what stands in the queue, for Prometheus", _metrics, "care"),
    "completion": Command("the script that completes words for your shell", _completion, "care"),
}


def _listed() -> str:
    width = max(map(len, COMMANDS))
    parts = []
    for group, title in GROUPS.items():
        lines = [f"  {name:<{width}}  {one.summary}" for name, one in COMMANDS.items() if one.group == group]
        parts.append("\n".join([f"{title}:", *lines]))
    return "\n\n".join(parts)


HELP = f"""\
usage: pgjobq COMMAND [flags]

A job queue that lives in your PostgreSQL.

{_listed()}

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
  0    done; nothing to be done is done, too
  1    crashed, no such job, not well, or a question answered with no
  2    wrong usage or configuration, or no answer from the database
  3    a job that was waited for failed for good or was cancelled
  124  the time of --timeout is over
  130  interrupted

examples:
  pgjobq migrate --dsn postgresql://localhost/shop
  pgjobq worker shop.jobs:queue --concurrency 20
  pgjobq jobs retry --state failed --task send_mail --dry-run
  pgjobq top
"""
