"""When a batch of outcomes cannot be written: one at a time, so that a bad one does not take its neighbours with it."""

from __future__ import annotations

from pgjobq.engine.exchange import Exchange
from pgjobq.engine.outbox import Batch, Entry, Outbox
from pgjobq.engine.wire import OUTAGES, REFUSALS
from pgjobq.outcome import Failed, Failure, describe

__all__ = ["settle_singly"]


async def settle_singly(exchange: Exchange, outbox: Outbox) -> list[Entry]:
    """Settle what is in the outbox, each outcome by itself; a refused one ends its job as failed, with the reason.

    Returns what is locked by its handler's own transaction. Raises one of OUTAGES, with nothing dropped.
    """
    whole = outbox.take()
    singles = [Batch([attempt], []) for attempt in whole.done] + [Batch([], [entry]) for entry in whole.others]
    locked: list[Entry] = []
    for position, single in enumerate(singles):
        try:
            locked += await _settle_one(exchange, outbox, single)
        except OUTAGES:
            for unsettled in singles[position:]:
                outbox.keep(unsettled)
            outbox.uncertain = True
            raise
    return locked


async def _settle_one(exchange: Exchange, outbox: Outbox, single: Batch) -> list[Entry]:
    try:
        settled, locked, _ = await exchange.turn(single, None, 0)
    except REFUSALS as refusal:
        if not single.others:
            raise
        told = describe(refusal)
        failure = Failure("OutcomeRefused", f"the outcome could not be stored: {told.message}", told.traceback)
        lease, _, attempt = single.others[0]
        single = Batch([], [Entry(lease, Failed(failure), attempt)])
        settled, locked, _ = await exchange.turn(single, None, 0)
    return outbox.account(single, settled, locked)
