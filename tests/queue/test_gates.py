"""Gates from Python: limits that are set, keys that are paused, and what people are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgjobq import Gate, GateFigures, Queue, Quota, Rate
from sql.support.gated import Clock, look, settle
from sql.support.hand import Hand


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn, tasks=["text", "pay", "mail"]) as made:
        yield made


def declare(queue: Queue) -> dict[str, Any]:
    @queue.task(gates=[Gate("sms:{country}", rate=Rate(2, per=60, burst=1), quota=Quota(3, per="month"))])
    def text(country: str) -> None: ...

    @queue.task(gates=[Gate("merchant:{merchant}", concurrency=1)])
    def pay(merchant: int) -> None: ...

    @queue.task(gates=[Gate("mail", fair="{tenant}", concurrency=1, weights={"acme": 2})])
    def mail(tenant: str) -> None: ...

    return {"text": text, "pay": pay, "mail": mail}


def only(gates: list[GateFigures]) -> GateFigures:
    (gate,) = gates
    return gate


def said(queue: Queue, job: int) -> str:
    explanation = queue.explain(job)
    assert explanation is not None
    return " ".join(explanation.sentences)


def test_a_rate_and_a_quota_are_shown_and_explained(queue: Queue, hand: Hand) -> None:
    tasks = declare(queue)
    jobs = queue.enqueue_many([tasks["text"].call(country="fr") for _ in range(4)])
    look(hand)
    lease = hand.claim_one()
    look(hand)
    gate = only(queue.gates())
    assert gate.rate is not None
    assert gate.quota is not None
    assert (gate.key, gate.waiting, gate.rate.limit, gate.rate.left, gate.quota.used) == ("sms:fr", 3, 2, 0, 1)
    assert 20 < gate.rate.next <= 30
    text = said(queue, jobs[3])
    assert "It waits at the gate 'sms:fr': the next token comes in" in text
    assert "2 older jobs wait at it too." in text
    queue.set_gate("sms:fr", quota=Quota(1, per="month"), by="ann")
    assert "its quota of 1 is spent, and begins anew in" in said(queue, jobs[3])
    queue.set_gate("sms:fr", quota="3/month", rate="100/s")
    assert hand.complete(lease) == [lease.job]
    hand.say("sweep_gates")
    look(hand)
    assert len(hand.claim()) == 2, "what the quota leaves"
    assert [entry.what for entry in queue.audit()] == ["set_gate", "set_gate"]
    assert queue.audit()[-1].about == {"gate": "sms:fr", "quota": {"limit": 1, "per": "month"}}
    assert queue.unset_gate("sms:fr", by="ann")
    assert not queue.unset_gate("sms:fr")


def test_a_key_is_paused_for_a_reason_and_resumed(queue: Queue, hand: Hand) -> None:
    pay = declare(queue)["pay"]
    seven, eight = pay.enqueue(merchant=7), pay.enqueue(merchant=8)
    assert queue.pause(gate="merchant:7", reason="their bank is down", until=timedelta(hours=1), by="ann")
    assert not queue.pause(gate="merchant:7", reason="their bank is still down", until=timedelta(hours=1), by="ann")
    look(hand)
    assert [lease.job for lease in hand.claim()] == [eight.id]
    text = said(queue, seven.id)
    assert "The gate 'merchant:7' was paused by ann" in text
    assert "their bank is still down" in text
    (pause,) = queue.paused()
    assert (pause.kind, pause.name, pause.who) == ("gate", "merchant:7", "ann")
    assert {gate.key: gate.pause is not None for gate in queue.gates()} == {"merchant:7": True, "merchant:8": False}
    assert queue.resume(gate="merchant:7")
    assert not queue.resume(gate="merchant:7")
    look(hand)
    assert [lease.job for lease in hand.claim()] == [seven.id]


def test_all_keys_of_a_gate_are_paused_by_its_name(queue: Queue, hand: Hand) -> None:
    pay = declare(queue)["pay"]
    pay.enqueue(merchant=7)
    queue.pause(gate="merchant:{merchant}")
    look(hand)
    assert hand.claim() == []
    queue.resume(gate="merchant:{merchant}")
    look(hand)
    assert len(hand.claim()) == 1


def test_resume_wakes_upkeep_at_once(queue: Queue, hand: Hand, dsn: str) -> None:
    hand.say("next_due", 60.0)
    declare(queue)["pay"].enqueue(merchant=7)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute('LISTEN "pgjobq:due"')
        for act in (queue.pause, queue.resume):
            act(gate="merchant:7")
            assert list(conn.notifies(timeout=10, stop_after=1)), "it would look only a minute later"


def test_shares_are_told_of(queue: Queue, hand: Hand) -> None:
    mail = declare(queue)["mail"]
    for tenant in ("acme", "acme", "zeta"):
        last = mail.enqueue(tenant=tenant)
    look(hand)
    hand.claim()
    gate = only(queue.gates())
    assert (gate.is_fair, gate.limit, gate.holding, gate.waiting) == (True, 1, 1, 2)
    text = said(queue, last.id)
    assert "It waits at the gate 'mail', of whose 1 place 1 is taken, by job" in text
    assert "Those of its share 'zeta' take turns with those of the others." in text
    queue.set_gate("mail", weights={"zeta": 5})
    assert only(queue.gates()).weights == {"zeta": 5}


def test_all_of_it_is_part_of_the_callers_transaction(queue: Queue, dsn: str) -> None:
    tasks = declare(queue)
    with psycopg.connect(dsn) as conn:
        tasks["text"].using(conn=conn).enqueue(country="fr")
        queue.set_gate("sms:fr", rate="1/s", conn=conn)
        queue.pause(gate="sms:fr", conn=conn)
        assert only(queue.gates(conn=conn)).pause is not None
        conn.rollback()
    assert queue.gates() == queue.paused() == queue.audit() == []


def test_the_async_twins(queue: Queue) -> None:
    async def live() -> None:
        pay = declare(queue)["pay"]
        await pay.aenqueue(merchant=7)
        await queue.aset_gate("merchant:7", concurrency=5, rate="5/min", by="ann")
        assert await queue.apause(gate="merchant:7", reason="no")
        gate = only(await queue.agates(limit=10))
        assert (gate.limit, gate.rate and gate.rate.limit, gate.pause and gate.pause.reason) == (5, 5, "no")
        assert await queue.aresume(gate="merchant:7")
        assert await queue.aunset_gate("merchant:7")
        await queue.aclose()

    asyncio.run(live())


def test_sql_and_python_make_the_same_job(queue: Queue, hand: Hand) -> None:
    tasks = declare(queue)
    made = [tasks["text"].enqueue(country="fr"), tasks["mail"].enqueue(tenant="acme")]
    hand.sql("""SELECT * FROM pgjobq.enqueue_many('[
        {"task": "text", "args": {"country": "fr"}, "gates": [{"key": "sms:fr", "name": "sms:{country}",
          "rate": {"limit": 2, "per": 60.0, "burst": 1}, "quota": {"limit": 3, "per": "month"}}]},
        {"task": "mail", "args": {"tenant": "acme"},
         "gates": [{"key": "mail", "concurrency": 1, "share": "acme", "weight": 2}]}]')""")
    first, second, third, fourth = hand.sql("SELECT task, args, gates FROM pgjobq.job ORDER BY id")
    assert (first, second) == (third, fourth)
    assert len(made) == 2


def test_the_figures_go_by_the_clock(queue: Queue, hand: Hand) -> None:
    clock = Clock(hand)
    hand.sql("""SELECT * FROM pgjobq.enqueue_many(
        '[{"task": "text", "gates": [{"key": "sms", "rate": {"limit": 1, "per": 10, "burst": 2}}]}]')""")
    look(hand)
    settle(hand, "s", hand.claim_one())
    clock.pass_by(4)
    assert hand.value("SELECT pgjobq.gate_figures(gates -> 0) #> '{rate,left}' FROM pgjobq.job") == 1
    clock.pass_by(6)
    assert hand.value("SELECT pgjobq.gate_figures(gates -> 0) #> '{rate,left}' FROM pgjobq.job") == 2
