"""Thank the customer by email, with the invoice and a few recommendations."""

from __future__ import annotations

import asyncio

import aiosmtplib

from pgjobq import Retry

from ..db import atransaction
from ..events import on_order_placed
from ..jobs import queue
from ..letters import compose_confirmation
from ..orders import get_order
from ..recommendations import recommend
from ..settings import ShopSettings


@on_order_placed("Send the confirmation email")
@queue.task(queue="mail", timeout=60, retry=Retry(max_attempts=8, wait=1.0, cap=300.0, give_up_on=(LookupError,)))
async def send_confirmation_email(order_id: int) -> None:
    """Send it over SMTP.

    No mail server can promise exactly once: should the worker die after the server took the letter and before
    the job completed, it is sent again. Its Message-ID is the same each time, by which mailboxes recognise
    the copy.
    """
    settings = ShopSettings.from_environ()
    async with atransaction() as conn:
        order = await get_order(conn, order_id)
        suggestions = await recommend(conn, order_id)
    # Drawing the PDF keeps a processor busy for some milliseconds: not on the event loop.
    letter = await asyncio.to_thread(compose_confirmation, order, suggestions, settings)
    await aiosmtplib.send(letter, hostname=settings.smtp_host, port=settings.smtp_port, timeout=20)
