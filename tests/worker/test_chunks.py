"""Tasks that take many jobs in one call: what is gathered, and what becomes of each job."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from pgjobq import Chunk, ChunkJob, Discard, Gate, Keyring, Queue, Retry, Secret, Snooze
from worker.stage import Stage, run_drained

APP = "apps.chunked:queue"
AT_ONCE = Retry(max_attempts=3, wait=0, jitter=0)
tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@dataclass
class Doc:
    doc: int
    lang: str = "en"


@dataclass
class Private:
    doc: int
    token: Secret[str]


Docs = list[ChunkJob[Doc]]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_many_as_there_are_places_in_a_call(queue: Queue, stage: Stage, concurrency: int) -> None:
    """Each job is in one call, each call full, however few places the worker has; sync and async tasks side by side."""
    calls: list[tuple[str, list[int]]] = []

    @queue.task(chunk=Chunk(size=50, wait=30))
    async def index(jobs: Docs) -> None:
        calls.append(("async", [job.args.doc for job in jobs]))

    @queue.task(chunk=Chunk(size=50, wait=30))
    def index_plainly(jobs: Docs) -> list[int]:
        calls.append(("sync", [job.args.doc for job in jobs]))
        return [job.args.doc * 2 for job in jobs]

    mixed = [task.call(doc=n) for n in range(200) for task in (index, index_plainly)]
    ids = queue.enqueue_many(mixed)
    run_drained(queue, concurrency=concurrency)
    assert [len(jobs) for _, jobs in calls] == [50] * 8
    for kind in ("async", "sync"):
        assert sorted(n for told, jobs in calls if told == kind for n in jobs) == list(range(200))
    assert stage.states() == {"succeeded": 400}
    assert [stage.job(job)["result"] for job in ids[:6]] == [None, 0, None, 2, None, 4]
    assert {stage.job(job)["attempt"] for job in ids[::40]} == {1}


def test_what_is_said_of_each_job_counts_for_it_alone(queue: Queue, stage: Stage) -> None:
    """Marked done, failed, put off, discarded; a raise fails the others, and only they run again."""
    calls: list[list[int]] = []

    @queue.task(chunk=Chunk(size=100, wait=0.5), retry=AT_ONCE)
    def index(jobs: Docs) -> None:
        first = not calls
        calls.append(sorted(job.args.doc for job in jobs))
        for job in jobs:
            match job.args.doc:
                case 0:
                    job.succeed("done")
                case 1:
                    job.fail(KeyError("one"))
                case 2 if first:
                    job.fail(Snooze(0))
                case 3:
                    job.fail(Discard("no longer"))
        if first:
            raise ValueError("the rest")

    jobs = queue.enqueue_many(index.call(doc=n) for n in range(6))
    run_drained(queue)
    assert calls[0] == [0, 1, 2, 3, 4, 5]
    assert sorted(n for call in calls[1:] for n in call) == [1, 1, 2, 4, 5]
    rows = [stage.job(job) for job in jobs]
    assert [row["state"] for row in rows] == ["succeeded", "failed", "succeeded", "cancelled", "succeeded", "succeeded"]
    assert (rows[0]["result"], rows[3]["reason"]) == ("done", "no longer")
    assert [row["attempt"] for row in rows] == [1, 3, 2, 1, 2, 2]
    errors = [[error["kind"] for error in stage.errors(job)] for job in jobs]
    assert errors == [[], ["KeyError"] * 3, [], [], ["ValueError"], ["ValueError"]]


@pytest.mark.parametrize("plain", [True, False])
def test_a_bad_job_is_found_by_trying_each_alone(queue: Queue, stage: Stage, plain: bool) -> None:
    """With `isolate` its neighbours succeed in their first attempt; those that were marked are not called again."""
    calls: list[list[int]] = []

    def work(jobs: Docs) -> None:
        calls.append([job.args.doc for job in jobs])
        jobs[0].succeed()
        if any(job.args.doc == 7 for job in jobs[len(jobs) > 1 :]):
            raise ValueError("seven")

    if plain:

        @queue.task(name="index", chunk=Chunk(size=10, wait=30, isolate=True), retry=Retry(max_attempts=1))
        def index(jobs: Docs) -> None:
            work(jobs)
    else:

        @queue.task(name="index", chunk=Chunk(size=10, wait=30, isolate=True), retry=Retry(max_attempts=1), timeout=60)
        async def aindex(jobs: Docs) -> None:
            work(jobs)

    jobs = [queue.enqueue("index", {"doc": n}).id for n in range(10)]
    run_drained(queue, concurrency=2)
    assert calls[0] == list(range(10))
    assert sorted(calls[1:]) == [[n] for n in range(1, 10)]
    states = {n: stage.state(job) for n, job in enumerate(jobs)}
    # Alone it marks itself done before it raises: what was marked counts.
    assert set(states.values()) == {"succeeded"}


def test_one_that_is_bad_alone_fails_alone(queue: Queue, stage: Stage) -> None:
    @queue.task(chunk=Chunk(size=5, wait=30, isolate=True), retry=Retry(max_attempts=1))
    def index(jobs: Docs) -> None:
        if any(job.args.doc == 3 for job in jobs):
            raise ValueError("three")

    jobs = queue.enqueue_many(index.call(doc=n) for n in range(5))
    run_drained(queue)
    assert [stage.state(job) for job in jobs] == ["succeeded"] * 3 + ["failed", "succeeded"]
    assert [error["message"] for error in stage.errors(jobs[3])] == ["three"]


def test_only_what_belongs_together_goes_together(queue: Queue, stage: Stage) -> None:
    """The value of an argument, and the context that is carried from the enqueue."""
    seen: list[tuple[str, set[str], int]] = []
    queue.carry(tenant=tenant)

    @queue.task(chunk=Chunk(size=3, wait=30, by="lang"))
    def index(jobs: Docs) -> None:
        seen.append((tenant.get(), {job.args.lang for job in jobs}, len(jobs)))
        assert {job.headers["tenant"] for job in jobs} == {tenant.get()}

    for name in ("ann", "bob"):
        tenant.set(name)
        queue.enqueue_many(index.call(doc=n, lang=lang) for n in range(3) for lang in ("en", "fr"))
    run_drained(queue)
    assert sorted(seen, key=str) == sorted(((t, {lang}, 3) for t in ("ann", "bob") for lang in ("en", "fr")), key=str)


def test_gates_secrets_versions_and_encryption_are_each_jobs_own(stage: Stage) -> None:
    """One whose arguments do not fit fails before the call; the others do not notice."""
    queue = Queue(stage.dsn, encryption=Keyring({"k": b"0" * 32}))
    seen: list[int] = []

    @queue.task(
        chunk=Chunk(size=3, wait=1),
        version=2,
        upcasts={1: lambda args: {"doc": args["number"], "token": "t"}},
        gates=[Gate("docs", concurrency=3)],
        retry=Retry(max_attempts=1),
    )
    def index(jobs: list[ChunkJob[Private]]) -> None:
        seen.extend(job.args.doc for job in jobs)
        raise ValueError(jobs[0].args.token)

    for n in range(5):
        index.enqueue(doc=n, token="hush-hush")
    stage.enqueue("index", {"number": 5}, max_attempts=1)
    bad = stage.enqueue("index", {"nummer": 6}, max_attempts=1)
    run_drained(queue)
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]
    assert stage.states() == {"failed": 7}
    assert [error["kind"] for error in stage.errors(bad)] == ["pgjobq.errors.UpcastFailed"]
    assert "hush-hush" not in str([stage.errors(job) for (job,) in stage.query("SELECT id FROM pgjobq.job")])
    queue.close()


def test_completing_in_ones_own_transaction(queue: Queue, stage: Stage) -> None:
    """Job by job: what was committed is done, what was rolled back is not, whatever the handler does then."""
    stage.query("CREATE TABLE effect (doc int PRIMARY KEY)")
    tries: list[int] = []

    @queue.task(chunk=Chunk(size=4, wait=3), retry=AT_ONCE)
    def index(jobs: Docs) -> None:
        tries.append(len(jobs))
        for job in jobs:
            with contextlib.suppress(ZeroDivisionError), psycopg.connect(stage.dsn) as conn, conn.transaction():
                conn.execute("INSERT INTO effect VALUES (%s)", [job.args.doc])
                job.complete(conn)
                if job.args.doc == 2 and len(tries) == 1:
                    raise ZeroDivisionError

    jobs = queue.enqueue_many(index.call(doc=n) for n in range(4))
    run_drained(queue)
    assert stage.states() == {"succeeded": 4}
    assert [stage.job(job)["attempt"] for job in jobs] == [1, 1, 2, 1]
    assert stage.query("SELECT doc FROM effect ORDER BY 1") == [(n,) for n in range(4)]


@pytest.mark.parametrize("plain", [True, False])
def test_a_time_out_is_of_the_whole_call(queue: Queue, stage: Stage, plain: bool) -> None:
    import asyncio

    def hang(jobs: Docs) -> None:
        jobs[0].succeed()
        if plain:
            while not jobs[1].cancelled:
                time.sleep(0.01)

    if plain:
        # Its time begins before its thread does.
        @queue.task(name="index", chunk=Chunk(size=3, wait=30), timeout=3, retry=Retry(max_attempts=1))
        def index(jobs: Docs) -> None:
            while True:
                hang([jobs[0], jobs[0]])
    else:

        @queue.task(name="index", chunk=Chunk(size=3, wait=30), timeout=0.2, retry=Retry(max_attempts=1))
        async def aindex(jobs: Docs) -> None:
            hang(jobs)
            await asyncio.sleep(60)

    jobs = [queue.enqueue("index", {"doc": n}).id for n in range(3)]
    run_drained(queue)
    assert [stage.state(job) for job in jobs] == ["succeeded", "failed", "failed"]
    assert [error["kind"] for error in stage.errors(jobs[2])] == ["TimeoutError"]


# ---------------------------------------------------------------------------------------- a worker's life


def test_what_is_gathered_goes_back_when_the_worker_stops(stage: Stage) -> None:
    """As if it had not been claimed; and what is cancelled while it is gathered never starts."""
    worker = stage.worker("--concurrency", "2", "--lease", "5", "--heartbeat", "0.5", app=APP).ready()
    jobs = [stage.enqueue("gather", {"doc": n}) for n in range(10)]
    for job in jobs:
        stage.wait_state(job, "running")
    since = stage.query("SELECT job, started_at FROM pgjobq.running ORDER BY 1")
    time.sleep(5.5)  # longer than a lease, and than it takes to notice what nobody knows of
    assert stage.query("SELECT job, started_at FROM pgjobq.running ORDER BY 1") == since
    stage.query("SELECT pgjobq.cancel_running(%s)", jobs[0])
    row = stage.wait_state(jobs[0], "cancelled")
    assert row["attempt"] == 0
    assert worker.stop() == 0, worker.text
    assert stage.marks("start") == []
    assert [(stage.state(job), stage.job(job)["attempt"]) for job in jobs[1:]] == [("ready", 0)] * 9


@pytest.mark.parametrize("task", ["index", "index_plainly"])
def test_a_killed_worker_costs_each_job_of_the_call_an_attempt(stage: Stage, task: str) -> None:
    """They are run again, together or not; one that is cancelled meanwhile is told, and succeeds if it finishes."""
    stage.worker("--concurrency", "1", app=APP).ready()
    jobs = [stage.enqueue(task, {"doc": n}) for n in range(4)]
    (call,) = stage.wait_marks("start", 1)
    started = call["jobs"]
    os.kill(call["pid"], signal.SIGKILL)
    again = stage.wait_marks("start", 2)
    assert set(again[1]["jobs"]) <= set(jobs)
    stage.query("SELECT pgjobq.cancel_running(%s)", again[1]["jobs"][0])
    stage.open_gate()
    stage.wait_all("succeeded")
    kinds = {job: [error["kind"] for error in stage.errors(job)] for job in jobs}
    assert kinds == {job: ["WorkerDied"] if job in started else [] for job in jobs}
    assert stage.query("SELECT id, places FROM (SELECT job AS id, places FROM pgjobq.misplaced) m") == []


def test_a_hurried_stop_spares_the_attempts(stage: Stage) -> None:
    worker = stage.worker("--concurrency", "1", "--grace", "0.2", app=APP).ready()
    jobs = [stage.enqueue("index", {"doc": n}) for n in range(4)]
    (call,) = stage.wait_marks("start", 1)
    assert worker.stop() == 0, worker.text
    for job in jobs:
        row = stage.job(job)
        assert row["state"] == "ready"
        assert stage.query("SELECT attempt - spared FROM pgjobq.ready WHERE job = %s", job) == [(0,)], call
        assert stage.errors(job) == []


def test_a_type_checker_sees_what_is_wrong() -> Any:
    """A handler's own calls stay what they are: only what is enqueued is one job's arguments."""
    queue = Queue("")

    @queue.task(chunk=Chunk())
    def index(jobs: Docs) -> int:
        return len(jobs)

    assert index([]) == 0
    assert index.call(doc=1, lang="fr").args_text == '{"doc":1,"lang":"fr"}'
