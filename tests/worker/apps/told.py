"""Handlers whose spans and errors are written to the trace, by exporters that gather before they send."""

from __future__ import annotations

import json
import os
from typing import Any

import sentry_sdk
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from sentry_sdk.transport import Transport

from apps.trace import _fd
from pgjobq import Queue, Retry
from pgjobq.ext import otel, sentry


def write(what: str, **more: Any) -> None:
    os.write(_fd, json.dumps({"what": what, "job": None, "pid": os.getpid(), **more}).encode() + b"\n")


class ToFile(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        for span in spans:
            link = span.links[0].context.span_id if span.links else None
            write("span", name=span.name, id=span.context.span_id, link=link, task=span.attributes["pgjobq.task"])
        return SpanExportResult.SUCCESS


class Recorder(Transport):
    def capture_envelope(self, envelope: Any) -> None:
        event = envelope.get_event()
        if event is not None:
            write("sentry", event=event)


provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ToFile(), schedule_delay_millis=3_600_000))
sentry_sdk.init("https://key@sentry.invalid/1", transport=Recorder(), default_integrations=False)
queue = Queue()
otel.instrument(queue, tracer_provider=provider)
sentry.instrument(queue)


@queue.task(retry=Retry(max_attempts=1))
async def outer() -> None:
    await inner.aenqueue("hunter" + str(2))  # so that the source itself does not hold it


@queue.task(retry=Retry(max_attempts=1), isolation="process", secrets=["password"])
def inner(password: str) -> None:
    raise PermissionError(f"{password} is wrong")


@queue.task(retry=Retry(max_attempts=1), isolation="process")
def crash() -> None:
    os._exit(7)
