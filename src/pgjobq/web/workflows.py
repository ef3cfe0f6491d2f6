"""The pages of workflows and batches, and what a visitor can do to one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pgjobq.job import JobState
from pgjobq.survey import Filter
from pgjobq.web.controls import Control, back_of, note, text_of
from pgjobq.web.desk import desk_of
from pgjobq.web.filters import BadFilter, read_filter
from pgjobq.web.graph import drawn
from pgjobq.web.rendering import plural, redirect, render
from pgjobq.web.visitors import Role
from pgjobq.workflow import WorkflowState

__all__ = ["WORKFLOW_CONTROLS", "workflow", "workflows"]

ON_A_PAGE = 50
LONGEST = 255
LONGEST_REASON = 300


async def workflows(request: Request) -> Response:
    """All of them, newest first."""
    given = {name: text for name in ("name", "ref", "state") if (text := _text(request, name))}
    state = given.get("state")
    if state is not None and state not in list(WorkflowState):
        raise BadFilter(f"there is no state {state!r}; the states are {', '.join(WorkflowState)}")
    found = await desk_of(request).queue.aworkflows(**given, before=_number(request), limit=ON_A_PAGE + 1)
    return render(
        request,
        "workflows.html",
        workflows=found[:ON_A_PAGE],
        name=given.get("name", ""),
        ref=given.get("ref", ""),
        state=state,
        kept="".join(f"&{name}={quote(text)}" for name, text in given.items() if name != "state"),
        tabs=[None, *WorkflowState],
        more=found[ON_A_PAGE - 1].id if len(found) > ON_A_PAGE else None,
    )


async def workflow(request: Request) -> Response:
    """One of them: how far it is, its graph and its jobs."""
    desk, number = desk_of(request), request.path_params["workflow"]
    state = read_filter({"state": _text(request, "state")}).state
    before = _number(request)
    found, graph, page = await asyncio.gather(
        desk.queue.aget_workflow(number),
        desk.queue.aworkflow_graph(number),
        desk.survey.alook(
            Filter(workflow=number, state=state), after=None if before is None else str(before), limit=ON_A_PAGE
        ),
    )
    if found is None:
        raise HTTPException(404, f"There is no workflow {number}. A workflow is removed with the last of its jobs.")
    return render(
        request,
        "workflow.html",
        flow=found,
        counts=[(each, count) for each in JobState if (count := getattr(found, each.value))],
        graph=drawn(graph, number, request.scope.get("root_path", "")),
        grouped=graph.grouped,
        told=graph.jobs,
        state=state,
        rows=[desk.veil.job(job) for job in page.jobs],
        more=page.after,
        searched=page.searched,
        first=before is None,
    )


def _text(request: Request, name: str) -> str:
    text = request.query_params.get(name, "").strip()
    if len(text) > LONGEST or "\0" in text:
        raise BadFilter(f"{name} wants up to {LONGEST} characters")
    return text


def _number(request: Request) -> int | None:
    text = request.query_params.get("before", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


# ------------------------------------------------------------------------------------------------ what can be done


async def _cancel(request: Request, form: FormData) -> Response:
    number, who = _named(form), request.state.visitor.name
    reason = text_of(form, "reason").strip()[:LONGEST_REASON] or None
    jobs = await desk_of(request).queue.acancel_workflow(number, reason=reason, by=who)
    note(request, f"cancelled workflow {number}")
    said = "It has ended already." if jobs is None else f"{plural(jobs, 'job')} cancelled, or told to end."
    return redirect(request, back_of(form), said)


async def _retry(request: Request, form: FormData) -> Response:
    number = _named(form)
    jobs = await desk_of(request).queue.aretry_workflow(number, by=request.state.visitor.name)
    note(request, f"retried workflow {number}")
    said = f"There is no workflow {number}." if jobs is None else f"{plural(jobs, 'job')} will run again."
    return redirect(request, back_of(form), said)


def _named(form: FormData) -> int:
    text: Any = text_of(form, "workflow")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise HTTPException(400, "This form names no workflow.")
    return int(text)


WORKFLOW_CONTROLS: Mapping[str, Control] = {
    "cancel_workflow": Control(Role.OPERATOR, _cancel),
    "retry_workflow": Control(Role.OPERATOR, _retry),
}
