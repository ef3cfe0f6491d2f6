"""Four workshops behind one HTTP server, which can be told to be slow, to fail, or to be down.

python -m examples.ecommerce.merchants --port 8100

POST /kiln/orders          an order (header Idempotency-Key): 201, then 200 and the same answer
GET  /kiln/orders          what it has accepted
PUT  /kiln/mood            {"fail_rate": 0.2, "slow": 0.5, "down": false}; left out: back to normal
GET  /                     the same for people, with buttons
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from .ports import serve
from .shop.catalog import MERCHANTS
from .shop.rendering import templates


@dataclass(frozen=True, slots=True)
class Mood:
    """How a merchant behaves: fail_rate 0..1, slow in seconds (0..60), down: answers nothing but 503."""

    fail_rate: float = 0.0
    slow: float = 0.0
    down: bool = False

    @classmethod
    def parse(cls, wish: dict[str, Any]) -> Mood:
        """Raises ValueError naming what cannot be used."""
        mood = cls(**{**asdict(cls()), **{name: wish[name] for name in asdict(cls()) if name in wish}})
        if unknown := set(wish) - set(asdict(mood)):
            raise ValueError(f"no such mood: {', '.join(sorted(unknown))}; there are fail_rate, slow and down")
        for name, limit in (("fail_rate", 1), ("slow", 60)):
            value = getattr(mood, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= limit:
                raise ValueError(f"{name}={value!r}: wants a number from 0 to {limit}")
        if not isinstance(mood.down, bool):
            raise ValueError(f"down={mood.down!r}: wants true or false")
        return mood


@dataclass(slots=True)
class Merchant:
    """One workshop and what it remembers."""

    slug: str
    name: str
    mood: Mood = Mood()
    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)  # by idempotency key
    calls: int = 0
    refused_calls: int = 0

    async def receive(self, key: str, order: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take an order in this merchant's present mood: an HTTP status and the answer."""
        self.calls += 1
        await asyncio.sleep(self.mood.slow)
        if self.mood.down:
            return self._refuse(f"{self.name} is closed for the moment")
        fails = random.random() < self.mood.fail_rate
        # The nastier half of all failures: the order is taken, and then the answer is lost.
        if fails and random.random() < 0.5:
            return self._refuse("the oven is on fire")
        known = self.accepted.get(key)
        if known is not None and known["order"] != order:
            return 422, {"error": f"key {key!r} was used for another order: use one key per order"}
        if known is None:
            number = f"{self.slug[:2].upper()}-{len(self.accepted) + 1:05}"
            self.accepted[key] = {"key": key, "reference": number, "order": order}
        if fails:
            return self._refuse("the line broke while we answered")
        return (200 if known else 201), {"reference": self.accepted[key]["reference"]}

    def _refuse(self, why: str) -> tuple[int, dict[str, Any]]:
        self.refused_calls += 1
        return 503, {"error": why}


def create_app(seed: int | None = None) -> Starlette:
    """All merchants, with nothing accepted yet. `seed` makes their failures the same each time."""
    if seed is not None:
        random.seed(seed)
    app = Starlette(
        routes=[
            Route("/", show_merchants),
            Route("/{merchant}/orders", take_order, methods=["POST"]),
            Route("/{merchant}/orders", list_orders),
            Route("/{merchant}/mood", set_mood, methods=["PUT"]),
            Route("/{merchant}/mood", press_mood, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refuse},
    )
    app.state.merchants = {slug: Merchant(slug, name) for slug, name in MERCHANTS.items()}
    return app


async def refuse(_request: Request, error: Exception) -> Response:
    """Every refusal is JSON with its reason, like the merchants' own."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


def _merchant(request: Request) -> Merchant:
    found: Merchant | None = request.app.state.merchants.get(request.path_params["merchant"])
    if found is None:
        raise HTTPException(404, f"no such merchant; there are {', '.join(request.app.state.merchants)}")
    return found


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return body


async def take_order(request: Request) -> Response:
    """Accept an order once per idempotency key."""
    merchant = _merchant(request)
    key = request.headers.get("idempotency-key", "")
    if not key:
        raise HTTPException(400, "an order needs an Idempotency-Key header")
    order = await _json(request)
    if not isinstance(order.get("order"), int) or not order.get("lines"):
        raise HTTPException(422, "an order needs its number as `order` and at least one of `lines`")
    status, answer = await merchant.receive(key, order)
    return JSONResponse(answer, status)


async def list_orders(request: Request) -> Response:
    """What a merchant has accepted, and how often it was called."""
    merchant = _merchant(request)
    return JSONResponse(
        {
            "accepted": list(merchant.accepted.values()),
            "calls": merchant.calls,
            "refused_calls": merchant.refused_calls,
        }
    )


async def set_mood(request: Request) -> Response:
    """Change a merchant's mood."""
    merchant, wish = _merchant(request), await _json(request)
    try:
        merchant.mood = Mood.parse(wish)
    except ValueError as reason:
        raise HTTPException(422, str(reason)) from None
    return JSONResponse(asdict(merchant.mood))


MOODS = {
    "normal": Mood(),
    "fails now and then": Mood(fail_rate=0.5),
    "slow": Mood(slow=1.5),
    "down": Mood(down=True),
}


async def press_mood(request: Request) -> Response:
    """The buttons of the page for people."""
    merchant = _merchant(request)
    async with request.form(max_files=0, max_fields=5) as form:
        mood = MOODS.get(str(form.get("mood")))
    if mood is None:
        raise HTTPException(422, f"no such mood; there are {', '.join(MOODS)}")
    merchant.mood = mood
    return RedirectResponse("/", 303)


async def show_merchants(request: Request) -> Response:
    """Each merchant, what it has done, and buttons for its mood."""
    page = templates.get_template("merchants.html")
    return HTMLResponse(page.render(merchants=request.app.state.merchants.values(), moods=MOODS))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the merchants by themselves."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.ecommerce.merchants", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--port", type=int, default=8100, help="0: any free one (default: 8100, or the next free one)")
    parser.add_argument("--seed", type=int, help="makes the failures the same each time")
    arguments = parser.parse_args(argv)
    serve(create_app(arguments.seed), arguments.port)


if __name__ == "__main__":
    main()
