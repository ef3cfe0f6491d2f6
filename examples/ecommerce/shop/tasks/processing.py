"""Set the goods aside, then tell each merchant what to deliver."""

from __future__ import annotations

import httpx

from pgjobq import Retry

from ..db import AsyncConn, aconnection
from ..events import on_order_placed
from ..jobs import queue
from ..orders import Order, OrderLine, get_order
from ..settings import ShopSettings

patience = ShopSettings.from_environ()  # a task's retries are declared once, at import
TLS = httpx.create_ssl_context()
"""Made once: reading all root certificates keeps the event loop busy for 20 ms."""


class MerchantUnavailable(Exception):
    """A merchant could not be reached or had a fault of its own: worth another attempt."""


class MerchantRefused(Exception):
    """A merchant understood and said no: asking again would not help, a person has to look."""


@on_order_placed("Reserve the stock and tell the merchants")
@queue.task(
    queue="orders",
    timeout=30,
    retry=Retry(
        max_attempts=patience.merchant_attempts,
        wait=patience.merchant_wait,
        cap=max(2.0, patience.merchant_wait * 8),
        give_up_on=(MerchantRefused, LookupError),
    ),
)
async def start_processing(order_id: int) -> None:
    """Each step may run twice: stock has a key, merchants get an Idempotency-Key, who accepted is noted."""
    settings = ShopSettings.from_environ()
    web = httpx.AsyncClient(base_url=settings.merchants_url, timeout=settings.merchant_timeout, verify=TLS)
    async with aconnection() as conn, web:
        order = await get_order(conn, order_id)
        await reserve_stock(conn, order)
        told = await merchants_told(conn, order_id)
        troubles: list[Exception] = []
        for merchant, lines in order.by_merchant().items():
            if merchant in told:
                continue
            try:
                reference = await tell_merchant(web, order, merchant, lines)
                await note_acceptance(conn, order_id, merchant, reference)
            except (MerchantUnavailable, MerchantRefused) as trouble:
                troubles.append(trouble)  # one merchant's trouble keeps no other one waiting
    if troubles:
        raise next((t for t in troubles if isinstance(t, MerchantRefused)), troubles[0])


async def reserve_stock(conn: AsyncConn, order: Order) -> None:
    """Move what was promised at checkout off the shelf; the second time there is nothing left to move."""
    await conn.execute(
        "WITH aside AS (INSERT INTO shop.reservation (order_id, product, quantity)"
        "   SELECT order_id, product, quantity FROM shop.order_line WHERE order_id = %s ORDER BY product"
        "   ON CONFLICT DO NOTHING RETURNING product, quantity),"
        " locked AS (SELECT p.id, a.quantity FROM shop.product p JOIN aside a ON a.product = p.id"
        "   ORDER BY p.id FOR UPDATE OF p)"
        " UPDATE shop.product p SET on_hand = p.on_hand - l.quantity, promised = p.promised - l.quantity"
        " FROM locked l WHERE p.id = l.id",
        (order.id,),
    )


async def merchants_told(conn: AsyncConn, order_id: int) -> set[str]:
    """Who has accepted this order already."""
    cursor = await conn.execute("SELECT merchant FROM shop.merchant_notice WHERE order_id = %s", (order_id,))
    return {str(row[0]) for row in await cursor.fetchall()}


async def tell_merchant(web: httpx.AsyncClient, order: Order, merchant: str, lines: list[OrderLine]) -> str:
    """Pass a merchant its part of the order; gives the merchant's reference.

    Asked again with the same key, the merchant answers with the same reference.
    Raises MerchantUnavailable or MerchantRefused.
    """
    goods = [{"product": line.slug, "quantity": line.quantity} for line in lines]
    key = {"Idempotency-Key": f"order-{order.id}-{merchant}"}
    try:
        answer = await web.post(f"/{merchant}/orders", json={"order": order.id, "lines": goods}, headers=key)
    except httpx.TransportError as error:
        raise MerchantUnavailable(f"{merchant} did not answer ({type(error).__name__})") from error
    if answer.status_code >= 500 or answer.status_code in (408, 425, 429):
        raise MerchantUnavailable(f"{merchant} answered {answer.status_code}: {what_it_said(answer)}")
    if answer.is_error:
        raise MerchantRefused(f"{merchant} refused with {answer.status_code}: {what_it_said(answer)}")
    return str(answer.json()["reference"])


async def note_acceptance(conn: AsyncConn, order_id: int, merchant: str, reference: str) -> None:
    """Remember who has accepted, so that another attempt asks only the others."""
    await conn.execute(
        "INSERT INTO shop.merchant_notice (order_id, merchant, reference) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (order_id, merchant, reference),
    )


def what_it_said(answer: httpx.Response) -> str:
    """The reason a merchant gave, short enough for a job's error."""
    try:
        said = answer.json()["error"]
    except (ValueError, LookupError, TypeError):
        said = answer.text
    return str(said)[:200]
