"""What somebody who may only enqueue can do to a worker: have jobs parked or failed, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pgjobq import Queue, Retry
from worker.stage import Stage, run_drained

HOSTILE = [
    "'; DROP SCHEMA pgjobq CASCADE; --",
    '"; DROP TABLE pgjobq.job; --',
    "$1",
    "%s",
    "{}",
    "\\'",
    "$$",
    "ü\u202e✓",
    "../..",
]


@pytest.mark.parametrize(
    "task",
    [
        "os.system",
        "builtins.eval",
        "antigravity",
        "hostile_module",
        "hostile_module:touch",
        "__import__",
        "queue.close",
        *HOSTILE,
    ],
)
def test_a_task_is_looked_up_and_never_imported(
    task: str, stage: Stage, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that nobody registered waits for a worker that knows it, though such a module could be imported."""
    mark = tmp_path / "imported"
    (tmp_path / "hostile_module.py").write_text(f"open({str(mark)!r}, 'w')\ndef touch(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    @queue.task
    def known() -> None: ...

    job = stage.enqueue(task, {"command": "touch x"})
    known.enqueue()
    run_drained(queue)
    assert stage.job(job)["reason"] == f"waits for task:{task}"
    assert not mark.exists()
    assert not {name for name in set(sys.modules) - before if "antigravity" in name or "hostile" in name}


def test_hostile_texts_are_only_texts(stage: Stage, queue: Queue) -> None:
    """In every place where an enqueuer puts a text, by both doors; they come back as they went in."""
    seen: list[Any] = []

    @queue.task
    def take(text: str, more: Any = None) -> str:
        seen.append((text, more))
        return text

    for text in HOSTILE:
        bound = take.using(queue=text, ref=text, tags=[text], headers={text: text})
        ids = [bound.enqueue(text, {text: [text]}).id, *queue.enqueue_many([bound.call(text, {text: [text]})])]
        run_drained(queue)
        for job in ids:
            found = queue.get(job)
            assert found is not None
            assert (found.state, found.queue, found.ref, found.tags) == ("succeeded", text, text, (text,))
            assert (found.headers, found.args["text"], found.result) == ({text: text}, text, text)
        assert [job.id for job in queue.jobs(ref=text, queue=text)] == ids[::-1]
    assert seen == [(text, {text: [text]}) for text in HOSTILE for _ in range(2)]


BOMBS = {
    "deep": '{"value": ' + "[" * 3_000 + "]" * 3_000 + "}",
    "deep objects": '{"value": ' + '{"a":' * 3_000 + "1" + "}" * 3_000 + "}",
    "a huge number": '{"value": 1e100000}',
    "many digits": '{"value": ' + "7" * 100_000 + "}",
    "wide": json.dumps({"value": [{} for _ in range(200_000)]}),
    "many unknown names": json.dumps({f"name_{number}": 1 for number in range(20_000)}),
    "no object inside": '{"value": null}',
    "marked as encrypted": '{"$enc": {"alg": "A256GCM", "key": "k", "data": "' + "A" * 100_000 + '"}}',
    "a type to make": '{"value": {"__class__": "os.system", "py/object": "os.system", "$type": "System"}}',
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("annotation", [int, Any], ids=str)
def test_a_payload_bomb_is_one_jobs_trouble(bomb: str, annotation: Any, stage: Stage, queue: Queue) -> None:
    """Enqueued past the checks of Python; the worker lives, the next job is run, and the bomb ends or is parked."""
    seen: list[str] = []

    def take(value) -> None:  # type: ignore[no-untyped-def]
        seen.append("bomb")

    take.__annotations__["value"] = annotation
    queue.task(retry=Retry(max_attempts=1))(take)

    @queue.task
    def after() -> None:
        seen.append("after")

    job = stage.query("SELECT pgjobq.enqueue('take', %s::jsonb, max_attempts => 1)", BOMBS[bomb])[0][0]
    after.enqueue()
    run_drained(queue)
    assert seen[-1] == "after" or seen == ["after", "bomb"]
    row = stage.query("SELECT state, length(reason) FROM pgjobq.jobs WHERE id = %s", job)[0]
    assert row[0] in ("succeeded", "failed", "blocked")
    assert row[0] == "succeeded" or row[1] < 1_000, "what is said of it is short"
