"""`pgjobq queues`, `workers`, `stats`, `explain`, `health`, `pause` and `resume`."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pgjobq.cli.desk import CODES, add_by, age, desk, duration, parser, show_json, show_table, whoami
from pgjobq.cli.selection import hint, number
from pgjobq.errors import ConfigError
from pgjobq.queue import Queue
from pgjobq.settings.arguments import CommandLine

__all__ = ["explain", "health", "pause", "queues", "resume", "stats", "workers"]


def queues(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    options = _queues_parser().read(argv)
    with desk(options) as queue:
        if options.action in ("age", "unage"):
            return _age(queue, options)
        if options.action != "list" or options.name:
            return _limit(queue, options)
        found, pauses, limits, ageing = queue.queues(), queue.paused(), queue.limits(), queue.ageing()
    if options.json:
        show_json({"queues": found, "paused": pauses, "limits": limits, "ageing": ageing})
        return 0
    head = ("QUEUE", "READY", "RUNNING", "SCHEDULED", "BLOCKED", "OLDEST", "WORKERS", "STATE")
    show_table(head, [
        (one.name, one.ready, one.running, one.scheduled, one.blocked, age(one.oldest), one.workers,
         "paused" if one.paused else "ok" if one.workers or not one.ready else "unserved")
        for one in found
    ], colour=7, nothing="no queue yet: jobs make them")  # fmt: skip
    for pause_ in pauses:
        until = f" until {pause_.until.isoformat(' ', 'seconds')}" if pause_.until else ""
        why = f": {pause_.reason}" if pause_.reason else ""
        print(f"{pause_.kind} {pause_.name} is paused by {pause_.who} since {age(pause_.since)}{until}{why}")
    for limit in limits:
        then = "more are refused" if limit.when_full == "raise" else "then the oldest are dropped"
        print(f"queue {limit.queue} takes {limit.waiting:,} waiting jobs, {then}; {limit.now:,} wait (by {limit.who})")
    for rule in ageing:
        print(f"queue {rule.queue}: jobs rise by a priority for each {rule.step:g} s, to {rule.up_to} (by {rule.who})")
    return 0


def _queues_parser() -> CommandLine:
    text = (
        "Show what waits and runs in each queue, since when, and who serves it.\n\n"
        "  limit NAME N    let no more than N jobs wait in this queue\n"
        "  unlimit NAME    let any number wait\n"
        "  age NAME SPAN   let its jobs rise by a priority for each SPAN they wait\n"
        "  unage NAME      let them keep their priority"
    )
    epilog = (
        f"{CODES}\nexamples:\n  pgjobq queues\n  pgjobq queues --json\n"
        "  pgjobq queues limit mail 10000 --when-full drop_oldest\n  pgjobq queues unlimit mail\n"
        "  pgjobq queues age mail 10m --up-to -3\n"
    )
    made = parser("pgjobq queues", "pgjobq queues [list | ACTION NAME [N | SPAN]] [flags]", text, epilog)
    made.add_actions("list", "limit", "unlimit", "age", "unage", default="list")
    made.add_argument("name", metavar="NAME", nargs="?", help="the queue")
    made.add_argument(
        "amount", metavar="N", nargs="?", help="limit: how many may wait, from 1; age: a span, as 90s, 10m"
    )
    made.add_argument("--when-full", metavar="WHAT", default="raise", help="limit: raise (the default) or drop_oldest")
    made.add_argument("--up-to", metavar="N", default="-9", help="age: they rise no higher, -9 (the default) to 9")
    add_by(made)
    return made


def _age(queue: Queue, options: Namespace) -> int:
    by = options.by or whoami()
    if options.action == "age" and options.name and options.amount:
        try:
            up_to = int(options.up_to)
        except ValueError:
            raise ConfigError(f"--up-to {options.up_to!r}: wants a whole number from -9 to 9") from None
        queue.set_ageing(options.name, step=duration(options.amount, "SPAN") or 0, up_to=up_to, by=by)
        print("its jobs rise while they wait")
    elif options.action == "unage" and options.name and not options.amount:
        print("its jobs keep their priority" if queue.unset_ageing(options.name, by=by) else "they kept it already")
    else:
        raise ConfigError(
            "pgjobq queues: wants nothing, or `limit NAME N`, `unlimit NAME`, `age NAME SPAN` or `unage NAME`"
        )
    return 0


def _limit(queue: Queue, options: Namespace) -> int:
    by = options.by or whoami()
    if options.action == "limit" and options.name and options.amount:
        waiting = number(options.amount, "N")
        queue.limit(options.name, waiting=waiting, when_full=options.when_full, by=by)
        print("limited")
    elif options.action == "unlimit" and options.name and not options.amount:
        print("has no limit any more" if queue.unlimit(options.name, by=by) else "had no limit")
    else:
        raise ConfigError(
            "pgjobq queues: wants nothing, or `limit NAME N`, `unlimit NAME`, `age NAME SPAN` or `unage NAME`"
        )
    return 0


def workers(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    text = "Show the worker processes. A dead one stays until its lease has run out and\nits jobs are taken back."
    epilog = f"{CODES}\nexamples:\n  pgjobq workers\n  pgjobq workers --json\n"
    options = parser("pgjobq workers", "pgjobq workers [--json]", text, epilog).read(argv)
    with desk(options) as queue:
        found = queue.workers()
    if options.json:
        show_json(found)
        return 0
    head = ("ID", "STATE", "APP", "HOST", "PID", "BUSY", "UP", "QUEUES")
    show_table(head, [
        (one.id[:8], "alive" if one.alive else "dead", one.app, one.host, one.pid,
         f"{one.running}/{one.concurrency}", age(one.started_at), ",".join(one.queues) or "all")
        for one in found
    ], colour=1, nothing="no worker is on the list: `pgjobq worker APP` starts one")  # fmt: skip
    return 0


def stats(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    text = (
        "Show how many jobs there are in each state, and the pace. The number of those\nthat succeeded is an estimate."
    )
    epilog = f"{CODES}\nexamples:\n  pgjobq stats\n  pgjobq stats --json\n"
    options = parser("pgjobq stats", "pgjobq stats [--json]", text, epilog).read(argv)
    with desk(options) as queue:
        found = queue.stats()
    if options.json:
        show_json(found)
    else:
        show_table(("WHAT", "NUMBER"), [
            (name.replace("_", " "), f"{'~' * (name == 'succeeded')}{getattr(found, name):,}")
            for name in found.__slots__
        ])  # fmt: skip
    return 0


def explain(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    text = "Say why a job does not run now, or why it failed."
    epilog = """\
exit codes:
  0  done
  1  there is no such job
  2  wrong usage or configuration, or no answer from the database

examples:
  pgjobq explain 4711
"""
    made = parser("pgjobq explain", "pgjobq explain ID [--json]", text, epilog)
    made.add_argument("id", metavar="ID", help="the job's id")
    options = made.read(argv)
    job = number(options.id, "ID")
    with desk(options) as queue:
        found = queue.explain(job)
    if found is None:
        print(f"pgjobq: there is no job {options.id}", file=sys.stderr)
        return 1
    if options.json:
        show_json(found)
    else:
        print(f"Job {found.job} is {found.state}.", *found.sentences, sep="\n")
    return 0


def health(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    text = """\
For a monitor, one line: does the database answer, is a worker alive, does every
queue with ready jobs have one, and does none of these wait too long?"""
    epilog = """\
exit codes:
  0  healthy
  1  not; the line says why
  2  wrong usage or configuration, or no answer from the database

examples:
  pgjobq health --max-wait 2m || alert
"""
    made = parser("pgjobq health", "pgjobq health [--max-wait 5m] [--json]", text, epilog)
    made.add_argument("--max-wait", metavar="T", default="5m", help="longest wait of a ready job (default: 5m)")
    options = made.read(argv)
    longest = duration(options.max_wait, "--max-wait")
    assert longest is not None
    with desk(options) as queue:
        troubles = _troubles(queue, longest.total_seconds())
    if options.json:
        show_json({"healthy": not troubles, "troubles": troubles})
    else:
        print("; ".join(troubles) or "healthy")
    return 1 if troubles else 0


def _troubles(queue: Queue, longest: float) -> list[str]:
    found = []
    if not any(worker.alive for worker in queue.workers()):
        found.append("no worker is alive")
    now = datetime.now(UTC)
    for one in queue.queues():
        if one.paused or not one.ready:
            continue
        if not one.workers:
            found.append(f"no live worker serves queue {one.name}, which has {one.ready} ready jobs")
        elif one.oldest is not None and (now - one.oldest).total_seconds() > longest:
            found.append(f"a ready job of queue {one.name} was enqueued {age(one.oldest)} ago")
    return found


def pause(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    text = "Let no job of a queue, of a task or behind a gate start; what runs goes on."
    epilog = f"{CODES}\nexamples:\n  pgjobq pause --queue mail --for 1h --reason 'the relay is down'\n"
    made = parser(
        "pgjobq pause", "pgjobq pause (--queue NAME | --task NAME | --gate KEY) [flags]", text, epilog, json=False
    )
    _add_what(made)
    made.add_argument("--for", dest="span", metavar="T", help="end it by itself after this time, such as 30m or 2h")
    made.add_argument("--reason", metavar="TEXT", help="shown to whoever asks why nothing runs")
    options = made.read(argv)
    past = duration(options.span, "--for")
    with desk(options) as queue:
        hint(queue, options)
        new = queue.pause(
            queue=options.queue,
            task=options.task,
            gate=options.gate,
            until=past,
            reason=options.reason,
            by=options.by or whoami(),
        )
    print("paused" if new else "was paused already; reason and end are the new ones")
    return 0


def resume(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    text = "Let the jobs of a queue, of a task or behind a gate start again."
    epilog = f"{CODES}\nexamples:\n  pgjobq resume --queue mail\n"
    made = parser(
        "pgjobq resume", "pgjobq resume (--queue NAME | --task NAME | --gate KEY) [flags]", text, epilog, json=False
    )
    _add_what(made)
    options = made.read(argv)
    with desk(options) as queue:
        was = queue.resume(queue=options.queue, task=options.task, gate=options.gate, by=options.by or whoami())
        if not was:
            hint(queue, options)
    print("resumed" if was else "was not paused")
    return 0


def _add_what(made: Any) -> None:
    made.add_argument("--queue", metavar="NAME", help="a queue")
    made.add_argument("--task", metavar="NAME", help="a task")
    made.add_argument("--gate", metavar="KEY", help="a gate: one key, or its name for all its keys")
    add_by(made)
