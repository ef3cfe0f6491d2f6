"""`pgjobq jobs` and `pgjobq purge`: look for jobs, and retry, cancel, move or delete them."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from pgjobq.bulk import CHANGEABLE
from pgjobq.cli.desk import add_care, age, confirm, desk, duration, parser, show_json, show_table, whoami
from pgjobq.cli.progress import Progress
from pgjobq.cli.selection import add_filters, arguments, hint, number, selected
from pgjobq.cli.watch import watch
from pgjobq.encryption import MEMBER
from pgjobq.errors import ConfigError
from pgjobq.filters import Filters
from pgjobq.job import Step
from pgjobq.queue import Queue
from pgjobq.settings import CommandLine

__all__ = ["jobs", "purge"]

LONGEST_VALUE = 60
"""Characters of what a step gave that are shown."""
_ACTIONS = ("list", "show", "watch", "retry", "cancel", "move", "edit")
_DESCRIPTION = """\
Look for jobs, newest first, and do something about them.

  list             those that pass all filters
  show ID          one job, its errors, and why it is where it is
  watch [ID ...]   tell what happens to them, until they have ended
  retry [ID ...]   run failed and cancelled ones again, behind the steps they
                   have taken; of one ID with --forget-steps from the beginning
  cancel [ID ...]  cancel those that wait; with --running also those that run
  move [ID ...]    put those that wait into the queue --to
  edit ID          change a waiting job: --priority, --delay, and with --args
                   all its arguments, checked by its task if --app names one

Without IDs a change goes to all jobs that pass the filters; it says how many
these are and asks, unless --yes. Every change is written to the audit."""
_EPILOG = """\
exit codes:
  0    done, also when nothing was to be done; watch: all have succeeded
  1    show, watch: no such job; edit: it does not wait; a question answered
       with no
  2    wrong usage or configuration, or no answer from the database
  3    watch: at least one failed for good or was cancelled
  124  watch: they had not ended when --timeout was over

examples:
  pgjobq jobs list --state failed --error "card declined" --limit 20
  pgjobq jobs list --args customer.id=7
  pgjobq jobs show 4711
  pgjobq jobs watch --ref order:42
  pgjobq jobs retry 4711
  pgjobq jobs retry --state failed --task send_mail --dry-run
  pgjobq jobs edit 4711 --priority -5 --delay 0
  pgjobq jobs edit 4711 --app shop.jobs:queue --args '{"order_id": 7}'
  pgjobq jobs cancel --queue mail --ref order:42 --yes
  pgjobq jobs list --ref order:42 --json
"""
_PURGE = """\
Delete jobs that have ended, with their errors, before their time: they are gone
for good. (The worker does so by itself, after --keep-succeeded, --keep-failed.)"""
_PURGE_EPILOG = """\
exit codes:
  0  done, also when nothing was to be done
  1  the question was answered with no
  2  wrong usage or configuration, or no answer from the database

examples:
  pgjobq purge --state succeeded --older-than 30d --dry-run
  pgjobq purge --state failed --task old_import --yes
"""


def jobs(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    options = _jobs_parser().read(argv)
    if options.app is not None and options.action != "edit":
        raise ConfigError(f"pgjobq jobs {options.action}: --app is for edit, to check --args")
    with desk(options) as queue:
        if options.action == "show":
            return _show(queue, options)
        if options.action == "list":
            return _list(queue, options)
        if options.action == "watch":
            return watch(queue, options)
        if options.action == "edit":
            return _edit(queue, options)
        if options.action == "cancel" and options.running:
            return _change(queue, options, "cancel_running", selected(options))
        if options.action == "retry" and options.forget_steps:
            return _retry_anew(queue, options)
        return _change(queue, options, options.action, selected(options))


def purge(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    usage = "pgjobq purge --state STATE [--older-than 30d] [filters] [flags]"
    made = parser("pgjobq purge", usage, _PURGE, _PURGE_EPILOG)
    add_filters(made, by_age=False)
    made.add_argument("--older-than", metavar="T", help="only those that ended so long ago, such as 12h or 30d")
    add_care(made)
    options = made.read(argv)
    options.ids, options.to = [], None
    filters = selected(options, ended=True)
    with desk(options) as queue:
        return _change(queue, options, "purge", filters)


def _jobs_parser() -> CommandLine:
    made = parser("pgjobq jobs", "pgjobq jobs ACTION [ID ...] [filters] [flags]", _DESCRIPTION, _EPILOG)
    made.add_actions(*_ACTIONS)
    made.add_argument("ids", metavar="ID", nargs="*", help="jobs by their ids")
    add_filters(made)
    made.add_argument("--limit", metavar="N", default="50", help="list: how many (default: 50; most: 10000)")
    made.add_argument("--before", metavar="ID", help="list: only older ones, to go on after the last")
    made.add_argument("--to", metavar="QUEUE", help="move: where to")
    made.add_argument("--priority", metavar="N", help="edit: -9 (first) to 9 (last)")
    made.add_argument("--delay", metavar="T", help="edit: due in this time from now; 0: at once")
    made.add_argument("--app", metavar="APP", help="edit: module:queue, whose task checks --args")
    made.add_argument("--running", action="store_true", help="cancel: also what runs")
    made.add_argument("--follow", action="store_true", help="watch: go on when all have ended, until Ctrl-C")
    made.add_argument("--timeout", metavar="T", help="watch: for no longer than this, such as 5m")
    made.add_argument("--forget-steps", action="store_true", help="retry: do the steps that were done anew")
    add_care(made)
    return made


def _list(queue: Queue, options: Namespace) -> int:
    before = None if options.before is None else number(options.before, "--before")
    found = queue.find(before=before, limit=number(options.limit, "--limit"), **selected(options))
    if not found:
        hint(queue, options)
    if options.json:
        show_json(found)
        return 0
    rows = [
        (job.id, job.state, job.task, job.queue, f"{job.attempt}/{job.max_attempts}", age(job.created_at),
         " ".join(filter(None, (job.ref, (job.reason or "").partition("\n")[0]))))
        for job in found
    ]  # fmt: skip
    show_table(
        ("ID", "STATE", "TASK", "QUEUE", "TRIES", "AGE", "ABOUT"), rows, colour=1, nothing="no job passes these filters"
    )
    return 0


def _show(queue: Queue, options: Namespace) -> int:
    if len(options.ids) != 1:
        raise ConfigError("pgjobq jobs show: wants one ID")
    job_id = number(options.ids[0], "ID")
    job, errors, explanation = queue.get(job_id), queue.errors(job_id), queue.explain(job_id)
    steps = queue.steps(job_id)
    if job is None or explanation is None:
        print(f"pgjobq: there is no job {job_id}", file=sys.stderr)
        return 1
    if options.json:
        show_json({"job": job, "errors": errors, "steps": steps, "why": explanation.sentences})
        return 0
    facts = {"job": job.id, "task": job.task, "state": job.state, "queue": job.queue, "priority": job.priority,
             "attempt": f"{job.attempt} of {job.max_attempts}", "ref": job.ref, "tags": ", ".join(job.tags) or None,
             "version": job.version if job.version > 1 else None,
             "enqueued": job.created_at, "due": job.run_at, "expires": job.expires_at,
             "started": job.started_at, "finished": job.finished_at, "progress": job.progress,
             "arguments": msgspec.json.encode(job.args).decode(),
             "result": None if job.result is None else msgspec.json.encode(job.result).decode()}  # fmt: skip
    for name, value in facts.items():
        if value is not None:
            print(f"{name:<10} {value.isoformat(' ', 'seconds') if isinstance(value, datetime) else value}")
    print(*("\n" + sentence for sentence in explanation.sentences), sep="")
    if steps:
        print()
        show_table(("STEP", "ATTEMPT", "ENDED", "TOOK", "GAVE"), [_told(step) for step in steps])
    for error in errors:
        print(f"\nattempt {error.attempt} failed at {error.failed_at.isoformat(' ', 'seconds')}")
        print(error.traceback.rstrip() or f"{error.kind}: {error.message}")
    return 0


def _told(step: Step) -> tuple[object, ...]:
    """A row of the table of steps."""
    name = f"{step.name} ({step.kind})" if step.kind != "step" else step.name
    if step.ended_at is None:
        until = f" until {step.until.isoformat(' ', 'seconds')}" if step.until else ""
        waits = f"waits for {step.event}" if step.event is not None else "sleeps"
        return name, step.attempt, "", "", waits + until
    value = "did not come in time" if step.timed_out else msgspec.json.encode(step.value).decode()
    gave = value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 1] + "…"
    return name, step.attempt, step.ended_at.isoformat(" ", "seconds"), f"{step.seconds or 0:.3g} s", gave


def _edit(queue: Queue, options: Namespace) -> int:
    if len(options.ids) != 1 or (options.priority is None and options.delay is None and not options.args):
        raise ConfigError("pgjobq jobs edit: wants one ID, and --priority, --delay or --args")
    job_id = number(options.ids[0], "ID")
    priority = None if options.priority is None else _whole(options.priority)
    args = arguments(options.args) if options.args else None
    if args is not None and options.app is None:
        _take_any(queue, job_id)
    if not queue.edit(
        job_id, args, priority=priority, delay=duration(options.delay, "--delay"), by=options.by or whoami()
    ):
        print(f"pgjobq: job {job_id} does not wait", file=sys.stderr)
        return 1
    return _tell(options, "edit", 1, dry=False)


def _take_any(queue: Queue, job_id: int) -> None:
    """Without the application nobody can check a job's arguments, nor seal them: they are taken as they come, for
    the version that the job has."""
    job = queue.get(job_id)
    if job is None:
        return
    if MEMBER in job.args:
        raise ConfigError(f"the arguments of job {job_id} are sealed: name the application that has the keys, --app")

    def anything(**_: Any) -> None: ...

    queue.task(name=job.task, version=job.version)(anything)


def _retry_anew(queue: Queue, options: Namespace) -> int:
    if len(options.ids) != 1:
        raise ConfigError("pgjobq jobs retry --forget-steps: wants one ID")
    job_id = number(options.ids[0], "ID")
    again = 1 if options.dry_run else int(queue.retry(job_id, forget_steps=True, by=options.by or whoami()))
    return _tell(options, "retry", again, dry=options.dry_run)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--priority {text!r}: wants a whole number from -9 to 9") from None


def _change(queue: Queue, options: Namespace, what: str, filters: Filters) -> int:
    if what == "move" and not options.to:
        raise ConfigError("pgjobq jobs move: wants --to QUEUE")
    if not filters:
        raise ConfigError(f"{what}: wants IDs or a filter; --state is one that means all of a kind")
    by, verb = options.by or whoami(), _verb(what)
    total = len(options.ids)
    if options.dry_run or what == "purge" or not options.ids:
        asked = filters.get("state")
        states = [state for state in CHANGEABLE[what] if asked in (None, state)]
        with Progress("counting", quiet=options.json):
            total = sum(queue.count(**(filters | {"state": state})) for state in states)
        if not total:
            hint(queue, options)
        if options.dry_run or not total:
            return _tell(options, what, total, dry=options.dry_run)
        if not confirm(options, f"{verb} {total:,} job{'s' * (total != 1)}"):
            return 1
    with Progress(verb, total, quiet=options.json) as progress:
        if what == "move":
            changed = queue.move_all(options.to, by=by, progress=progress, **filters)
        elif what in ("cancel", "cancel_running"):
            changed = queue.cancel_all(running=what == "cancel_running", by=by, progress=progress, **filters)
        elif what == "purge":
            changed = queue.purge(by=by, progress=progress, **filters)
        else:
            changed = queue.retry_all(by=by, progress=progress, **filters)
    return _tell(options, what, changed, dry=False)


_DONE = {
    "retry": "will run again",
    "cancel": "cancelled",
    "move": "moved",
    "edit": "changed",
    "purge": "deleted",
}


def _verb(what: str) -> str:
    return what.partition("_")[0]


def _tell(options: Namespace, what: str, count: int, *, dry: bool) -> int:
    if options.json:
        show_json({"action": _verb(what), "jobs": count, "dry_run": dry})
    else:
        print(
            f"{count:,} job{'s' * (count != 1)} {'would be affected by ' + _verb(what) if dry else _DONE[_verb(what)]}"
        )
    return 0
