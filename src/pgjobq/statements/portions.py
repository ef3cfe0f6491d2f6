"""A stream of calls on its way into statements: four thousand at a time, calls that are alike in the shorter form."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Final

from pgjobq.errors import EnqueueError, InvalidOption
from pgjobq.statements.jobs import enqueue_alike, enqueue_many, entry
from pgjobq.statements.statement import Statement
from pgjobq.statements.text import statement_text
from pgjobq.statements.workflows import add
from pgjobq.task import Call
from pgjobq.wording import quote

__all__ = ["PORTION_CHARACTERS", "PORTION_JOBS", "aportions", "in_portions", "portion_statement", "portions"]

PORTION_JOBS: Final = 4_000
"""Jobs that go in one statement, so that a generator of a million stays a generator. Of more the server's share gets
hardly cheaper (decision 0037), and an event loop would stand still for longer than the 5 ms that it takes to make them.
"""
PORTION_CHARACTERS: Final = 4_000_000
"""… or this much text, whichever comes first."""


def portions(schema: str, calls: Iterable[Call]) -> Iterator[Statement[list[int]]]:
    """The statements that enqueue the calls, each made when it is asked for.

    Raises EnqueueError and InvalidOption for an element that is no call, or one that carries a connection.
    """
    taken = 0
    for portion in in_portions(calls):
        yield _statement(schema, portion, taken)
        taken += len(portion)


async def aportions(schema: str, calls: Iterable[Call] | AsyncIterable[Call]) -> AsyncIterator[Statement[list[int]]]:
    """The same of any iterable, async ones too."""
    if not isinstance(calls, AsyncIterable):
        for statement in portions(schema, calls):
            yield statement
        return
    portion: list[Call] = []
    taken = size = 0
    async for call in calls:
        if type(call) is not Call:
            raise _no_call(call, taken + len(portion))
        portion.append(call)
        size += len(call.args_text)
        if len(portion) >= PORTION_JOBS or size >= PORTION_CHARACTERS:
            yield _statement(schema, portion, taken)
            taken += len(portion)
            portion, size = [], 0
    if portion:
        yield _statement(schema, portion, taken)


def _statement(schema: str, portion: list[Call], taken: int) -> Statement[list[int]]:
    first = portion[0]
    task, options = first.task, first.options
    alike = all(call.task is task and call.options is options for call in portion)
    for place, call in enumerate(portion[:1] if alike else portion):
        if call.options.conn is not None:
            raise InvalidOption(
                f"enqueue_many: element {taken + place} carries a conn= of its own; "
                "give the connection to enqueue_many(conn=…)"
            )
    if alike and first.is_plain:
        return enqueue_alike(schema, first, [call.args_text for call in portion])
    return enqueue_many(schema, portion)


def in_portions(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """The calls, as many at a time as go in one statement. Raises as `portions`."""
    portion: list[Call] = []
    taken = size = 0
    for call in calls:  # nothing here may call anything: it is done for each job of a bulk
        if type(call) is not Call:
            raise _no_call(call, taken + len(portion))
        portion.append(call)
        size += len(call.args_text)
        if len(portion) >= PORTION_JOBS or size >= PORTION_CHARACTERS:
            yield portion
            taken += len(portion)
            portion, size = [], 0
    if portion:
        yield portion


def portion_statement(schema: str, workflow: int, portion: list[Call]) -> tuple[Statement[list[int]], bool]:
    """What enqueues a portion as part of a workflow, and whether its jobs have yet to join it."""
    statement = _statement(schema, portion, 0)
    if statement.sql == statement_text("enqueue_alike", schema):
        return statement, True
    return add(schema, workflow, "[" + ",".join(map(entry, portion)) + "]"), False


def _no_call(given: object, place: int) -> EnqueueError:
    return EnqueueError(
        f"enqueue_many: element {place} is {quote(given)}, not a call of a task; write send.call(order_id=7)"
    )
