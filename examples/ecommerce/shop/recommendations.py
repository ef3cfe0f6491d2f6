"""What goes well with an order, learned from everybody else's."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from .db import AsyncConn

# Products bought together with those of this order, most often first; then, to fill up, what sells best.
_TOGETHER = """
    WITH mine AS (SELECT product FROM shop.order_line WHERE order_id = %(order)s),
    others AS (
        SELECT DISTINCT l.order_id FROM shop.order_line l JOIN mine ON mine.product = l.product
        WHERE l.order_id <> %(order)s),
    together AS (
        SELECT l.product, count(*) AS times FROM shop.order_line l JOIN others USING (order_id) GROUP BY 1),
    sold AS (SELECT product, count(*) AS times FROM shop.order_line WHERE order_id <> %(order)s GROUP BY 1)
    SELECT p.slug, p.name, p.price_cents, coalesce(t.times, 0)::int AS together
    FROM shop.product p LEFT JOIN together t ON t.product = p.id LEFT JOIN sold s ON s.product = p.id
    WHERE p.id NOT IN (SELECT product FROM mine) AND p.on_hand > p.promised
    ORDER BY t.times DESC NULLS LAST, s.times DESC NULLS LAST, p.id
    LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A product, and in how many other orders it went with something of this one."""

    slug: str
    name: str
    price_cents: int
    together: int


async def recommend(conn: AsyncConn, order_id: int, limit: int = 3) -> list[Suggestion]:
    """Up to `limit` products that are in stock and not in the order itself."""
    async with conn.cursor(row_factory=class_row(Suggestion)) as cursor:
        await cursor.execute(_TOGETHER, {"order": order_id, "limit": limit})
        return await cursor.fetchall()
