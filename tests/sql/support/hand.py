"""A worker's hand without the worker: each of its statements, on a connection with its settings."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from pgjobq import migrate
from pgjobq.engine.cursor import Lane, Look
from pgjobq.engine.exchange import Claimed
from pgjobq.engine.lease import Lease
from pgjobq.engine.wire import worker_conninfo
from pgjobq.statements import statement_text

__all__ = ["Hand", "doctored", "function_text", "impatient", "start_one"]

SCHEMA = (Path(migrate.__file__).parent / "schema.sql").read_text()

PLACES = """
SELECT job, 'ready', attempt, spared FROM pgjobq.ready
UNION ALL SELECT job, 'running', attempt, spared FROM pgjobq.running
UNION ALL SELECT job, 'scheduled', attempt, spared FROM pgjobq.scheduled
UNION ALL SELECT job, 'blocked', attempt, spared FROM pgjobq.blocked
UNION ALL SELECT job, CASE outcome WHEN 's' THEN 'succeeded' WHEN 'f' THEN 'failed' ELSE 'cancelled' END, attempt, NULL
FROM pgjobq.finished
ORDER BY job
"""

Place = tuple[str, int, int | None]
"""Where a job stands, its attempt, and how many of the attempts were spared (None once it has ended)."""


def doctored(text: str, *changes: tuple[str, str]) -> str:
    """A statement with a guard taken out, to show that a test would notice."""
    for old, new in changes:
        assert old in text, f"nothing to doctor: {old!r} is not in\n{text}"
        text = text.replace(old, new)
    return text


class Hand:
    """One worker identity on one connection, in autocommit unless a test begins a transaction.

    `replaced` holds doctored texts by the statement's name.
    """

    def __init__(
        self, dsn: str, *, schema: str = "pgjobq", lease: float | None = 60.0, tasks: Sequence[str] = ()
    ) -> None:
        self.conn = psycopg.connect(
            worker_conninfo(dsn, "hand"),
            autocommit=True,
            row_factory=tuple_row,
            cursor_factory=psycopg.RawCursor,
            prepare_threshold=1,
        )
        self.schema = schema
        self.id = uuid.uuid4()
        self.replaced: dict[str, str] = {}
        if lease is not None:
            self.register(lease, tasks)

    def __enter__(self) -> Hand:
        return self

    def __exit__(self, *_: object) -> None:
        self.conn.close()

    @property
    def pid(self) -> int:
        """Its server process."""
        return self.conn.info.backend_pid

    def text(self, name: str) -> str:
        """The statement's text, or the doctored one."""
        return self.replaced.get(name) or statement_text(name, self.schema)

    def say(self, name: str, *params: object) -> list[tuple[Any, ...]]:
        """One statement of a worker, by name."""
        return self.sql(self.text(name), *params)

    def sql(self, text: str, *params: object) -> list[tuple[Any, ...]]:
        """Any statement."""
        with psycopg.RawCursor(self.conn) as cursor:
            cursor.execute(text.encode(), params or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, text: str, *params: object) -> Any:
        """The one value a statement gives."""
        ((value,),) = self.sql(text, *params)
        return value

    def set_now(self, instant: str) -> None:
        """The virtual clock of this connection; '' for the real one."""
        self.sql("SELECT set_config('pgjobq.now', $1, false)", instant)

    # ------------------------------------------------------------------------------------------ a worker's life

    def register(self, lease: float = 60.0, tasks: Sequence[str] = ()) -> None:
        """Be known as a worker."""
        self.say("register", self.id, lease, 1, 10, "host", "app:queue", "0", [], list(tasks))

    def beat(self, lease: float = 60.0) -> bool:
        """Renew the lease; False: declared dead."""
        return self.say("beat", [self.id], lease) == [(str(self.id),)]

    def leave(self) -> None:
        """Take the worker off the list."""
        self.say("leave", self.id)

    def lanes(self, queues: Sequence[str] | None = None) -> list[Lane]:
        """Where a claim has to look."""
        return [(queue, priority) for queue, priority in self.say("lanes", queues)]

    def look(self, limit: int, lanes: Sequence[Lane], above: Sequence[int]) -> Claimed:
        """Claim from given starting points."""
        rows = self.say("claim", [q for q, _ in lanes], [p for _, p in lanes], list(above), limit, self.id, False)
        xmin, xid, *_, seconds = rows.pop()
        return Claimed([Lease(*row) for row in rows], xmin, xid, seconds)

    def look_at(self, look: Look, limit: int) -> Claimed:
        """Claim as a cursor has planned."""
        return self.look(limit, look.lanes, look.above)

    def claim(self, limit: int = 100, queues: Sequence[str] | None = None) -> list[Lease]:
        """Claim from every lane, from zero."""
        lanes = self.lanes(queues)
        return self.look(limit, lanes, [0] * len(lanes)).leases

    def claim_one(self) -> Lease:
        """The only job there is."""
        (lease,) = self.claim()
        return lease

    def complete(self, *leases: Lease) -> list[int]:
        """Settle successes; the jobs that were still held."""
        jobs, attempts = [lease.job for lease in leases], [lease.attempt for lease in leases]
        return sorted(job for (job,) in self.say("complete", jobs, attempts, self.id))

    def settle(self, *outcomes: dict[str, Any]) -> list[tuple[int, bool]]:
        """Settle anything; (job, settled)."""
        return sorted(self.say("settle", json.dumps(outcomes), self.id))

    def settle_as(self, fate: str, lease: Lease, **more: Any) -> list[tuple[int, bool]]:
        """Settle one lease."""
        return self.settle({"job": lease.job, "attempt": lease.attempt, "fate": fate, **more})

    def adopt(self, tasks: Sequence[str], queues: Sequence[str] | None = None, limit: int = 100) -> list[Lease]:
        """Claim from `blocked`."""
        return [Lease(*row) for row in self.say("adopt", list(tasks), queues, limit, self.id)]

    def promote(self, limit: int = 1000) -> int:
        """Move due jobs to ready."""
        return int(self.say("promote", limit)[0][0])

    def rescue(
        self,
        dead: Iterable[uuid.UUID] | None = None,
        reason: str = "it died",
        started: Sequence[int] | None = None,
        *,
        margin: float = 0.0,
        spare: Sequence[int] | None = None,
    ) -> list[tuple[Any, ...]]:
        """Take back what the dead hold: (job, worker, task, attempt, max_attempts, over, unstarted)."""
        return sorted(self.say("rescue", None if dead is None else list(dead), reason, started, margin, spare))

    def retain(
        self,
        limit: int = 1000,
        succeeded: float | None = None,
        failed: float | None = None,
        first: str = "(0,0)",
        behind: str = "(4294967295,0)",
    ) -> int:
        """Delete what ended longer ago than so many seconds and stands between these places."""
        return int(self.say("retain", limit, succeeded, failed, first, behind)[0][0])

    def find_old(self, limit: int = 1000, succeeded: float | None = None, failed: float | None = None) -> list[int]:
        """The stretches of the table in which there is something for `retain`."""
        return [stretch for (stretch,) in self.say("find_old", limit, succeeded, failed)]

    # ------------------------------------------------------------------------------------------ an application

    def enqueue(self, task: str = "send", **options: Any) -> int:
        """One job through the SQL function; dicts go as JSON."""
        names = ", ".join(f"{name} => ${number}" for number, name in enumerate(options, 2))
        values = [json.dumps(value) if isinstance(value, dict) else value for value in options.values()]
        text = f"SELECT {self.schema_sql}.enqueue($1{', ' if names else ''}{names})"
        return int(self.value(text, task, *values))

    def enqueue_many(self, jobs: Sequence[dict[str, Any]]) -> list[int]:
        """Many jobs through the SQL function."""
        return [job for (job,) in self.sql(f"SELECT * FROM {self.schema_sql}.enqueue_many($1)", json.dumps(jobs))]

    def retry(self, job: int) -> bool:
        """An operator's retry."""
        return bool(self.value(f"SELECT {self.schema_sql}.retry($1)", job))

    def cancel(self, job: int) -> bool:
        """An operator's cancel."""
        return bool(self.value(f"SELECT {self.schema_sql}.cancel($1)", job))

    # ------------------------------------------------------------------------------------------ what stands where

    @property
    def schema_sql(self) -> str:
        """The schema as an identifier."""
        return f'"{self.schema}"'

    def places(self) -> dict[int, Place]:
        """Where each job stands. A job in two places is a failure of its own; so is one in none."""
        assert self.sql(self._said("SELECT * FROM pgjobq.misplaced")) == []
        return {job: (place, attempt, spared) for job, place, attempt, spared in self.sql(self._said(PLACES))}

    def place(self, job: int) -> Place:
        """Where one job stands."""
        return self.places()[job]

    def _said(self, text: str) -> str:
        return text.replace("pgjobq.", f"{self.schema_sql}.")


def function_text(name: str) -> str:
    """The definition of a public function, to be doctored."""
    start = SCHEMA.index(f"CREATE FUNCTION pgjobq.{name}(")
    return "CREATE OR REPLACE" + SCHEMA[start + 6 : SCHEMA.index("END $$;", start) + 7]


def impatient(hand: Hand) -> Hand:
    """Whoever waits for a lock where nobody should gets an error soon."""
    hand.sql("SET lock_timeout = '2s'")
    return hand


def start_one(hand: Hand, **options: object) -> Lease:
    """Enqueue a job and claim it."""
    hand.enqueue(**options)
    return hand.claim_one()
