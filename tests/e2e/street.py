"""A street with a shop, its merchants and a mailbox, all in threads of this process, on ports of their own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
from examples.ecommerce import mailbox, merchants
from examples.ecommerce.ports import bind
from examples.ecommerce.shop.app import create_app
from examples.ecommerce.shop.catalog import GOODS
from examples.ecommerce.shop.settings import ShopSettings


@dataclass(frozen=True)
class Street:
    dsn: str
    shop_url: str
    merchants_url: str
    letters: Path
    environ: dict[str, str]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the database answers, from a connection of its own."""
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query, values).fetchall()

    def put_mood(self, merchant: str, **mood: Any) -> None:
        """Change a merchant's mood."""
        httpx.put(f"{self.merchants_url}/{merchant}/mood", json=mood).raise_for_status()

    def accepted(self, merchant: str) -> list[int]:
        """Order numbers that a merchant has accepted."""
        answer = httpx.get(f"{self.merchants_url}/{merchant}/orders").raise_for_status().json()
        return [each["order"]["order"] for each in answer["accepted"]]


@contextlib.contextmanager
def open_street(dsn: str, letters: Path) -> Iterator[Street]:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(run_mailbox(letters))
        merchants_url = stack.enter_context(run_web(merchants.create_app(seed=1)))
        shop_url = stack.enter_context(run_web(create_app(ShopSettings(dsn=dsn))))
        environ = {
            "PGJOBQ_DSN": dsn,
            "SHOP_SMTP_PORT": str(port),
            "SHOP_MERCHANTS_URL": merchants_url,
            "SHOP_PUBLIC_URL": shop_url,
            "SHOP_MERCHANT_WAIT": "0.05",
        }
        yield Street(dsn, shop_url, merchants_url, letters, environ)


@contextlib.contextmanager
def run_web(app: Any) -> Iterator[str]:
    """Serve an application in a thread; gives its address."""
    with bind(0) as sock:
        sock.listen(128)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@contextlib.contextmanager
def run_mailbox(letters: Path) -> Iterator[int]:
    """Receive mail in a thread; gives the port."""
    ports: list[int] = []
    up = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()

    async def receive() -> None:
        async with mailbox.open_mailbox(letters) as sock:
            ports.append(sock.getsockname()[1])
            up.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(receive(),))
    thread.start()
    try:
        assert up.wait(30)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)
        loop.close()


def fill_basket(web: httpx.Client, **goods: int) -> str:
    """Put goods (by slug) into the visitor's basket over HTTP; gives the basket's number."""
    numbers = {slug: number for number, (slug, *_) in enumerate(GOODS, start=1)}
    for slug, quantity in goods.items():
        form = {"do": "add", "product": str(numbers[slug]), "quantity": str(quantity)}
        assert web.post("/basket", data=form).status_code == 303
    return web.cookies["basket"]


ADA = {"name": "Ada Lovelace", "email": "ada@example.com", "address": "1 Long Lane\r\nHarbour Town", "card": "accepted"}


def check_out(web: httpx.Client, basket: str, **changes: str) -> httpx.Response:
    """Post the checkout form, as Ada unless told otherwise."""
    return web.post("/checkout", data={"basket": basket, **ADA, **changes})


def place_order(web: httpx.Client, **goods: int) -> int:
    """Fill a basket, check out, and give the order's number."""
    answer = check_out(web, fill_basket(web, **goods))
    assert answer.status_code == 303, answer.text
    found = re.fullmatch(r"/orders/(\d+)", answer.headers["location"])
    assert found
    return int(found[1])
