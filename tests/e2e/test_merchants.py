"""Merchants accept an order once per key, whatever mood they are in; and what we make of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from examples.ecommerce.shop.tasks.processing import MerchantRefused, MerchantUnavailable, start_processing

from e2e.street import Street, place_order

ORDER = {"order": 7, "lines": [{"product": "mug", "quantity": 1}]}


def post(street: Street, key: str = "k1", order: object = ORDER) -> httpx.Response:
    return httpx.post(f"{street.merchants_url}/kiln/orders", json=order, headers={"Idempotency-Key": key})


def test_a_key_is_accepted_once(street: Street) -> None:
    first, again, other = post(street), post(street), post(street, key="k2")
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json() == again.json() != other.json()
    assert post(street, order={**ORDER, "order": 8}).status_code == 422, "the same key for another order"
    with ThreadPoolExecutor(8) as calls:
        assert len({answer.text for answer in calls.map(lambda _: post(street, key="k3"), range(8))}) == 1
    assert street.accepted("kiln") == [7, 7, 7]


def test_what_they_refuse(street: Street) -> None:
    url = f"{street.merchants_url}/kiln"
    key = {"Idempotency-Key": "k"}
    assert httpx.post(f"{url}/orders", json=ORDER).status_code == 400
    assert httpx.post(f"{url}/orders", content=b"{", headers=key).status_code == 400
    assert httpx.post(f"{url}/orders", json=[], headers=key).status_code == 400
    assert httpx.post(f"{url}/orders", json={"order": 1}, headers=key).status_code == 422
    assert httpx.get(f"{street.merchants_url}/baker/orders").status_code == 404
    for mood in ({"fail_rate": 2}, {"fail_rate": True}, {"slow": -1}, {"down": 1}, {"sleepy": 1}):
        answer = httpx.put(f"{url}/mood", json=mood)
        assert answer.status_code == 422
        assert str(next(iter(mood))) in answer.json()["error"]
    assert street.accepted("kiln") == []


def test_failing_means_refused_or_taken_and_the_answer_lost(street: Street) -> None:
    street.put_mood("kiln", fail_rate=1)
    answers = [post(street, key=f"k{number}").status_code for number in range(60)]
    assert set(answers) == {503}
    assert 10 < len(street.accepted("kiln")) < 50, "about half of them were taken all the same"
    street.put_mood("kiln", down=True)
    before = len(street.accepted("kiln"))
    assert post(street, key="down").status_code == 503
    assert len(street.accepted("kiln")) == before
    street.put_mood("kiln")
    assert post(street, key="up").status_code == 201


def test_the_buttons_for_people(street: Street) -> None:
    assert httpx.post(f"{street.merchants_url}/kiln/mood", data={"mood": "down"}).status_code == 303
    assert post(street).status_code == 503
    assert 'value="down" aria-pressed="true"' in httpx.get(street.merchants_url).text
    assert httpx.post(f"{street.merchants_url}/kiln/mood", data={"mood": "sleepy"}).status_code == 422


def test_an_order_processed_twice_is_processed_once(street: Street, web: httpx.Client) -> None:
    order = place_order(web, mug=2, blanket=1)
    for _ in range(2):
        asyncio.run(start_processing(order_id=order))
    assert street.accepted("kiln") == street.accepted("loom") == [order]
    assert street.accepted("press") == []
    assert street.rows("SELECT product, quantity FROM shop.reservation ORDER BY product") == [(2, 2), (4, 1)]
    assert street.rows("SELECT slug, on_hand, promised FROM shop.product WHERE on_hand < 1000 ORDER BY id") == [
        ("mug", 998, 0),
        ("blanket", 999, 0),
    ]


def test_a_lost_answer_does_not_make_a_second_order(street: Street, web: httpx.Client) -> None:
    order = place_order(web, mug=1)
    street.put_mood("kiln", fail_rate=1)
    for _ in range(100):
        if street.accepted("kiln"):
            break
        with pytest.raises(MerchantUnavailable):
            asyncio.run(start_processing(order_id=order))
    assert street.rows("SELECT * FROM shop.merchant_notice") == []
    street.put_mood("kiln")
    asyncio.run(start_processing(order_id=order))
    assert street.accepted("kiln") == [order]
    assert street.rows("SELECT merchant, reference FROM shop.merchant_notice") == [("kiln", "KI-00001")]


def test_one_merchants_trouble_keeps_no_other_waiting(street: Street, web: httpx.Client) -> None:
    order = place_order(web, mug=1, print=1)
    street.put_mood("kiln", down=True)
    with pytest.raises(MerchantUnavailable, match="kiln answered 503: Kiln Yard is closed for the moment"):
        asyncio.run(start_processing(order_id=order))
    assert street.accepted("press") == [order]


def test_a_merchant_out_of_reach_is_worth_another_try(
    street: Street, web: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = place_order(web, mug=1)
    monkeypatch.setenv("SHOP_MERCHANTS_URL", "http://127.0.0.1:1")
    with pytest.raises(MerchantUnavailable, match="kiln did not answer"):
        asyncio.run(start_processing(order_id=order))


def test_a_refusal_is_not_tried_again(street: Street, web: httpx.Client, work: Callable[..., object]) -> None:
    order = place_order(web, mug=1)
    # Somebody has used the key for other goods: the merchant will never take this one.
    assert post(street, key=f"order-{order}-kiln", order={**ORDER, "order": 999}).status_code == 201
    work()
    [(state, attempt, reason)] = street.rows(
        "SELECT state, attempt, reason FROM pgjobq.jobs WHERE task = 'start_processing'"
    )
    assert (state, attempt) == ("failed", 1)
    assert MerchantRefused.__name__ in reason
