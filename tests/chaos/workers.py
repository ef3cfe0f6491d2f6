"""Real worker processes of a chaos run: started, listened to, and looked after only by their supervisors."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.checker import Death
from chaos.history import History
from support.waiting import eventually

__all__ = ["SHORT", "ChaosWorker", "clean_environment"]

TESTS = Path(__file__).parents[1]
SOURCE = TESTS.parent / "src"
SHORT = ("--lease", "3", "--heartbeat", "0.7", "--poll-interval", "0.5", "--grace", "5")
"""A lease of 3 s: what takes half a minute in production can be watched."""


def clean_environment(**changes: str) -> dict[str, str]:
    """Ours without whatever names a database or sets up a worker."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "DATABASE_URL", "CHAOS_"))}
    path = [SOURCE, TESTS, TESTS / "chaos" / "mutated"]
    return kept | {"PYTHONPATH": os.pathsep.join(map(str, path)), "NO_COLOR": "1"} | changes


class ChaosWorker:
    """One `python -m pgjobq.worker` in a process group of its own, logging JSON into a file.

    way: how it reaches the server: direct, proxied, pooled or cabled; through: what runs it elsewhere.
    """

    def __init__(
        self,
        name: str,
        way: str,
        history: History,
        directory: Path,
        environ: dict[str, str],
        *flags: str,
        through: Sequence[str] = (),
    ) -> None:
        self.name, self.way, self._history, self._through = name, way, history, through
        self._flags, self._environ = flags, environ | {"CHAOS_WORKER": name, "CHAOS_HISTORY": str(history.path)}
        self._log = directory / f"{name}.log"
        self._starts = 0
        self._stopped = False
        self.start()

    def start(self) -> None:
        """Start it; again after kill(): that is what a process manager does for a supervisor that was killed."""
        self._starts += 1
        worker = [sys.executable, "-m", "pgjobq.worker", "chaos.app:queue", "--log-format", "json"]
        command = [*self._through, *worker, *self._flags]
        with self._log.open("ab") as out:
            quiet, environ = subprocess.DEVNULL, self._environ
            self.popen = subprocess.Popen(
                command, stdin=quiet, stdout=out, stderr=out, env=environ, cwd="/", start_new_session=True
            )
        self._history.write("worker_started", pid=self.popen.pid, worker=self.name)

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.popen.pid

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return self.popen.poll() is None

    @property
    def text(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it has logged under that name, from all its lives."""
        found = []
        for line in self.text.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if isinstance(event, dict) and event.get("event") == name:
                    found.append(event)
        return found

    def wait_event(self, name: str, timeout: float = 60) -> dict[str, Any]:
        """Wait until it has logged that event; the newest one."""

        def seen() -> dict[str, Any]:
            found = self.events(name)
            assert found, f"no {name} in the log of {self.name}:\n{self.text}"
            return found[-1]

        return eventually(seen, timeout)

    def ready(self, timeout: float = 60) -> ChaosWorker:
        """Wait until it takes jobs."""

        def taken() -> bool:
            if not self.alive:
                raise RuntimeError(f"worker {self.name} ended with {self.popen.returncode}:\n{self.text}")
            return len(self.events("worker_started")) >= self._starts

        eventually(taken, timeout)
        return self

    def children(self) -> list[int]:
        """Its processes, by id."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except (OSError, ProcessLookupError):
            return []

    def kill_process(self, pid: int) -> None:
        """SIGKILL one of its processes; its supervisor has to deal with it."""
        self._history.write("worker_killed", pid=pid, worker=self.name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL the supervisor alone: its processes must not outlive it."""
        for pid in [self.pid, *self.children()]:
            self._history.write("worker_killed", pid=pid, worker=self.name)
        self.popen.kill()
        self.popen.wait(30)

    def send_group(self, number: signal.Signals) -> None:
        """Signal supervisor and processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, timeout: float = 40) -> int:
        """SIGTERM, and its exit code."""
        self._stopped = True
        self.popen.terminate()
        return self.popen.wait(timeout)

    def destroy(self) -> None:
        """Whatever is left of it goes."""
        self._stopped = self._stopped or self.alive
        self.send_group(signal.SIGCONT)
        self.send_group(signal.SIGKILL)
        self.popen.wait(30)

    def deaths(self) -> list[Death]:
        """Processes that ended other than in order, and the supervisor if it is not there any more."""
        found = []
        for event in self.events("process_died"):
            how = event.get("signal") or f"exit code {event.get('exit_code')}"
            found.append(Death(self.name, event["pid"], how))
        if not self.alive and not self._stopped:
            found.append(Death(self.name, self.pid, f"the supervisor ended with {self.popen.returncode}"))
        return found
