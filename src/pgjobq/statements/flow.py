"""Who depends on whom, as Statements."""

from __future__ import annotations

from pgjobq.job import Job
from pgjobq.statements.jobs import _ids, _jobs, id_text
from pgjobq.statements.statement import Statement
from pgjobq.statements.text import statement_text

__all__ = ["dependents", "predecessors", "retry_from"]


def predecessors(schema: str, job: int) -> Statement[list[Job]]:
    """The jobs that this one depends on."""
    return Statement("predecessors", statement_text("predecessors", schema), (id_text(job),), _jobs)


def dependents(schema: str, job: int) -> Statement[list[Job]]:
    """The jobs that depend on this one."""
    return Statement("dependents", statement_text("dependents", schema), (id_text(job),), _jobs)


def retry_from(schema: str, job: int, by: str | None) -> Statement[list[int]]:
    """Run a job and what was cancelled because of it again; gives their ids."""
    return Statement("retry_from", statement_text("retry_from", schema), (id_text(job), by), _ids)
