"""From a basket to an order and its jobs: all of it, or nothing, and only once."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from e2e.street import ADA, Street, check_out, fill_basket, place_order

TASKS = {"send_confirmation_email", "start_processing", "sync_bookkeeping"}


def counts(street: Street) -> tuple[int, int, int]:
    """Orders, jobs, and pieces promised."""
    [(orders, jobs, promised)] = street.rows(
        "SELECT (SELECT count(*) FROM shop.orders), (SELECT count(*) FROM pgjobq.job),"
        " (SELECT sum(promised) FROM shop.product)"
    )
    return orders, jobs, promised


def test_an_order_and_its_jobs_commit_together(street: Street, web: httpx.Client) -> None:
    order = place_order(web, teapot=1, blanket=2)
    jobs = street.rows("SELECT task, args, state FROM pgjobq.jobs WHERE ref = %s", f"order:{order}")
    assert {task for task, _, _ in jobs} == TASKS
    assert all(args == {"order_id": order} and state == "ready" for _, args, state in jobs)
    # The very same transaction wrote the order, its lines and the jobs.
    [(transactions,)] = street.rows(
        "SELECT count(DISTINCT xmin) FROM (SELECT xmin::text FROM shop.orders UNION ALL"
        " SELECT xmin::text FROM shop.order_line UNION ALL SELECT xmin::text FROM pgjobq.job) AS everything"
    )
    assert transactions == 1
    assert street.rows("SELECT total_cents FROM shop.orders") == [(3900 + 2 * 8900,)]
    assert "basket" not in web.cookies


def test_a_refusal_at_the_last_moment_leaves_nothing(street: Street, web: httpx.Client) -> None:
    basket = fill_basket(web, mug=3)
    answer = check_out(web, basket, card="declined")
    assert answer.status_code == 402
    assert "declined the card. Nothing was ordered" in answer.text
    assert counts(street) == (0, 0, 0)
    # The basket is still there, and a good card makes it an order.
    assert check_out(web, basket).status_code == 303
    assert counts(street) == (1, 3, 3)


def test_the_same_basket_posted_twice_at_once_is_one_order(street: Street, web: httpx.Client) -> None:
    basket = fill_basket(web, print=1)
    with ThreadPoolExecutor(6) as clicks:
        answers = list(
            clicks.map(lambda _: httpx.post(f"{street.shop_url}/checkout", data={"basket": basket, **ADA}), range(6))
        )
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert counts(street) == (1, 3, 1)


def test_a_late_second_click_leads_to_the_same_order(street: Street, web: httpx.Client) -> None:
    basket = fill_basket(web, print=1)
    first = check_out(web, basket)
    assert fill_basket(web, mug=1) != basket
    assert check_out(web, basket).headers["location"] == first.headers["location"]
    assert counts(street) == (1, 3, 1)
    assert "Speckled mug" in web.get("/basket").text, "the new basket is not the old order's"


def test_of_declined_and_accepted_clicks_at_once_one_order_is_left(street: Street, web: httpx.Client) -> None:
    basket = fill_basket(web, bowl=1)
    cards = ["declined", "accepted"] * 3
    with ThreadPoolExecutor(6) as clicks:
        answers = list(
            clicks.map(
                lambda card: httpx.post(f"{street.shop_url}/checkout", data={"basket": basket, **ADA, "card": card}),
                cards,
            )
        )
    placed = {answer.headers["location"] for answer in answers if answer.status_code == 303}
    assert len(placed) == 1
    assert {answer.status_code for answer in answers} <= {303, 402}
    assert counts(street) == (1, 3, 1)


def test_out_of_stock_is_refused_in_words(street: Street, web: httpx.Client) -> None:
    street_rows = street.rows("UPDATE shop.product SET on_hand = 2 WHERE slug = 'lantern' RETURNING id")
    assert street_rows
    answer = check_out(web, fill_basket(web, candle=1, lantern=3))
    assert answer.status_code == 409
    assert "Only 2 of Garden lantern left, and you asked for 3. Nothing was ordered." in answer.text
    street.rows("UPDATE shop.product SET on_hand = 0 WHERE slug = 'lantern' RETURNING id")
    answer = check_out(web, web.cookies["basket"])
    assert answer.status_code == 409
    assert "Garden lantern has just sold out" in answer.text
    assert counts(street) == (0, 0, 0), "the candle is not promised either"
    assert "Sold out" in web.get("/").text


def test_the_last_pieces_are_sold_once(street: Street) -> None:
    street.rows("UPDATE shop.product SET on_hand = 3 WHERE slug = 'lantern' RETURNING id")

    def buy(_: int) -> int:
        with httpx.Client(base_url=street.shop_url, timeout=30) as visitor:
            return check_out(visitor, fill_basket(visitor, lantern=1)).status_code

    with ThreadPoolExecutor(6) as visitors:
        answers = sorted(visitors.map(buy, range(6)))
    assert answers == [303, 303, 303, 409, 409, 409]
    assert counts(street) == (3, 9, 3)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "", "Please tell us your name"),
        ("name", "Ada\r\nBcc: all@example.com", "Please tell us your name"),
        ("name", "x" * 101, "Please tell us your name"),
        ("email", "ada", "does not look like an email address"),
        ("email", "ada@example.com\r\nBcc: x@y.z", "does not look like an email address"),
        ("email", "ada@" + "x" * 250 + ".com", "does not look like an email address"),
        ("address", "here", "Please give a street and a town"),
        ("address", "x" * 501, "Please give a street and a town"),
    ],
)
def test_an_unusable_field_is_explained(street: Street, web: httpx.Client, field: str, value: str, words: str) -> None:
    answer = check_out(web, fill_basket(web, mug=1), **{field: value})
    assert answer.status_code == 422
    assert words in answer.text
    assert counts(street) == (0, 0, 0)


def test_what_was_typed_is_shown_again_and_harmless(web: httpx.Client) -> None:
    answer = check_out(web, fill_basket(web, mug=1), name="<script>alert(1)</script>", email="no")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "<script>alert" not in answer.text


def test_baskets_change_as_asked(web: httpx.Client) -> None:
    fill_basket(web, mug=15)
    fill_basket(web, mug=15)
    assert 'value="20"' in web.get("/basket").text, "at most 20 of each"
    web.post("/basket", data={"do": "set", "product": "2", "quantity": "4"})
    assert "€56.00" in web.get("/basket").text
    web.post("/basket", data={"do": "set", "product": "2", "quantity": "0"})
    assert "It is still empty" in web.get("/basket").text
    assert web.get("/checkout").headers["location"] == "/basket"


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("/basket", {"do": "add", "product": "abc", "quantity": "1"}, "cannot be used as product"),
        ("/basket", {"do": "add", "product": "999", "quantity": "1"}, "There is no product 999"),
        ("/basket", {"do": "add", "product": "1", "quantity": "-1"}, "cannot be used as quantity"),
        ("/basket", {"do": "add", "product": "1", "quantity": "9" * 400}, "cannot be used as quantity"),
        ("/basket", {"do": "add", "product": "1", "quantity": "²"}, "cannot be used as quantity"),
        ("/checkout", {"basket": "x"}, "The checkout form is incomplete"),
        ("/checkout", {"basket": str(uuid.UUID(int=1)), **ADA}, "This basket does not exist"),
        ("/checkout", {"basket": str(uuid.UUID(int=1)), **ADA, "card": "gold"}, "The checkout form is incomplete"),
        ("/checkout", {"basket": str(uuid.UUID(int=1)), **ADA, "name": "A\0da"}, "NUL character"),
    ],
)
def test_nonsense_gets_a_readable_page(
    street: Street, web: httpx.Client, path: str, form: dict[str, str], words: str
) -> None:
    answer = web.post(path, data=form)
    assert answer.status_code == 400
    assert words in answer.text
    assert "Corner Shop" in answer.text
    assert counts(street) == (0, 0, 0)


def test_an_empty_basket_is_no_order(street: Street, web: httpx.Client) -> None:
    basket = fill_basket(web, mug=1)
    web.post("/basket", data={"do": "set", "product": "2", "quantity": "0"})
    answer = check_out(web, basket)
    assert answer.status_code == 400
    assert "There is nothing in your basket yet" in answer.text
    assert counts(street) == (0, 0, 0)


def test_forms_of_other_sites_are_refused(street: Street, web: httpx.Client) -> None:
    basket = fill_basket(web, mug=1)
    form = {"basket": basket, **ADA}
    assert web.post("/checkout", data=form, headers={"Origin": "http://evil.example"}).status_code == 403
    assert web.post("/checkout", data={**form, "address": "x" * 70_000}).status_code == 413
    assert counts(street) == (0, 0, 0)
    assert web.post("/checkout", data=form, headers={"Origin": street.shop_url}).status_code == 303


@pytest.mark.parametrize("path", ["/orders/1", "/orders/99999999999999999999999", "/orders/x", "/nowhere"])
def test_what_is_not_there_says_so(web: httpx.Client, path: str) -> None:
    answer = web.get(path)
    assert answer.status_code == 404
    assert "Nothing here" in answer.text
    assert web.put("/basket").status_code == 405


def test_pages_load_nothing_from_elsewhere(web: httpx.Client) -> None:
    place_order(web, teapot=1)
    fill_basket(web, mug=1)
    for path in ("/", "/basket", "/checkout", "/orders/1", "/support"):
        page = web.get(path).raise_for_status().text
        for url in re.findall(r'(?:src|href)="([^"]+)"', page):
            assert url.startswith(("/", "#")), f"{path} points to {url}"
            if url.startswith("/static/"):
                assert web.get(url.partition("#")[0]).status_code == 200
