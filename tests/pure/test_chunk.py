"""Chunks without a database: what a handler may take, and what becomes of each job of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict
from uuid import uuid4

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq import (
    Chunk,
    ChunkJob,
    Discard,
    Gate,
    InvalidOption,
    MissingArgument,
    Queue,
    Retry,
    Secret,
    Snooze,
    TaskError,
    Unique,
    UnknownArgument,
    WrongArgumentType,
)
from pgjobq.engine.attempt import SUCCEEDED, Attempt, prepare
from pgjobq.engine.chunks import ChunkAttempt
from pgjobq.engine.lease import Lease
from pgjobq.outcome import Discarded, Failed, Outcome, Retried, Snoozed, Succeeded


@dataclass
class Doc:
    doc: int
    lang: str = "en"


class Struct(msgspec.Struct):
    doc: int
    lang: str = "en"


class Model(pydantic.BaseModel):
    doc: int
    lang: str = "en"


class Tuple(NamedTuple):
    doc: int
    lang: str = "en"


class Typed(TypedDict, total=False):
    doc: int
    lang: str


@dataclass
class Sealed:
    doc: int
    token: Secret[str]


def of_doc(jobs: list[ChunkJob[Doc]]) -> None: ...
def of_struct(jobs: list[ChunkJob[Struct]]) -> None: ...
def of_model(jobs: list[ChunkJob[Model]]) -> None: ...
def of_tuple(jobs: list[ChunkJob[Tuple]]) -> None: ...
def of_typed(jobs: list[ChunkJob[Typed]]) -> None: ...
def of_dict(jobs: list[ChunkJob[dict[str, Any]]]) -> None: ...
def of_any(jobs: list[ChunkJob]) -> None: ...  # type: ignore[type-arg]


KINDS = [
    (of_doc, Doc), (of_struct, Struct), (of_model, Model), (of_tuple, Tuple), (of_typed, dict), (of_dict, dict),
    (of_any, dict),
]  # fmt: skip


@pytest.mark.parametrize(("function", "kind"), KINDS)
def test_one_jobs_arguments_are_what_the_handler_says(function: Callable[..., Any], kind: type) -> None:
    task = Queue("").task(chunk=Chunk())(function)
    call = task.call(doc=7, lang="fr")
    assert msgspec.json.decode(call.args_text) == {"doc": 7, "lang": "fr"}
    item = task.takes(**task.read(call.args_text, "default"))
    assert type(item) is kind
    assert (item if kind is dict else {"doc": item.doc, "lang": item.lang}) == {"doc": 7, "lang": "fr"}
    if kind is not dict:
        with pytest.raises(WrongArgumentType):
            task.call(doc="x")
        with pytest.raises(UnknownArgument, match="has no argument 'dok'"):
            task.call(doc=7, dok=1)
        with pytest.raises(MissingArgument):
            task.call(lang="fr")
        assert task.takes(**task.read('{"doc": 7}', "default")).lang == "en"


def plain(doc: int) -> None: ...
def two(jobs: list[ChunkJob[Doc]], more: int) -> None: ...
def bare(jobs: list[Doc]) -> None: ...
def single(jobs: ChunkJob[Doc]) -> None: ...
def none() -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "sentence"),
    [
        *((f, {"chunk": Chunk()}, "handler takes one argument, its jobs") for f in (plain, two, bare, single, none)),
        (of_doc, {"chunk": 100}, "chunk=100 wants a Chunk"),
        (of_doc, {"chunk": Chunk(), "isolation": "process"}, "chunk and isolation do not go together"),
        (of_doc, {"chunk": Chunk(by="dok")}, "names 'dok', which is no argument of its jobs. Did you mean 'doc'"),
        (of_doc, {"chunk": Chunk(), "unique": Unique(args=("jobs",))}, "names 'jobs', which is no argument"),
        (of_doc, {"chunk": Chunk(), "gates": [Gate("a:{jobs}", concurrency=1)]}, "names 'jobs', which is no argument"),
    ],
)  # fmt: skip
def test_what_a_declaration_refuses(function: Callable[..., Any], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TaskError, match=sentence):
        Queue("").task(**options)(function)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 1}, {"size": 1001}, {"size": True}, {"wait": -1}, {"wait": 61}, {"wait": "1"}, {"by": 1}, {"isolate": 1}],
)
def test_what_a_chunk_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match=next(iter(wrong))):
        Chunk(**wrong)


def gathered(count: int, **chunk: Any) -> ChunkAttempt:
    """A call for so many jobs, at their first attempt."""
    queue = Queue("")
    task = queue.task(chunk=Chunk(**chunk), retry=Retry(max_attempts=3), timeout=30)(of_doc)
    members = []
    for n in range(count):
        lease = Lease(n, n, "default", 0, 1, 0, 3, task.name, f'{{"doc": {n}}}', None, None, None, None, None, 0.0)
        attempt = prepare(lease, queue.registry, "pgjobq", uuid4())
        assert isinstance(attempt, Attempt)
        members.append(attempt)
    return ChunkAttempt.of(members)


def ended(call: ChunkAttempt, error: BaseException | None, result: Any = None, **more: Any) -> list[Outcome]:
    assert call.outcome(error, result, timed_out=more.get("timed_out", False)) is SUCCEEDED
    return [outcome for _, outcome in call.ends]


says = st.sampled_from(["nothing", "succeed", "fail", "snooze", "discard"])


@given(marks=st.lists(says, min_size=1, max_size=8), end=st.sampled_from(["returns", "raises", "times out", "lists"]))
def test_each_job_gets_what_was_said_of_it(marks: list[str], end: str) -> None:
    """A mark wins over the list, the list over the end of the call."""
    call = gathered(len(marks))
    (jobs,) = call.arguments.values()
    assert [job.args for job in jobs] == [Doc(n) for n in range(len(marks))]
    for job, mark in zip(jobs, marks, strict=True):
        match mark:
            case "succeed":
                job.succeed(job.id)
            case "fail":
                job.fail(KeyError("x"))
            case "snooze":
                job.fail(Snooze(7))
            case "discard":
                job.fail(Discard("no"))
    result: list[Any] = [ValueError("listed") if n % 2 else n for n in range(len(marks))]
    outcomes = ended(
        call,
        OSError("all") if end in ("raises", "times out") else None,
        result if end == "lists" else None,
        timed_out=end == "times out",
    )
    assert len(outcomes) == len(marks)
    for n, (mark, outcome) in enumerate(zip(marks, outcomes, strict=True)):
        match mark:
            case "succeed":
                assert outcome == Succeeded(str(n))
            case "fail":
                assert isinstance(outcome, Retried)
                assert outcome.failure.kind == "KeyError"
            case "snooze":
                assert outcome == Snoozed(7)
            case "discard":
                assert outcome == Discarded("no")
            case _ if end == "returns":
                assert outcome == SUCCEEDED
            case _ if end == "lists" and not n % 2:
                assert outcome == Succeeded(str(n))
            case _:
                assert isinstance(outcome, Retried)
                told = {"raises": "OSError", "times out": "TimeoutError", "lists": "ValueError"}
                assert outcome.failure.kind == told[end]


@pytest.mark.parametrize(
    ("result", "told"), [([1], "returned 1 outcomes for 3 jobs"), ({}, "returned a dict"), (7, "a int")]
)
def test_a_result_that_fits_no_jobs_fails_all(result: Any, told: str) -> None:
    outcomes = ended(gathered(3), None, result)
    assert all(isinstance(one, Retried) and told in one.failure.message for one in outcomes)


def test_isolating_leaves_those_of_whom_nothing_was_said() -> None:
    call = gathered(3, isolate=True)
    call.arguments["jobs"][1].succeed()
    assert ended(call, ValueError("one of them")) == [SUCCEEDED]
    assert [one.lease.job for one in call.left] == [0, 2]
    alone = ChunkAttempt.of([call.left[0]])
    (outcome,) = ended(alone, ValueError("this one"))
    assert isinstance(outcome, Retried)
    for error, more in ((ValueError(), {"timed_out": True}), (SystemExit(), {})):
        again = gathered(2, isolate=True)
        assert len(ended(again, error, **more)) == 2
        assert again.left == ()
    interrupted = gathered(2, isolate=True)
    interrupted.interrupted = True
    assert ended(interrupted, ValueError()) == [Snoozed(0.0), Snoozed(0.0)]


def test_the_last_attempt_of_each_counts_for_itself() -> None:
    call = gathered(2)
    call.members[1].lease.attempt = 3
    first, second = ended(call, ValueError())
    assert isinstance(first, Retried)
    assert isinstance(second, Failed)
    assert not isinstance(first, Failed)
