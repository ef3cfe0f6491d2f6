"""Handlers that take many jobs in one call, for tests that need a worker process."""

from __future__ import annotations

from dataclasses import dataclass

from apps.trace import mark, pass_gate, pass_gate_plainly
from pgjobq import Chunk, ChunkJob, Queue

queue = Queue()


@dataclass
class Doc:
    doc: int


Docs = list[ChunkJob[Doc]]


@queue.task(chunk=Chunk(size=4, wait=0.05))
async def index(jobs: Docs) -> None:
    mark("start", jobs=[job.id for job in jobs])
    await pass_gate()
    mark("end", jobs=[job.id for job in jobs if not job.cancelled])


@queue.task(chunk=Chunk(size=4, wait=0.05), timeout=60)
def index_plainly(jobs: Docs) -> None:
    mark("start", jobs=[job.id for job in jobs])
    pass_gate_plainly()
    mark("end", jobs=[job.id for job in jobs if not job.cancelled])


@queue.task(chunk=Chunk(size=100, wait=60))
async def gather(jobs: Docs) -> None:
    mark("start", jobs=[job.id for job in jobs])
