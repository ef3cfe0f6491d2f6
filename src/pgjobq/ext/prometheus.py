"""For applications that have a registry of prometheus_client, and serve it themselves. Needs the extra `metrics`.

from prometheus_client import REGISTRY
from pgjobq.ext.prometheus import QueueCollector, WorkerCollector

REGISTRY.register(QueueCollector(queue))    # depth, age, workers: asked of the database at each scrape
REGISTRY.register(WorkerCollector(worker))  # what a worker inside this process counts
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector

from pgjobq.exporter import standing
from pgjobq.metrics import Family, Tally, gauges
from pgjobq.queue import Queue
from pgjobq.worker import Worker

__all__ = ["QueueCollector", "WorkerCollector"]

_SUFFIXES = {"counter": "_total", "info": "_info"}


class QueueCollector(Collector):
    """What stands in the queue, as `pgjobq metrics` tells it."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        """The metrics, as they are now. Raises what the database does when it cannot answer."""
        return _metrics(gauges(standing(self._queue)))

    def describe(self) -> Iterable[Metric]:
        """Nothing: so registering asks no database."""
        return []


class WorkerCollector(Collector):
    """What an embedded Worker counts, as `--metrics-port` tells it; to be made before the worker runs."""

    def __init__(self, worker: Worker) -> None:
        self._tally = worker.tally = worker.tally or Tally()

    def collect(self) -> Iterator[Metric]:
        """The metrics, as they are now."""
        return _metrics(self._tally.families())


def _metrics(families: Iterable[Family]) -> Iterator[Metric]:
    for family in families:
        metric: Any = Metric(family.name, family.help, family.kind)
        for sample in family.samples:
            suffix = sample.suffix or _SUFFIXES.get(family.kind, "")
            metric.add_sample(family.name + suffix, dict(sample.labels), sample.value)
        yield metric
