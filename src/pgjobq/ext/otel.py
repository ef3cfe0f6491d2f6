"""OpenTelemetry: a span for each enqueue and each run, linked with one another, and metrics. Needs the extra `otel`.

    from pgjobq.ext import otel

    otel.instrument(queue)

The names follow OpenTelemetry's conventions for messaging: an enqueue is a `send` of kind PRODUCER, a run a `process`
of kind CONSUMER. The trace goes along in the job's headers, as whatever the global propagator writes (`traceparent`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import attach, detach
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TracerProvider

from pgjobq.current import CurrentJob
from pgjobq.events import (
    JobDiscarded,
    JobEvent,
    JobFailed,
    JobParked,
    JobRetried,
    JobSnoozed,
    JobSucceeded,
    JobWaits,
    LeaseLost,
    ProcessEnding,
)
from pgjobq.ext.subject import is_isolated, is_order, told
from pgjobq.job import EnqueuedJob
from pgjobq.middleware import Outgoing, jobs_of_call
from pgjobq.migrate import library_version
from pgjobq.queue import Queue

__all__ = ["instrument"]

SYSTEM = "pgjobq"
FLUSH_WITHIN = 3_000
"""Milliseconds that exporters have for what they have gathered, when a process ends."""
BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
OUTCOMES: dict[type[JobEvent], str] = {
    JobSucceeded: "succeeded",
    JobRetried: "retried",
    JobFailed: "failed",
    JobSnoozed: "snoozed",
    JobWaits: "awaiting",
    JobDiscarded: "discarded",
    JobParked: "parked",
    LeaseLost: "lost",
}


def instrument(
    queue: Queue,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    same_trace: bool = False,
) -> None:
    """Trace and measure a queue; to be called where it is made, before workers and producers use it.

    Args:
        tracer_provider, meter_provider: None: the global ones.
        same_trace: a run belongs to the trace of its enqueue, as a child of it; False: it has a trace of its own,
            with a link to the enqueue, as a job may run days later and many times.
    """
    telemetry = _Telemetry(queue, tracer_provider, meter_provider, same_trace)
    queue.middleware(telemetry)
    queue.on(*OUTCOMES)(telemetry.count)
    queue.on(ProcessEnding)(lambda _: telemetry.flush())


class _Telemetry:
    def __init__(
        self, queue: Queue, tracers: TracerProvider | None, meters: MeterProvider | None, same_trace: bool
    ) -> None:
        self._queue = queue
        self._tracers, self._meters = tracers, meters
        self._same_trace = same_trace
        self._tracer = trace.get_tracer("pgjobq", library_version(), tracers)
        meter = metrics.get_meter("pgjobq", library_version(), meters)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that this process tried to enqueue"
        )
        self._taken = meter.create_counter("messaging.client.consumed.messages", "{message}", "Attempts begun")
        self._duration = meter.create_histogram(
            "messaging.process.duration", "s", "How long handlers ran", explicit_bucket_boundaries_advisory=BOUNDS
        )
        self._outcomes = meter.create_counter("pgjobq.attempts", "{attempt}", "Attempts by what became of the job")

    # ------------------------------------------------------------------------------------------ spans

    def enqueue(self, job: Outgoing) -> Iterator[None]:
        labels = {**_labels("send", job.queue), "pgjobq.task": job.task}
        context = propagate.extract(job.headers) if "traceparent" in job.headers else None  # given by the caller
        span = self._tracer.start_span(
            f"send {job.queue}", context, SpanKind.PRODUCER, {**labels, **_ref(job.ref)}, record_exception=False
        )
        propagate.inject(job.headers, trace.set_span_in_context(span, context))
        try:
            receipt: EnqueuedJob = yield  # type: ignore[assignment]
        except BaseException as error:
            labels["error.type"] = type(error).__qualname__
            span.set_attribute("error.type", labels["error.type"])
            span.set_status(Status(StatusCode.ERROR))
            raise
        else:
            span.set_attribute("messaging.message.id", str(receipt.id))
            if not receipt.is_new:
                span.set_attribute("pgjobq.is_new", False)
        finally:
            span.end()
            self._sent.add(1, labels)

    def run(self, job: CurrentJob) -> Iterator[None]:
        labels = {**_labels("process", job.queue), "pgjobq.task": job.task}
        context = propagate.extract(job.headers)
        jobs = jobs_of_call(job)
        is_child = self._same_trace and len(jobs) == 1
        links = [] if is_child else [Link(sender) for one in jobs if (sender := _sender(one)).is_valid]
        if not is_child:  # its baggage comes along, its span does not
            context = trace.set_span_in_context(trace.INVALID_SPAN, context)
        about: dict[str, Any] = {
            "messaging.message.id": str(job.id),
            "pgjobq.attempt": job.attempt,
            "pgjobq.max_attempts": job.max_attempts,
            **_ref(job.ref),
        }
        if len(jobs) > 1:
            about = {"messaging.batch.message_count": len(jobs)}
        self._taken.add(len(jobs), labels)
        began = time.perf_counter()
        token = attach(context)
        try:
            with self._tracer.start_as_current_span(
                f"process {job.queue}", None, SpanKind.CONSUMER, {**labels, **about}, links,
                record_exception=False, set_status_on_exception=False,
            ) as span:  # fmt: skip
                try:
                    yield
                except BaseException as error:
                    if is_order(error):
                        span.set_attribute("pgjobq.outcome", type(error).__name__.lower())
                    else:
                        labels["error.type"] = self._record(span, job, error)
                    raise
                finally:
                    self._duration.record(time.perf_counter() - began, labels)
        finally:
            detach(token)
            if is_isolated(self._queue, job):
                self.flush()

    def _record(self, span: Any, job: CurrentJob, error: BaseException) -> str:
        failure = told(self._queue, job, error)
        span.set_attribute("error.type", failure.kind)
        span.set_status(Status(StatusCode.ERROR, f"{failure.kind}: {failure.message}"))
        span.add_event(
            "exception",
            {
                "exception.type": failure.kind,
                "exception.message": failure.message,
                "exception.stacktrace": failure.traceback,
            },
        )
        return failure.kind

    # ------------------------------------------------------------------------------------------ events

    def count(self, event: JobEvent) -> None:
        """What has become of a job."""
        self._outcomes.add(
            1,
            {
                "messaging.destination.name": event.queue,
                "pgjobq.task": event.task,
                "pgjobq.outcome": OUTCOMES[type(event)],
            },
        )

    def flush(self) -> None:
        """Send what has been gathered: the process may be gone in a moment."""
        for provider in (self._tracers or trace.get_tracer_provider(), self._meters or metrics.get_meter_provider()):
            flush = getattr(provider, "force_flush", None)  # the SDK's have it
            if flush is not None:
                flush(FLUSH_WITHIN)


def _sender(job: CurrentJob) -> SpanContext:
    return trace.get_current_span(propagate.extract(job.headers)).get_span_context()


def _labels(operation: str, queue: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": queue,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }


def _ref(ref: str | None) -> dict[str, str]:
    return {} if ref is None else {"pgjobq.ref": ref}
