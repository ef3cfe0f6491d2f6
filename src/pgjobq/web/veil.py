"""What is kept from being shown: `redact` of the application's own, laid over everything that may hold private data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from pgjobq.job import AttemptError, Job, Progress, Step
from pgjobq.overview import AuditEntry
from pgjobq.survey import FailureGroup

__all__ = ["Redact", "Veil"]

Redact = Callable[[str, Any], Any]
"""Gets each value with the path to it (`args.address.street`, `headers.user`, `result`, `error.message`,
`error.traceback`, `reason`, `progress`, `step.charge.card`) and gives what is shown in its place."""


class Veil:
    """Lays `redact` over values; without one, nothing changes."""

    def __init__(self, redact: Redact | None) -> None:
        self._redact = redact

    @property
    def hides(self) -> bool:
        """Whether anything may be shown otherwise than it is."""
        return self._redact is not None

    def audit(self, entry: AuditEntry) -> AuditEntry:
        """The entry as it may be shown: what a filter looked for may be private, too (`audit.error`, `audit.args`)."""
        return entry if self._redact is None else replace(entry, about=self._deep("audit", entry.about))

    def job(self, job: Job) -> Job:
        """The job as it may be shown."""
        if self._redact is None:
            return job
        return replace(
            job,
            args=self._deep("args", job.args),
            headers=self._deep("headers", job.headers),
            result=self._deep("result", job.result),
            reason=self._text("reason", job.reason),
            progress=self._progress(job.progress),
        )

    def step(self, step: Step) -> Step:
        """The step as it may be shown."""
        return step if self._redact is None else replace(step, value=self._deep(f"step.{step.name}", step.value))

    def error(self, error: AttemptError) -> AttemptError:
        """The failed attempt as it may be shown."""
        if self._redact is None:
            return error
        return replace(
            error,
            message=self._text("error.message", error.message) or "",
            traceback=self._text("error.traceback", error.traceback) or "",
        )

    def failure(self, group: FailureGroup) -> FailureGroup:
        """The group as it may be shown."""
        if self._redact is None:
            return group
        return msgspec.structs.replace(group, message=self._text("error.message", group.message) or "")

    def _progress(self, progress: Progress | None) -> Progress | None:
        return progress and replace(progress, message=self._text("progress", progress.message))

    def _text(self, path: str, text: str | None) -> str | None:
        if self._redact is None or text is None:
            return text
        shown = self._redact(path, text)
        return None if shown is None else str(shown)

    def _deep(self, path: str, value: Any) -> Any:
        assert self._redact is not None
        if isinstance(value, dict):
            return {name: self._deep(f"{path}.{name}", inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._deep(f"{path}.{place}", inner) for place, inner in enumerate(value)]
        return self._redact(path, value)
