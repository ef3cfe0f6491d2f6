"""A shop's afternoon in a queue: jobs in every state, an hour of history, and workers. For tests and for the pictures
in docs/ (`python tests/web/scene.py DSN` writes it into a database that has the schema)."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import psycopg

from pgjobq import Gate, Queue, Quota
from sql.support.hand import Hand

TRACEBACK = """\
Traceback (most recent call last):
  File "shop/tasks/confirmation.py", line 41, in send_confirmation
    with smtplib.SMTP(host, port, timeout=10) as mail:
  File "smtplib.py", line 255, in __init__
    (code, msg) = self.connect(host, port)
ConnectionRefusedError: [Errno 111] Connection refused
"""


def furnish(dsn: str) -> int:
    """Write the afternoon; gives the id of the failed letter of order:1339."""
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT setseed(0.5), set_config('scene.traceback', %s, true)", [TRACEBACK])
        conn.execute(Path(__file__).with_suffix(".sql").read_bytes())
        found = conn.execute(
            "SELECT id FROM pgjobq.jobs WHERE ref = 'order:1339' AND task = 'send_confirmation'"
        ).fetchone()
        assert found
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ANALYZE")
    return int(found[0])


def furnish_operators(queue: Queue) -> None:
    """Schedules, pauses, and what people did that afternoon."""

    @queue.task(queue="reports")
    def build_report(month: str = "") -> None: ...

    @queue.task
    def send_reminders() -> None: ...

    queue.schedule("monthly-report", "0 6 1 * *", build_report, tz="Europe/Paris", by="deployment")
    queue.schedule("reminders", "*/20 9-17 * * mon-fri", send_reminders, tz="Europe/Paris", by="deployment")
    queue.pause_schedule("reminders", "the shop is closed for stocktaking", by="ada@example.com")
    queue.pause(
        queue="merchants", reason="kiln's server is moving", until=timedelta(minutes=45), by="grace@example.com"
    )
    queue.retry_all(state="failed", error="vat_code", by="grace@example.com")
    queue.limit("mail", waiting=10_000, by="deployment")
    queue.set_ageing("reports", step=timedelta(minutes=10), up_to=-5, by="deployment")


def furnish_fulfilment(queue: Queue, dsn: str) -> int:
    """A large order that is being packed, and a merchant who takes two calls at a time; gives the workflow's id."""

    @queue.task(queue="fulfilment")
    def reserve(order_id: int) -> None: ...

    @queue.task(queue="fulfilment")
    def charge(order_id: int) -> None: ...

    @queue.task(queue="fulfilment")
    def pack(order_id: int, box: int) -> None: ...

    @queue.task(queue="fulfilment")
    def print_label(order_id: int) -> None: ...

    @queue.task(queue="fulfilment")
    def hand_over(order_id: int) -> None: ...

    @queue.task(queue="fulfilment")
    def refund(order_id: int) -> None: ...

    @queue.task(queue="partners", gates=[Gate("merchant:{merchant}", concurrency=2)])
    def sync_stock(merchant: str) -> None: ...

    with queue.workflow("fulfil", ref="order:1371") as flow:
        reserved = flow.add(reserve.call(1371))
        paid = flow.add(charge.call(1371), after=reserved)
        packed = flow.add_all([pack.call(1371, box) for box in (1, 2, 3)], after=paid)
        label = flow.add(print_label.call(1371), after=paid)
        flow.add(hand_over.call(1371), after=[*packed, label])
        flow.add(refund.call(1371), after=paid, needs="failure")
    queue.enqueue_many([sync_stock.call("kiln") for _ in range(7)])
    with Hand(dsn) as hand:
        for task in ("reserve", "charge", "pack"):
            while hand.say("look_at_workflows", 1000)[0][0] or hand.say("release", 1000)[0][0]:
                pass
            first, *_ = hand.claim(2, ["fulfilment"])
            assert first.task == task
            hand.complete(first)
        hand.say("look_at_gates", 10)
        hand.claim(2, ["partners"])
        hand.conn.execute("UPDATE pgjobq.worker SET host = 'web-2', app = 'shop.jobs:queue' WHERE id = $1", [hand.id])
    return flow.id


def furnish_gates(queue: Queue, dsn: str) -> None:
    """Gates of every kind: a rate, a quota, places that shares take turns at, one that is paused."""

    @queue.task(queue="studio", gates=[Gate("sms", rate="6/min")])
    def send_sms(order_id: int) -> None: ...

    @queue.task(queue="studio", gates=[Gate("geocoding", quota=Quota(250, per="day", tz="Europe/Paris"))])
    def geocode(order_id: int) -> None: ...

    @queue.task(queue="studio", gates=[Gate("render", concurrency=3, fair="{merchant}", weights={"kiln": 3})])
    def render_catalogue(merchant: str, page: int) -> None: ...

    @queue.task(queue="studio", gates=[Gate("printer:{room}", order="fifo")])
    def print_list(room: str) -> None: ...

    queue.enqueue_many([send_sms.using(ref=f"order:{order}").call(order) for order in range(1510, 1515)])
    queue.enqueue_many([geocode.using(ref=f"order:{order}").call(order) for order in range(1500, 1504)])
    pages = [("kiln", page) for page in range(6)] + [("loom", page) for page in range(4)]
    queue.enqueue_many([render_catalogue.call(merchant, page) for merchant, page in pages])
    queue.enqueue_many([print_list.call("packing") for _ in range(4)])
    queue.pause(gate="printer:packing", reason="out of paper", by="ada@example.com")
    with Hand(dsn) as hand:
        for _ in range(2):
            hand.say("look_at_gates", 100)
            hand.claim(6, ["studio"])
        hand.conn.execute("UPDATE pgjobq.worker SET host = 'web-3', app = 'shop.jobs:queue' WHERE id = $1", [hand.id])


if __name__ == "__main__":
    print(furnish(sys.argv[1]))
    with_operators = Queue(sys.argv[1])
    furnish_operators(with_operators)
    furnish_fulfilment(with_operators, sys.argv[1])
    furnish_gates(with_operators, sys.argv[1])
    with_operators.close()
