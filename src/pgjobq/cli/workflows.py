"""`pgjobq workflows`: look at workflows and batches, cancel one as a whole, run again what failed in one."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime

from pgjobq.cli.desk import age, confirm, desk, parser, show_json, show_table, whoami
from pgjobq.cli.selection import number
from pgjobq.errors import ConfigError
from pgjobq.queue import Queue
from pgjobq.workflow import Workflow

__all__ = ["workflows"]

_DESCRIPTION = """\
Look at workflows and batches, newest first, and do something about one.

  list        those that pass all filters
  show ID     one, how many of its jobs stand where, and those that went wrong
  cancel ID   cancel its jobs that have not ended, those that run included
  retry ID    run again what failed, and what was cancelled because of that

A change says how many jobs it concerns and asks, unless --yes, and is written
to the audit. Its jobs one by one: pgjobq jobs list --workflow ID."""
_EPILOG = """\
exit codes:
  0  done, also when nothing was to be done
  1  no such workflow; a question answered with no
  2  wrong usage or configuration, or no answer from the database

examples:
  pgjobq workflows list --state running
  pgjobq workflows list --name import --limit 10 --json
  pgjobq workflows show 4711
  pgjobq workflows retry 4711 --dry-run
  pgjobq workflows cancel 4711 --reason "the order was withdrawn" --yes
"""


def workflows(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    made = parser("pgjobq workflows", "pgjobq workflows ACTION [ID] [filters] [flags]", _DESCRIPTION, _EPILOG)
    made.add_actions("list", "show", "cancel", "retry")
    made.add_argument("id", metavar="ID", nargs="?", help="a workflow by its id")
    group = made.add_argument_group("filters")
    group.add_argument("--name", metavar="NAME", help="of this name")
    group.add_argument("--ref", metavar="REF", help="of this business thing, such as order:42")
    group.add_argument("--state", metavar="STATE", help="running, succeeded, failed or cancelled")
    made.add_argument("--limit", metavar="N", default="50", help="list: how many (default: 50; most: 10000)")
    made.add_argument("--before", metavar="ID", help="list: only older ones, to go on after the last")
    care = made.add_argument_group("care")
    care.add_argument("--dry-run", action="store_true", help="change nothing, say how many jobs it would be")
    care.add_argument("--yes", action="store_true", help="do not ask")
    care.add_argument("--reason", metavar="TEXT", help="cancel: why, for its jobs and the audit")
    care.add_argument("--by", metavar="NAME", help="who wants this, for the audit (default: your login)")
    options = made.read(argv)
    with desk(options) as queue:
        if options.action == "list":
            return _list(queue, options)
        if options.id is None:
            raise ConfigError(f"pgjobq workflows {options.action}: wants one ID")
        wanted = number(options.id, "ID")
        found = queue.get_workflow(wanted)
        if found is None:
            print(f"pgjobq: there is no workflow {wanted}", file=sys.stderr)
            return 1
        return _show(queue, options, found) if options.action == "show" else _change(queue, options, found)


def _list(queue: Queue, options: Namespace) -> int:
    before = None if options.before is None else number(options.before, "--before")
    limit = number(options.limit, "--limit")
    found = queue.workflows(name=options.name, ref=options.ref, state=options.state, before=before, limit=limit)
    if options.json:
        show_json(found)
        return 0
    rows = [
        (one.id, one.state, f"{one.done:,}/{one.total:,}", f"{one.failed:,}", age(one.ended_at or one.created_at),
         " ".join(filter(None, (one.name, one.ref))))
        for one in found
    ]  # fmt: skip
    show_table(("ID", "STATE", "ENDED", "FAILED", "AGE", "ABOUT"), rows, colour=1)
    return 0


def _show(queue: Queue, options: Namespace, found: Workflow) -> int:
    wrong = queue.find(workflow=found.id, state="failed", limit=20)
    running = queue.find(workflow=found.id, state="running", limit=20)
    if options.json:
        show_json({"workflow": found, "failed": wrong, "running": running})
        return 0
    standing = {state: getattr(found, state) for state in
                ("scheduled", "blocked", "ready", "running", "succeeded", "failed", "cancelled")}  # fmt: skip
    facts = {"workflow": found.id, "name": found.name, "state": found.state, "ref": found.ref,
             "jobs": f"{found.done:,} of {found.total:,} ended ({found.progress:.0%})",
             "of these": ", ".join(f"{count:,} {state}" for state, count in standing.items() if count) or None,
             "written": found.created_at, "started": found.started_at, "ended": found.ended_at,
             "cancelled": found.cancelled_at, "open": "more may come" if found.open else None,
             "fails fast": "the first job that fails cancels the others" if found.fail_fast else None,
             "because of": f"job {found.bad}" if found.bad else None}  # fmt: skip
    for name, value in facts.items():
        if value is not None:
            print(f"{name:<10} {value.isoformat(' ', 'seconds') if isinstance(value, datetime) else value}")
    rows = [
        (job.id, job.state, job.task, f"{job.attempt}/{job.max_attempts}", (job.reason or "").partition("\n")[0])
        for job in (*wrong, *running)
    ]
    if rows:
        print()
        show_table(("ID", "STATE", "TASK", "TRIES", "ABOUT"), rows, colour=1)
    return 0


def _change(queue: Queue, options: Namespace, found: Workflow) -> int:
    what, by = options.action, options.by or whoami()
    count = found.total - found.done if what == "cancel" else found.failed + found.cancelled
    if options.dry_run or not count:
        return _tell(options, found, count)
    if not confirm(options, f"{what} {count:,} job{'s' * (count != 1)} of workflow {found.id} ({found.name})"):
        return 1
    if what == "cancel":
        changed = queue.cancel_workflow(found.id, reason=options.reason, by=by)
    else:
        changed = queue.retry_workflow(found.id, by=by)
    return _tell(options, found, changed or 0)


def _tell(options: Namespace, found: Workflow, count: int) -> int:
    done = {"cancel": "cancelled", "retry": "will run again"}[options.action]
    if options.json:
        show_json({"action": options.action, "workflow": found.id, "jobs": count, "dry_run": options.dry_run})
    else:
        jobs = f"{count:,} job{'s' * (count != 1)}"
        print(f"{jobs} would be affected by {options.action}" if options.dry_run else f"{jobs} {done}")
    return 0
