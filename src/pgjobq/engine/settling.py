"""When a batch of outcomes cannot be written: one at a time, so that a bad one does not take its neighbours with it."""

from __future__ import annotations

from pgjobq.engine.attempt import SUCCEEDED
from pgjobq.engine.exchange import Exchange
from pgjobq.engine.outbox import Batch, Entry, Outbox
from pgjobq.engine.wire import OUTAGES, is_passing
from pgjobq.outcome import Failed, Failure, Retried, describe

__all__ = ["settle_singly"]

AGAIN_IN = 60.0
"""Seconds after which a job is run again that the database would let neither succeed nor fail."""


async def settle_singly(exchange: Exchange, outbox: Outbox) -> None:
    """Settle what is in the outbox, each outcome by itself; a refused one ends its job as failed, with the reason.

    Raises one of OUTAGES, with nothing dropped.
    """
    whole = outbox.take()
    entries = [Entry(attempt.lease, SUCCEEDED, attempt) for attempt in whole.done] + whole.others
    for position, entry in enumerate(entries):
        try:
            await _settle_one(exchange, outbox, entry)
        except OUTAGES:
            outbox.keep(Batch([], entries[position:]))
            outbox.uncertain = True
            raise


async def _settle_one(exchange: Exchange, outbox: Outbox, entry: Entry) -> None:
    """Write it, or what can be written in its place; raises only what may pass."""
    attempted = entry
    for in_its_place in (_as_failed, _as_retried, None):
        single = Batch([], [attempted])
        try:
            turned = await exchange.turn(single, None, 0)
        except OUTAGES as error:
            if is_passing(error):
                raise
            if in_its_place is not None:
                attempted = in_its_place(entry, error)
        else:
            outbox.account(single, turned.settled, turned.locked)
            return
    # The database takes nothing about this job: it stays with this worker until that ends.
    outbox.account(Batch([], [entry]), set(), set())


def _as_failed(entry: Entry, refusal: BaseException) -> Entry:
    return Entry(entry.lease, Failed(_told(refusal)), entry.attempt)


def _as_retried(entry: Entry, refusal: BaseException) -> Entry:
    return Entry(entry.lease, Retried(AGAIN_IN, _told(refusal)), entry.attempt)


def _told(refusal: BaseException) -> Failure:
    told = describe(refusal)
    return Failure("OutcomeRefused", f"the outcome could not be stored: {told.message}", told.traceback)
