"""Write a placed order into the books: exactly once, although a job may run more than once."""

from __future__ import annotations

from pgjobq import current_job

from ..db import Conn, transaction
from ..events import on_order_placed
from ..jobs import queue
from ..money import tax_within


@on_order_placed("Enter it in the books")
@queue.task(queue="books", timeout=30)
def sync_bookkeeping(order_id: int) -> None:
    """Debit what the customer owes, credit sales and tax, and complete this job, all in one transaction.

    A worker that dies before the commit has written nothing, so the next attempt starts afresh; one that dies
    after it has completed the job, so there is no next attempt. A worker that lost its lease gets LeaseLost
    here, which rolls its entries back.
    """
    with transaction() as conn:
        write_entry(conn, order_id)
        current_job().complete(conn)


def write_entry(conn: Conn, order_id: int) -> None:
    """Add one journal entry of three postings that sum to zero. Raises LookupError: no such order."""
    row = conn.execute("SELECT total_cents FROM shop.orders WHERE id = %s", (order_id,)).fetchone()
    if row is None:
        raise LookupError(f"there is no order {order_id} to enter in the books")
    total, tax = int(row[0]), tax_within(int(row[0]))
    conn.execute(
        "WITH entry AS (INSERT INTO shop.journal (order_id) VALUES (%s) RETURNING id)"
        " INSERT INTO shop.posting SELECT entry.id, p.account, p.amount FROM entry,"
        " (VALUES ('receivables', %s::int), ('sales', %s::int), ('tax owed', %s::int)) AS p(account, amount)",
        (order_id, total, tax - total, -tax),
    )
