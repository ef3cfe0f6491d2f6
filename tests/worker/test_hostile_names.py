"""Queues, tasks, refs, tags and keys with names that would break a statement that is put together from texts."""

from __future__ import annotations

import pytest

from pgjobq import Queue, current_job
from worker.stage import Stage, embedded, run_drained, wait_until

NAMES = [
    '"; DROP SCHEMA pgjobq CASCADE; --',
    "'; DELETE FROM pgjobq.job; --",
    "$1 %s %(name)s {0} {name}",
    'a,b{"c\\d}NULL',
    "line\nbreak\ttab",
    "pgjobq.ready",
    "ünïcödé 🐘 \u202e",
    "\\'\\\"",
    "*",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_job_whose_every_name_is_hostile(queue: Queue, stage: Stage, name: str) -> None:
    """Enqueued singly, in bulk and by name; retried, run, read, cancelled; and nothing else has happened."""
    seen: list[tuple[str, str, str | None, tuple[str, ...]]] = []

    @queue.task(name=name, queue=name)
    def work(text: str, tries: int = 1) -> str:
        job = current_job()
        seen.append((job.task, job.queue, job.ref, tuple(job.tags)))
        if job.attempt < tries:
            raise ValueError(name)
        return text

    work.using(ref=name, tags=[name], headers={name: name}).enqueue(text=name)
    queue.enqueue_many([work.using(ref=name, tags=[name]).call(text=name)])
    queue.enqueue(name, {"text": name, "tries": 2}, ref=name, tags=[name])
    cancelled = work.using(ref=name, tags=[name], delay=3600).enqueue(text=name)
    assert queue.cancel(cancelled.id)
    with embedded(queue, queues=(name,)):
        wait_until(
            lambda: {job.state for job in queue.jobs(ref=name, queue=name, task=name)} == {"succeeded", "cancelled"}
        )
    run_drained(queue)
    assert seen == [(name, name, name, (name,))] * 4
    jobs = queue.jobs(ref=name)
    assert [job.state for job in jobs] == ["cancelled", "succeeded", "succeeded", "succeeded"]
    assert {job.args["text"] for job in jobs} == {name}
    assert jobs[-1].headers == {name: name}
    assert queue.errors(jobs[1].id)[0].message == name
    assert stage.value("SELECT count(*) FROM pgjobq.job") == 4
