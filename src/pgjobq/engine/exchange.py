"""One round trip with the database: settle what ended, claim what comes next, as one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg

from pgjobq.engine.cursor import Lane, Look
from pgjobq.engine.lease import SILENT, Lease, settlement
from pgjobq.engine.wire import Wire
from pgjobq.statements import statement_text

if TYPE_CHECKING:
    from pgjobq.engine.outbox import Batch

__all__ = ["Claimed", "Exchange", "Listed", "Turned"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim returned, with what the cursor wants to know of it."""

    leases: list[Lease]
    xmin: int
    xid: int | None
    seconds: float


_Cursor = psycopg.AsyncCursor[tuple[Any, ...]]


class Listed(NamedTuple):
    """Where to look for jobs, best first, and what not to start."""

    lanes: list[Lane]
    paused_tasks: set[str]


class Turned(NamedTuple):
    """What came of a turn: the jobs settled, those that are still locked by their handler's own transaction, what was
    claimed and listed (None: it was not asked for)."""

    settled: set[int]
    locked: set[int]
    claimed: Claimed | None
    listed: Listed | None


class Exchange:
    """The pump's statements on one wire, for one worker identity. Every wait is bounded by `bound` seconds."""

    def __init__(self, wire: Wire, schema: str, worker: UUID, bound: float) -> None:
        self.wire = wire
        self.worker = worker
        self._bound = bound
        self._schema = schema

    async def turn(
        self,
        batch: Batch,
        look: Look | None,
        limit: int,
        *,
        doze_ms: int = 0,
        listing: tuple[Sequence[str] | None] | None = None,
    ) -> Turned:
        """Settle a batch, then claim up to `limit` jobs.

        `doze_ms`: first say that somebody may be asleep for so long. `listing`: the queues (None: all) whose lanes are
        asked for on the way, for the looks to come.
        Settles commit synchronously; a claim alone need not survive a crash (the fence makes it never have happened).
        """
        settled: set[int] = set()
        locked: set[int] = set()
        complete = settle = claim = lists = None
        async with self._bounded(), self.wire.connection.pipeline():
            if batch.done:
                done = [attempt.lease.job for attempt in batch.done]
                attempts = _numbers([attempt.lease.attempt for attempt in batch.done])
                complete = await self._say("complete", _numbers(done), attempts, self.worker)
            if batch.others:
                text = _encode([settlement(lease, outcome) for lease, outcome, _ in batch.others]).decode()
                settle = await self._say("settle", text, self.worker)
            if hooked := [entry.lease.job for part in batch for entry in part if entry.lease.hooks]:
                await self._say("after", _numbers(hooked))
            if doze_ms:
                await self._say("doze", doze_ms)
            if look is not None and limit > 0:
                queues = [queue for queue, _ in look.lanes]
                priorities = _numbers([priority for _, priority in look.lanes])
                above, lazily = _numbers(look.above), not batch
                claim = await self._say("claim", queues, priorities, above, limit, self.worker, lazily)
            if listing is not None:
                lists = await self._ask_lanes(*listing)
        if complete is not None:
            if complete.rowcount == len(batch.done):  # nearly always: then the rows need not be read
                settled.update(done)
            else:
                settled.update([job for (job,) in await complete.fetchall()])
        if settle is not None:
            for job, is_settled in await settle.fetchall():
                (settled if is_settled else locked).add(job)
        claimed = None if claim is None else _claimed(await claim.fetchall())
        return Turned(settled, locked, claimed, None if lists is None else await _listed(*lists))

    async def listen(self, on_notify: Callable[[str], None]) -> None:
        """Hear the notifications of this schema from now on."""
        async with self._bounded():
            await self.wire.listen(self._schema, on_notify)

    async def register(self, lease: float, facts: Sequence[object]) -> None:
        """Make this worker known, for `lease` seconds."""
        await self._run("register", self.worker, lease, *facts)

    async def leave(self) -> bool:
        """Take this worker off the list; False when it still holds something."""
        return bool(await self._run("leave", self.worker))

    async def lanes(self, queues: Sequence[str] | None) -> Listed:
        """The lanes of these queues (None: all), best first; and the tasks that are paused."""
        async with self._bounded(), self.wire.connection.pipeline():
            lists = await self._ask_lanes(queues)
        return await _listed(*lists)

    async def _ask_lanes(self, queues: Sequence[str] | None) -> tuple[_Cursor, _Cursor]:
        return await self._say("lanes", queues), await self._say("paused_tasks")

    async def cancel_requests(self) -> dict[int, str]:
        """The jobs of ours that somebody wants cancelled, and why."""
        return dict(await self._run("cancel_requests", self.worker))

    async def adopt(self, tasks: Sequence[str], queues: Sequence[str] | None, limit: int) -> list[Lease]:
        """Claim jobs that waited for a worker that knows their task."""
        rows = await self._run("adopt", list(tasks), queues, limit, self.worker)
        return list(starmap(Lease, rows))

    async def give_back_strays(self, known: Sequence[int]) -> list[int]:
        """Give back what the database says we hold and we do not know of: claims whose answer was lost."""
        return [job for (job,) in await self._run("stray", self.worker, list(known))]

    async def promote(self, limit: int) -> int:
        """Move due jobs to ready (the drain does this itself, since nobody else may be alive)."""
        return int((await self._run("promote", limit))[0][0])

    async def look_at_gates(self, limit: int) -> int:
        """Let jobs through up to so many gates at which somebody should look; how many there were."""
        return int((await self._run("look_at_gates", limit))[0][0])

    async def release(self, limit: int) -> int:
        """Let jobs go whose predecessors have ended, or cancel them; how many were looked at."""
        return int((await self._run("release", limit))[0][0])

    async def look_at_workflows(self, limit: int) -> int:
        """Look at the workflows at which somebody should; how many notes said so."""
        return int((await self._run("look_at_workflows", limit))[0][0])

    async def anything_due(self) -> bool:
        """Whether a job waits for a time that has come, or at a gate where nobody has looked."""
        return bool(await self._run("anything_due"))

    async def rescue(self, margin: float) -> int:
        """Take back what workers hold whose lease ran out `margin` seconds ago; how many jobs."""
        return len(await self._run("rescue", None, SILENT, None, margin, None))

    async def server(self) -> tuple[int, bool]:
        """The process number of the server's side, and whether it is a standby."""
        pid, is_standby = (await self._run("server"))[0]
        return pid, is_standby

    async def _run(self, name: str, *params: object) -> list[tuple[Any, ...]]:
        async with self._bounded():
            cursor = await self._say(name, *params)
            return await cursor.fetchall() if cursor.description else []

    async def _say(self, name: str, *params: object) -> _Cursor:
        cursor = self.wire.connection.cursor(binary=True)
        return await cursor.execute(statement_text(name, self._schema), params, prepare=self.wire.session or None)

    def _bounded(self) -> _Bound:
        return _Bound(self.wire, self._bound)


class _Bound:
    """Sever the wire if the block takes longer than `seconds`: its statement then raises OperationalError."""

    def __init__(self, wire: Wire, seconds: float) -> None:
        self._wire = wire
        self._seconds = seconds

    async def __aenter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._wire.sever)

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()


def _numbers(values: Iterable[int]) -> str:
    """An array in PostgreSQL's text form: quicker to make than to adapt, and its type never varies with its values."""
    return "{" + ",".join(map(str, values)) + "}"


async def _listed(lanes: _Cursor, tasks: _Cursor) -> Listed:
    return Listed(await lanes.fetchall(), {task for (task,) in await tasks.fetchall()})


def _claimed(rows: list[tuple[Any, ...]]) -> Claimed:
    """The claim's rows: the jobs, and last what the cursor wants to know."""
    xmin, xid, *_, seconds = rows.pop()
    return Claimed(list(starmap(Lease, rows)), xmin, xid, seconds)


_encode = msgspec.json.Encoder().encode
