"""`pgjobq schedules`: what runs at which times, and when next; pause, resume, run now, change, delete."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from pgjobq.cli.desk import CODES, add_by, age, confirm, desk, duration, parser, show_json, show_table, whoami
from pgjobq.cli.enqueue import task_named
from pgjobq.cli.selection import arguments, number
from pgjobq.encryption import MEMBER
from pgjobq.errors import ConfigError, ScheduleError, UnknownSchedule
from pgjobq.queue import Queue
from pgjobq.schedule import Schedule
from pgjobq.schedules import Policies
from pgjobq.settings.arguments import CommandLine
from pgjobq.wording import did_you_mean

__all__ = ["schedules"]

_DESCRIPTION = """\
Show what runs at which times, and do something about it.

  list          all schedules: when each runs next and ran last
  show NAME     one of them, with its next runs
  pause NAME    make no more jobs until it is resumed
  resume NAME   go on with the next tick; nothing is made up for
  run NAME      make a job now, besides the ticks
  set NAME      create it, or change of it what is given: --cron or --every,
                --task, --args, --tz, --missed, --overlap, --queue
  reset NAME    undo changes: as the code declares it
  delete NAME   delete it; its jobs stay"""
_EPILOG = f"""\
{CODES}  1  delete: the question was answered with no

examples:
  pgjobq schedules
  pgjobq schedules show nightly --next 10
  pgjobq schedules pause nightly --reason "the warehouse is closed"
  pgjobq schedules set nightly --cron "0 3 * * *" --tz Europe/Paris
  pgjobq schedules set ping --every 5m --task ping --args host=shop
"""
_ACTIONS = ("list", "show", "pause", "resume", "run", "set", "reset", "delete")


def schedules(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    options = _parser().read(argv)
    if (options.action == "list") != (options.name is None):
        raise ConfigError(f"pgjobq schedules {options.action}: wants {'no NAME' if options.name else 'a NAME'}")
    if options.action == "set":
        options.app = options.app or os.environ.get("PGJOBQ_APP", "").strip() or None
    with desk(options) as queue:
        try:
            return _act(queue, options)
        except UnknownSchedule:
            raise _unknown(queue, options.name) from None


def _parser() -> CommandLine:
    made = parser("pgjobq schedules", "pgjobq schedules [ACTION] [NAME] [flags]", _DESCRIPTION, _EPILOG)
    made.add_actions(*_ACTIONS, default="list")
    made.add_argument("name", metavar="NAME", nargs="?", help="the schedule's name")
    made.add_argument("--next", metavar="N", default="5", help="show: how many of the next runs (default: 5)")
    made.add_argument("--reason", metavar="TEXT", help="pause: shown to whoever asks why nothing runs")
    change = made.add_argument_group("set")
    change.add_argument("--cron", metavar="EXPR", help='a cron expression, such as "0 3 * * *" or @daily')
    change.add_argument("--every", metavar="T", help="or an interval, such as 30s, 5m or 1h")
    change.add_argument("--task", metavar="NAME", help="the task; its arguments are checked if --app is given")
    change.add_argument("--args", metavar="WHAT", action="append", help="JSON, or name=value; may be repeated")
    change.add_argument("--tz", metavar="ZONE", help="time zone of the expression (default: UTC)")
    change.add_argument("--missed", metavar="WHAT", help="ticks without a worker: latest (default), all or skip")
    change.add_argument("--overlap", metavar="WHAT", help="while the last job runs: allow (default) or skip")
    change.add_argument("--queue", metavar="NAME", help="where its jobs go (default: the task's)")
    change.add_argument("--app", metavar="APP", help="module:queue, that declares the task [PGJOBQ_APP]")
    made.add_argument("--yes", action="store_true", help="delete: do not ask; set: also if no live worker has the task")
    add_by(made)
    return made


def _act(queue: Queue, options: Namespace) -> int:
    by = options.by or whoami()
    if options.action == "list":
        return _list(queue, options)
    if options.action == "show":
        return _show(_one(queue, options.name), options)
    if options.action == "set":
        return _set(queue, options, by)
    if options.action == "run":
        job = queue.run_schedule(options.name, by=by)
        done = f"job {job.id} ({job.task}) enqueued" if job else "not run: its last job has not ended"
        return _tell(options, done, job is not None, job=job.id if job else None)
    if options.action == "pause":
        new = queue.pause_schedule(options.name, options.reason, by=by)
        return _tell(options, "paused" if new else "was paused already", new)
    if options.action == "resume":
        was = queue.resume_schedule(options.name, by=by)
        return _tell(options, "resumed" if was else "was not paused", was)
    if options.action == "reset":
        was = queue.reset_schedule(options.name, by=by)
        return _tell(options, "as the code declares it" if was else "nothing to undo", was)
    _one(queue, options.name)
    if not confirm(options, f"delete the schedule {options.name}"):
        return 1
    return _tell(options, "deleted", queue.delete_schedule(options.name, by=by))


def _one(queue: Queue, name: str) -> Schedule:
    found = queue.schedules(name)
    if not found:
        raise _unknown(queue, name)
    return found[0]


def _unknown(queue: Queue, name: str) -> UnknownSchedule:
    known = [one.name for one in queue.schedules()]
    listed = f" There are {', '.join(known[:10])}." if known and not did_you_mean(name, known) else ""
    return UnknownSchedule(f"there is no schedule {name!r}.{did_you_mean(name, known)}{listed}")


def _list(queue: Queue, options: Namespace) -> int:
    found = queue.schedules()
    if options.json:
        show_json(found)
        return 0
    rows = [(one.name, _state(one), age(one.next_at), age(one.last_at), one.task, f"{one.expression} {_zone(one)}")
            for one in found]  # fmt: skip
    show_table(("NAME", "STATE", "NEXT", "LAST", "TASK", "WHEN"), rows, colour=1, nothing="there is no schedule")
    return 0


def _zone(one: Schedule) -> str:
    return "" if one.expression.startswith("@every") else one.tz


def _state(one: Schedule) -> str:
    if one.retired_at:
        return "retired"
    if one.paused_at:
        return "paused"
    return "edited" if one.edited else "ok"


def _show(one: Schedule, options: Namespace) -> int:
    count = number(options.next, "--next")
    try:
        coming = one.next_runs(count)
    except ScheduleError as error:
        coming, trouble = [], str(error)
    else:
        trouble = ""
    if options.json:
        show_json({"schedule": one, "next_runs": coming})
        return 0
    facts: dict[str, Any] = {
        "schedule": one.name, "task": one.task, "when": f"{one.expression} {_zone(one)}".strip(), "state": _state(one),
        "queue": one.queue, "priority": one.priority or None, "ref": one.ref, "missed": one.missed,
        "overlap": one.overlap, "arguments": msgspec.json.encode(one.args).decode(),
        "last": f"{_instant(one.last_at)}, job {one.last_job}" if one.last_at else None,
        "paused": f"since {_instant(one.paused_at)}" + (f": {one.paused_because}" if one.paused_because else "")
                  if one.paused_at else None,
        "retired": f"since {_instant(one.retired_at)}: the code of {one.app} no longer declares it"
                   if one.retired_at else None,
        "changed": "by hand: `pgjobq schedules reset` undoes it" if one.edited else None,
    }  # fmt: skip
    for name, value in facts.items():
        if value is not None:
            print(f"{name:<10} {value}")
    makes_none = one.paused_at or one.retired_at
    print(f"\nnext runs{', if it made any' if makes_none else ''}{f': {trouble}' if trouble else ''}")
    for at in coming:
        print(f"  {at:%a} {at.isoformat(' ', 'seconds')}  {age(at)}")
    return 0


def _instant(at: datetime | None) -> str:
    return at.isoformat(" ", "seconds") if at else "-"


def _set(queue: Queue, options: Namespace, by: str | None) -> int:
    known = next(iter(queue.schedules(options.name)), None)
    when = _when(options, known)
    task = options.task or (known.task if known else None)
    if task is None:
        raise ConfigError("pgjobq schedules set: a new schedule wants --task NAME")
    changes = {name: getattr(options, name) for name in ("tz", "missed", "overlap")}
    before = {name: getattr(known, name) for name in changes} if known else {}
    policies = before | {name: value for name, value in changes.items() if value is not None}
    if isinstance(when, str) and when.startswith("@every"):
        policies.pop("tz", None)
    same_task = known is not None and known.task == task
    args = arguments(options.args) if options.args else known.args if known and same_task else {}
    if MEMBER in args:
        raise ConfigError(f"the arguments of {options.name!r} are encrypted: give --args, and --app with the key")
    named = task_named(queue, task, alone=options.app is None, sure=options.yes or same_task)
    if args and not options.args and named.codec.hides_any:
        raise ConfigError(f"the task {task!r} has secret arguments, which are not read back: give --args")
    given = named.using(
        queue=options.queue or (known.queue if known and same_task else None),
        priority=known.priority if known and same_task else None,
        ref=known.ref if known else None,
    )
    queue.schedule(options.name, when, given.call(**args), by=by, **_policies(policies))
    return _tell(options, "changed" if known else "created", True)


def _policies(found: dict[str, Any]) -> Policies:
    return found  # type: ignore[return-value]  # what is wrong with one is said by queue.schedule()


def _when(options: Namespace, known: Schedule | None) -> Any:
    if options.cron and options.every:
        raise ConfigError("pgjobq schedules set: --cron and --every are two answers to one question; give one")
    if options.every:
        return duration(options.every, "--every")
    if options.cron or known:
        return options.cron or (known.expression if known else "")
    raise ConfigError('pgjobq schedules set: a new schedule wants --cron "0 3 * * *" or --every 5m')


def _tell(options: Namespace, done: str, changed: bool, **more: object) -> int:
    if options.json:
        show_json({"action": options.action, "schedule": options.name, "done": changed, **more})
    else:
        print(done)
    sys.stdout.flush()
    return 0
