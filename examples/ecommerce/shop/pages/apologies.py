"""When something is wrong: a page in words, never a stack trace."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .forms import BadInput, show

log = logging.getLogger("shop")

_WORDS = {
    400: ("That did not make sense to us", "Please go back and try again."),
    403: ("Not from here", "Please use the form on our own page."),
    404: ("Nothing here", "There is no such page, or no such order."),
    405: ("Not that way", "This address cannot be used like that."),
    413: ("Too much", "That is more than we can take."),
    503: (
        "Closed for a moment",
        "We cannot reach our books just now. Nothing was ordered; please try again.",
    ),
}
_OOPS = ("Something broke", "That is our fault, and nothing was ordered. Please try again in a moment.")


def apologise(status: int, detail: str = "") -> Response:
    """The page for an HTTP status, with a sentence of its own where there is one."""
    title, words = _WORDS.get(status, _OOPS)
    return show("apology.html", status, title=title, words=detail or words, status=status)


async def on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return apologise(error.status_code)


async def on_bad_input(_request: Request, error: Exception) -> Response:
    return apologise(400, str(error))


async def on_database(_request: Request, error: Exception) -> Response:
    log.error("the database cannot be used: %s", error)
    return apologise(503)


async def on_crash(_request: Request, _error: Exception) -> Response:
    return apologise(500)


HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    HTTPException: on_http,
    BadInput: on_bad_input,
    psycopg.OperationalError: on_database,
    500: on_crash,
}
