"""What happened, as a file outside the database: it stays true whatever is killed, rolled back or lost there."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Event", "History"]


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `at` is time.monotonic(), which all processes of one machine share.

    what: `enqueued` (fate committed, rolled_back, unknown, or held: its unique key was another's), `started`, `ended`,
        `dies`, `fault`, `healed`, `worker_started`, `worker_killed`, `schedule` (ticked from when until when);
        `did` a step and `kept` what it gave, `asleep` and `awake`, `emitted` an event (when it began, with what fate)
        and `met` it, `flow` (of each job that waits for others: for which, and what it needs of them); `holds`: it has
        read what was left to it, and waits.
    key: the job's name in the history; ids are not enough, since a number drawn by a transaction that was lost in a
        crash is drawn again.
    """

    what: str
    at: float
    key: str = ""
    attempt: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


class History:
    """Appends events. Any number of processes and threads may write to the same file at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def write(self, what: str, key: str = "", attempt: int = 0, **facts: Any) -> None:
        """One event in one write(): a kill leaves it whole or not there."""
        line = {"what": what, "at": time.monotonic(), "key": key, "attempt": attempt, **facts}
        os.write(self._fd, json.dumps(line).encode() + b"\n")

    def read(self) -> list[Event]:
        """All events so far, in the order in which they were written. Who reads beside a write may see half of it."""
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return [_parse(line) for line in whole.splitlines()]


def _parse(line: bytes) -> Event:
    facts = json.loads(line)
    return Event(facts.pop("what"), facts.pop("at"), facts.pop("key"), facts.pop("attempt"), facts)
