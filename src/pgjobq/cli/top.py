"""`pgjobq top`: the queue, live, in a terminal."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
from psycopg_pool import PoolTimeout

from pgjobq.cli.desk import columns, desk, duration, paints, parser, whoami
from pgjobq.cli.glance import Glance, glance
from pgjobq.cli.screen import SORTS, View, draw, sorted_queues
from pgjobq.cli.terminal import Terminal, is_interactive
from pgjobq.errors import ConfigError, PgjobqError
from pgjobq.queue import Queue
from pgjobq.wording import did_you_mean

__all__ = ["top"]

_DESCRIPTION = """\
Show the queue live: queues with what waits, their pace and their oldest job;
what runs, what failed last, the workers, and the last hour minute by minute.
Where stdout is no terminal, or with --once, print it once.

keys:
  q               quit
  up, down, j, k  pick a queue
  enter, escape   show only this queue; all again
  p               pause or resume the picked queue (it asks)
  s               sort queues: ready, running, pace, oldest, name
  space           freeze the picture"""
_EPILOG = """\
exit codes:
  0    quit
  2    wrong usage or configuration, or no answer from the database
  130  interrupted

examples:
  pgjobq top
  pgjobq top --queue mail --every 1s
  watch -n 5 pgjobq top --once
"""
LINES = 40
"""How long a picture is that is printed and not drawn."""


def top(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    made = parser("pgjobq top", "pgjobq top [--once] [--queue NAME] [flags]", _DESCRIPTION, _EPILOG, json=False)
    made.add_argument("--once", action="store_true", help="print the picture once")
    made.add_argument("--every", metavar="T", default="2s", help="look so often (default: 2s; from 0.2s)")
    made.add_argument("--sort", metavar="HOW", default="ready", help=f"queues by {', '.join(SORTS)} (default: ready)")
    made.add_argument("--queue", metavar="NAME", help="show only this queue")
    options = made.read(argv)
    if options.sort not in SORTS:
        hint = did_you_mean(options.sort, SORTS)
        raise ConfigError(f"--sort {options.sort!r}: wants one of {', '.join(SORTS)}.{hint}")
    every = duration(options.every, "--every")
    if every is None or every.total_seconds() < 0.2:
        raise ConfigError(f"--every {options.every!r}: wants 0.2s or more")
    view = View(sort=options.sort, only=options.queue, picked=options.queue, colours=paints())
    with desk(options) as queue:
        first = glance(queue, view.only)  # what is wrong is said now, in a line, not on the screen
        if options.once or not is_interactive():
            return _print(first, view)
        with Terminal() as terminal:
            Top(queue, terminal, first, view, every.total_seconds()).run()
    return 0


def _print(seen: Glance, view: View) -> int:
    lines = draw(seen, replace(view, keys=False), columns(), LINES)
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.rstrip().encode(encoding, "replace").decode(encoding))
    return 0


class Top:
    """The screen, its keys, and a thread that looks: so that a key is answered while a database is not."""

    def __init__(self, queue: Queue, terminal: Terminal, first: Glance, view: View, every: float) -> None:
        self.queue, self.terminal, self.view, self.every = queue, terminal, view, every
        self.seen, self.trouble = first, ""
        self._latest: Glance | None = None
        self._again, self._over = threading.Event(), threading.Event()
        self._answer: Callable[[], str] | None = None

    def run(self) -> None:
        """Until somebody quits."""
        looking = threading.Thread(target=self._look, name="pgjobq-top", daemon=True)
        looking.start()
        try:
            key: str | None = None
            while key != "q" or self._answer:
                if key:
                    self._pressed(key)
                self._draw()
                key = self.terminal.key(self.every)
        finally:
            self._over.set()
            self._again.set()
            looking.join(timeout=0.5)

    def _look(self) -> None:
        while not self._over.is_set():
            self._again.wait(self.every)
            self._again.clear()
            if self._over.is_set():
                return
            try:
                self._latest, self.trouble = glance(self.queue, self.view.only), ""
            except (psycopg.Error, PoolTimeout, PgjobqError, OSError) as error:
                line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
                self.trouble = f"the database does not answer: {line}"
            if not self._over.is_set():
                self.terminal.wake()

    def _draw(self) -> None:
        if self._latest is not None and not self.view.frozen:
            self.seen = self._latest
        names = [one.queue for one in sorted_queues(self.seen, self.view.sort)]
        if self.view.picked not in names:
            self.view = replace(self.view, picked=names[0] if names else None)
        width, height = self.terminal.size()
        view = replace(self.view, trouble=self.trouble or None)
        self.terminal.show(draw(self.seen, view, width, height, datetime.now(UTC)))

    # --- keys ------------------------------------------------------------------------------------------------

    def _pressed(self, key: str) -> None:
        view = replace(self.view, message=None)
        if self._answer is not None:
            act, self._answer = self._answer, None
            message = self._done(act) if key in ("y", "Y") else "nothing was changed"
            self.view = replace(view, message=message)
        elif key in ("up", "down"):
            self.view = replace(view, picked=self._next(1 if key == "down" else -1))
        elif key == "s":
            self.view = replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)])
        elif key == " ":
            self.view = replace(view, frozen=not view.frozen)
        elif key == "enter":
            self.view = replace(view, only=None if view.only else view.picked)
        elif key == "escape":
            self.view = replace(view, only=None)
        elif key == "p" and view.picked:
            self.view = replace(view, message=self._asked(view.picked))
        else:
            self.view = view
        self._again.set()

    def _next(self, step: int) -> str | None:
        names = [one.queue for one in sorted_queues(self.seen, self.view.sort)]
        if not names:
            return None
        place = names.index(self.view.picked) if self.view.picked in names else 0
        return names[max(0, min(len(names) - 1, place + step))]

    def _asked(self, name: str) -> str:
        paused = any(one.kind == "queue" and one.name == name for one in self.seen.pauses)
        if paused:
            self._answer = lambda: self._resume(name)
            return f"resume the queue {name}? y: yes, any other key: no"
        self._answer = lambda: self._pause(name)
        return f"pause the queue {name}, until somebody resumes it? y: yes, any other key: no"

    def _pause(self, name: str) -> str:
        self.queue.pause(queue=name, by=whoami())
        return f"the queue {name} is paused"

    def _resume(self, name: str) -> str:
        self.queue.resume(queue=name, by=whoami())
        return f"the queue {name} goes on"

    def _done(self, act: Callable[[], str]) -> str:
        try:
            return act()
        except (psycopg.Error, PoolTimeout, PgjobqError) as error:
            return f"not done: {str(error).strip().partition(os.linesep)[0]}"
