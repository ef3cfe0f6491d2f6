"""Unique jobs: one holder for a key, whoever asks, however many at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgjobq import Gate, InvalidOption, JobExists, JobState, Queue, Secret, TaskError, Unique
from pgjobq.task import Task
from sql.support.gate import starts
from sql.support.hand import Hand, doctored
from support.locks import lock_waiters
from support.waiting import eventually

Send = Task[..., None]


@pytest.fixture
def send(queue: Queue) -> Send:
    @queue.task
    def send(user: int, text: str = "") -> None: ...

    return send


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn) as hand:
        yield hand


def one(**options: Any) -> Unique:
    return Unique(key="digest", **options)


def finish(hand: Hand, fate: str = "s") -> None:
    """Run everything that is ready to its end."""
    for lease in hand.claim():
        assert hand.settle_as(fate, lease) == [(lease.job, True)]


# ------------------------------------------------------------------------------------------ what a key is


def test_the_same_key_gives_the_same_job(send: Send, queue: Queue) -> None:
    first = send.using(unique=one()).enqueue(1)
    second = send.using(unique=one()).enqueue(2)
    assert (first.is_new, second.is_new) == (True, False)
    assert second.id == first.id
    assert [job.args["user"] for job in queue.jobs()] == [1]


def test_a_key_from_arguments(queue: Queue) -> None:
    @queue.task(unique=Unique(args=("user",)))
    def digest(user: int, text: str = "") -> None: ...

    ids = [digest.enqueue(user=user, text=text).id for user, text in ((1, "a"), (1, "b"), (2, "a"))]
    assert ids[0] == ids[1] != ids[2]
    assert digest.using(unique=Unique()).enqueue(user=1, text="b").is_new  # all arguments: another key


def test_keys_belong_to_their_task(send: Send, queue: Queue) -> None:
    @queue.task
    def other(user: int) -> None: ...

    send.using(unique=one()).enqueue(1)
    assert other.using(unique=one()).enqueue(1).is_new


def test_long_and_secret_arguments_are_kept_as_a_digest(queue: Queue, dsn: str) -> None:
    @queue.task(unique=Unique())
    def login(user: str, token: Secret[str]) -> None: ...

    @queue.task(unique=Unique(args=("text",)))
    def post(text: str) -> None: ...

    login.enqueue("me", "hush")
    post.enqueue("x" * 10_000)
    assert not login.enqueue("me", "hush").is_new
    assert login.enqueue("me", "other").is_new
    with psycopg.connect(dsn) as conn:
        keys = [key for (key,) in conn.execute("SELECT key FROM pgjobq.unique_key").fetchall()]
    assert all(key.split(":")[1] == "sha256" and len(key) < 100 for key in keys)


# ------------------------------------------------------------------------------------------ who holds it, how long


@pytest.mark.parametrize("fate", ["s", "f", "c"])
def test_until_the_job_has_ended(send: Send, hand: Hand, fate: str) -> None:
    first = send.using(unique=one()).enqueue(1)
    leases = hand.claim()
    assert not send.using(unique=one()).enqueue(2).is_new  # it runs
    assert send.using(unique=one(until="started")).enqueue(2).is_new
    for lease in leases:
        hand.settle_as(fate, lease)
    finish(hand)
    third = send.using(unique=one()).enqueue(3)
    assert third.is_new
    assert third.id > first.id


def test_a_retry_that_waits_holds_the_key(send: Send, hand: Hand) -> None:
    send.using(unique=one()).enqueue(1)
    lease = hand.claim_one()
    hand.settle_as("again", lease, delay=60)
    assert not send.using(unique=one()).enqueue(2).is_new


def test_a_retry_by_hand_beside_a_holder_stops_nobody(send: Send, hand: Hand) -> None:
    """Both of the key stand in the same batches as a third job: claimed, promoted and settled together."""
    first = send.using(unique=one()).enqueue(1).id
    finish(hand, "f")
    second = send.using(unique=one()).enqueue(2).id
    assert hand.retry(first)
    third = send.enqueue(3).id
    leases = hand.claim()
    assert {lease.job for lease in leases} == {first, second, third}
    for lease in leases:
        hand.settle_as("again", lease, delay=0.01)

    def promoted() -> bool:
        hand.promote()
        return {place for place, *_ in (hand.place(job) for job in (first, second, third))} == {"ready"}

    eventually(promoted)
    assert send.using(unique=one()).enqueue(4).id == second


def test_a_period_outlives_the_job(send: Send, hand: Hand, dsn: str) -> None:
    throttle = one(period=timedelta(minutes=1))
    assert send.using(unique=throttle).enqueue(1).is_new
    finish(hand)
    assert not send.using(unique=throttle).enqueue(2).is_new
    with psycopg.connect(dsn) as later:
        later.execute("SELECT set_config('pgjobq.now', (now() + interval '61 s')::text, false)")
        assert send.using(unique=throttle, conn=later).enqueue(3).is_new


# ------------------------------------------------------------------------------------------ what a second call does


def test_skip_and_raise(send: Send, queue: Queue, dsn: str) -> None:
    first = send.using(unique=one()).enqueue(1)
    skipped = send.using(unique=one(on_conflict="skip")).enqueue(2)
    assert (skipped.id, skipped.is_new) == (0, False)
    with psycopg.connect(dsn) as conn, conn.transaction():
        with pytest.raises(JobExists, match=rf"send: job {first.id} holds the unique key 'digest'"):
            send.using(unique=one(on_conflict="raise"), conn=conn).enqueue(3)
        send.using(conn=conn).enqueue(4)  # the caller's transaction is as good as before
    assert sorted(job.args["user"] for job in queue.jobs()) == [1, 4]


def test_replace_is_debounce(send: Send, queue: Queue) -> None:
    debounce = one(on_conflict="replace")
    first = send.using(unique=debounce, delay=60).enqueue(1, "old")
    before = queue.get(first.id)
    second = send.using(unique=debounce, delay=600, priority=3).enqueue(2)
    after = queue.get(first.id)
    assert (second.id, second.is_new) == (first.id, False)
    assert before is not None
    assert after is not None
    assert (after.args, after.priority, after.state) == ({"user": 2}, 3, JobState.SCHEDULED)
    assert before.run_at is not None
    assert after.run_at is not None
    assert after.run_at - before.run_at > timedelta(seconds=500)
    send.using(unique=debounce).enqueue(3)
    now = queue.get(first.id)
    assert now is not None
    assert (now.state, now.args, now.priority) == (JobState.READY, {"user": 3}, 0)


def test_replace_does_not_touch_what_runs(send: Send, hand: Hand) -> None:
    debounce = one(on_conflict="replace")
    first = send.using(unique=debounce).enqueue(1)
    hand.claim()
    second = send.using(unique=debounce).enqueue(2)
    assert second.is_new
    assert second.id != first.id
    assert send.using(unique=debounce).enqueue(3).id == second.id


# ------------------------------------------------------------------------------------------ many


def test_many_give_the_holders_in_order(send: Send, queue: Queue) -> None:
    held = send.using(unique=Unique(key="a")).enqueue(0).id
    calls = [
        send.using(unique=Unique(key="a")).call(1),
        send.using(unique=Unique(key="b")).call(2),
        send.call(3),
        send.using(unique=Unique(key="b")).call(4),
        send.using(unique=Unique(key="b", on_conflict="skip")).call(5),
        send.using(unique=Unique(key="c", on_conflict="replace")).call(6),
        send.using(unique=Unique(key="c", on_conflict="replace")).call(7),
    ]
    ids = queue.enqueue_many(calls)
    assert ids == [held, ids[1], ids[2], ids[1], 0, ids[6], ids[6]]
    users = {job.id: job.args["user"] for job in queue.jobs()}
    assert users == {held: 0, ids[1]: 2, ids[2]: 3, ids[6]: 7}
    assert queue.enqueue_many(calls[1:2]) == [ids[1]]


def test_many_that_raise_write_nothing(send: Send, queue: Queue, dsn: str) -> None:
    send.using(unique=one()).enqueue(0)
    calls = [send.call(1), send.using(unique=one(on_conflict="raise")).call(2)]
    with pytest.raises(JobExists, match="holds the unique key 'send:digest'"):
        queue.enqueue_many(calls)
    with psycopg.connect(dsn) as conn, pytest.raises(JobExists):
        queue.enqueue_many(calls, conn=conn)
    with pytest.raises(JobExists):
        asyncio.run(_amany(queue, calls))
    assert len(queue.jobs()) == 1


async def _amany(queue: Queue, calls: list[Any]) -> list[int]:
    try:
        return await queue.aenqueue_many(calls)
    finally:
        await queue.aclose()


def test_the_async_twin(send: Send, queue: Queue) -> None:
    async def both() -> tuple[bool, bool]:
        try:
            first = await send.using(unique=one()).aenqueue(1)
            second = await send.using(unique=one()).aenqueue(2)
            return first.is_new, second.is_new
        finally:
            await queue.aclose()

    assert asyncio.run(both()) == (True, False)


# ------------------------------------------------------------------------------------------ at once


def test_the_second_waits_for_what_becomes_of_the_first(send: Send, dsn: str, queue: Queue) -> None:
    for rolled_back in (True, False):
        with psycopg.connect(dsn) as first, psycopg.connect(dsn) as second:
            begun = send.using(unique=one(), conn=first).enqueue(1)
            waiting = starts(lambda: send.using(unique=one(), conn=second).enqueue(2))
            eventually(lambda: lock_waiters(dsn) == 1)
            first.rollback() if rolled_back else first.commit()
            got = waiting.result()
            second.commit()
            if rolled_back:
                assert got.is_new
                queue.cancel(got.id)
            else:
                assert (got.id, got.is_new) == (begun.id, False)


def test_twenty_at_once_make_one_job_and_no_deadlock(send: Send, queue: Queue, dsn: str) -> None:
    """Bulks with the same keys in different orders, a rollback here and there."""
    keys = [f"k{number}" for number in range(12)]
    start = threading.Barrier(8)

    def enqueue(seed: int) -> list[int]:
        order = keys[seed:] + keys[:seed]
        start.wait(30)
        with psycopg.connect(dsn) as conn:
            ids = queue.enqueue_many((send.using(unique=Unique(key=key)).call(seed) for key in order), conn=conn)
            if seed % 3 == 0:
                conn.rollback()
                return []
        return [job for _, job in sorted(zip(order, ids, strict=True))]

    with ThreadPoolExecutor(8) as threads:
        found = [ids for ids in threads.map(enqueue, range(8)) if ids]
    assert len(found) == 5
    assert all(ids == found[0] for ids in found)
    assert sorted(job.id for job in queue.jobs()) == sorted(found[0])


def test_whoever_looks_before_he_writes_would_be_new_twice(hand: Hand, dsn: str) -> None:
    """The guard taken out: the holder is looked up first, and the unique index has no say."""
    hand.sql('SELECT * FROM pgjobq.enqueue_unique(\'[{"task": "send", "unique": {"key": "7"}}]\')')
    finish(hand)

    def race() -> list[bool]:
        with psycopg.connect(dsn) as first, psycopg.connect(dsn) as second:
            ask = """SELECT is_new FROM pgjobq.enqueue_unique('[{"task": "send", "unique": {"key": "7"}}]')"""
            got = [first.execute(ask).fetchall()[0][0]]
            waiting = starts(lambda: second.execute(ask).fetchall()[0][0])
            eventually(lambda: lock_waiters(dsn) == 1)
            first.commit()
            got.append(waiting.result())
            second.rollback()
        return got

    assert race() == [True, False]
    finish(hand)
    taking = doctored(
        hand.value("SELECT pg_get_functiondef('pgjobq.take_key'::regproc)"),
        ("VALUES (take_key.key, 0, started + take_key.period)", "SELECT take_key.key, 0, started + take_key.period"),
        (
            "ON CONFLICT ON CONSTRAINT unique_key_pkey DO NOTHING",
            "WHERE NOT EXISTS (SELECT FROM pgjobq.unique_key k WHERE k.key = take_key.key)",
        ),
        (" FOR UPDATE", ""),
    )
    hand.sql(taking)
    assert race() == [True, True]


# ------------------------------------------------------------------------------------------ refusals, edit, retention


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"key": ""}, "wants a text of 1 to 1,000 characters"),
        ({"key": "a\0"}, "wants a text"),
        ({"key": "a", "args": ("user",)}, "the key is one or the other"),
        ({"args": "user"}, r"wants names of arguments, as in \('user',\)"),
        ({"period": 0}, "above 0"),
        ({"on_conflict": "replce"}, "Did you mean 'replace'"),
        ({"until": "done"}, "wants one of finished, started"),
    ],
)
def test_refused_with_words_worth_reading(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        Unique(**wrong)


def test_refused_where_it_is_used(send: Send, queue: Queue) -> None:
    with pytest.raises(InvalidOption, match=r"names 'usr', which is no argument of it\. Did you mean 'user'"):
        send.using(unique=Unique(args=("usr",))).enqueue(1)
    with pytest.raises(InvalidOption, match=r"wants a Unique"):
        send.using(unique="digest").enqueue(1)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="would let one job of the task exist at all"):
        queue.task(name="x", unique=Unique(key="a"))(lambda_like)
    with pytest.raises(TaskError, match="names 'usr'"):
        queue.task(name="y", unique=Unique(args=("usr",)))(lambda_like)
    assert queue.jobs() == []


def lambda_like(user: int) -> None: ...


@pytest.mark.parametrize(
    ("unique", "says"),
    [
        ('"a"', "unique is a JSON string: wants an object with a key"),
        ("{}", "unique.key has 0 characters"),
        ('{"key": "a", "keys": 1}', "unique has no key 'keys'"),
        ('{"key": "a", "until": "now"}', "unique.until is 'now'"),
        ('{"key": "a", "on_conflict": "no"}', "unique.on_conflict is 'no'"),
        ('{"key": "a", "period": "-1 s"}', "unique.period is -1 s:"),
    ],
)
def test_refused_in_sql(hand: Hand, unique: str, says: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=says):
        hand.sql(f'SELECT pgjobq.enqueue_many(\'[{{"task": "send", "unique": {unique}}}]\')')
    assert hand.places() == {}


def test_edit_what_waits(send: Send, queue: Queue, hand: Hand) -> None:
    job = send.enqueue(1).id
    other = send.enqueue(2).id
    assert queue.edit(job, {"user": 7, "text": "new"})
    assert [lease.job for lease in hand.claim(limit=1)] == [job]  # it kept its place
    assert not queue.edit(job, {"user": 8})  # it runs
    assert queue.edit(other, delay=60, priority=-2)
    edited = queue.get(other)
    assert edited is not None
    assert (edited.state, edited.priority, edited.args) == (JobState.SCHEDULED, -2, {"user": 2})
    assert queue.edit(other, delay=0)
    assert [lease.job for lease in hand.claim()] == [other]
    assert not queue.edit(10**15, {"user": 1})
    with pytest.raises(InvalidOption, match="priority=10"):
        queue.edit(other, priority=10)


def test_retention_lets_go_of_keys(send: Send, hand: Hand, dsn: str) -> None:
    send.using(unique=one()).enqueue(1)
    send.using(unique=Unique(key="long", period=3600)).enqueue(2)
    finish(hand)
    for ahead, left in (("10 minutes", ["send:long"]), ("2 hours", [])):
        hand.sql("SELECT set_config('pgjobq.now', (now() + $1::text::interval)::text, false)", ahead)
        hand.retain(succeeded=1.0, failed=1.0)
        hand.say("drop_keys", 1000)
        assert [key for (key,) in hand.sql("SELECT key FROM pgjobq.unique_key")] == left


def test_the_producer_needs_nothing_else(as_producer: Callable[[], str], queue: Queue, send: Send) -> None:
    with psycopg.connect(as_producer()) as conn:
        assert send.using(unique=one(), conn=conn).enqueue(1).is_new
        assert not send.using(unique=one(on_conflict="replace"), conn=conn).enqueue(2).is_new


@pytest.fixture
def as_producer(dsn: str) -> Iterator[Callable[[], str]]:
    from support.roles import role_on

    with role_on(dsn, "producer") as role:
        yield lambda: role


def test_a_gated_job_that_is_edited_still_passes_its_gate(queue: Queue, hand: Hand) -> None:
    @queue.task(gates=[Gate("merchant:{user}", concurrency=1)])
    def ship(user: int) -> None: ...

    job = ship.using(delay=60).enqueue(1).id
    assert queue.edit(job, delay=0)
    assert hand.places() == {job: ("blocked", 0, 0)}
    assert ship.using(unique=one()).enqueue(2).is_new
    assert not ship.using(unique=one()).enqueue(2).is_new


@pytest.mark.parametrize("on_conflict", ["return", "replace", "skip"])
def test_the_receipt_shows_the_holders_queue(queue: Queue, on_conflict: Any) -> None:
    @queue.task
    def send(n: int) -> None: ...

    before = send.enqueue(0)
    one = Unique(key="7", on_conflict=on_conflict)
    first = send.using(queue="mail", unique=one).enqueue(1)
    other = send.using(queue="post", unique=one)
    linked = send.using(queue="post", unique=one, depends_on=before)
    receipts = [other.enqueue(2), asyncio.run(other.aenqueue(3)), linked.enqueue(4)]
    wanted = (0, "post") if on_conflict == "skip" else (first.id, "mail")
    assert [(one.id, one.queue, one.is_new) for one in receipts] == [(*wanted, False)] * 3
