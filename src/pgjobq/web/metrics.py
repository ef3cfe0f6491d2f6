"""`/metrics`: what stands in the queue, for Prometheus; to be asked by whoever may see the pages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pgjobq.exporter import aexport
from pgjobq.metrics import CONTENT_TYPE
from pgjobq.web.desk import desk_of

__all__ = ["serve"]


async def serve(request: Request) -> Response:
    """The same as `pgjobq metrics`."""
    text = await aexport(desk_of(request).queue)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})
