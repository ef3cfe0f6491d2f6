"""A queue that takes so many waiting jobs and no more: refusing, or dropping the oldest."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import psycopg
import pytest

from pgjobq import Gate, InvalidOption, JobState, Queue, QueueFull, Unique
from pgjobq.task import Task
from sql.support.hand import Hand, doctored, function_text
from support.locks import lock_waiters
from support.waiting import eventually

Send = Task[..., None]


@pytest.fixture
def send(queue: Queue) -> Send:
    @queue.task(queue="mail")
    def send(number: int) -> None: ...

    return send


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn) as hand:
        yield hand


def waiting(hand: Hand, queue: str = "mail") -> int:
    return int(hand.value("SELECT count(*) FROM pgjobq.jobs WHERE queue = $1 AND NOT state = ANY ($2)", queue,
                          ["running", "succeeded", "failed", "cancelled"]))  # fmt: skip


def test_what_is_over_the_limit_is_refused(queue: Queue, send: Send, hand: Hand) -> None:
    """By every road into the queue, whatever they wait for; other queues, and what runs, do not count."""

    @queue.task(queue="mail", gates=[Gate("api", concurrency=1)])
    def gated(number: int) -> None: ...

    queue.limit("mail", waiting=5)
    send.enqueue(1)
    send.using(delay=60).enqueue(2)
    gated.enqueue(3)
    queue.enqueue_many([send.call(4), send.using(priority=5).call(5)])
    roads: list[Callable[[], object]] = [
        lambda: send.enqueue(6),
        lambda: asyncio.run(_closing(queue, send.aenqueue(6))),
        lambda: send.using(delay=60).enqueue(6),
        lambda: send.using(priority=-3, ref="a").enqueue(6),
        lambda: send.using(unique=Unique(key="k")).enqueue(6),
        lambda: gated.enqueue(6),
        lambda: queue.enqueue("send", {"number": 6}),
        lambda: queue.enqueue_many([send.call(6)]),
        lambda: queue.enqueue_many([send.using(queue="other").call(6), send.call(6)]),
    ]
    for road in roads:
        with pytest.raises(QueueFull, match="the queue 'mail' is full: 5 jobs wait in it, and its limit is 5") as full:
            road()
        assert (full.value.queue, full.value.limit, full.value.waiting) == ("mail", 5, 5)
    assert waiting(hand) == 5
    assert send.using(queue="other").enqueue(7).queue == "other"
    assert waiting(hand, "other") == 1  # and of a bulk that is refused nothing is written
    held = hand.claim(2, ["mail"])
    queue.enqueue_many([send.call(8), send.call(9)])
    with pytest.raises(QueueFull):
        send.enqueue(10)
    for lease in held:
        hand.settle_as("again", lease)  # what comes back always finds room
    assert waiting(hand) == 7
    assert queue.unlimit("mail")
    assert not queue.unlimit("mail")
    assert send.enqueue(11).is_new


async def _closing(queue: Queue, work: Any) -> None:
    try:
        await work
    finally:
        await queue.aclose()


def test_the_oldest_make_room(queue: Queue, send: Send, hand: Hand) -> None:
    """They end as cancelled and say why; ready ones go first; what somebody holds is passed by."""
    queue.limit("mail", waiting=4, when_full="drop_oldest")
    delayed = send.using(delay=60).enqueue(0).id
    ids = [send.enqueue(n).id for n in range(1, 8)]
    assert [job.id for job in queue.jobs(state="cancelled", queue="mail")] == ids[:4][::-1]
    dropped = queue.get(ids[0])
    assert dropped is not None
    assert (dropped.state, dropped.reason) == (JobState.CANCELLED, "dropped: its queue was full (limit 4)")
    more = queue.enqueue_many([send.call(n) for n in range(8, 10)])
    assert {job.id for job in queue.jobs(state="ready")} == {ids[6], *more}
    assert [job.id for job in queue.jobs(state="scheduled")] == [delayed]
    # More at once than it takes: the newest stay. (The delayed one waits, too, and goes last.)
    bulk = queue.enqueue_many([send.call(n) for n in range(10, 20)])
    assert {job.id for job in queue.jobs(state="ready")} == set(bulk[-3:])
    assert waiting(hand) == 4
    with psycopg.connect(hand.conn.info.dsn) as other:
        other.execute("SELECT pgjobq.cancel(%s)", [bulk[-3]])
        send.enqueue(20)
        other.rollback()
    assert {job.id for job in queue.jobs(state="ready")} >= {bulk[-3]}
    assert waiting(hand) == 4


@pytest.mark.parametrize("size", [1, 7])
def test_many_at_once_do_not_exceed_it_by_more_than_what_is_under_way(
    dsn: str, queue: Queue, send: Send, hand: Hand, size: int
) -> None:
    """Eight who enqueue as fast as they can, and a worker that takes jobs away: looked at from a snapshot each time."""
    limit, writers = 60, 8
    queue.limit("mail", waiting=limit)
    stop, refused, seen = threading.Event(), [0] * writers, []

    def write(mine: int) -> None:
        own = Queue(dsn)
        own.registry.add(send)
        for number in range(60):
            try:
                own.enqueue_many([send.call(number)] * size)
            except QueueFull:
                refused[mine] += 1
        own.close()

    def look() -> None:
        with Hand(dsn) as eye:
            while not stop.is_set():
                seen.append(waiting(eye))
                eye.complete(*eye.claim(3))

    with ThreadPoolExecutor(writers + 1) as pool:
        looking = pool.submit(look)
        for done in [pool.submit(write, mine) for mine in range(writers)]:
            done.result()
        stop.set()
        looking.result()
    assert max(seen) <= limit + (writers - 1) * size
    assert sum(refused) > 0
    assert max(seen) > limit / 2


def test_an_open_transaction_makes_nobody_wait(dsn: str, queue: Queue, send: Send, hand: Hand) -> None:
    """Whoever fills the queue and does not commit blocks neither other enqueuers nor who changes the limit."""
    queue.limit("mail", waiting=50)
    with psycopg.connect(dsn) as slow:
        queue.enqueue_many([send.call(n) for n in range(40)], conn=slow)
        hand.sql("SET lock_timeout = 200")
        hand.sql("SELECT pgjobq.enqueue('send', queue => 'mail') FROM generate_series(1, 50)")
        with pytest.raises(psycopg.errors.CheckViolation, match="is full: 50 jobs wait"):
            hand.sql("SELECT pgjobq.enqueue('send', queue => 'mail')")
        hand.sql("SELECT pgjobq.limit_queue('mail', 60), pgjobq.follow_limits()")
        hand.sql("SELECT pgjobq.enqueue('send', queue => 'mail')")
        slow.rollback()


def test_a_full_queue_that_is_drained_takes_jobs_again(queue: Queue, send: Send, hand: Hand) -> None:
    """Also a large one, which is not counted for each refusal: a worker's chore counts, too."""
    hand.sql("SELECT pgjobq.enqueue('send', queue => 'mail') FROM generate_series(1, 3000)")
    queue.limit("mail", waiting=3000)
    for _ in range(5):
        with pytest.raises(QueueFull):
            send.enqueue(1)
    hand.complete(*hand.claim(100, ["mail"]))
    hand.say("follow_limits")
    queue.enqueue_many([send.call(n) for n in range(100)])
    with pytest.raises(QueueFull):
        send.enqueue(1)
    hand.complete(*hand.claim(100, ["mail"]))
    took = 0
    for _ in range(10):  # nobody does the chore: each third refusal counts
        try:
            send.enqueue(1)
        except QueueFull:
            continue
        took += 1
    assert 6 <= took <= 9


def test_a_lane_that_was_opened_meanwhile_is_found(dsn: str, queue: Queue, send: Send, hand: Hand) -> None:
    """A limit that is being set does not see a lane whose first job is not committed, nor the other way round."""
    with psycopg.connect(dsn) as first:
        send.using(conn=first, priority=7).enqueue(1)
        queue.limit("mail", waiting=1)
        first.commit()
    assert hand.sql("SELECT limited FROM pgjobq.lane WHERE queue = 'mail'") == [(False,)]
    hand.say("follow_limits")
    assert hand.sql("SELECT limited FROM pgjobq.lane WHERE queue = 'mail'") == [(True,)]
    with pytest.raises(QueueFull):
        send.using(priority=7).enqueue(2)


def test_schedules_go_on_beside_a_full_queue(queue: Queue, send: Send, hand: Hand) -> None:
    queue.limit("mail", waiting=1)
    send.enqueue(1)
    queue.schedule("mails", "@hourly", send.call(2))
    assert queue.run_schedule("mails") is None
    hand.complete(*hand.claim(1))
    assert queue.run_schedule("mails") is not None


def test_what_is_set_is_shown_and_written_down(queue: Queue, send: Send) -> None:
    queue.limit("mail", waiting=10, by="ann")
    queue.limit("mail", waiting=20, when_full="drop_oldest", by="bob")
    asyncio.run(_closing(queue, queue.alimit("slow", waiting=1)))
    send.enqueue(1)
    mail, slow = queue.limits()
    assert (mail.queue, mail.waiting, mail.when_full, mail.who, mail.now) == ("mail", 20, "drop_oldest", "bob", 1)
    assert (slow.queue, slow.now) == ("slow", 0)
    assert queue.unlimit("mail", by="eve")
    assert [limit.queue for limit in queue.limits()] == ["slow"]
    told = [(entry.what, entry.who, entry.about.get("waiting")) for entry in queue.audit()]
    assert told[0] == ("unlimit", "eve", None)
    assert told[2:] == [("limit", "bob", 20), ("limit", "ann", 10)]


def test_what_cannot_be_a_limit(queue: Queue, hand: Hand) -> None:
    for wrong in (0, -1, 2**31, 1.5, True, "10"):
        with pytest.raises(InvalidOption, match="waiting="):
            queue.limit("mail", waiting=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="when_full='drop': wants one of raise, drop_oldest"):
        queue.limit("mail", waiting=1, when_full="drop")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="queue='' is empty"):
        queue.limit("", waiting=1)
    for args, sentence in (
        ("'', 1", "queue has 0 characters"),
        ("'mail', 0", "waiting is 0"),
        ("'mail', NULL", "waiting is null"),
        ("'mail', 1, 'drop'", "when_full is 'drop'"),
    ):
        with pytest.raises(psycopg.errors.CheckViolation, match=sentence):
            hand.sql(f"SELECT pgjobq.limit_queue({args})")


def test_without_the_count_the_estimate_would_refuse_for_ever(queue: Queue, send: Send, hand: Hand) -> None:
    """The guard taken out: every job that ever came in would go on counting."""
    queue.limit("mail", waiting=10)

    def works() -> Literal["all", "not all"]:
        try:
            for number in range(30):
                send.enqueue(number)
                hand.complete(*hand.claim(1))
        except QueueFull:
            return "not all"
        return "all"

    assert works() == "all"
    hand.sql(doctored(function_text("make_room"), ("IF there <= it.waiting THEN", "IF false THEN")))
    assert works() == "not all"


def test_a_count_that_took_long_does_not_take_back_what_was_drawn_meanwhile(
    dsn: str, queue: Queue, send: Send, hand: Hand
) -> None:
    """One counts, and is held up before it notes the number; others fill the queue to its limit; then it goes on."""
    queue.limit("mail", waiting=5)
    queue.enqueue_many([send.call(n) for n in range(5)])
    hand.complete(*hand.claim(4, ["mail"]))
    slow = function_text("count_anew")
    hand.sql(
        doctored(
            slow,
            (
                "    -- A transaction that sees",
                "    PERFORM pg_advisory_xact_lock_shared(42);\n    -- A transaction that sees",
            ),
        )
    )

    def fill() -> int:
        own, taken = Queue(dsn), 0
        own.registry.add(send)
        try:
            for number in range(20):
                own.enqueue("send", {"number": number})
                taken += 1
        except QueueFull:
            return taken
        finally:
            own.close()
        return taken

    with psycopg.connect(dsn) as holder, ThreadPoolExecutor(2) as pool:
        holder.execute("SELECT pg_advisory_lock(42)")
        first = pool.submit(send.enqueue, 1)
        eventually(lambda: lock_waiters(dsn, "advisory") == 1)
        hand.sql(slow)  # those to come are not held up
        others = pool.submit(fill)
        eventually(lambda: others.done() or lock_waiters(dsn, "advisory") == 2)
        holder.execute("SELECT pg_advisory_unlock(42)")
        assert first.result().is_new
        others.result()
    fill()
    assert waiting(hand) <= 5 + 1, "what was under way, and no more"
