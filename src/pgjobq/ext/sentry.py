"""Sentry: the errors of jobs, each with its job. Needs the extra `sentry`.

    import sentry_sdk
    from pgjobq.ext import sentry

    sentry_sdk.init(dsn)
    sentry.instrument(queue)

Every failed attempt is reported where it fails, with the job's task, queue, id, attempt, ref and tags: never with its
arguments, and without local variables where a task has arguments that are secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.utils import event_from_exception

from pgjobq.codec import Veil
from pgjobq.current import ChunkJob, CurrentJob
from pgjobq.events import JobFailed, JobRetried, ProcessEnding
from pgjobq.ext.subject import is_isolated, is_order, veil_of
from pgjobq.logs import LOGGER
from pgjobq.middleware import jobs_of_call
from pgjobq.queue import Queue

__all__ = ["instrument"]

FLUSH_WITHIN = 2.0
"""Seconds that Sentry has for what it has gathered, when a process ends."""
UNSEEN = ("pgjobq.errors.IsolatedProcessDied",)
"""Failures of which the handler's own process cannot tell."""


def instrument(queue: Queue) -> None:
    """Report the errors of a queue's jobs; to be called where the queue is made, after or before `sentry_sdk.init`."""
    ignore_logger(LOGGER)  # its integration with logging would report the worker's own line about each failure as well
    reporting = _Reporting(queue)
    queue.middleware(reporting)
    queue.on(JobRetried, JobFailed)(reporting.report_unseen)
    queue.on(ProcessEnding)(lambda _: sentry_sdk.flush(FLUSH_WITHIN))


class _Reporting:
    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def run(self, job: CurrentJob) -> Iterator[None]:
        with sentry_sdk.isolation_scope() as scope:
            scope.clear_breadcrumbs()
            scope.set_transaction_name(job.task, source="task")
            _describe(scope, job.task, job.queue, job.id, job.attempt, job.max_attempts, job.ref)
            try:
                yield
                self._capture_marked(job, scope)
            except BaseException as error:
                if not is_order(error) and not (job.cancelled and not isinstance(error, Exception)):
                    self._capture(job, error, scope)
                raise

    def _capture_marked(self, job: CurrentJob, scope: sentry_sdk.Scope) -> None:
        """Jobs of a chunk of which their handler has said that they failed."""
        for one in jobs_of_call(job):
            error = one.mark[1] if isinstance(one, ChunkJob) and one.mark is not None else None
            if error is not None and not is_order(error):
                _describe(scope, one.task, one.queue, one.id, one.attempt, one.max_attempts, one.ref)
                self._capture(one, error, scope)

    def _capture(self, job: CurrentJob, error: BaseException, scope: sentry_sdk.Scope) -> None:
        task = self._queue.registry.find(job.task)
        if task is not None and task.codec.hides_any:
            scope.add_event_processor(_veiling(veil_of(self._queue, job)))
        options = sentry_sdk.get_client().options
        event, hint = event_from_exception(
            error, client_options=options, mechanism={"type": "pgjobq", "handled": False}
        )
        sentry_sdk.capture_event(event, hint=hint)
        if is_isolated(self._queue, job):
            sentry_sdk.flush(FLUSH_WITHIN)

    def report_unseen(self, event: JobRetried | JobFailed) -> None:
        """An isolated handler's process has died: this process is the first to know."""
        if event.error not in UNSEEN:
            return
        with sentry_sdk.isolation_scope() as scope:
            scope.set_transaction_name(event.task, source="task")
            _describe(scope, event.task, event.queue, event.job, event.attempt, event.max_attempts, event.ref)
            sentry_sdk.capture_message(f"{event.task}: {event.error_message}", level="error")


def _describe(
    scope: sentry_sdk.Scope, task: str, queue: str, job: int, attempt: int, max_attempts: int, ref: str | None
) -> None:
    scope.set_tag("pgjobq.task", task)
    scope.set_tag("pgjobq.queue", queue)
    if ref is not None:
        scope.set_tag("pgjobq.ref", ref)
    scope.set_context("job", {"id": job, "attempt": attempt, "max_attempts": max_attempts, "ref": ref})


def _veiling(veil: Veil | None) -> Callable[[Any, Any], Any]:
    """Takes secrets out of an event: local variables altogether, and the values out of the texts."""

    def process(event: Any, hint: Any) -> Any:  # noqa: ARG001
        for raised in event.get("exception", {}).get("values", []):
            if veil is not None and raised.get("value"):
                raised["value"] = veil(raised["value"])
            for frame in (raised.get("stacktrace") or {}).get("frames", []):
                frame.pop("vars", None)
        event.pop("breadcrumbs", None)  # the handler's own log lines may hold them
        return event

    return process
