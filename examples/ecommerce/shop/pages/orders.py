"""One order: what was bought, and how the jobs that follow from it stand."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..events import order_ref
from ..orders import LARGEST_ID, find_order, list_notices
from .forms import read_form, show
from .progress import Progress

_NOTES = {
    "again": "Job {job} runs again. This page follows it.",
    "not": "Nothing to do: job {job} has not failed, or somebody has already sent it back to work.",
}


async def show_order(request: Request) -> Response:
    """The order's page, refreshed by a small script while anything is still to be done."""
    number = request.path_params["order"]
    queue = request.app.state.queue
    async with request.app.state.pool.connection() as conn:
        order = await find_order(conn, number)
        if order is None:
            raise HTTPException(404)
        jobs = await queue.ajobs(ref=order_ref(number), conn=conn)
        steps = [Progress.of(job, await queue.aerrors(job.id, conn=conn)) for job in reversed(jobs)]
        notices = await list_notices(conn, number)
    return show("order.html", order=order, steps=steps, notices=notices, note=note_of(request))


async def retry_job(request: Request) -> Response:
    """Run a failed job of this order again; a second press finds nothing failed, and the page says so."""
    number, job_id = request.path_params["order"], request.path_params["job"]
    form = await read_form(request)
    queue = request.app.state.queue
    async with request.app.state.pool.connection() as conn:
        job = await queue.aget(job_id, conn=conn) if job_id <= LARGEST_ID else None
        if job is None or job.ref != order_ref(number):
            raise HTTPException(404)
        again = await queue.aretry(job_id, conn=conn)
    page = "/support" if form.get("back") == "support" else f"/orders/{number}"
    return RedirectResponse(f"{page}?retry={'again' if again else 'not'}&job={job_id}", 303)


def note_of(request: Request) -> str:
    """What came of a press on the button, told after the redirect."""
    job = request.query_params.get("job", "")
    text = _NOTES.get(request.query_params.get("retry", ""), "")
    return text.format(job=job) if job.isascii() and job.isdigit() else ""
