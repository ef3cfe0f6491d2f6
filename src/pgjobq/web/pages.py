"""What each address answers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pgjobq.errors import ScheduleError
from pgjobq.job import AttemptError, Job, JobState
from pgjobq.schedule import Schedule
from pgjobq.survey import Filter
from pgjobq.web.charts import SPANS
from pgjobq.web.controls import can_edit_arguments
from pgjobq.web.desk import Desk, desk_of
from pgjobq.web.filters import FIELDS, BadFilter, as_query, is_empty, read_filter, without
from pgjobq.web.life import life_of, why
from pgjobq.web.rendering import render

__all__ = ["audit", "failed", "find", "gates", "job", "jobs", "overview", "queues", "ref", "schedules", "workers"]

ON_A_PAGE = 50
MOST_OF_A_REF = 200
NEXT_RUNS = 5
MOST_NEIGHBOURS = 50
EDITABLE = frozenset({JobState.SCHEDULED, JobState.BLOCKED, JobState.READY})
_NUMBER = re.compile(r"#?\s*(\d{1,18})")


async def overview(request: Request) -> Response:
    """What stands where, how it went of late, and what went wrong."""
    desk, wanted = desk_of(request), request.query_params.get("span", "1h")
    if (span := SPANS.get(wanted)) is None:
        raise BadFilter(f"span is {wanted[:40]!r}: wants one of {', '.join(SPANS)}")
    counts, history, queues_, workers_, failed_ = await asyncio.gather(
        desk.counts.get(),
        desk.history[span.name].get(),
        desk.survey.aqueues(),
        desk.survey.aworkers(most_jobs=1),
        desk.survey.afailures(newest=500),
    )
    return render(
        request,
        "overview.html",
        counts=counts,
        history=history,
        span=span,
        spans=list(SPANS.values()),
        queues=queues_,
        workers=[w for w in workers_ if w.alive],
        groups=[desk.veil.failure(group) for group in failed_.groups[:5]],
    )


async def queues(request: Request) -> Response:
    """Every queue."""
    desk = desk_of(request)
    found, paused, trends, limits, ageing = await asyncio.gather(
        desk.survey.aqueues(),
        desk.queue.apaused(),
        desk.trends.get(),
        desk.queue.alimits(),
        desk.queue.aageing(),
    )
    named = {one.name for one in paused if one.kind == "queue"}
    named |= {one.queue for one in limits} | {one.queue for one in ageing}
    return render(
        request,
        "queues.html",
        queues=found,
        paces={one.queue: one.pace for one in trends},
        paused={one.name: one for one in paused if one.kind == "queue"},
        trends={one.queue: one for one in trends},
        limits={one.queue: one for one in limits},
        ageing={one.queue: one for one in ageing},
        idle=sorted(named - {one.queue for one in found}),
        tasks=[one for one in paused if one.kind == "task"],
    )


async def gates(request: Request) -> Response:
    """Where jobs wait for each other's places."""
    return render(request, "gates.html", gates=await desk_of(request).survey.agates())


async def schedules(request: Request) -> Response:
    """What makes jobs by the clock, and when it does so next."""
    found = await desk_of(request).queue.aschedules()
    return render(request, "schedules.html", schedules=[(one, *_next_runs(one)) for one in found])


def _next_runs(schedule: Schedule) -> tuple[list[datetime], str | None]:
    """When it runs next, and why nobody can tell."""
    try:
        return schedule.next_runs(NEXT_RUNS), None
    except ScheduleError as error:
        return [], str(error)


async def audit(request: Request) -> Response:
    """What people did, newest first."""
    desk, before = desk_of(request), request.query_params.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) <= 18):
        raise BadFilter(f"before is {before[:40]!r}: wants the number of an entry")
    entries = await desk.queue.aaudit(before=int(before) if before else None, limit=ON_A_PAGE + 1)
    return render(
        request,
        "audit.html",
        entries=[desk.veil.audit(entry) for entry in entries[:ON_A_PAGE]],
        more=entries[ON_A_PAGE - 1].id if len(entries) > ON_A_PAGE else None,
        first=bool(before),
    )


async def workers(request: Request) -> Response:
    """Every worker, and what it runs now."""
    return render(request, "workers.html", workers=await desk_of(request).survey.aworkers())


async def failed(request: Request) -> Response:
    """Failed jobs, grouped by what went wrong."""
    desk, after = desk_of(request), request.query_params.get("after") or None
    found = await desk.survey.afailures(after=after)
    return render(
        request,
        "failed.html",
        groups=[desk.veil.failure(group) for group in found.groups],
        searched=found.searched,
        more=found.after,
        first=after is not None,
    )


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
    found, errors, steps, needed, dependents = await asyncio.gather(
        desk.queue.aget(number),
        desk.queue.aerrors(number),
        desk.queue.asteps(number),
        desk.queue.apredecessors(number),
        desk.queue.adependents(number),
    )
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
        steps=[desk.veil.step(step) for step in steps],
        life=life_of(found, errors),
        why=await _why(desk, shown, told),
        predecessors=[desk.veil.job(other) for other in needed],
        dependents=[desk.veil.job(other) for other in dependents[:MOST_NEIGHBOURS]],
        can_edit=found.state in EDITABLE,
        can_edit_arguments=can_edit_arguments(desk, found),
        siblings=[desk.veil.job(other) for other in siblings],
    )


async def _why(desk: Desk, job: Job, errors: list[AttemptError]) -> list[str]:
    """Why it stands where it does, the most important first. What `explain` tells of an error no `redact` has seen."""
    if job.state.final or (desk.veil.hides and job.state is JobState.SCHEDULED):
        return [why(job, errors)]
    told = await desk.queue.aexplain(job.id)
    return [why(job, errors)] if told is None else list(told.sentences)


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
