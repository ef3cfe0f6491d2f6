"""What a visitor reads when something is not there, not allowed or broken."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgjobq.errors import InvalidOption, PgjobqError
from pgjobq.web.filters import BadFilter
from pgjobq.web.rendering import render

__all__ = ["HANDLERS"]

_log = logging.getLogger("pgjobq.web")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    titles = {403: "Not allowed", 404: "Not found", 405: "Not like this"}
    return render(
        request,
        "apology.html",
        status=error.status_code,
        headline=titles.get(error.status_code, "Something is wrong"),
        sentence=error.detail,
        headers=error.headers,
    )


async def _bad_filter(request: Request, error: Exception) -> Response:
    return render(request, "apology.html", status=400, headline="This filter cannot be used", sentence=f"{error}.")


async def _no_database(request: Request, error: Exception) -> Response:
    _log.warning("the database did not answer a page: %s", error)
    sentence = "The database does not answer at the moment. The jobs are safe in it; try again in a moment."
    return render(request, "apology.html", status=503, headline="No answer", sentence=sentence)


async def _refused(request: Request, error: Exception) -> Response:
    _log.error("a page could not be made: %s", error)
    return render(request, "apology.html", status=500, headline="This cannot be shown", sentence=f"{error}")


HANDLERS: Mapping[Any, Any] = {
    HTTPException: _http,
    BadFilter: _bad_filter,
    InvalidOption: _bad_filter,
    OperationalError: _no_database,
    PoolTimeout: _no_database,
    PgjobqError: _refused,
}
