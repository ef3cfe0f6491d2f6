"""Workflows for the dashboard to show: small, in the middle of it, and large."""

from __future__ import annotations

from pgjobq import Queue
from sql.support.hand import Hand

__all__ = ["furnish_flows"]


def furnish_flows(dsn: str) -> dict[str, int]:
    """A queue with an order that is being packed, a failed import, and nets of 200 and 300 jobs; their ids by name."""
    queue = Queue(dsn)

    @queue.task
    def charge(order: int) -> None: ...

    @queue.task
    def pack(order: int, item: int) -> None: ...

    @queue.task
    def send_confirmation(order: int) -> None: ...

    @queue.task(name="<b>load</b>")
    def load(row: int) -> None: ...

    made: dict[str, int] = {}
    with queue.batch("import", [load.call(n) for n in range(40)], on_failure=load.call(99), ref="file:7") as batch:
        pass
    made["import"] = batch.id
    with Hand(dsn) as hand:
        first, *leases = hand.claim()
        hand.settle_as("f", first, kind="ValueError", message="row 1 is broken")
        hand.complete(*leases)
        _upkeep(hand)
        with queue.workflow("fulfil", ref="order:42") as flow:
            paid = flow.add(charge.call(42))
            packed = flow.add_all([pack.call(42, n) for n in range(3)], after=paid)
            flow.add(send_confirmation.call(42), after=packed)
            flow.add(pack.call(0, 0), after=paid, needs="failure")
            flow.when_done(send_confirmation.call(43), needs="any")
        made["fulfil"] = flow.id
        hand.complete(*(lease for lease in hand.claim() if lease.task == "charge"))
        _upkeep(hand)
        hand.look(1, [("default", 0)], [0])
    for name, size in (("net", 200), ("large", 300)):
        with queue.workflow(name) as flow:
            steps = [flow.add(charge.call(0))]
            for n in range(1, size):
                steps.append(flow.add(pack.call(n, n), after=[steps[n // 3], steps[n * 2 // 3]]))
        made[name] = flow.id
    queue.close()
    return made


def _upkeep(hand: Hand) -> None:
    while hand.say("look_at_workflows", 1000)[0][0] or hand.say("release", 1000)[0][0]:
        pass
