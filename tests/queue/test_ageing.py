"""The doors to queues in which jobs rise while they wait."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import psycopg
import pytest

from pgjobq import InvalidOption, Queue


def test_what_is_set_is_shown_and_written_down(queue: Queue) -> None:
    queue.set_ageing("mail", step=60, by="ann")
    queue.set_ageing("mail", step=timedelta(minutes=2), up_to=-3, by="bob")

    async def elsewhere() -> None:
        await queue.aset_ageing("slow", step=1.5)
        assert [rule.queue for rule in await queue.aageing()] == ["mail", "slow"]
        assert not await queue.aunset_ageing("other")
        await queue.aclose()

    asyncio.run(elsewhere())
    mail, slow = queue.ageing()
    assert (mail.queue, mail.step, mail.up_to, mail.who) == ("mail", 120.0, -3, "bob")
    assert (slow.step, slow.up_to) == (1.5, -9)
    assert queue.unset_ageing("mail", by="eve")
    assert not queue.unset_ageing("mail")
    told = [(entry.what, entry.who, entry.about.get("step")) for entry in queue.audit()]
    assert told[0] == ("unset_ageing", "eve", None)
    assert told[2:] == [("set_ageing", "bob", "00:02:00"), ("set_ageing", "ann", "00:01:00")]


def test_it_belongs_to_the_callers_transaction(dsn: str, queue: Queue) -> None:
    with psycopg.connect(dsn) as conn:
        queue.set_ageing("mail", step=60, conn=conn)
        assert [rule.queue for rule in queue.ageing(conn=conn)] == ["mail"]
        assert queue.ageing() == []
        conn.rollback()
    assert queue.ageing() == []


def test_what_cannot_be_set(queue: Queue) -> None:
    for wrong in (0, 0.5, -1, True, "60", float("nan"), timedelta(days=400), None):
        with pytest.raises(InvalidOption, match=r"step=.*: wants seconds or a timedelta, from 1 second to 366 days"):
            queue.set_ageing("mail", step=wrong)  # type: ignore[arg-type]
    for wrong_level in (-10, 10, 1.5, True, None):
        with pytest.raises(InvalidOption, match=r"up_to=.*: wants a whole number from -9"):
            queue.set_ageing("mail", step=60, up_to=wrong_level)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="queue='' is empty"):
        queue.set_ageing("", step=60)
    with pytest.raises(InvalidOption, match="queue=None"):
        queue.unset_ageing(None)  # type: ignore[arg-type]


def test_an_explanation_tells_that_it_has_risen(dsn: str, queue: Queue) -> None:
    @queue.task
    def send() -> None: ...

    job = send.using(priority=4).enqueue().id
    assert "risen" not in " ".join(queue.explain(job).sentences)
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE pgjobq.ready SET priority = -1, seq = nextval('pgjobq.job_id_seq')")
        conn.execute("SELECT pgjobq.open_lane('default', -1)")
    assert "By waiting it has risen from priority 4 to -1." in queue.explain(job).sentences
    found = queue.get(job)
    assert found is not None
    assert (found.priority, found.state) == (4, "ready")
    (stats,) = queue.queues()
    assert stats.oldest == found.created_at
