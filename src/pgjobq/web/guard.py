"""The guard before every page: who it is, whether a request was forged elsewhere, and what a browser may load.

Without `authorize` the dashboard answers this machine only: the connection must come from a loopback address, be made
for a loopback name (or a page elsewhere whose name is pointed here could read it), and not have come through a proxy
(which stands on this machine and speaks for others).

A form must come from a page of the dashboard's own. Two things must hold, each enough by itself: the browser says so
(Sec-Fetch-Site, else Origin), and the form repeats the random token of a cookie that no other site can read or send.
"""

from __future__ import annotations

import hmac
import inspect
import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgjobq.web.visitors import LOCAL, Authorize, Role, Visitor

__all__ = ["COOKIE", "FIELD", "Guard", "forgery"]

COOKIE = "pgjobq_token"
FIELD = "token"
LONGEST_FORM = 256 * 1024
_PROXY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware: lets through who may, with `request.state.visitor` and `request.state.token`."""

    def __init__(self, app: ASGIApp, *, authorize: Authorize | None, read_only: bool) -> None:
        self.app = app
        self.authorize = authorize
        self.read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        found = await self._visitor(request)
        if isinstance(found, Visitor):
            state = scope.setdefault("state", {})
            state["visitor"] = Visitor(found.name, Role.VIEWER) if self.read_only else found
            state["token"], fresh = _token(request)
            await self.app(scope, receive, _dressed(send, scope, state["token"] if fresh else None))
        else:
            await found(scope, receive, _dressed(send, scope, None))

    async def _visitor(self, request: Request) -> Visitor | Response:
        if self.authorize is None:
            reason = _not_local(request)
            return LOCAL if reason is None else PlainTextResponse(f"{reason}\n", 403)
        answer = self.authorize(request)
        found = await answer if inspect.isawaitable(answer) else answer
        if found is None:
            return PlainTextResponse("You may not see this dashboard.\n", 403)
        return found


def forgery(request: Request, token: str) -> str | None:
    """Why this POST does not come from a form of ours; None when it does."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site != "same-origin":
        return "it was sent by a page of another site"
    if site is None and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return "it was sent by a page of another site"
    known = request.cookies.get(COOKIE, "")
    if not known or not hmac.compare_digest(known.encode(), token.encode()):
        return (
            "its token does not fit; cookies must be allowed, and the page may have been open for long: load it again"
        )
    return None


def _not_local(request: Request) -> str | None:
    """Why a request is not taken for one from this machine; None when it is."""
    advice = "Give dashboard(…) an authorize= that says who may."
    if request.client is None or not _is_loopback(request.client.host):
        return f"Without authorize= this dashboard answers on the machine it runs on only. {advice}"
    if through := [name for name in _PROXY if name in request.headers]:
        return f"This request came through a proxy ({through[0]}), so nobody knows whose it is. {advice}"
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if host != "localhost" and not _is_loopback(host):
        return f"Without authorize= this dashboard answers to localhost and 127.0.0.1 only. {advice}"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(request: Request) -> tuple[str, bool]:
    known = request.cookies.get(COOKIE, "")
    usable = 32 <= len(known) <= 64 and known.isascii()
    return (known, False) if usable else (secrets.token_urlsafe(32), True)


def _dressed(send: Send, scope: Scope, token: str | None) -> Send:
    """`send`, with the headers every answer has, and the token's cookie where it is new."""

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"]) if message.get("headers") is not None else None
            if headers is None:
                message["headers"] = []
                headers = MutableHeaders(raw=message["headers"])
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if token is not None:
                secure = "; Secure" if scope.get("scheme") == "https" else ""
                path = scope.get("root_path") or "/"
                headers.append("Set-Cookie", f"{COOKIE}={token}; Path={path}; HttpOnly; SameSite=Strict{secure}")
            message["headers"] = headers.raw
        await send(message)

    return dressed
