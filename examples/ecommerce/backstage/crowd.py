"""Customers: they fill baskets and check out over HTTP, and remember what the shop told them."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from ..shop.payment import BAD_CARD, GOOD_CARD

DECLINED_EVERY = 20
DOUBLE_EVERY = 15
_BASKET = re.compile(r"basket=([0-9a-f-]{36})")


@dataclass(frozen=True, slots=True)
class Visit:
    """What one customer is going to do. `clicks`: how often the order button is pressed at once."""

    email: str
    basket: dict[int, int]
    card: str = GOOD_CARD
    clicks: int = 1


@dataclass(slots=True)
class Memory:
    """What all customers remember together: the one witness of what should be that is not the shop."""

    placed: dict[int, Visit] = field(default_factory=dict)
    declined: list[Visit] = field(default_factory=list)
    doubled: int = 0
    complaints: list[str] = field(default_factory=list)
    done: int = 0


def plan_visits(orders: int, products: int, seed: int = 7) -> Iterator[Visit]:
    """So many orders that are placed, and in between some that are declined at the last moment."""
    dice = random.Random(seed)
    placed = number = 0
    while placed < orders:
        number += 1
        basket = {product: dice.randint(1, 3) for product in dice.sample(range(1, products + 1), dice.randint(1, 3))}
        email = f"customer-{number}@example.com"
        if number % DECLINED_EVERY == 0:
            yield Visit(email, basket, card=BAD_CARD)
            continue
        placed += 1
        yield Visit(email, basket, clicks=2 if placed % DOUBLE_EVERY == 0 else 1)


class Crowd:
    """Sends the visits to the shop, at most `at_once` of them side by side and `pace` new ones a second."""

    def __init__(self, shop_url: str, visits: list[Visit], *, pace: float, at_once: int = 12) -> None:
        self.visits = visits
        self.memory = Memory()
        self._url, self._pace, self._doors = shop_url, pace, asyncio.Semaphore(at_once)

    async def come(self) -> Memory:
        """Let them all come; returns when the last one has left."""
        # Customers share connections, but not a cookie jar: each one's basket is its own.
        forgetful = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        limits = httpx.Limits(max_connections=40, max_keepalive_connections=40)
        web = httpx.AsyncClient(base_url=self._url, timeout=20, limits=limits, cookies=forgetful)
        async with web, asyncio.TaskGroup() as group:
            for visit in self.visits:
                await self._doors.acquire()
                group.create_task(self._serve(web, visit))
                await asyncio.sleep(1 / self._pace)
        return self.memory

    async def _serve(self, web: httpx.AsyncClient, visit: Visit) -> None:
        try:
            await self._visit(web, visit)
        except (httpx.HTTPError, LookupError) as trouble:
            self.memory.complaints.append(f"{visit.email}: {type(trouble).__name__}: {trouble}")
        finally:
            self.memory.done += 1
            self._doors.release()

    async def _visit(self, web: httpx.AsyncClient, visit: Visit) -> None:
        basket = ""
        for product, quantity in visit.basket.items():
            cookie = {"Cookie": f"basket={basket}"} if basket else {}
            form = {"do": "add", "product": str(product), "quantity": str(quantity)}
            answer = await web.post("/basket", data=form, headers=cookie)
            basket = _expect(_BASKET.search(answer.headers.get("set-cookie", "")), answer)
        order = {
            "basket": basket,
            "name": visit.email.partition("@")[0].replace("-", " ").title(),
            "email": visit.email,
            "address": "1 Long Lane\nHarbour Town",
            "card": visit.card,
        }
        clicks = [web.post("/checkout", data=order) for _ in range(visit.clicks)]
        for answer in await asyncio.gather(*clicks):
            self._remember(visit, answer)
        self.memory.doubled += visit.clicks > 1

    def _remember(self, visit: Visit, answer: httpx.Response) -> None:
        if visit.card == BAD_CARD and answer.status_code == 402:
            self.memory.declined.append(visit)
            return
        number = int(_expect(re.search(r"/orders/(\d+)$", answer.headers.get("location", "")), answer))
        if visit.card == BAD_CARD:
            self.memory.complaints.append(f"{visit.email}: the card was declined, and yet there is order {number}")
        self.memory.placed[number] = visit


def _expect(found: re.Match[str] | None, answer: httpx.Response) -> str:
    if found is None:
        raise LookupError(f"{answer.request.url.path} answered {answer.status_code} without what was expected")
    return found[1]
