"""find, count, retry_all, cancel_all, move_all, purge, explain and the overviews: on jobs in every state."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgjobq import Gate, InvalidOption, Keyring, NaiveDatetime, Queue
from sql.support.hand import Hand


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn) as opened:
        yield opened


@pytest.fixture
def crowd(hand: Hand) -> dict[str, int]:
    """One job in each state; the failed one with a ref, a tag, arguments and an error."""
    jobs = {"failed": hand.enqueue("pay", args={"customer": {"id": 7, "name": "Zoë"}}, ref="order:7", tags=["vip"])}
    hand.settle_as("f", hand.claim_one(), kind="CardError", message="card 100% declined_x")
    jobs["cancelled"] = hand.enqueue("pay", args={"customer": {"id": 8}})
    hand.settle_as("c", hand.claim_one(), reason="no")
    jobs["succeeded"] = hand.enqueue("send", queue="mail")
    hand.settle_as("s", hand.claim_one())
    jobs["blocked"] = hand.enqueue("unknown")
    hand.settle_as("blocked", hand.claim_one(), back=1, waits_for="task:unknown")
    jobs["running"] = hand.enqueue("send", queue="mail")
    assert hand.claim_one().job == jobs["running"]
    jobs["ready"] = hand.enqueue("send", queue="mail")
    jobs["scheduled"] = hand.enqueue("send", queue="mail", delay="1 hour")
    return jobs


def states(searched: Queue, /, **filters: Any) -> set[str]:
    """The states of what is found; counted and awaited, it is the same."""
    found = searched.find(**filters)
    assert searched.count(**filters) == len(found)

    async def awaited() -> None:
        assert await searched.afind(**filters) == found
        assert await searched.acount(**filters) == len(found)
        await searched.aclose()

    asyncio.run(awaited())
    assert [job.id for job in found] == sorted((job.id for job in found), reverse=True)
    return {str(job.state) for job in found}


def test_each_filter_finds_its_jobs_and_no_others(queue: Queue, crowd: dict[str, int], hand: Hand) -> None:
    assert states(queue) == set(crowd)
    for state, job in crowd.items():
        assert states(queue, state=state) == {state}
        assert states(queue, ids=[job]) == {state}
    assert states(queue, ref="order:7") == {"failed"}
    assert states(queue, tag="vip") == {"failed"}
    assert states(queue, task="pay") == {"failed", "cancelled"}
    assert states(queue, queue="mail") == {"succeeded", "running", "ready", "scheduled"}
    assert states(queue, args={"customer": {"id": 7}}) == {"failed"}
    assert states(queue, args={"customer": {"name": "Zoë"}}, state="failed") == {"failed"}
    assert states(queue, error="carderror") == {"failed"}
    assert states(queue, error="100% DECLINED_X") == {"failed"}
    assert states(queue, error="100%d") == set(), "no character is a wildcard"
    assert states(queue, worker=hand.id, state="running") == {"running"}
    assert states(queue, task="pay", state="failed", queue="mail") == set()
    hour = timedelta(hours=1)
    assert states(queue, since=datetime.now(UTC) - hour, until=datetime.now(UTC) + hour) == set(crowd)
    assert states(queue, since=datetime.now(UTC) + hour) == set()
    assert states(queue, finished_before=datetime.now(UTC) + hour) == {"failed", "cancelled", "succeeded"}


def test_pages_follow_each_other_without_a_gap(queue: Queue, hand: Hand) -> None:
    jobs = [hand.enqueue() for _ in range(7)]
    seen, before = [], None
    while page := queue.find(state="ready", before=before, limit=3):
        seen += [job.id for job in page]
        before = seen[-1]
    assert seen == jobs[::-1]
    assert queue.count(state="ready", most=5) == 5


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"stat": "failed"}, "there is no filter 'stat'. Did you mean 'state'?"),
        ({"state": "broken"}, "state='broken': wants one of"),
        ({"worker": "me"}, "wants a worker's id"),
        ({"queue": 7}, "queue=7: wants a text"),
        ({"since": "today"}, "wants a datetime"),
        ({"limit": 0}, "from 1 to 10,000"),
    ],
)
def test_what_cannot_be_asked(queue: Queue, filters: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption) as refusal:
        queue.find(**filters)
    assert said in str(refusal.value)


def test_a_time_needs_its_zone(queue: Queue) -> None:
    with pytest.raises(NaiveDatetime):
        queue.find(since=datetime(2020, 1, 1))  # noqa: DTZ001


def test_changes_to_many_touch_only_what_they_can_be_done_to(queue: Queue, crowd: dict[str, int], hand: Hand) -> None:
    before = {job: hand.places()[job][0] for job in crowd.values()}
    assert queue.retry_all(queue="mail") == queue.cancel_all(ref="order:7") == queue.purge(state="running") == 0
    assert {job: hand.places()[job][0] for job in crowd.values()} == before
    assert queue.audit() == []
    assert queue.retry_all(task="pay", by="ann") == 2
    assert queue.cancel_all(queue="mail", by="bob") == 2
    assert states(queue, state="cancelled", queue="mail") == {"cancelled"}
    assert queue.purge(state="succeeded", by="eve") == 1
    assert queue.get(crowd["succeeded"]) is None
    audit = [(entry.who, entry.what, entry.jobs, entry.about.get("queue")) for entry in queue.audit()]
    assert audit[0] == ("eve", "purge", 1, None)
    assert sorted(audit[1:]) == [
        ("ann", "retry", 2, None),
        ("bob", "cancel", 1, "mail"),
        ("bob", "cancel", 1, "mail"),
    ]


def test_a_change_to_everything_has_to_say_so(queue: Queue) -> None:
    for change in (queue.retry_all, queue.cancel_all, queue.purge):
        with pytest.raises(InvalidOption, match="needs a filter"):
            change()


def test_more_than_one_batch_and_the_callers_transaction(queue: Queue, hand: Hand, dsn: str) -> None:
    hand.sql('SELECT pgjobq.enqueue_many((SELECT jsonb_agg(\'{"task": "t"}\'::jsonb) FROM generate_series(1, 2300)))')
    with psycopg.connect(dsn) as conn:
        assert queue.cancel_all(task="t", conn=conn) == 2300
        conn.rollback()
    assert queue.count(state="ready") == 2300
    assert asyncio.run(cancel(queue)) == 2300
    assert sum(entry.jobs or 0 for entry in queue.audit()) == 2300


async def cancel(queue: Queue) -> int:
    cancelled = await queue.acancel_all(task="t")
    await queue.aclose()
    return cancelled


def test_moved_jobs_run_in_their_new_queue(queue: Queue, hand: Hand) -> None:
    ready = hand.enqueue("a")
    later = hand.enqueue("a", delay="1 hour")
    parked = hand.enqueue("a", queue="odd")
    hand.settle_as("blocked", hand.claim(1, ["odd"])[0], back=1, waits_for="task:a")
    again = hand.enqueue("a", queue="odd")
    hand.settle_as("again", hand.claim(1, ["odd"])[0])
    assert queue.move_all("mail", task="a") == 4
    assert {job.queue for job in queue.find(task="a")} == {"mail"}
    assert {job.id: str(job.state) for job in queue.find(task="a")} == {
        ready: "ready",
        later: "scheduled",
        parked: "blocked",
        again: "ready",
    }
    assert queue.move_all("mail", task="a") == 0
    assert sorted(lease.job for lease in hand.claim(10, ["mail"])) == [ready, again]


def test_a_sealed_payload_stays_in_its_queue(dsn: str, hand: Hand) -> None:
    pytest.importorskip("cryptography")
    queue = Queue(dsn, encryption=Keyring({"a": bytes(32)}))
    try:

        @queue.task
        def hush(word: str) -> None: ...

        hush.enqueue(word="secret")
        assert queue.move_all("mail", task="hush") == 0
    finally:
        queue.close()


# --- explain ---------------------------------------------------------------------------------------------


def told(queue: Queue, job: int) -> str:
    explanation = queue.explain(job)
    assert explanation is not None
    return str(explanation)


def test_why_each_job_is_where_it_is(queue: Queue, crowd: dict[str, int]) -> None:
    assert "failed for good" in told(queue, crowd["failed"])
    assert "CardError: card 100% declined_x" in told(queue, crowd["failed"])
    assert f"pgjobq jobs retry {crowd['failed']}" in told(queue, crowd["failed"])
    assert re.fullmatch(r"It was cancelled \d+ s ago: no\.", told(queue, crowd["cancelled"]))
    assert "It succeeded" in told(queue, crowd["succeeded"])
    assert "waits for a worker that knows 'unknown'" in told(queue, crowd["blocked"])
    assert "attempt 1 of 20" in told(queue, crowd["running"])
    assert "It is due in 60 min" in told(queue, crowd["scheduled"])
    assert queue.explain(10**6) is None
    assert queue.explain(10**30) is None


def test_why_a_ready_job_does_not_run(dsn: str, queue: Queue) -> None:
    with Hand(dsn, lease=None) as nobody:
        first, job = nobody.enqueue("send", queue="mail"), nobody.enqueue("send", queue="mail")
        assert "No worker is alive" in told(queue, job)
        assert "1 job is ahead of it in queue 'mail'" in told(queue, job)
        nobody.sql(
            """INSERT INTO pgjobq.worker (id, expires_at, pid, concurrency, host, app, version, queues, tasks)
               VALUES (gen_random_uuid(), now() + interval '1 hour', 1, 1, 'h', 'a', 'v', '{other}', '{send}')"""
        )
        assert "No live worker serves queue 'mail'" in told(queue, job)
        nobody.sql("UPDATE pgjobq.worker SET queues = '{}', tasks = '{else}'")
        assert "knows the task 'send'" in told(queue, job)
        nobody.sql("UPDATE pgjobq.worker SET tasks = '{send}'")
        assert "a worker with a free place takes it next" in told(queue, first)
        queue.pause(queue="mail", reason="the relay is down", by="ann", until=timedelta(hours=3))
        assert "The queue 'mail' was paused by ann 0 s ago, for another 3 h: the relay is down." in told(queue, first)


# --- overviews -------------------------------------------------------------------------------------------


def test_the_overviews_add_up(queue: Queue, crowd: dict[str, int], hand: Hand) -> None:
    queue.pause(queue="mail")
    hand.sql("ANALYZE pgjobq.finished")
    default, mail = queue.queues()
    assert (default.name, default.ready, default.blocked, default.paused) == ("default", 0, 1, False)
    assert (mail.ready, mail.running, mail.scheduled, mail.blocked, mail.paused) == (1, 1, 1, 0, True)
    assert mail.oldest is not None
    assert default.oldest is None
    (worker,) = queue.workers()
    assert (worker.id, worker.alive, worker.running) == (str(hand.id), True, 1)
    stats = queue.stats()
    assert [getattr(stats, state) for state in crowd] == [1] * len(crowd)
    assert stats.finished_last_minute == 3

    async def awaited() -> None:
        assert await queue.aqueues() == [default, mail]
        assert await queue.aworkers() == [worker]
        assert await queue.astats() == stats
        explanation = await queue.aexplain(crowd["failed"])
        assert explanation is not None
        assert await queue.aretry_all(ids=[crowd["failed"]]) == 1
        assert await queue.amove_all("other", ids=[crowd["failed"]]) == 1
        assert await queue.apurge(ids=[crowd["succeeded"]]) == 1
        await queue.aclose()

    asyncio.run(awaited())


def test_why_a_job_waits_at_a_gate_or_for_other_jobs(queue: Queue, hand: Hand) -> None:
    @queue.task(gates=[Gate("shop:{shop}", concurrency=2)])
    def pull(shop: int) -> None: ...

    @queue.task
    def bill() -> None: ...

    first, second, third, fourth = (pull.using(ref="order:7").enqueue(shop=7).id for _ in range(4))
    hand.sql("SELECT pgjobq.look_at_gates(100)")
    assert told(queue, third).startswith(
        f"It waits at the gate 'shop:7', of whose 2 places 2 are taken, by jobs {first} (pull, order:7, ready) and "
        f"{second} (pull, order:7, ready)."
    )
    assert "1 older job waits at it too." in told(queue, fourth)
    assert "older job" not in told(queue, third)
    one, other = bill.enqueue().id, bill.enqueue().id
    after = bill.using(depends_on=[one, other]).enqueue().id
    assert f"It waits for jobs {one} (bill, ready) and {other} (bill, ready) to succeed." in told(queue, after)
    hand.sql("SELECT pgjobq.cancel($1)", other)
    assert f"It waits for job {one} (bill, ready) to succeed." in told(queue, after)
    undo = bill.using(depends_on=one, needs="failure").enqueue().id
    assert f"It waits for job {one} (bill, ready) to fail or be cancelled." in told(queue, undo)


def test_progress_is_told_after_each_thousand(queue: Queue, hand: Hand) -> None:
    hand.sql("SELECT pgjobq.enqueue_alike('t', repeat(E'{}\\n', 2300))")
    seen: list[int] = []
    assert queue.move_all("other", task="t", progress=seen.append) == 2300
    assert seen == [1000, 2000, 2300]
    seen.clear()
    assert asyncio.run(told_while_cancelled(queue, seen)) == 2300
    assert seen == [1000, 2000, 2300]


async def told_while_cancelled(queue: Queue, seen: list[int]) -> int:
    cancelled = await queue.acancel_all(task="t", progress=seen.append)
    await queue.aclose()
    return cancelled
