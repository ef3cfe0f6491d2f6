"""`--metrics-port` and `pgjobq metrics`: what Prometheus reads is what has happened."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pgjobq import Queue
from pgjobq.engine.endpoint import Endpoint
from pgjobq.engine.link import Link
from pgjobq.events import MetricsServed
from support.roles import role_on
from support.waiting import eventually
from worker.stage import PATIENCE, Stage, clean_environment, embedded

Samples = dict[tuple[Any, ...], float]


def ask(url: str) -> Samples:
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def refusal(url: str) -> tuple[int, str]:
    """The status and the sentence of an answer that is none."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=30)
    with refused.value as error:
        return error.code, error.read().decode()


def wait_for(url: str, wanted: Samples) -> Samples:
    """Ask until these samples have these values."""

    def there() -> Samples:
        found = ask(url)
        assert {key: found.get(key) for key in wanted} == wanted
        return found

    return eventually(there, PATIENCE)


def test_one_port_tells_of_all_processes_and_forgets_none(stage: Stage) -> None:
    for _ in range(5):
        stage.enqueue("note")
    stage.enqueue("note_plain", queue="mail")
    stage.enqueue("fail", max_attempts=1)
    worker = stage.worker("--metrics-port", "0", "--processes", "2").ready()
    url = worker.wait_event("metrics_served")["url"]
    held = stage.enqueue("hold")
    stage.wait_marks("start", 8)
    ended = "pgjobq_attempts_ended_total"
    wanted: Samples = {
        (ended, "succeeded", "default", "note"): 5,
        (ended, "succeeded", "mail", "note_plain"): 1,
        (ended, "failed", "default", "fail"): 1,
        ("pgjobq_attempts_started_total", "default", "hold"): 1,
        ("pgjobq_job_wait_seconds_count", "default", "note"): 5,
        ("pgjobq_attempt_run_seconds_count", "default", "note"): 5,
        ("pgjobq_worker_running_jobs",): 1,
        ("pgjobq_worker_concurrency",): 20,
        ("pgjobq_worker_processes",): 2,
    }
    found = wait_for(url, wanted)
    assert found["pgjobq_settle_batch_jobs_sum",] == 7, worker.text
    # A process that dies takes nothing with it that it has told.
    (pid,) = {mark["pid"] for mark in stage.marks("start", held)}
    os.kill(pid, signal.SIGKILL)
    worker.wait_event("process_died")
    stage.open_gate()
    again = wanted | {
        ("pgjobq_attempts_started_total", "default", "hold"): 2,
        (ended, "succeeded", "default", "hold"): 1,
        ("pgjobq_worker_running_jobs",): 0,
        ("pgjobq_events_total", "process_died"): 1,
        ("pgjobq_jobs_taken_back_total",): 1,
    }
    wait_for(url, again)
    assert refusal(url + "/x")[0] == refusal(url.removesuffix("metrics"))[0] == 404
    assert worker.stop() == 0, worker.text


def test_a_port_that_is_taken_is_a_refusal(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        worker = stage.worker("--metrics-port", port)
        assert worker.wait() == 2
    assert f"metrics cannot be served at 127.0.0.1:{port}: Address already in use" in worker.text


def test_an_embedded_worker_answers_too(queue: Queue) -> None:
    @queue.task
    def note() -> None: ...

    served: SimpleQueue[MetricsServed] = SimpleQueue()
    queue.on(MetricsServed)(served.put)
    note.enqueue()
    with embedded(queue, metrics_port=0):
        url = served.get(timeout=PATIENCE).url
        wait_for(url, {("pgjobq_attempts_ended_total", "succeeded", "default", "note"): 1})


@contextmanager
def exporter(stage: Stage, dsn: str) -> Iterator[str]:
    """`pgjobq metrics --port 0`; the address it names."""
    command = [sys.executable, "-m", "pgjobq", "metrics", "--port", "0"]
    running = stage.run(command, clean_environment(PGJOBQ_DSN=dsn))

    def named() -> str:
        assert running.popen.poll() is None, running.text
        return running.text.partition("metrics at ")[2].partition(" ")[0]

    yield eventually(named, PATIENCE)
    assert running.stop() == 0, running.text


def test_the_exporter_tells_what_stands_in_the_database(stage: Stage) -> None:
    """With the rights of a monitor, who may see no payload."""
    for _ in range(3):
        stage.enqueue("note", queue='odd "name"\\')
    stage.enqueue("note", queue="mail", delay=3600)
    stage.query("SELECT pgjobq.pause('queue', 'mail')")
    with role_on(stage.dsn, "monitor") as dsn, exporter(stage, dsn) as url:
        found = ask(url)
        assert found["pgjobq_queue_jobs", 'odd "name"\\', "ready"] == 3
        assert found["pgjobq_queue_jobs", "mail", "scheduled"] == 1
        assert found["pgjobq_queue_paused", "mail"] == 1
        assert found["pgjobq_queue_oldest_ready_seconds", 'odd "name"\\'] > 0
        assert found["pgjobq_queue_oldest_ready_seconds", "mail"] == 0
        assert found["pgjobq_workers_alive",] == 0
        stage.enqueue("note", queue="late")
        assert ask(url)["pgjobq_queue_jobs", "late", "ready"] == 1, "each time as it is now"
        stage.query("ALTER SCHEMA pgjobq RENAME TO away")
        status, text = refusal(url)
        stage.query("ALTER SCHEMA away RENAME TO pgjobq")
        assert status == 503
        assert "SchemaMissing" in text


def test_counts_wait_for_a_supervisor_that_does_not_read() -> None:
    """A worker process is held up by nobody: what cannot be said now is kept and said later."""
    ours, theirs = (Link(end) for end in socket.socketpair())
    said = 0
    while ours.offer("tally", "x" * 20_000):
        said += 1
        assert said < 1_000, "it has never been full"
    heard: list[tuple[str, object]] = []
    while len(heard) < said:
        heard += theirs.hear() or pytest.fail("it hung up")
    assert ours.offer("tally", "the rest")
    assert theirs.hear() == [("tally", "the rest")]
    theirs.close()
    eventually(lambda: not ours.offer("tally", "to nobody") or ours.hear() is None)
    ours.close()


def test_who_asks_and_says_nothing_holds_nobody_up() -> None:
    endpoint = Endpoint("127.0.0.1", 0, lambda: "up 1\n")
    endpoint.start()
    port = int(endpoint.url.split(":")[2].partition("/")[0])
    with contextlib.ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert ask(endpoint.url) == {("up",): 1}
        endpoint.stop()
