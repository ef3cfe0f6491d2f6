"""The dashboard's own files: one style sheet, one script, one icon. Read once; an address changes with the content."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["address", "serve"]

TYPES = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


async def serve(request: Request) -> Response:
    """One file, by its name."""
    name = request.path_params["name"]
    if name not in TYPES:
        return Response("There is no such file.\n", 404, media_type="text/plain")
    headers = {"Cache-Control": "private, max-age=31536000, immutable"} if request.query_params.get("v") else {}
    return Response(_content(name), headers=headers, media_type=TYPES[name])


def address(name: str) -> str:
    """Where a file is, below the dashboard's root."""
    return f"/static/{name}?v={hashlib.sha256(_content(name)).hexdigest()[:12]}"


@cache
def _content(name: str) -> bytes:
    return (resources.files("pgjobq.web") / "static" / name).read_bytes()
