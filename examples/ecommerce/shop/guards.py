"""Who may post to us: our own pages, with small forms."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .pages.apologies import apologise

LARGEST_FORM = 64 * 1024


class SameOrigin:
    """Refuse forms that another site's page sent, and forms too large to be one of ours.

    Browsers name the page's origin in every POST; a caller without that header is no browser and cannot be
    tricked into carrying somebody's cookie.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                page = apologise(403, "That form came from another site, so it was not carried out.")
                await page(scope, receive, send)
                return
            size = headers.get("content-length", "")
            if not size.isdigit() or int(size) > LARGEST_FORM:
                page = apologise(413, f"That form is larger than {LARGEST_FORM // 1024} kB or does not say how large.")
                await page(scope, receive, send)
                return
        await self.app(scope, receive, send)
