"""A commit was done, and the answer that says so never arrives."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from chaos import app
from chaos.site import Site
from pgjobq import Queue
from support.dsn import as_url
from support.waiting import eventually

pytestmark = pytest.mark.chaos

FATES = {"hold": "succeeded", "hold_and_fail": "again", "hold_and_transfer": "succeeded"}
SETTLES = {"hold": b"'s' FROM held", "hold_and_fail": b"jsonb_to_recordset", "hold_and_transfer": b"'s' FROM held"}
"""What only the statement says that settles it."""


@pytest.mark.parametrize("task", FATES)
def test_a_settlement_that_was_written_is_recognised(proxied_site: Site, task: str) -> None:
    """The worker hears nothing, comes back, says it again, finds nothing of its own left, and knows why: the job is
    not run again, and the log does not speak of a lost lease."""
    site = proxied_site
    assert site.proxy is not None
    worker = site.worker("--lease", "20", "--heartbeat", "1", "--poll-interval", "0.5", "--grace", "3", way="proxied")
    worker.ready()
    key = site.enqueue(task)[0]
    site.wait_starts(1, key)
    with site.fault("answer lost", workers=[worker]):
        # Statements are said in words the first time, and by their names afterwards.
        site.proxy.swallow_answer(SETTLES[task])
        site.open_gate(1)
        eventually(lambda: site.query("SELECT count(*) FROM pgjobq.running WHERE attempt = 1") == [(0,)])
        site.proxy.set("reset")
        site.proxy.set("pass")
    site.open_gate(2)
    assert site.settle_down(), site.logs()
    told = "job_retried" if FATES[task] == "again" else "job_succeeded"
    eventually(lambda: worker.events(told))
    assert any(event["purpose"] == "claims" for event in worker.events("connection_lost"))
    assert worker.events("lease_lost") == []
    assert len(site.starts(key)) == (2 if FATES[task] == "again" else 1)
    assert worker.stop() == 0
    site.demand_kept_promises()


def unanswered(site: Site, cue: bytes, deed: Any, key: str) -> BaseException:
    """What `deed` raises when it says `cue` to the server, the server does it, and no answer comes back."""
    assert site.proxy is not None
    raised: list[BaseException] = []

    def run() -> None:
        try:
            deed()
        except BaseException as error:
            raised.append(error)

    site.proxy.swallow_answer(cue)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    eventually(lambda: site.query("SELECT count(*) FROM pgjobq.job WHERE args->>'key' = %s", key) == [(1,)])
    site.proxy.set("reset")
    thread.join(30)
    assert not thread.is_alive()
    site.proxy.set("pass")
    site.history.write("enqueued", key, fate="unknown")
    return raised[0]


def test_an_enqueue_whose_commit_is_not_acknowledged(proxied_site: Site) -> None:
    """In the caller's transaction the driver's own error tells; on a connection of the queue's it is said in words."""
    site = proxied_site
    assert site.proxy is not None
    through = as_url(site.dsn, host="127.0.0.1", port=site.proxy.port)
    with psycopg.connect(through) as conn:
        app.queue.enqueue("quick", {"key": "mine"}, conn=conn)
        error = unanswered(site, b"COMMIT", conn.commit, "mine")
        assert isinstance(error, psycopg.OperationalError)
    queue = Queue(through)
    try:
        task = queue.task(name="quick")(app.quick.function)
        assert queue.jobs(ref="before") == []  # a connection is there
        error = unanswered(site, b"pgjobq.enqueue", lambda: task.using(ref="order:1").enqueue(key="own"), "own")
        assert isinstance(error, psycopg.OperationalError)
        assert any("may have been enqueued" in note for note in getattr(error, "__notes__", [])), error
        assert [job.args for job in queue.jobs(ref="order:1")] == [{"key": "own"}], "so it can be looked for"
    finally:
        queue.close()
    worker = site.worker().ready()
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    site.demand_kept_promises()


def test_a_drain_does_not_leave_behind_what_it_was_given_without_hearing_of_it(proxied_site: Site) -> None:
    """A claim goes along with what is settled; the answer to both is lost, and nothing is ready when it comes back."""
    site = proxied_site
    assert site.proxy is not None
    site.enqueue("quick", 9)
    site.proxy.swallow_answer(SETTLES["hold"])
    with site.fault("answer lost"):
        worker = site.worker("--drain", "--concurrency", "2", "--lease", "20", "--grace", "3", way="proxied")
        done_and_more = "SELECT count(*) > 0 AND EXISTS (SELECT FROM pgjobq.finished) FROM pgjobq.running"
        eventually(lambda: site.query(done_and_more) == [(True,)], timeout=60)
        site.proxy.set("reset")
        site.proxy.set("pass")
    assert worker.popen.wait(60) == 0, site.logs()
    assert site.query("SELECT count(*) FROM pgjobq.finished WHERE outcome = 's'") == [(9,)], site.logs()
    worker.stop()
    site.demand_kept_promises()
