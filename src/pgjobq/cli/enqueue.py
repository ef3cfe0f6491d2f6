"""`pgjobq enqueue`: a job by hand."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import msgspec

from pgjobq.cli.desk import desk, duration, parser, show_json
from pgjobq.cli.selection import arguments, known_tasks
from pgjobq.cli.watch import Watch
from pgjobq.errors import ConfigError, UnknownTask
from pgjobq.queue import Queue
from pgjobq.settings.arguments import CommandLine
from pgjobq.task import Task
from pgjobq.wording import did_you_mean

__all__ = ["enqueue", "task_named"]

_DESCRIPTION = """\
Enqueue a job. With APP (module:queue) the task's own arguments are checked and
its options taken: queue, priority, attempts, gates. Without APP nobody knows
them: the job gets what is given here and the defaults, and a task that no live
worker knows is refused, unless --yes.

ARGS are the arguments, as one JSON object or as name=value."""
_EPILOG = """\
exit codes:
  0  done; with --wait: it succeeded
  2  wrong usage, unknown task, arguments that do not fit, or no answer from the
     database
  3  --wait: it failed for good or was cancelled

examples:
  pgjobq enqueue shop.jobs:queue send_confirmation '{"order_id": 7}'
  pgjobq enqueue send_confirmation order_id=7 --queue mail --ref order:7 --wait
  PGJOBQ_APP=shop.jobs:queue pgjobq enqueue rebuild_index --delay 10m
"""


def enqueue(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    options = _parser().read(argv)
    options.app, task, given = _words(options.words)
    args = arguments(given)
    with desk(options) as queue:
        known = task_named(queue, task, alone=options.app is None, sure=options.yes)
        delay = duration(options.delay, "--delay")
        ready = known.using(queue=options.queue, priority=_priority(options), delay=delay, ref=options.ref,
                            tags=options.tag or [])  # fmt: skip
        receipt = queue.enqueue_call(ready.call(**args))
        if not options.wait:
            return _tell(options, receipt.id, receipt.task, receipt.queue, receipt.is_new)
        _tell(options, receipt.id, receipt.task, receipt.queue, receipt.is_new)
        return _wait(queue, receipt.id, options)


def _parser() -> CommandLine:
    made = parser("pgjobq enqueue", "pgjobq enqueue [APP] TASK [ARGS ...] [flags]", _DESCRIPTION, _EPILOG)
    made.add_argument("words", metavar="[APP] TASK [ARGS]", nargs="+", help="APP may come from PGJOBQ_APP")
    made.add_argument("--queue", metavar="NAME", help="the queue (default: the task's, without APP: default)")
    made.add_argument("--priority", metavar="N", help="-9 (first) to 9 (last)")
    made.add_argument("--delay", metavar="T", help="due in this time from now, such as 10m")
    made.add_argument("--ref", metavar="REF", help="the business thing it belongs to, such as order:42")
    made.add_argument("--tag", metavar="TAG", action="append", help="a label; may be repeated")
    made.add_argument("--wait", action="store_true", help="tell what happens to it until it has ended")
    made.add_argument("--yes", action="store_true", help="also if no live worker knows the task")
    return made


def _words(words: list[str]) -> tuple[str | None, str, list[str]]:
    """The app, the task and the arguments. Arguments show what they are: `{…}` or name=value."""
    names = [word for word in words if "=" not in word and not word.lstrip().startswith("{")]
    given = [word for word in words if word not in names]
    if len(names) == 1:
        return os.environ.get("PGJOBQ_APP", "").strip() or None, names[0], given
    if len(names) == 2:
        return names[0], names[1], given
    raise ConfigError(
        f"pgjobq enqueue: wants [APP] TASK and arguments such as order_id=7 or '{{\"order_id\": 7}}', and got "
        f"{' '.join(names) or 'no task'} (see pgjobq enqueue --help)"
    )


def _priority(options: Namespace) -> int | None:
    if options.priority is None:
        return None
    try:
        return int(options.priority)
    except ValueError:
        raise ConfigError(f"--priority {options.priority!r}: wants a whole number from -9 to 9") from None


def task_named(queue: Queue, name: str, *, alone: bool, sure: bool) -> Task[..., Any]:
    """The app's task of this name; without an app, one that takes any arguments.

    Raises UnknownTask when the app has none, or when there are live workers and none knows it and nobody is `sure`.
    """
    if not alone:
        return queue.registry.get(name)
    known = known_tasks(queue)
    if known and name not in known and not sure:
        raise UnknownTask(
            f"no live worker knows a task {name!r}.{did_you_mean(name, known)} With --yes it waits until one does"
        )

    def anything(**_: Any) -> None: ...

    return queue.task(name=name)(anything)


def _tell(options: Namespace, job: int, task: str, queue: str, is_new: bool) -> int:
    if options.json:
        document = {"id": job, "task": task, "queue": queue, "is_new": is_new}
        if options.wait:  # one document a line, like the states that follow
            print(msgspec.json.encode(document).decode(), flush=True)
        else:
            show_json(document)
    elif is_new:
        print(f"job {job} ({task}) enqueued in queue {queue}", flush=True)
    else:
        print(f"not enqueued: job {job} has its unique key" if job else "not enqueued: a job has its unique key")
    return 0


def _wait(queue: Queue, job: int, options: Namespace) -> int:
    watched = Watch(queue, {"ids": [job]}, as_json=options.json)
    while True:
        watched.look()
        if not watched.open:
            sys.stdout.flush()
            return watched.verdict()
        watched.wait(1.0)
