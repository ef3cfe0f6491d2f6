"""Reading what a browser sent, and answering it."""

from __future__ import annotations

import uuid

from starlette.requests import Request
from starlette.responses import HTMLResponse

from ..basket import MOST_OF_ONE, parse_basket
from ..rendering import templates

COOKIE = "basket"


class BadInput(Exception):
    """A form or address that none of our pages makes; the text says what is wrong with it."""


async def read_form(request: Request) -> dict[str, str]:
    """The form's text fields (the last of a repeated one); files are not wanted anywhere and left out."""
    async with request.form(max_files=0, max_fields=50) as form:
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    if any("\0" in value for value in fields.values()):
        raise BadInput("The form contains a NUL character, which cannot be stored.")
    return fields


def read_number(form: dict[str, str], field: str, low: int, high: int) -> int:
    """A whole number out of a form. Raises BadInput naming field, value and range."""
    text = form.get(field, "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high:
        return int(text)
    raise BadInput(f"“{text[:40]}” cannot be used as {field}: it must be a whole number from {low} to {high}.")


def read_quantity(form: dict[str, str]) -> int:
    """How many: 0 to MOST_OF_ONE. Raises BadInput."""
    return read_number(form, "quantity", 0, MOST_OF_ONE)


def basket_of(request: Request) -> uuid.UUID | None:
    """The visitor's basket, by cookie."""
    return parse_basket(request.cookies.get(COOKIE))


def show(name: str, status: int = 200, /, **words: object) -> HTMLResponse:
    """A rendered page, never kept by a cache: each one shows how things stand now."""
    page = templates.get_template(name).render(words)
    return HTMLResponse(page, status, headers={"Cache-Control": "no-store"})
