"""What a worker prints when it starts, within 80 columns."""

from __future__ import annotations

import textwrap

from pgjobq.events import WorkerStarted
from pgjobq.logs.sentences import one_line, span

__all__ = ["banner"]

WIDTH = 80
LABEL = 12
MOST_LINES = 5


def banner(event: WorkerStarted) -> str:
    """The start-up banner: who runs what, where, and how it is stopped."""
    processes = f" × {event.processes} processes" if event.processes > 1 else ""
    if event.mode == "polling":
        wakes = f"polling every {span(event.poll_interval)}"
    else:
        wakes = f"listening, and looking every {span(event.poll_interval)} at the latest"
    rows = [
        ("queues", ", ".join(event.queues) or "all"),
        ("tasks", ", ".join(sorted(event.tasks)) or "none registered"),
        ("running", f"{event.concurrency} at once{processes}"),
        ("database", event.database),
        ("", f"PostgreSQL {event.server_version}, schema {event.schema}"),
        ("lease", f"{span(event.lease)}, renewed every {span(event.heartbeat)}"),
        ("wakes up", wakes),
        ("process", f"pid {event.pid}" + (f", worker {event.worker}" if event.worker else "")),
    ]
    title = one_line(f"pgjobq {event.version} · {event.app}", WIDTH - 4)
    lines = ["", f"  {title}", "  " + "─" * (WIDTH - 4)]
    for label, value in rows:
        lines += _row(label, value)
    lines += ["", "  " + _ending(event), ""]
    return "\n".join(lines)


def _row(label: str, value: str) -> list[str]:
    wrapped = textwrap.wrap(
        one_line(value, 100_000),
        WIDTH - LABEL - 4,
        break_on_hyphens=False,
        max_lines=MOST_LINES,
        placeholder=" …",
    )
    indents = [label.ljust(LABEL)] + [" " * LABEL] * len(wrapped)
    return [f"  {indent}{line}" for indent, line in zip(indents, wrapped, strict=False)]


def _ending(event: WorkerStarted) -> str:
    if event.drain:
        return "Ends when nothing is left to run."
    return f"Ctrl-C stops it; running jobs then get {span(event.grace)} to finish."
