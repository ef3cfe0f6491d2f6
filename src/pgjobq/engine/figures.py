"""What a supervisor tells Prometheus: the counts of all its processes, and what it sees of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

from pgjobq.engine.crew import Process
from pgjobq.engine.endpoint import Endpoint
from pgjobq.events import Event, MetricsServed
from pgjobq.logs import Journal
from pgjobq.metrics import Family, Tally, expose
from pgjobq.migrate import library_version
from pgjobq.settings import WorkerSettings

__all__ = ["Figures", "about_worker"]


class Figures:
    """Adds up, and answers at `--metrics-port`; without one it does nothing.

    Args:
        crew: gives the processes there are.

    Raises ConfigError when the port cannot be had.
    """

    def __init__(
        self, app: str, settings: WorkerSettings, journal: Journal, crew: Callable[[], Iterable[Process]]
    ) -> None:
        self._app, self._settings, self._journal, self._crew = app, settings, journal, crew
        self._tally = Tally()
        self._lock = threading.Lock()
        self._endpoint: Endpoint | None = None
        if settings.metrics_port is not None:
            self._endpoint = Endpoint(settings.metrics_host, settings.metrics_port, self.text)
            journal.listen(self._hear)

    def start(self) -> None:
        """Begin to answer."""
        if self._endpoint is not None:
            self._endpoint.start()
            self._journal.emit(MetricsServed(url=self._endpoint.url))

    def stop(self) -> None:
        """Answer no more."""
        if self._endpoint is not None:
            self._endpoint.stop()

    def add(self, told: dict[str, Any]) -> None:
        """What a process has counted since it last said so."""
        with self._lock:
            self._tally.merge(told)

    def _hear(self, event: Event) -> None:
        with self._lock:
            self._tally.hear(event)

    def text(self) -> str:
        """All of it, as Prometheus reads it."""
        crew = list(self._crew())
        running = 0
        for process in crew:
            with contextlib.suppress(ValueError):  # its board has just been closed
                running += len(process.board.entries())
        with self._lock:
            families = self._tally.families()
        return expose([*about_worker(self._app, self._settings, running, len(crew)), *families])


def about_worker(app: str, settings: WorkerSettings, running: int, processes: int) -> list[Family]:
    """What a worker is and does now."""
    info = Family("pgjobq_worker", "info", "What this worker is.")
    info.add(1, app=app, version=library_version(), queues=",".join(settings.queues))
    busy = Family("pgjobq_worker_running_jobs", "gauge", "Jobs begun in this worker and not yet settled.")
    busy.add(running)
    places = Family(
        "pgjobq_worker_concurrency", "gauge", "Jobs this worker may run at once, all its processes together."
    )
    places.add(settings.concurrency * settings.processes)
    alive = Family("pgjobq_worker_processes", "gauge", "Processes of this worker.")
    alive.add(processes)
    return [info, busy, places, alive]
