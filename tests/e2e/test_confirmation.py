"""The email a customer gets: text, HTML, the invoice as a PDF that opens, and suggestions learned from other orders."""

from __future__ import annotations

import asyncio
import base64
import re
import zlib
from collections.abc import Callable
from email.message import EmailMessage

import httpx
import psycopg
from examples.ecommerce.mailbox import read_letters
from examples.ecommerce.shop.letters import compose_confirmation
from examples.ecommerce.shop.orders import Order, get_order
from examples.ecommerce.shop.settings import ShopSettings
from examples.ecommerce.shop.tasks.confirmation import send_confirmation_email

from e2e.street import Street, check_out, fill_basket, place_order


def body(letter: EmailMessage, kind: str) -> str:
    part = letter.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def read_pdf(pdf: bytes) -> str:
    """The text a page shows, found the way a reader finds it: from the trailer over the cross-reference table."""
    assert pdf.startswith(b"%PDF-")
    start = re.search(rb"startxref\s+(\d+)\s+%%EOF\s*$", pdf)
    assert start
    table = pdf[int(start[1]) :]
    assert table.startswith(b"xref")
    offsets = [int(offset) for offset in re.findall(rb"^(\d{10}) \d{5} n", table, re.MULTILINE)]
    texts = []
    for number, offset in enumerate(offsets, start=1):
        assert re.match(rb"%d 0 obj" % number, pdf[offset:]), f"object {number} is not where the table says"
        stream = re.match(rb".*?stream\r?\n(.*?)~>\s*endstream", pdf[offset : pdf.index(b"endobj", offset)], re.DOTALL)
        if stream:
            content = zlib.decompress(base64.a85decode(stream[1]))
            texts += re.findall(rb"\((.*?)(?<!\\)\) Tj", content)
    escaped = b"".join(texts).replace(rb"\(", b"(").replace(rb"\)", b")")
    return re.sub(rb"\\(\d{3})", lambda octal: bytes([int(octal[1], 8)]), escaped).decode("cp1252")


def test_the_letter_has_everything(street: Street, web: httpx.Client, work: Callable[..., object]) -> None:
    for _ in range(2):
        place_order(web, teapot=1, mug=2, notebook=1)
    place_order(web, teapot=1, candle=1)
    place_order(web, letters=1, print=1)
    order = place_order(web, teapot=2)
    work()
    letters = {str(letter["X-Shop-Order"]): letter for letter in read_letters(street.letters)}
    assert len(letters) == 5
    letter = letters[str(order)]
    assert letter["To"] == letter["X-Envelope-To"] == "ada@example.com"
    assert letter["Subject"] == f"Your order {order} at Corner Shop"
    assert letter["Message-ID"] == f"<order-{order}-confirmation@shop.example>"
    for kind in ("plain", "html"):
        content = body(letter, kind)
        assert "Ada Lovelace" in content
        assert "€78.00" in content
        assert "Harbour Town" in content
        assert f"{street.shop_url}/orders/{order}" in content
        # Bought together with a teapot: mug and notebook twice, candle once; letters and print never.
        names = re.findall(r"Speckled mug|Dotted notebook|Beeswax candle|Letter set|Harbour print", content)
        assert names == ["Speckled mug", "Dotted notebook", "Beeswax candle"]
    [attachment] = letter.iter_attachments()
    assert attachment.get_content_type() == "application/pdf"
    assert attachment.get_filename() == f"invoice-{order}.pdf"
    text = read_pdf(attachment.get_content())
    for words in ("Corner Shop", f"Invoice {order}", "Stoneware teapot", "Ada Lovelace", "Harbour Town"):
        assert words in text, text
    assert "€78.00" in text
    assert "€13.00" in text, "the tax"


async def load(dsn: str, order_id: int) -> Order:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        return await get_order(conn, order_id)


def test_the_same_order_makes_the_same_letter(street: Street, web: httpx.Client) -> None:
    order = asyncio.run(load(street.dsn, place_order(web, mug=1)))
    first, second = (bytes(compose_confirmation(order, [], ShopSettings())) for _ in range(2))
    assert first == second


def test_sent_twice_it_has_the_same_message_id(street: Street, web: httpx.Client) -> None:
    order = place_order(web, mug=1)
    for _ in range(2):
        asyncio.run(send_confirmation_email(order_id=order))
    letters = read_letters(street.letters)
    assert len(letters) == 2
    assert len({str(letter["Message-ID"]) for letter in letters}) == 1


def test_hostile_names_stay_text(street: Street, web: httpx.Client) -> None:
    answer = check_out(web, fill_basket(web, mug=1), name="<b>Ada</b> & Löwe")
    assert answer.status_code == 303
    asyncio.run(send_confirmation_email(order_id=1))
    [letter] = read_letters(street.letters)
    assert "&lt;b&gt;Ada&lt;/b&gt; &amp; Löwe" in body(letter, "html")
    assert "<b>Ada</b> & Löwe" in body(letter, "plain")
    [attachment] = letter.iter_attachments()
    assert "<b>Ada</b> & Löwe" in read_pdf(attachment.get_content())


def test_a_name_in_any_script_gets_its_letter(street: Street, web: httpx.Client) -> None:
    assert check_out(web, fill_basket(web, mug=1), name="Łukasz 太郎 🎈").status_code == 303
    asyncio.run(send_confirmation_email(order_id=1))
    [letter] = read_letters(street.letters)
    assert "Thank you, Łukasz 太郎 🎈!" in body(letter, "plain")
    [attachment] = letter.iter_attachments()
    assert "Invoice 1" in read_pdf(attachment.get_content())


def test_nothing_is_suggested_when_nothing_is_in_stock(street: Street, web: httpx.Client) -> None:
    order = place_order(web, mug=1)
    street.rows("UPDATE shop.product SET on_hand = promised RETURNING id")
    asyncio.run(send_confirmation_email(order_id=order))
    [letter] = read_letters(street.letters)
    assert "Goes well with it" not in body(letter, "plain")


def test_the_mailbox_goes_on_counting(street: Street, web: httpx.Client) -> None:
    from examples.ecommerce.mailbox import Sink

    asyncio.run(send_confirmation_email(order_id=place_order(web, mug=1)))
    assert [file.name for file in street.letters.iterdir()] == ["000001.eml"]
    assert next(Sink(street.letters)._numbers) == 2, "a new sink overwrites nothing"
