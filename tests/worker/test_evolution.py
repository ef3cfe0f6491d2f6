"""Jobs that were enqueued by older code, run by a worker of today: other arguments, another name."""

from __future__ import annotations

from typing import Any

from pgjobq import JobState, Keyring, Queue
from worker.stage import Stage, run_drained


def test_old_arguments_run_after_a_deploy(queue: Queue, stage: Stage) -> None:
    """Three versions of one task, by every road into the queue; what is newer than the worker waits for a newer one."""
    old = Queue(stage.dsn)

    @old.task
    def send(order: int) -> None: ...

    send.enqueue(1)
    (stored,) = stage.query("SELECT version FROM pgjobq.job")
    assert stored == (None,)  # a task of version 1 pays nothing

    middle = Queue(stage.dsn)

    @middle.task(name="send", version=2)
    def send_2(order: int, lang: str) -> None: ...

    send_2.enqueue(2, "fr")
    middle.enqueue("send", {"order": 3, "lang": "de"}, delay=0)
    middle.enqueue_many([send_2.call(n, "it") for n in (4, 5)])
    stage.query(
        """SELECT pgjobq.enqueue_many('[{"task": "send", "args": {"order": 6, "lang": "en"}, "version": 2},
                                       {"task": "send", "args": {"number": "7", "lang": "es"}, "version": 3}]')"""
    )
    seen: list[tuple[str, str]] = []

    run_drained(_worker_of(stage.dsn, 2, seen))
    assert stage.states() == {"succeeded": 6, "blocked": 1}
    (parked,) = queue.jobs(state="blocked")
    assert (parked.version, parked.attempt, parked.reason) == (3, 0, "waits for task:send version:3")
    explanation = queue.explain(parked.id)
    assert explanation is not None
    assert "knows version 3 of the arguments of 'send'" in explanation.sentences[0]

    run_drained(_worker_of(stage.dsn, 3, seen))
    assert sorted(seen) == [("1", "en"), ("2", "fr"), ("3", "de"), ("4", "it"), ("5", "it"), ("6", "en"), ("7", "es")]
    assert stage.states() == {"succeeded": 7}
    old.close()
    middle.close()


def _worker_of(dsn: str, version: int, seen: list[tuple[str, str]]) -> Queue:
    """The code as it was when the task had this version."""
    queue = Queue(dsn)
    casts: dict[int, Any] = {1: lambda args: args | {"lang": "en"}}
    if version == 2:

        @queue.task(name="send", version=2, upcasts=casts)
        def send_2(order: int, lang: str) -> None:
            seen.append((str(order), lang))
    else:
        casts[2] = lambda args: {"number": str(args["order"]), "lang": args["lang"]}

        @queue.task(name="send", version=3, upcasts=casts)
        def send_3(number: str, lang: str) -> None:
            seen.append((number, lang))

    return queue


def test_a_schedule_that_older_code_made_goes_on(queue: Queue, stage: Stage) -> None:
    """Its jobs have the version that it was made with; declared anew, they have today's."""
    stage.query(
        """SELECT pgjobq.put_schedule('nightly', '{"expression": "@daily", "task": "send", "args": {"order": 1}}')"""
    )
    seen: list[tuple[int, str]] = []

    @queue.task(version=2, upcasts={1: lambda args: args | {"lang": "en"}})
    def send(order: int, lang: str) -> None:
        seen.append((order, lang))

    first = queue.run_schedule("nightly")
    queue.schedule("nightly", "@daily", send.call(order=2, lang="fr"))
    second = queue.run_schedule("nightly")
    run_drained(queue)
    assert sorted(seen) == [(1, "en"), (2, "fr")]
    versions = [job.version for made in (first, second) if made and (job := queue.get(made.id))]
    assert versions == [1, 2]


def test_an_up_caster_that_raises_fails_the_attempt(queue: Queue, stage: Stage) -> None:
    """Its neighbours go on, and the error says which version was at fault."""
    ran: list[int] = []

    def cast(args: dict[str, Any]) -> dict[str, Any]:
        return {"order": args["number"]}

    @queue.task(version=2, upcasts={1: cast})
    def send(order: int) -> None:
        ran.append(order)

    bad = stage.enqueue("send", {"nummer": 1}, max_attempts=1)
    stage.enqueue("send", {"number": 2})
    run_drained(queue)
    assert ran == [2]
    (error,) = stage.errors(bad)
    assert (error["kind"], error["message"]) == (
        "pgjobq.errors.UpcastFailed",
        "send: the up-caster of version 1 raised KeyError('nummer')".replace("nummer", "number"),
    )
    # Edited into arguments of today, it is one of today.
    assert queue.retry(bad)
    assert queue.edit(bad, {"order": 3})
    run_drained(queue)
    assert ran == [2, 3]
    job = queue.get(bad)
    assert job is not None
    assert (job.state, job.version) == (JobState.SUCCEEDED, 2)


def test_a_task_that_was_renamed_runs_its_old_jobs(stage: Stage) -> None:
    """Also sealed ones and paused ones; what they return can be read, and new jobs get the new name."""
    ring = Keyring({"k1": b"0" * 32})
    old = Queue(stage.dsn, encryption=ring)

    @old.task
    def mail(order: int) -> int: ...  # type: ignore[empty-body]

    first = mail.enqueue(1)
    queue = Queue(stage.dsn, encryption=ring)

    @queue.task(aliases=["mail"])
    def send(order: int) -> int:
        return order * 10

    by_old_name = queue.enqueue("mail", {"order": 2})
    assert by_old_name.task == "send"
    queue.pause(task="send")
    run_drained(queue)
    assert stage.states() == {"blocked": 2}  # the pause of the task holds its jobs of old, too
    queue.resume(task="send")
    run_drained(queue)
    jobs = [queue.get(job.id) for job in (first, by_old_name)]
    assert [queue.result_of(job) for job in jobs if job is not None] == [10, 20]
    assert [job.task for job in jobs if job is not None] == ["mail", "send"]
    old.close()
    queue.close()
