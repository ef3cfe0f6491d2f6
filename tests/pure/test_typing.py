"""What a type checker says about tasks: their own arguments are checked, their options as well."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SNIPPET = """
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta

from pgjobq import CurrentJob, Outgoing, Queue
from pgjobq.events import JobFailed
from pgjobq.job import EnqueuedJob
from pgjobq.task import Call, Door, Task

queue = Queue()


def declare(door: Door) -> None:
    def send(order_id: int, email: str = "") -> str:
        return email

    async def later(order_id: int) -> int:
        return order_id

    task = Task(send, door)
    other = Task(later, door)

    reveal_type(task(1))  # N: str
    reveal_type(task.enqueue(order_id=1, email="x"))  # N: EnqueuedJob
    reveal_type(task.call(1))  # N: Call
    reveal_type(other(1))  # N: Coroutine[Any, Any, int]
    task.enqueue(1)
    task.using(ref="a", delay=timedelta(1), tags=["x"]).enqueue(order_id=1)
    task.using(delay=1.5).using(queue="mail").call(order_id=1)

    task.enqueue(order_id="x")  # E: arg-type
    task.enqueue()  # E: call-arg
    task.enqueue(order_id=1, colour="red")  # E: call-arg
    task.call(order_id="x")  # E: arg-type
    task.using(ref="a").enqueue(order_id="x")  # E: arg-type
    task.using(ref="a").call(email="x")  # E: call-arg
    task("x")  # E: arg-type
    task.using(dealy=1)  # E: call-arg
    task.using(priority="high")  # E: arg-type


async def use(task: Task[[int], int]) -> None:
    reveal_type(await task.aenqueue(1))  # N: EnqueuedJob
    await task.aenqueue("x")  # E: arg-type
    await task.using(ref="a").aenqueue("x")  # E: arg-type


class Fine:
    max_payload_bytes = 1

    def enqueue_call(self, call: Call) -> EnqueuedJob: ...

    async def aenqueue_call(self, call: Call) -> EnqueuedJob: ...


class Wrong:
    max_payload_bytes = 1


@queue.around_run
def timed(job: CurrentJob) -> Iterator[None]:
    reveal_type(job.attempt)  # N: int
    result = yield


@queue.middleware
class Signed:
    def enqueue(self, job: Outgoing) -> None:
        job.headers["from"] = "shop"


@queue.on(JobFailed)
def heard(event: JobFailed) -> str:
    return event.error_message


queue.carry(tenant=ContextVar[str]("tenant"))
reveal_type(heard(JobFailed(**{})))  # N: str
reveal_type(Signed())  # N: Signed
queue.carry(tenant="acme")  # E: arg-type
queue.carry(tenant=ContextVar[int]("tenant"))  # E: arg-type
queue.on("job_failed")  # E: arg-type

declare(Fine())
declare(Wrong())  # E: arg-type
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """What mypy --strict says about the snippet, by line."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "snippet.py").write_text(SNIPPET)
    arguments = [
        "--strict",
        "--no-error-summary",
        "--disable-error-code=empty-body",
        "--cache-dir",
        str(folder / "cache"),
    ]
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *arguments, "snippet.py"],
        cwd=folder,
        env={"MYPYPATH": str(source), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    lines: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        found = re.match(r"snippet\.py:(\d+): (\w+): (.*)", line)
        assert found, line
        lines.setdefault(int(found[1]), []).append(f"{found[2]}: {found[3]}")
    return lines


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (number, line.split("  # ")[1])
        for number, line in enumerate(SNIPPET.splitlines(), 1)
        if re.search(r"  # [EN]: ", line)
    ],
)
def test_a_type_checker_tells(told: dict[int, list[str]], number: int, expected: str) -> None:
    kind, what = expected.split(": ")
    said = "\n".join(told.get(number, []))
    if kind == "E":
        assert f"[{what}]" in said
    else:
        shown = re.search(r'Revealed type is "(.*)"', said)
        assert shown, said
        assert what in shown[1].replace("builtins.", "").replace("typing.", "").replace("types.", "")


def test_it_finds_nothing_else(told: dict[int, list[str]]) -> None:
    lines = SNIPPET.splitlines()
    surprises = [(number, said) for number, said in told.items() if not re.search(r"# [EN]: ", lines[number - 1])]
    assert surprises == []
