"""Middleware around enqueue: what it changes is written, what it refuses is not, and it hears how it went."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import psycopg
import pytest

from pgjobq import JobExists, MiddlewareError, Outgoing, Queue, Unique


@pytest.fixture
def trail() -> list[Any]:
    return []


@pytest.fixture
def send(queue: Queue, trail: list[Any]) -> Any:
    @queue.middleware
    class Signed:
        def enqueue(self, job: Outgoing) -> Iterator[None]:
            if job.ref == "refused":
                raise PermissionError("not you")
            job.headers["signed"] = f"{job.task} for {job.ref}"
            try:
                receipt = yield
            except Exception as error:
                trail.append(type(error).__name__)
                raise
            trail.append((receipt.id, receipt.is_new, receipt.queue))

    @queue.task
    def send(n: int) -> None: ...

    return send


def headers(queue: Queue, job: int) -> dict[str, str]:
    found = queue.get(job)
    assert found is not None
    return found.headers


def test_every_door_goes_through_it(queue: Queue, send: Any, trail: list[Any]) -> None:
    async def others() -> list[int]:
        async def stream() -> AsyncIterator[Any]:
            yield send.call(5)

        made = [(await send.aenqueue(3)).id, *(await queue.aenqueue_many([send.using(ref="d").call(4)]))]
        made += await queue.aenqueue_many(stream())
        await queue.aclose()
        return made

    first = send.using(ref="a", headers={"own": "x"}, queue="mail").enqueue(1).id
    bulk = queue.enqueue_many(send.using(ref=ref).call(2) for ref in "bc")
    rest = asyncio.run(others())
    assert headers(queue, first) == {"own": "x", "signed": "send for a"}
    signed = [headers(queue, job)["signed"] for job in (*bulk, *rest)]
    assert signed == [f"send for {ref}" for ref in ("b", "c", None, "d", None)]
    assert trail == [(first, True, "mail"), *((job, True, "default") for job in (*bulk, *rest))]


def test_it_works_inside_the_callers_transaction(queue: Queue, send: Any, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        job = send.using(conn=conn, ref="a").enqueue(1).id
        conn.rollback()
    assert queue.get(job) is None


def test_what_it_refuses_is_not_written(queue: Queue, send: Any, trail: list[Any]) -> None:
    with pytest.raises(MiddlewareError, match=r"Signed.enqueue failed before anything was written, for send: Permiss"):
        send.using(ref="refused").enqueue(1)
    with pytest.raises(MiddlewareError, match="not you"):
        queue.enqueue_many([send.call(1), send.using(ref="refused").call(2)])
    assert queue.jobs() == []
    assert trail == ["MiddlewareError"], "the one that had passed hears of it"


def test_it_hears_of_a_failed_write(queue: Queue, send: Any, trail: list[Any]) -> None:
    unique = send.using(unique=Unique(key="k", on_conflict="raise"))
    unique.enqueue(1)
    with pytest.raises(JobExists):
        unique.enqueue(1)
    with pytest.raises(JobExists):
        queue.enqueue_many([unique.call(1)])
    assert trail[1:] == ["JobExists", "JobExists"]


def test_an_error_after_the_write_says_that_the_job_is_there(queue: Queue, send: Any) -> None:
    @queue.around_enqueue
    def audited(job: Outgoing) -> Iterator[None]:
        yield
        raise OSError("disk full")

    with pytest.raises(MiddlewareError, match="audited failed after the job was written, for send: OSError: disk full"):
        send.enqueue(1)
    assert len(queue.jobs()) == 1


def test_context_goes_along_every_road(queue: Queue) -> None:
    tenant: ContextVar[str] = ContextVar("tenant")
    queue.carry(tenant=tenant)

    @queue.task
    def note(n: int = 0) -> None: ...

    token = tenant.set("acme")
    one = note.enqueue()
    many = queue.enqueue_many(note.call(n) for n in range(3))
    mixed = queue.enqueue_many([note.using(ref="a").call(), note.using(headers={"tenant": "own"}).call()])
    dependent = note.using(depends_on=[one]).enqueue()
    tenant.reset(token)
    without = note.enqueue()
    found = [headers(queue, job).get("tenant") for job in (one.id, *many, *mixed, dependent.id, without.id)]
    assert found == ["acme"] * 5 + ["own", "acme", None]
