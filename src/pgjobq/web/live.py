"""Tells open pages that something has changed; they then load themselves again (static/dashboard.js).

The database is asked once a second however many pages are open, and not at all when none is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pgjobq.web.desk import Desk, desk_of

__all__ = ["stream"]

_log = logging.getLogger("pgjobq.web")
LOOK_EVERY = 1.0
SPEAK_EVERY = 15.0
"""Seconds after which a comment is sent: what keeps proxies from closing a silent stream, and shows us who has gone."""
LONGEST = 25.0
"""Seconds; then the page opens the stream anew, and is asked again who it is. A server that is told to stop waits for
its streams that long, unless it has a limit of its own."""


async def stream(request: Request) -> Response:
    """Server-sent events: `change`, whenever something did."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":  # who asks for the headers only must not hold a stream open
        return Response(headers=headers, media_type="text/event-stream")
    return StreamingResponse(_events(request, desk_of(request)), media_type="text/event-stream", headers=headers)


async def _events(request: Request, desk: Desk) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    end, spoke = loop.time() + LONGEST, loop.time()
    known = request.headers.get("last-event-id")  # of the stream before: nothing is missed in between
    yield "retry: 1000\n\n"
    while loop.time() < end and not desk.closing and not await request.is_disconnected():
        try:
            pulse = await desk.pulse.get()
        except Exception as error:  # the page says by itself that it is not live; it comes again
            _log.debug("no pulse: %s", error)
            return
        if known is None:
            yield f"id: {pulse}\n\n"
        elif pulse != known:
            spoke = loop.time()
            yield f"event: change\nid: {pulse}\ndata: \n\n"
        elif loop.time() - spoke > SPEAK_EVERY:
            spoke = loop.time()
            yield ": still here\n\n"
        known = pulse
        await asyncio.sleep(LOOK_EVERY)
