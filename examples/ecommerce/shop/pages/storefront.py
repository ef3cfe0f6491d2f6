"""Products, basket and checkout."""

from __future__ import annotations

import uuid

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..basket import add_to_basket, basket_lines, change_line, open_basket, parse_basket
from ..catalog import find_product, list_products
from ..checkout import BasketEmpty, CannotOrder, place_order
from ..customers import Customer, parse_customer
from ..payment import CARDS, GOOD_CARD, CardDeclined
from .forms import COOKIE, BadInput, basket_of, read_form, read_number, read_quantity, show

NOBODY = Customer("", "", "")


async def show_products(request: Request) -> Response:
    """Everything on the shelf."""
    async with request.app.state.pool.connection() as conn:
        products = await list_products(conn)
        lines = await basket_lines(conn, basket_of(request))
    return show("products.html", products=products, lines=lines)


async def show_basket(request: Request) -> Response:
    """What is in the basket, with a way to change it."""
    async with request.app.state.pool.connection() as conn:
        lines = await basket_lines(conn, basket_of(request))
    return show("basket.html", lines=lines)


async def change_basket(request: Request) -> Response:
    """Add something (`do=add`) or set how many there shall be (`do=set`), then show the basket."""
    form = await read_form(request)
    product, quantity = read_number(form, "product", 1, 10**6), read_quantity(form)
    async with request.app.state.pool.connection() as conn:
        if await find_product(conn, product) is None:
            raise BadInput(f"There is no product {product} in this shop.")
        basket = await open_basket(conn, basket_of(request))
        if form.get("do") == "set":
            await change_line(conn, basket, product, quantity)
        elif quantity > 0:
            await add_to_basket(conn, basket, product, quantity)
    answer = RedirectResponse("/basket", 303)
    answer.set_cookie(COOKIE, str(basket), max_age=30 * 86400, httponly=True, samesite="lax")
    return answer


async def show_checkout(request: Request) -> Response:
    """Who orders and where it goes; back to the basket while that is empty."""
    basket = basket_of(request)
    async with request.app.state.pool.connection() as conn:
        lines = await basket_lines(conn, basket)
    if not lines or basket is None:
        return RedirectResponse("/basket", 303)
    return await _checkout_form(request, basket, NOBODY, GOOD_CARD, {})


async def place(request: Request) -> Response:
    """Place the order and go to its page. The same basket posted twice leads to the same order."""
    form = await read_form(request)
    # The form carries the basket's number, so that a late second click still means the first one's basket.
    basket = parse_basket(form.get("basket"))
    customer, wrong = parse_customer(form)
    card = form.get("card", GOOD_CARD)
    if basket is None or card not in CARDS:
        raise BadInput("The checkout form is incomplete. Please open your basket and start again.")
    if wrong:
        return await _checkout_form(request, basket, customer, card, wrong, status=422)
    try:
        async with request.app.state.pool.connection() as conn:
            placed = await place_order(conn, basket, customer, card)
    except BasketEmpty as reason:
        raise BadInput(str(reason)) from reason
    except CannotOrder as reason:
        return await _checkout_form(request, basket, customer, card, {"stock": str(reason)}, status=409)
    except CardDeclined as reason:
        return await _checkout_form(request, basket, customer, card, {"card": str(reason)}, status=402)
    answer = RedirectResponse(f"/orders/{placed.order_id}", 303)
    if basket == basket_of(request):
        answer.delete_cookie(COOKIE)
    return answer


async def _checkout_form(
    request: Request,
    basket: uuid.UUID,
    customer: Customer,
    card: str,
    wrong: dict[str, str],
    status: int = 200,
) -> Response:
    async with request.app.state.pool.connection() as conn:
        lines = await basket_lines(conn, basket)
    return show(
        "checkout.html",
        status,
        basket=basket,
        lines=lines,
        customer=customer,
        card=card,
        cards=CARDS,
        wrong=wrong,
    )
