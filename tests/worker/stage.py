"""What worker tests stand on: real worker processes, a trace written by the handlers, and questions to the database.

The trace is a file outside the database: one write per event, so that it stays true whatever is killed or rolled
back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from pgjobq import Queue
from pgjobq.settings import WorkerSettings
from pgjobq.worker import Worker
from support.waiting import eventually

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
PATIENCE = 60.0

ENQUEUE = """
SELECT pgjobq.enqueue(task => %(task)s, args => %(args)s::jsonb, queue => %(queue)s, priority => %(priority)s,
                      run_at => %(run_at)s, delay => make_interval(secs => %(delay)s), ref => %(ref)s,
                      tags => %(tags)s, max_attempts => %(max_attempts)s, headers => %(headers)s::jsonb)
"""
OPTIONS: dict[str, Any] = {
    "queue": "default",
    "priority": 0,
    "run_at": None,
    "delay": None,
    "ref": None,
    "tags": None,
    "max_attempts": 20,
    "headers": None,
}


def clean_environment(**changes: str) -> dict[str, str]:
    """Ours without whatever names a database or sets up a worker."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "DATABASE_URL"))}
    return kept | {"PYTHONPATH": os.pathsep.join((str(SOURCE), str(HERE))), "NO_COLOR": "1"} | changes


@dataclass
class Running:
    """A `python -m pgjobq.worker` that was started, its log and its processes."""

    popen: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        """The supervisor's process id; also that of the process group."""
        return self.popen.pid

    @property
    def text(self) -> str:
        """All it has written to standard error (and output)."""
        return self.log.read_text(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What it has logged so far, with the given name."""
        found = []
        for line in self.text.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if isinstance(event, dict) and name in (None, event.get("event")):
                    found.append(event)
        return found

    def wait_event(self, name: str, count: int = 1, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until it has logged that event so many times; the newest one."""

        def seen() -> dict[str, Any]:
            found = self.events(name)
            if len(found) < count and self.popen.poll() is not None:
                raise RuntimeError(f"the worker ended with {self.popen.returncode} before {name}:\n{self.text}")
            assert len(found) >= count, f"{len(found)} of {count} {name} in its log:\n{self.text}"
            return found[-1]

        return eventually(seen, timeout)

    def ready(self) -> Running:
        """Wait until it takes jobs."""
        self.wait_event("worker_started")
        return self

    def children(self) -> list[int]:
        """Its worker processes."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            return [int(pid) for pid in path.read_text().split()]
        except (OSError, ProcessLookupError):
            return []

    def send(self, number: signal.Signals) -> None:
        """Signal the supervisor alone."""
        self.popen.send_signal(number)

    def send_group(self, number: signal.Signals) -> None:
        """Signal supervisor and processes at once, as a terminal does."""
        os.killpg(self.pid, number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end within {timeout:g} s:\n{self.text}") from None

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def destroy(self) -> None:
        """Whatever is left of it goes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(30)


def is_alive(pid: int) -> bool:
    """Whether that process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Stage:
    """One test's database, trace and workers."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn
        self.directory = directory
        self.trace = directory / "trace"
        self.trace.touch()
        self.gate = directory / "gate"
        self.workers: list[Running] = []

    # ------------------------------------------------------------------------------------ workers

    def worker(self, *flags: str, app: str = "apps.basic:queue", dsn: str | None = None, **env: str) -> Running:
        """Start `python -m pgjobq.worker`, in a process group of its own; it logs JSON."""
        command = [sys.executable, "-m", "pgjobq.worker", app, "--log-format", "json", *flags]
        environ = clean_environment(PGJOBQ_DSN=dsn or self.dsn, **self.environ()) | env
        return self.run(command, environ)

    def environ(self) -> dict[str, str]:
        """What the apps read."""
        return {"STAGE_TRACE": str(self.trace), "STAGE_GATE": str(self.gate), "STAGE_DSN": self.dsn}

    def run(self, command: list[str], environ: dict[str, str], cwd: Path = Path("/")) -> Running:
        """Start any command as a worker."""
        log = self.directory / f"log-{len(self.workers)}"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environ,
                cwd=cwd,
                start_new_session=True,
            )
        running = Running(popen, log)
        self.workers.append(running)
        return running

    def drain(self, *flags: str, app: str = "apps.basic:queue") -> Running:
        """Run a draining worker to its end."""
        running = self.worker("--drain", *flags, app=app)
        running.wait()
        return running

    def destroy(self) -> None:
        """End all workers."""
        for running in self.workers:
            running.destroy()

    # ------------------------------------------------------------------------------------ the database

    def query(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """Run one statement by itself."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            cursor = conn.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, *params: object) -> Any:
        """Its only value."""
        return self.query(sql, *params)[0][0]

    def enqueue(self, task: str, args: dict[str, Any] | None = None, **options: Any) -> int:
        """Enqueue through SQL, as any language would."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            return self.enqueue_on(conn, task, args, **options)

    def enqueue_on(
        self, conn: psycopg.Connection[Any], task: str, args: dict[str, Any] | None = None, **options: Any
    ) -> int:
        """The same on a connection of the test's own."""
        params = OPTIONS | {"task": task, "args": json.dumps(args or {})} | options
        row = conn.execute(ENQUEUE, params).fetchone()
        assert row is not None
        return int(row[0])

    def enqueue_many(self, task: str, count: int, args: dict[str, Any] | None = None) -> list[int]:
        """So many of the same."""
        sql = """SELECT pgjobq.enqueue_many(jsonb_agg(jsonb_build_object('task', %s::text, 'args', %s::jsonb)))
                 FROM generate_series(1, %s)"""
        return [row[0] for row in self.query(sql, task, json.dumps(args or {}), count)]

    def job(self, job: int) -> dict[str, Any]:
        """Its row in the view `jobs`."""
        with psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row) as conn:
            row = conn.execute("SELECT * FROM pgjobq.jobs WHERE id = %s", (job,)).fetchone()
        assert row is not None, f"there is no job {job}"
        return row

    def state(self, job: int) -> str:
        """Its state."""
        return str(self.job(job)["state"])

    def states(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        return dict(self.query("SELECT state, count(*) FROM pgjobq.jobs GROUP BY 1"))

    def errors(self, job: int) -> list[dict[str, Any]]:
        """Its failed attempts, oldest first."""
        with psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row) as conn:
            sql = "SELECT * FROM pgjobq.attempt_error WHERE job = %s ORDER BY attempt, failed_at"
            return conn.execute(sql, (job,)).fetchall()

    def wait_state(self, job: int, *states: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """Wait until it is in one of these states; its row."""

        def there() -> dict[str, Any] | None:
            row = self.job(job)
            assert row["state"] in states, f"job {job} is {row['state']}: {row['reason']}; {self._logs()}"
            return row

        return eventually(there, timeout) or {}

    def wait_all(self, state: str, timeout: float = PATIENCE) -> None:
        """Wait until every job is in that state."""

        def there() -> bool:
            states = self.states()
            assert set(states) == {state}, f"{states}; {self._logs()}"
            return True

        eventually(there, timeout)

    def _logs(self) -> str:
        return "\n---\n".join(running.text[-3000:] for running in self.workers)

    # ------------------------------------------------------------------------------------ the trace

    def marks(self, what: str | None = None, job: int | None = None) -> list[dict[str, Any]]:
        """What the handlers wrote, in order; of one kind, of one job."""
        whole = self.trace.read_text().rpartition("\n")[0]  # the last line may be half there
        marks = [json.loads(line) for line in whole.splitlines()]
        return [m for m in marks if what in (None, m["what"]) and job in (None, m["job"])]

    def starts(self, job: int) -> list[dict[str, Any]]:
        """Its starts."""
        return self.marks("start", job)

    def wait_marks(
        self, what: str, count: int = 1, job: int | None = None, timeout: float = PATIENCE
    ) -> list[dict[str, Any]]:
        """Wait until handlers have written so many."""

        def there() -> list[dict[str, Any]] | None:
            marks = self.marks(what, job)
            assert len(marks) >= count, f"{len(marks)} of {count} {what}; {self._logs()}"
            return marks

        return eventually(there, timeout) or []

    def open_gate(self) -> None:
        """Let the handlers go that wait in `hold`."""
        self.gate.touch()

    def close_gate(self) -> None:
        """Let those wait that come now."""
        self.gate.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------- embedded


def run_drained(queue: Queue, **settings: Any) -> Worker:
    """Run what is ready with an embedded worker, and return it."""
    worker = Worker(queue, WorkerSettings(drain=True, **settings))
    worker.run_sync()
    return worker


@contextlib.contextmanager
def embedded(queue: Queue, **settings: Any) -> Iterator[Worker]:
    """A worker in a thread of this process, for as long as the block lasts."""
    worker = Worker(queue, WorkerSettings(**settings))
    loops: list[asyncio.AbstractEventLoop] = []
    failure: list[BaseException] = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        await worker.run()

    def live() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        eventually(lambda: loops or failure)
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loops[0].call_soon_threadsafe(worker.stop)
        thread.join(60)
        assert not thread.is_alive(), "the embedded worker did not stop within 60 s"
    if failure:
        raise failure[0]


def count_peak(marks: list[dict[str, Any]]) -> int:
    """The most handlers that were inside at once, from `start` and `end` marks."""
    inside = peak = 0
    for mark in sorted(marks, key=lambda mark: mark["at"]):
        inside += {"start": 1, "end": -1}.get(mark["what"], 0)
        peak = max(peak, inside)
    return peak


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """eventually(), for conditions whose answer does not matter."""
    eventually(lambda: bool(condition()), timeout)
