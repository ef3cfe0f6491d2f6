"""The dashboard as an ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from pgjobq.queue import Queue
from pgjobq.survey import Survey
from pgjobq.web import acts, apologies, files, live, metrics, pages, workflows
from pgjobq.web.desk import Desk
from pgjobq.web.guard import Guard
from pgjobq.web.veil import Redact, Veil
from pgjobq.web.visitors import Authorize

__all__ = ["dashboard"]


def dashboard(
    queue: Queue,
    *,
    authorize: Authorize | None = None,
    redact: Redact | None = None,
    read_only: bool = False,
    title: str = "pgjobq",
) -> Starlette:
    """The dashboard of a queue, to be served by itself or mounted in an application under any path.

    Args:
        queue: whose jobs; its connections are used (`aget`, `ajobs`, …), so it needs a dsn or an `apool`.
        authorize: gets the request and says who it is: a Visitor, None (refused), or a Response to be sent instead,
            such as a redirect to your login; may be async. Left out: only this machine is answered, as an admin.
        redact: gets each value with the path to it (`args.email`, `error.message`, …) and gives what is shown instead.
            Arguments and errors are then not searched either: a search tells what it finds.
        read_only: nobody may change anything, whatever the role.
        title: what stands over the pages: the application's name, say.
    """
    desk = Desk(queue, Survey(queue, search_payloads=redact is None), Veil(redact), title, read_only)
    app = Starlette(
        routes=[
            Route("/", pages.overview, name="overview"),
            Route("/queues", pages.queues),
            Route("/workers", pages.workers),
            Route("/failed", pages.failed),
            Route("/gates", pages.gates),
            Route("/schedules", pages.schedules),
            Route("/audit", pages.audit),
            Route("/jobs", pages.jobs),
            Route("/jobs/{job:int}", pages.job),
            Route("/workflows", workflows.workflows),
            Route("/workflows/{workflow:int}", workflows.workflow),
            Route("/ref", pages.ref),
            Route("/find", pages.find),
            Route("/act", acts.act, methods=["POST"]),
            Route("/live", live.stream),
            Route("/metrics", metrics.serve),
            Route("/static/{name}", files.serve),
        ],
        middleware=[Middleware(Guard, authorize=authorize, read_only=read_only)],
        exception_handlers=apologies.HANDLERS,
    )
    app.state.desk = desk
    return app
