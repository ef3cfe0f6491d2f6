"""What an application and its operators say to workflows, as Statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pgjobq.errors import InvalidOption
from pgjobq.statements.jobs import _flag, _id, _ids, _nothing, entry, id_text
from pgjobq.statements.statement import Rows, Statement
from pgjobq.statements.text import statement_text
from pgjobq.task import Call
from pgjobq.wording import quote
from pgjobq.workflow import PlannedJob, Workflow, WorkflowGraph, WorkflowLink, WorkflowNode, WorkflowState

__all__ = [
    "MOST_GROUPED",
    "MOST_NODES",
    "add",
    "add_jobs",
    "cancel",
    "close",
    "get",
    "get_of",
    "graph",
    "join",
    "links",
    "list_",
    "nodes",
    "of_job",
    "retry",
    "start",
]

MOST_NODES = 200
"""Jobs that a graph shows one by one."""
MOST_GROUPED = 10_000
"""Jobs that it tells of, task by task."""
MOST_LINKS = 5_000

_NEEDS = {"s": "success", "a": "any", "f": "failure"}


def start(schema: str, name: str, ref: str | None, fail_fast: bool) -> Statement[int]:
    """Begin a workflow, open until `close`; gives its id."""
    return Statement("start_workflow", statement_text("start_workflow", schema), (name, ref, str(fail_fast)), _id)


def close(schema: str, workflow: int) -> Statement[bool]:
    """Let it end when its jobs have; False when it was closed."""
    return Statement("close_workflow", statement_text("close_workflow", schema), (_text(workflow),), _flag)


def add_jobs(schema: str, workflow: int, jobs: Sequence[PlannedJob], calls: Iterable[Call]) -> Statement[list[int]]:
    """Enqueue jobs (each with its call as it is to be written) as part of a workflow; gives the ids in order.

    Those that a job comes after stand before it in the same list, or are written already.
    """
    places = {id(job): place for place, job in enumerate(jobs)}
    parts = []
    for job, call in zip(jobs, calls, strict=True):
        after = [places[id(other)] for other in job.after if id(other) in places]
        ids = [*job.depends_on, *(other.id for other in job.after if id(other) not in places)]
        parts.append(entry(call, after=after, depends_on=ids, needs=job.needs))
    return add(schema, workflow, "[" + ",".join(parts) + "]")


def add(schema: str, workflow: int, entries: str) -> Statement[list[int]]:
    """The same of entries as enqueue_after takes them."""
    params = (_text(workflow), entries)
    return Statement("add_to_workflow", statement_text("add_to_workflow", schema), params, _ids)


def join(schema: str, workflow: int, jobs: Iterable[int]) -> Statement[object]:
    """Let jobs that were enqueued in this transaction belong to a workflow."""
    params = (_text(workflow), "{" + ",".join(map(str, jobs)) + "}")
    return Statement("join_workflow", statement_text("join_workflow", schema), params, _nothing)


def of_job(schema: str, job: int) -> Statement[int | None]:
    """The id of the workflow to which a job belongs."""
    return Statement("workflow_of", statement_text("workflow_of", schema), (id_text(job),), _number)


def cancel(schema: str, workflow: int, reason: str | None, by: str | None) -> Statement[int | None]:
    """Cancel what has not ended of it; None when there is nothing to cancel."""
    params = (_text(workflow), reason, by)
    return Statement("cancel_workflow", statement_text("cancel_workflow", schema), params, _number)


def retry(schema: str, workflow: int, by: str | None) -> Statement[int | None]:
    """Run what failed in it again; None when it does not exist."""
    return Statement("retry_workflow", statement_text("retry_workflow", schema), (_text(workflow), by), _number)


def get(schema: str, workflow: int) -> Statement[Workflow | None]:
    """The workflow of this id."""
    return Statement("get_workflow", statement_text("get_workflow", schema), (_text(workflow),), _one)


def get_of(schema: str, job: int) -> Statement[Workflow | None]:
    """The workflow to which a job belongs."""
    return Statement("get_workflow_of", statement_text("get_workflow_of", schema), (id_text(job),), _one)


def list_(
    schema: str, name: str | None, ref: str | None, state: WorkflowState | None, before: int | None, limit: int
) -> Statement[list[Workflow]]:
    """Workflows that pass every filter given, newest first."""
    older = None if before is None else str(max(0, min(before, 2**63 - 1)))
    params = (name, ref, state and state.value, older, str(limit))
    return Statement("list_workflows", statement_text("list_workflows", schema), params, _many)


def nodes(schema: str, workflow: int, *, grouped: bool) -> Statement[list[WorkflowNode]]:
    """The nodes of its graph; one by one up to one more than MOST_NODES."""
    name = "workflow_groups" if grouped else "workflow_nodes"
    params = (_text(workflow), str(MOST_GROUPED if grouped else MOST_NODES + 1))
    return Statement(name, statement_text(name, schema), params, lambda rows: [_node(text) for (text,) in rows])


def links(schema: str, workflow: int, found: Sequence[WorkflowNode], *, grouped: bool) -> Statement[list[WorkflowLink]]:
    """What waits for what among these nodes, or for the whole."""
    if not grouped:
        params = (_text(workflow), str(MOST_LINKS))
        return Statement("workflow_links", statement_text("workflow_links", schema), params, _links)
    places = {(node.task, node.waits_for_whole): node.id for node in found}

    def decode(rows: Rows) -> list[WorkflowLink]:
        named = [
            (
                workflow if before is None else places.get((before, whole == "true")),
                places.get((after, waits == "true")),
                needs,
            )
            for before, whole, after, waits, needs in rows
        ]  # a job may have come in since the nodes were read
        return [WorkflowLink(b, a, _NEEDS[needs]) for b, a, needs in named if b is not None and a is not None]

    asked = (_text(workflow), str(MOST_LINKS), str(MOST_GROUPED))
    return Statement("workflow_group_links", statement_text("workflow_group_links", schema), asked, decode)


def graph(found: list[WorkflowNode], between: list[WorkflowLink], *, grouped: bool) -> WorkflowGraph:
    """The two together."""
    return WorkflowGraph(found, [link for link in between if link.before != link.after], grouped)


def _text(workflow: object) -> str:
    """As `id_text`, of a workflow."""
    if not isinstance(workflow, int) or isinstance(workflow, bool):
        raise InvalidOption(f"workflow={quote(workflow)}: wants the id of a workflow, as queue.workflows() tells it.")
    return id_text(workflow)


# ------------------------------------------------------------------------------------------------ rows

_read = msgspec.json.Decoder(Workflow).decode
_node = msgspec.json.Decoder(WorkflowNode).decode


def _one(rows: Rows) -> Workflow | None:
    return _read(rows[0][0]) if rows else None


def _many(rows: Rows) -> list[Workflow]:
    return [_read(text) for (text,) in rows]


def _links(rows: Rows) -> list[WorkflowLink]:
    return [WorkflowLink(int(before), int(after), _NEEDS[needs]) for before, after, needs in rows]


def _number(rows: Rows) -> int | None:
    return None if rows[0][0] is None else int(rows[0][0])
