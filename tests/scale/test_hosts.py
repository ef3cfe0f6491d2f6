"""Workers on several hosts against one server; network namespaces are the hosts."""

from __future__ import annotations

import sys
from collections import Counter

from scale.hosts import Hosts
from worker.stage import Running, Stage, clean_environment, wait_until

JOBS = 500
PLACES = 5
ALIVE = "SELECT array_agg(host ORDER BY host) FROM pgjobq.worker WHERE expires_at > now()"
LEASE = ("--lease", "3", "--heartbeat", "0.5")


def start_worker(stage: Stage, hosts: Hosts, name: str) -> Running:
    """A worker on that host."""
    command = [sys.executable, "-m", "pgjobq.worker", "apps.basic:queue", "--log-format", "json"]
    flags = ["--concurrency", str(PLACES), *LEASE]
    environment = clean_environment(PGJOBQ_DSN=hosts.dsn(), **stage.environ())
    return stage.run(hosts.on(name, [*command, *flags]), environment)


def done_by(stage: Stage) -> Counter[str]:
    """How many jobs each worker has finished, by its id."""
    return Counter(dict(stage.query("SELECT worker::text, count(*) FROM pgjobq.finished GROUP BY 1")))


def test_two_hosts_share_the_jobs(stage: Stage, hosts: Hosts) -> None:
    """500 jobs, each run once, by both hosts in about equal parts; each worker is told by its host's name."""
    workers = [start_worker(stage, hosts, name) for name in hosts.names]
    wait_until(lambda: stage.value(ALIVE) == sorted(hosts.names))
    of_host = dict(stage.query("SELECT id::text, host FROM pgjobq.worker"))
    stage.enqueue_many("nap", JOBS, {"seconds": 0.02})
    stage.wait_all("succeeded")
    shares = {of_host[worker]: jobs for worker, jobs in done_by(stage).items()}
    assert sum(shares.values()) == JOBS
    assert min(shares[name] for name in hosts.names) > JOBS / 4, shares
    assert Counter(mark["job"] for mark in stage.marks("start")).most_common(1)[0][1] == 1
    assert [worker.stop() for worker in workers] == [0, 0]
    assert stage.value("SELECT count(*) FROM pgjobq.worker") == 0


def test_the_jobs_of_a_host_that_is_cut_off_go_to_the_other(stage: Stage, hosts: Hosts) -> None:
    """No packet passes any more and nobody is told: its lease runs out, the other host does the rest, nothing is
    settled twice. Once its cable is back it works again."""
    for name in hosts.names:
        start_worker(stage, hosts, name).ready()
    wait_until(lambda: stage.value(ALIVE) == sorted(hosts.names))
    of_host = dict(stage.query("SELECT host, id::text FROM pgjobq.worker"))
    stage.enqueue_many("nap", JOBS, {"seconds": 0.1})
    wait_until(lambda: len(done_by(stage)) == 2)

    hosts.cut_off("ash")
    wait_until(lambda: stage.value(ALIVE) == ["oak"])
    stage.wait_all("succeeded")
    done = done_by(stage)
    assert sum(done.values()) == JOBS
    assert done[of_host["oak"]] > JOBS / 2
    # What ran on the host when its cable was pulled is run again elsewhere; nothing else is.
    twice = {job for job, starts in Counter(mark["job"] for mark in stage.marks("start")).items() if starts > 1}
    retaken = {job for (job,) in stage.query("SELECT job FROM pgjobq.finished WHERE attempt > 1")}
    assert twice <= retaken
    told = stage.query("SELECT job, worker::text, kind FROM pgjobq.attempt_error")
    assert {(worker, kind) for _, worker, kind in told} == {(of_host["ash"], "WorkerDied")}
    assert {job for job, _, _ in told} == retaken
    by_oak = stage.query("SELECT job FROM pgjobq.finished WHERE attempt > 1 AND worker = %s", of_host["oak"])
    assert {job for (job,) in by_oak} == retaken

    hosts.plug_in("ash")
    wait_until(lambda: stage.value(ALIVE) == sorted(hosts.names))
    before = len(done_by(stage))
    stage.enqueue_many("nap", JOBS, {"seconds": 0.02})
    stage.wait_all("succeeded")
    assert len(done_by(stage)) == before + 1, "the host came back under a new identity and took its share"
