"""OpenTelemetry: spans and metrics of enqueues and runs, with the SDK's own exporters in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pgjobq import Chunk, ChunkJob, Discard, JobExists, Queue, Retry, Secret, Snooze, Unique, current_job
from pgjobq.ext import otel
from worker.stage import run_drained


@dataclass
class Doc:
    n: int


class Told:
    """What a test's providers were told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def spans(self, name: str, task: str | None = None) -> list[ReadableSpan]:
        found = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return [span for span in found if task in (None, (span.attributes or {})["pgjobq.task"])]

    def points(self, name: str) -> dict[tuple[Any, ...], Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
        keys = ("pgjobq.task", "pgjobq.outcome", "error.type")
        return {
            tuple(point.attributes[key] for key in keys if key in point.attributes): point
            for metric in metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def told() -> Told:
    return Told()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("same_trace", [False, True])
def test_a_run_is_linked_to_its_enqueue(queue: Queue, told: Told, same_trace: bool) -> None:
    otel.instrument(queue, tracer_provider=told.tracers, meter_provider=told.meters, same_trace=same_trace)
    seen: list[Any] = []

    @queue.task(queue="mail")
    async def outer() -> None:
        seen.append((trace.get_current_span().get_span_context().span_id, baggage.get_baggage("tenant")))
        await inner.aenqueue()

    @queue.task
    def inner() -> None:
        seen.append((trace.get_current_span().get_span_context().span_id, baggage.get_baggage("tenant")))

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        with told.tracers.get_tracer("shop").start_as_current_span("request") as request:
            job = outer.using(ref="order:7").enqueue()
    finally:
        context.detach(token)
    run_drained(queue)

    (send,), (process,) = told.spans("send mail"), told.spans("process mail")
    (send_inner,), (process_inner,) = told.spans("send default"), told.spans("process default")
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert send.parent is not None
    assert send.parent.span_id == request.get_span_context().span_id
    assert attributes(send) == {
        "messaging.system": "pgjobq",
        "messaging.destination.name": "mail",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.message.id": str(job.id),
        "pgjobq.task": "outer",
        "pgjobq.ref": "order:7",
    }
    assert (
        attributes(process).items()
        >= {
            "messaging.operation.type": "process",
            "messaging.message.id": str(job.id),
            "pgjobq.attempt": 1,
            "pgjobq.max_attempts": 20,
        }.items()
    )
    if same_trace:
        assert process.parent is not None
        assert process.parent.span_id == send.context.span_id
        assert process_inner.context.trace_id == send.context.trace_id
    else:
        assert process.parent is None
        assert [link.context.span_id for link in process.links] == [send.context.span_id]
        assert [link.context.span_id for link in process_inner.links] == [send_inner.context.span_id]
        assert process.context.trace_id != send.context.trace_id
    assert send_inner.parent is not None
    assert send_inner.parent.span_id == process.context.span_id, "what a handler enqueues belongs to its run"
    assert seen == [(process.context.span_id, "acme"), (process_inner.context.span_id, "acme")]


def test_errors_outcomes_and_durations(queue: Queue, told: Told) -> None:
    otel.instrument(queue, tracer_provider=told.tracers, meter_provider=told.meters)

    @queue.task(retry=Retry(max_attempts=1))
    def charge(card: Secret[str]) -> None:
        raise PermissionError(f"{card} declined")

    @queue.task
    async def order(kind: str) -> None:
        if kind == "snooze" and current_job().attempt == 1:
            raise Snooze(0.0)
        if kind == "discard":
            raise Discard("gone")

    charge.enqueue("4111222233334444")
    for kind in ("snooze", "discard", "well"):
        order.enqueue(kind)
    run_drained(queue)

    (failed,) = told.spans("process default", "charge")
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "PermissionError: [secret] declined"
    assert attributes(failed)["error.type"] == "PermissionError"
    (event,) = failed.events
    assert event.name == "exception"
    assert "4111222233334444" not in str(dict(event.attributes or {}))
    assert "Traceback" in str((event.attributes or {})["exception.stacktrace"])
    ordered = told.spans("process default", "order")
    assert all(span.status.status_code is StatusCode.UNSET for span in ordered)
    assert sorted(str(attributes(span).get("pgjobq.outcome")) for span in ordered) == [
        "None",
        "None",
        "discard",
        "snooze",
    ]
    outcomes = {key: point.value for key, point in told.points("pgjobq.attempts").items()}
    assert outcomes == {
        ("charge", "failed"): 1,
        ("order", "snoozed"): 1,
        ("order", "discarded"): 1,
        ("order", "succeeded"): 2,
    }
    durations = {key: point.count for key, point in told.points("messaging.process.duration").items()}
    assert durations == {("charge", "PermissionError"): 1, ("order",): 4}
    assert told.points("messaging.client.consumed.messages")["order",].value == 4
    assert told.points("messaging.client.sent.messages")["order",].value == 3


def test_a_call_for_many_jobs_is_one_span_with_a_link_to_each(queue: Queue, told: Told) -> None:
    otel.instrument(queue, tracer_provider=told.tracers, meter_provider=told.meters, same_trace=True)

    async def index(jobs: list[ChunkJob[Doc]]) -> None:
        jobs[1].fail(ValueError("the second"))

    task = queue.task(chunk=Chunk(size=3, wait=60), retry=Retry(max_attempts=1))(index)
    ids = [task.enqueue(n=n).id for n in range(3)]
    run_drained(queue)
    (span,) = told.spans("process default")
    senders = {attributes(send)["messaging.message.id"]: send.context.span_id for send in told.spans("send default")}
    assert [link.context.span_id for link in span.links] == [senders[str(job)] for job in ids]
    assert span.parent is None
    assert attributes(span)["messaging.batch.message_count"] == 3
    assert told.points("messaging.client.consumed.messages")["index",].value == 3
    outcomes = {key: point.value for key, point in told.points("pgjobq.attempts").items()}
    assert outcomes == {("index", "succeeded"): 2, ("index", "failed"): 1}


def test_bulk_failed_and_given_traces(queue: Queue, told: Told) -> None:
    otel.instrument(queue, tracer_provider=told.tracers, meter_provider=told.meters)

    @queue.task
    def note(n: int = 0) -> None: ...

    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    unique = note.using(unique=Unique(key="k", on_conflict="raise"))

    async def bulk() -> list[int]:
        ids = await queue.aenqueue_many(note.call(n) for n in range(3))
        await queue.aclose()
        return ids

    with told.tracers.get_tracer("shop").start_as_current_span("request") as request:
        ids = asyncio.run(bulk())
        note.using(headers={"traceparent": given}).enqueue(9)
        unique.enqueue()
        with pytest.raises(JobExists):
            unique.enqueue()
    spans = told.spans("send default")
    parents = [span.parent.span_id for span in spans if span.parent is not None]
    here = request.get_span_context().span_id
    assert parents == [here, here, here, 0xB7AD6B7169203331, here, here], "beside one another, not in one another"
    assert [attributes(span).get("messaging.message.id") for span in spans[:3]] == [str(job) for job in ids]
    assert attributes(spans[-1])["error.type"] == "JobExists"
    assert spans[-1].status.status_code is StatusCode.ERROR
    headers = {job.headers["traceparent"] for job in queue.jobs() if job.id in ids}
    assert len(headers) == 3
