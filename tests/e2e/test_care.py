"""Customer care: a customer misses the confirmation; somebody at the dashboard finds the order and puts it right."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import httpx
from examples.ecommerce.mailbox import read_letters

from e2e.street import Street, place_order
from pgjobq import Queue
from pgjobq.web import Role, Visitor, dashboard
from web.conftest import chromium, served

__all__ = ["chromium"]


def test_the_missing_letter_is_found_retried_and_delivered(
    street: Street,
    web: httpx.Client,
    work: Callable[..., object],
    chromium: Any,
) -> None:
    order = place_order(web, mug=1)
    street.rows("UPDATE pgjobq.job SET max_attempts = 1 WHERE task = 'send_confirmation_email' RETURNING id")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    work(SHOP_SMTP_PORT=str(closed))  # the mail server is down
    assert list(read_letters(street.letters)) == []
    queue = Queue(street.dsn)
    with served(dashboard(queue, authorize=lambda request: Visitor("carla", Role.OPERATOR))) as site:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(site)
        page.fill("#q", f"order:{order}")
        page.press("#q", "Enter")
        page.wait_for_selector("text=1 job failed: send_confirmation_email")
        page.click("tr:has(.pill.failed) button:has-text('Retry')")
        page.wait_for_selector("text=1 job retried.")
        work()  # it is up again
        page.wait_for_selector("tr:has-text('send_confirmation_email') .pill.succeeded", timeout=60_000)
        context.close()
    [letter] = read_letters(street.letters)
    assert letter["X-Shop-Order"] == str(order)
    assert [(entry.who, entry.what, entry.jobs) for entry in queue.audit()] == [("carla", "retry", 1)]
    queue.close()
