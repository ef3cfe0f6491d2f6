"""Reading orders back: for the order page, the email and the merchants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from psycopg.rows import class_row

from .db import AsyncConn
from .money import tax_within

LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class OrderLine:
    """So many of one product, at the price of that day."""

    product: int
    slug: str
    name: str
    merchant: str
    merchant_name: str
    quantity: int
    price_cents: int

    @property
    def total_cents(self) -> int:
        return self.price_cents * self.quantity


@dataclass(frozen=True, slots=True)
class OrderHead:
    """An order without its lines."""

    id: int
    name: str
    email: str
    address: str
    total_cents: int
    placed_at: datetime


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it was placed."""

    head: OrderHead
    lines: tuple[OrderLine, ...]

    @property
    def id(self) -> int:
        return self.head.id

    @property
    def tax_cents(self) -> int:
        return tax_within(self.head.total_cents)

    def by_merchant(self) -> dict[str, list[OrderLine]]:
        """The lines each merchant has to deliver."""
        by = sorted(self.lines, key=lambda line: (line.merchant, line.product))
        return {merchant: list(lines) for merchant, lines in groupby(by, key=lambda line: line.merchant)}


@dataclass(frozen=True, slots=True)
class Notice:
    """A merchant has accepted its part of an order."""

    merchant: str
    merchant_name: str
    reference: str
    accepted_at: datetime


async def find_order(conn: AsyncConn, order_id: int) -> Order | None:
    """The order of that number, or None."""
    if order_id > LARGEST_ID:
        return None
    async with conn.cursor(row_factory=class_row(OrderHead)) as cursor:
        await cursor.execute(
            "SELECT id, name, email, address, total_cents, placed_at FROM shop.orders WHERE id = %s",
            (order_id,),
        )
        head = await cursor.fetchone()
    if head is None:
        return None
    async with conn.cursor(row_factory=class_row(OrderLine)) as lines:
        await lines.execute(
            "SELECT l.product, p.slug, p.name, p.merchant, m.name AS merchant_name, l.quantity, l.price_cents"
            " FROM shop.order_line l JOIN shop.product p ON p.id = l.product"
            " JOIN shop.merchant m ON m.slug = p.merchant WHERE l.order_id = %s ORDER BY l.product",
            (order_id,),
        )
        return Order(head, tuple(await lines.fetchall()))


async def get_order(conn: AsyncConn, order_id: int) -> Order:
    """The order of that number. Raises LookupError: a job outlived its order."""
    order = await find_order(conn, order_id)
    if order is None:
        raise LookupError(f"there is no order {order_id}: was it deleted after its jobs were enqueued?")
    return order


async def list_notices(conn: AsyncConn, order_id: int) -> list[Notice]:
    """Which merchants have accepted the order so far."""
    async with conn.cursor(row_factory=class_row(Notice)) as cursor:
        await cursor.execute(
            "SELECT n.merchant, m.name AS merchant_name, n.reference, n.accepted_at"
            " FROM shop.merchant_notice n JOIN shop.merchant m ON m.slug = n.merchant"
            " WHERE n.order_id = %s ORDER BY n.accepted_at",
            (order_id,),
        )
        return await cursor.fetchall()


async def list_heads(conn: AsyncConn, order_ids: list[int]) -> dict[int, OrderHead]:
    """Several orders without their lines, by number."""
    async with conn.cursor(row_factory=class_row(OrderHead)) as cursor:
        await cursor.execute(
            "SELECT id, name, email, address, total_cents, placed_at FROM shop.orders WHERE id = ANY(%s)",
            (order_ids,),
        )
        return {head.id: head for head in await cursor.fetchall()}
