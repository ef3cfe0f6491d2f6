"""Support staff see how an order's jobs stand, and send a failed one back to work with a plain button."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from e2e.street import Street, place_order

Work = Callable[..., object]


@pytest.fixture
def failed(street: Street, web: httpx.Client, work: Work) -> int:
    """An order whose merchant was down for too long."""
    street.put_mood("loom", down=True)
    order = place_order(web, blanket=1, mug=1)
    work()
    return order


def retry_button(page: str) -> str:
    """Where the one button of a page posts to."""
    forms = re.findall(r'<form method="post" action="([^"]+/retry)">', page)
    assert len(forms) == 1, forms
    return html.unescape(forms[0])


def test_the_page_tells_each_job_in_plain_words(web: httpx.Client, failed: int) -> None:
    page = html.unescape(web.get(f"/orders/{failed}").raise_for_status().text)
    for words in (
        "Enter it in the books",
        "Send the confirmation email",
        "Reserve the stock and tell the merchants",
        "Gave up after 5 attempts.",
        "5 of 5",
        "MerchantUnavailable: loom answered 503: Loom Room is closed for the moment",
        "5 failed attempts",
        "when you press the button",
        "Kiln Yard",  # has accepted its part all the same
    ):
        assert words in page, words
    assert page.count('class="badge good"') == 2
    assert page.count('class="badge bad"') == 1
    assert "start_processing" not in page, "a name for programmers"


def test_a_new_order_waits(web: httpx.Client) -> None:
    page = web.get(f"/orders/{place_order(web, mug=1)}").text
    assert page.count("Not started yet.") == 3
    assert page.count("as soon as a worker is free") == 3
    assert "data-live" in page
    assert "/retry" not in page


def test_a_retrying_job_says_when(street: Street, web: httpx.Client, work: Work) -> None:
    street.put_mood("loom", down=True)
    order = place_order(web, blanket=1)
    work(SHOP_MERCHANT_WAIT="3000")
    page = web.get(f"/orders/{order}").text
    assert "Will be tried again by itself." in page
    assert "1 of 5" in page
    assert re.search(r"<dt>Next try</dt><dd>in \d+ min</dd>", page)
    assert f"Order {order}" in web.get("/support").text


def test_the_button_runs_the_job_again_and_a_second_press_does_nothing(
    street: Street, web: httpx.Client, work: Work, failed: int
) -> None:
    button = retry_button(web.get(f"/orders/{failed}").text)
    with ThreadPoolExecutor(2) as presses:
        answers = list(presses.map(lambda _: httpx.post(street.shop_url + button), range(2)))
    assert [answer.status_code for answer in answers] == [303, 303]
    notes = sorted(web.get(answer.headers["location"]).text for answer in answers)
    assert sum("runs again" in note for note in notes) == 1
    assert sum("Nothing to do" in note for note in notes) == 1
    [(job,)] = street.rows("SELECT id FROM pgjobq.jobs WHERE task = 'start_processing'")
    assert street.rows("SELECT job FROM pgjobq.ready") == [(job,)]

    street.put_mood("loom")
    work()
    page = web.get(f"/orders/{failed}").text
    assert page.count('class="badge good"') == 3
    assert "/retry" not in page
    assert "data-live" not in page, "nothing is left to watch"
    assert street.accepted("loom") == [failed]
    assert street.accepted("kiln") == [failed], "who had accepted was not asked again"
    assert street.rows("SELECT count(*) FROM shop.reservation") == [(2,)]


def test_support_lists_orders_in_trouble(street: Street, web: httpx.Client, work: Work, failed: int) -> None:
    fine = place_order(web, candle=1)
    work()
    page = web.get("/support").text
    assert f'href="/orders/{failed}"' in page
    assert f'href="/orders/{fine}"' not in page
    answer = web.post(retry_button(page), data={"back": "support"})
    assert answer.headers["location"].startswith("/support?retry=again")
    street.put_mood("loom")
    work()
    assert "No trouble anywhere" in web.get("/support").text


def test_jobs_of_other_orders_are_out_of_reach(street: Street, web: httpx.Client, failed: int) -> None:
    other = place_order(web, mug=1)
    button = retry_button(web.get(f"/orders/{failed}").text)
    for address in (
        button.replace(f"/orders/{failed}/", f"/orders/{other}/"),
        f"/orders/{failed}/jobs/99999/retry",
        f"/orders/{failed}/jobs/99999999999999999999999/retry",
    ):
        assert web.post(address).status_code == 404
    assert web.post(button, headers={"Origin": "http://evil.example"}).status_code == 403
    assert street.rows("SELECT count(*) FROM pgjobq.jobs WHERE state = 'failed'") == [(1,)]


@pytest.mark.parametrize("query", ["?retry=again&job=<b>", "?retry=nonsense&job=1", "?retry=again"])
def test_made_up_notes_are_not_shown(web: httpx.Client, query: str) -> None:
    assert 'role="status"' not in web.get(f"/orders/{place_order(web, mug=1)}{query}").text
