"""What the shop sells, and who makes it."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from .db import AsyncConn, Conn

MERCHANTS = {"kiln": "Kiln Yard", "loom": "Loom Room", "press": "Paper Press", "wick": "Wick & Wax"}

# slug, name, merchant, cents, stock, blurb
GOODS = [
    ("teapot", "Stoneware teapot", "kiln", 3900, 40, "Pours without a drip. Holds four cups."),
    ("mug", "Speckled mug", "kiln", 1400, 120, "Thrown by hand, so no two are alike."),
    ("bowl", "Breakfast bowl", "kiln", 1800, 80, "Deep enough for porridge and a good book."),
    ("blanket", "Wool blanket", "loom", 8900, 25, "Undyed, woven in one piece, warm for years."),
    ("towel", "Linen tea towel", "loom", 1200, 150, "Dries a whole dinner and looks better for it."),
    ("cushion", "Cushion cover", "loom", 2600, 60, "Heavy cotton with a wooden button."),
    ("notebook", "Dotted notebook", "press", 950, 200, "Opens flat. 160 pages that take ink well."),
    ("letters", "Letter set", "press", 1250, 90, "Twelve sheets, twelve envelopes, no excuse."),
    ("print", "Harbour print", "press", 2200, 45, "Two colours, pulled by hand, signed."),
    ("candle", "Beeswax candle", "wick", 1600, 110, "Burns thirty hours and smells of summer."),
    ("lantern", "Garden lantern", "wick", 4500, 3, "Brass and glass. The wind does not mind it."),
    ("matches", "Long matches", "wick", 600, 0, "For the candle at the bottom of the jar."),
]


@dataclass(frozen=True, slots=True)
class Product:
    """One thing on the shelf. `available` counts what is neither promised to an order nor gone."""

    id: int
    slug: str
    name: str
    blurb: str
    merchant: str
    merchant_name: str
    price_cents: int
    available: int


_SELECT = """
    SELECT p.id, p.slug, p.name, p.blurb, p.merchant, m.name AS merchant_name, p.price_cents,
           p.on_hand - p.promised AS available
    FROM shop.product p JOIN shop.merchant m ON m.slug = p.merchant
"""


def stock_shelves(conn: Conn, *, each: int | None = None) -> None:
    """Fill an empty shop; one that is filled stays as it is. `each` overrides every product's stock."""
    for slug, name in MERCHANTS.items():
        conn.execute("INSERT INTO shop.merchant VALUES (%s, %s) ON CONFLICT DO NOTHING", (slug, name))
    for number, (slug, name, merchant, cents, stock, blurb) in enumerate(GOODS, start=1):
        conn.execute(
            "INSERT INTO shop.product (id, slug, name, blurb, merchant, price_cents, on_hand)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (number, slug, name, blurb, merchant, cents, stock if each is None else each),
        )


async def list_products(conn: AsyncConn) -> list[Product]:
    """Everything on sale, in shelf order."""
    async with conn.cursor(row_factory=class_row(Product)) as cursor:
        await cursor.execute(_SELECT + " ORDER BY p.id")
        return await cursor.fetchall()


async def find_product(conn: AsyncConn, product: int) -> Product | None:
    """The product of that number, or None."""
    async with conn.cursor(row_factory=class_row(Product)) as cursor:
        await cursor.execute(_SELECT + " WHERE p.id = %s", (product,))
        return await cursor.fetchone()
