"""Baskets live in the database; a visitor's cookie holds only the basket's number (not guessable)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from psycopg.rows import class_row

from .db import AsyncConn

MOST_OF_ONE = 20


@dataclass(frozen=True, slots=True)
class BasketLine:
    """So many of one product, at today's price."""

    product: int
    slug: str
    name: str
    merchant: str
    price_cents: int
    quantity: int
    available: int

    @property
    def total_cents(self) -> int:
        return self.price_cents * self.quantity


def parse_basket(text: str | None) -> uuid.UUID | None:
    """A cookie's or form's text as a basket number; None for anything that is none."""
    try:
        return uuid.UUID(text or "")
    except ValueError:
        return None


async def open_basket(conn: AsyncConn, wanted: uuid.UUID | None) -> uuid.UUID:
    """The wanted basket if it exists and has not become an order, else a new one."""
    if wanted is not None:
        cursor = await conn.execute(
            "SELECT FROM shop.basket b WHERE b.id = %s"
            " AND NOT EXISTS (SELECT FROM shop.orders o WHERE o.basket = b.id)",
            (wanted,),
        )
        if await cursor.fetchone() is not None:
            return wanted
    fresh = uuid.uuid4()
    await conn.execute("INSERT INTO shop.basket (id) VALUES (%s)", (fresh,))
    return fresh


async def add_to_basket(conn: AsyncConn, basket: uuid.UUID, product: int, quantity: int) -> None:
    """Put some more of a product in; at most MOST_OF_ONE of each stay."""
    await conn.execute(
        "INSERT INTO shop.basket_line AS l VALUES (%(basket)s, %(product)s, %(quantity)s)"
        " ON CONFLICT (basket, product)"
        " DO UPDATE SET quantity = least(l.quantity + excluded.quantity, %(most)s)",
        {"basket": basket, "product": product, "quantity": quantity, "most": MOST_OF_ONE},
    )


async def change_line(conn: AsyncConn, basket: uuid.UUID, product: int, quantity: int) -> None:
    """Set how many of a product the basket holds; 0 takes it out."""
    if quantity == 0:
        await conn.execute("DELETE FROM shop.basket_line WHERE basket = %s AND product = %s", (basket, product))
    else:
        await conn.execute(
            "UPDATE shop.basket_line SET quantity = %s WHERE basket = %s AND product = %s",
            (quantity, basket, product),
        )


async def basket_lines(conn: AsyncConn, basket: uuid.UUID | None) -> list[BasketLine]:
    """What is in the basket, ordered by product number; nothing for no basket, or for one already ordered."""
    async with conn.cursor(row_factory=class_row(BasketLine)) as cursor:
        await cursor.execute(
            "SELECT l.product, p.slug, p.name, p.merchant, p.price_cents, l.quantity,"
            "       p.on_hand - p.promised AS available"
            " FROM shop.basket_line l JOIN shop.product p ON p.id = l.product"
            " WHERE l.basket = %s AND NOT EXISTS (SELECT FROM shop.orders o WHERE o.basket = l.basket)"
            " ORDER BY l.product",
            (basket,),
        )
        return await cursor.fetchall()
