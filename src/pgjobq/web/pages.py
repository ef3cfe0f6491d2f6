"""What each address answers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pgjobq.job import Job, JobState
from pgjobq.survey import Filter
from pgjobq.web.desk import desk_of
from pgjobq.web.filters import FIELDS, BadFilter, as_query, is_empty, read_filter, without
from pgjobq.web.life import life_of, why
from pgjobq.web.rendering import render

__all__ = ["failed", "find", "job", "jobs", "overview", "queues", "ref", "workers"]

ON_A_PAGE = 50
MOST_OF_A_REF = 200
_NUMBER = re.compile(r"#?\s*(\d{1,18})")


async def overview(request: Request) -> Response:
    """What stands where, what ended in the last hour, and what went wrong."""
    desk = desk_of(request)
    counts, history, queues_, workers_, groups = await asyncio.gather(
        desk.counts.get(),
        desk.history.get(),
        desk.survey.aqueues(),
        desk.survey.aworkers(most_jobs=1),
        desk.survey.afailures(newest=500),
    )
    return render(
        request,
        "overview.html",
        counts=counts,
        history=history,
        queues=queues_,
        workers=[w for w in workers_ if w.alive],
        groups=[desk.veil.failure(group) for group in groups[:5]],
    )


async def queues(request: Request) -> Response:
    """Every queue."""
    return render(request, "queues.html", queues=await desk_of(request).survey.aqueues())


async def workers(request: Request) -> Response:
    """Every worker, and what it runs now."""
    return render(request, "workers.html", workers=await desk_of(request).survey.aworkers())


async def failed(request: Request) -> Response:
    """Failed jobs, grouped by what went wrong."""
    desk = desk_of(request)
    groups = await desk.survey.afailures()
    return render(request, "failed.html", groups=[desk.veil.failure(group) for group in groups])


async def jobs(request: Request) -> Response:
    """A page of jobs that pass the filter."""
    desk = desk_of(request)
    wanted = read_filter(request.query_params)
    after = request.query_params.get("after") or None
    page = await desk.survey.alook(wanted, after=after, limit=ON_A_PAGE)
    fields = {name: value for name in FIELDS if (value := getattr(wanted, name)) is not None}
    return render(
        request,
        "jobs.html",
        wanted=wanted,
        fields=fields,
        chips=[(name, value, as_query(without(wanted, name))) for name, value in fields.items() if name != "state"],
        tabs=[(state, as_query(replace(wanted, state=state))) for state in (None, *JobState)],
        page=page,
        rows=[desk.veil.job(found) for found in page.jobs],
        more=as_query(wanted, after=page.after) if page.after else None,
        first=as_query(wanted) if after else None,
        empty=is_empty(wanted),
        searches_payloads=desk.survey.search_payloads,
    )


async def job(request: Request) -> Response:
    """One job: what it is, why it stands where it does, and what happened to it."""
    desk = desk_of(request)
    number = request.path_params["job"]
    found, errors = await asyncio.gather(desk.queue.aget(number), desk.queue.aerrors(number))
    if found is None:
        raise HTTPException(404, f"There is no job {number}. Jobs are removed some time after they have ended.")
    siblings: list[Job] = []
    if found.ref is not None:
        siblings = (await desk.survey.alook(Filter(ref=found.ref), limit=12)).jobs
    shown, told = desk.veil.job(found), [desk.veil.error(error) for error in errors]
    return render(
        request,
        "job.html",
        job=shown,
        errors=told[::-1],
        life=life_of(found, errors),
        why=why(shown, told),
        siblings=[desk.veil.job(other) for other in siblings],
    )


async def ref(request: Request) -> Response:
    """Everything that was asked for one thing of the application's: an order, an account."""
    desk = desk_of(request)
    wanted = Filter(ref=_needed(request, "ref"))
    page = await desk.survey.alook(wanted, limit=MOST_OF_A_REF)
    if not page.jobs:
        raise HTTPException(
            404, f"No job has the ref {wanted.ref!r}. Jobs are removed some time after they have ended."
        )
    rows = [desk.veil.job(found) for found in page.jobs]
    wrong = [found for found in rows if found.state is JobState.FAILED]
    return render(request, "ref.html", ref=wanted.ref, rows=rows, wrong=wrong, more=page.after is not None)


async def find(request: Request) -> Response:
    """The search box: a job's number, a ref, else a text in refs, arguments and errors."""
    desk, root = desk_of(request), request.scope.get("root_path", "")
    text = read_filter({"text": request.query_params.get("q", "")}).text
    if text is None:
        return RedirectResponse(f"{root}/jobs", 303)
    if (number := _NUMBER.fullmatch(text)) and await desk.queue.aget(int(number[1])) is not None:
        return RedirectResponse(f"{root}/jobs/{int(number[1])}", 303)
    if (await desk.survey.alook(Filter(ref=text), limit=1)).jobs:
        return RedirectResponse(f"{root}/ref{as_query(Filter(ref=text))}", 303)
    return RedirectResponse(f"{root}/jobs{as_query(Filter(text=text))}", 303)


def _needed(request: Request, name: str) -> str:
    value = getattr(read_filter(request.query_params), name)
    if value is None:
        raise BadFilter(f"{name} is missing")
    return str(value)
