"""From a basket to an order and its jobs, in one transaction."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from . import payment
from .basket import BasketLine, basket_lines
from .customers import Customer
from .db import AsyncConn
from .events import on_order_placed


class CannotOrder(Exception):
    """This basket cannot be ordered as it is; the text is for the customer."""


class BasketEmpty(CannotOrder):
    """There is nothing in it (or no such basket)."""


class OutOfStock(CannotOrder):
    """There is less on the shelf than was asked for."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The order a basket became; `again` when an earlier click had already placed it."""

    order_id: int
    again: bool


async def place_order(conn: AsyncConn, basket: uuid.UUID, customer: Customer, card: str) -> Placed:
    """Turn a basket into an order, once, and enqueue what follows from it.

    Everything below commits together or leaves nothing: order, lines, promised stock and jobs.
    Raises BasketEmpty, OutOfStock or payment.CardDeclined.
    """
    async with conn.transaction():
        lines = await basket_lines(conn, basket)
        total = sum(line.total_cents for line in lines)
        order_id = await _insert_order(conn, basket, customer, total)
        if order_id is None:
            return Placed(await _order_of(conn, basket), again=True)
        if not lines:
            raise BasketEmpty("There is nothing in your basket yet.")
        await _insert_lines(conn, order_id, lines)
        await _promise_stock(conn, lines)
        await on_order_placed.announce(conn, order_id)
        payment.authorise(card, total)
    return Placed(order_id, again=False)


async def _insert_order(conn: AsyncConn, basket: uuid.UUID, customer: Customer, total: int) -> int | None:
    # A second click waits here for the first one's transaction: then it finds the order, or, after a
    # rollback, places it.
    cursor = await conn.execute(
        "INSERT INTO shop.orders (basket, name, email, address, total_cents)"
        " SELECT id, %s, %s, %s, %s FROM shop.basket WHERE id = %s"
        " ON CONFLICT (basket) DO NOTHING RETURNING id",
        (customer.name, customer.email, customer.address, total, basket),
    )
    row = await cursor.fetchone()
    return None if row is None else int(row[0])


async def _order_of(conn: AsyncConn, basket: uuid.UUID) -> int:
    cursor = await conn.execute("SELECT id FROM shop.orders WHERE basket = %s", (basket,))
    row = await cursor.fetchone()
    if row is None:
        raise BasketEmpty("This basket does not exist any more. Please fill a new one.")
    return int(row[0])


async def _insert_lines(conn: AsyncConn, order_id: int, lines: list[BasketLine]) -> None:
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO shop.order_line VALUES (%s, %s, %s, %s)",
            [(order_id, line.product, line.quantity, line.price_cents) for line in lines],
        )


async def _promise_stock(conn: AsyncConn, lines: list[BasketLine]) -> None:
    # Lines come ordered by product, so two checkouts lock the same rows in the same order and cannot
    # deadlock.
    for line in lines:
        cursor = await conn.execute(
            "UPDATE shop.product SET promised = promised + %(n)s WHERE id = %(id)s AND on_hand - promised >= %(n)s",
            {"n": line.quantity, "id": line.product},
        )
        if cursor.rowcount == 0:
            raise OutOfStock(await _what_is_left(conn, line))


async def _what_is_left(conn: AsyncConn, line: BasketLine) -> str:
    cursor = await conn.execute("SELECT on_hand - promised FROM shop.product WHERE id = %s", (line.product,))
    row = await cursor.fetchone()
    left = int(row[0]) if row else 0
    if left == 0:
        return f"{line.name} has just sold out. Please take it out of your basket; nothing was ordered."
    return f"Only {left} of {line.name} left, and you asked for {line.quantity}. Nothing was ordered."
