"""prometheus_client's own registry tells the same as our own endpoint."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pgjobq import Queue
from pgjobq.exporter import export
from pgjobq.ext.prometheus import QueueCollector, WorkerCollector
from pgjobq.metrics import expose
from pgjobq.settings import WorkerSettings
from pgjobq.worker import Worker


def read(text: str) -> dict[object, float]:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("query_seconds", "ready_seconds"))
    }


def test_collectors_tell_what_the_endpoints_tell(queue: Queue) -> None:
    @queue.task
    def note(n: int) -> None: ...

    queue.enqueue_many(note.using(queue=f"q{n % 3}").call(n) for n in range(10))
    worker = Worker(queue, WorkerSettings(drain=True, queues=("q0", "q1")))
    registry = CollectorRegistry()
    registry.register(QueueCollector(queue))
    registry.register(WorkerCollector(worker))
    worker.run_sync()
    told = read(generate_latest(registry).decode())
    assert worker.tally is not None
    assert told == read(export(queue)) | read(expose(worker.tally.families()))
    assert told["pgjobq_queue_jobs", ("queue", "q2"), ("state", "ready")] == 3
    outcome = ("outcome", "succeeded"), ("queue", "q0"), ("task", "note")
    assert told["pgjobq_attempts_ended_total", *outcome] == 4
