"""The operators' commands on a real database: what they print, what they change, and their exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pgjobq import Queue
from sql.support.hand import Hand

Run = Callable[..., tuple[int, str, str]]


def fail(hand: Hand, **options: Any) -> int:
    job = hand.enqueue(**options)
    hand.settle_as("f", hand.claim_one(), kind="CardError", message="declined \x1b[31m" + "x" * 300)
    return job


def test_lists_fit_and_hold_no_control_characters(run: Run, hand: Hand) -> None:
    jobs = [fail(hand, task="t" * 40, ref="order:42"), fail(hand, queue="q" * 20)]
    code, out, _ = run("jobs", "list", "--state", "failed")
    assert code == 0
    assert "\x1b" not in out
    assert [int(line.split()[0]) for line in out.splitlines()[1:]] == jobs[::-1]
    _, out, _ = run("jobs", "list", "--ref", "order:42", "--json")
    (job,) = json.loads(out)
    assert (job["id"], job["state"], job["ref"]) == (jobs[0], "failed", "order:42")
    hand.enqueue()
    for command in ("queues", "workers", "stats"):
        code, out, _ = run(command)
        assert code == 0
        assert max(map(len, out.splitlines())) <= 80
        assert json.loads(run(command, "--json")[1])


def test_show_tells_version_and_expiry(run: Run, hand: Hand) -> None:
    (job,) = hand.enqueue_many([{"task": "send", "version": 3, "expires_in": "1 hour"}])
    out = run("jobs", "show", str(job))[1]
    assert "\nversion    3\n" in out
    assert "\nexpires    20" in out
    assert "It expires in 60 min" in out


def test_steps(run: Run, hand: Hand) -> None:
    """`show` tells what was done and what is waited for, and how far it is; `retry --forget-steps` begins anew."""
    other, job = fail(hand), hand.enqueue()
    lease = hand.claim_one()
    assert lease.job == job
    who = (job, lease.attempt, hand.id)
    hand.sql("SELECT pgjobq.remember_step($1, $2, $3, 'charge', '{\"n\": 7}', 0.25)", *who)
    report = {"job": job, "attempt": 1, "worker": str(hand.id), "done": 3, "total": 4, "message": "rows"}
    hand.sql("SELECT pgjobq.report_progress($1::jsonb)", json.dumps([report]))
    hand.sql("SELECT pgjobq.wait_step($1, $2, $3, 'paid', 'order:7:paid', 3600)", *who)
    hand.settle_as("blocked", lease, waits_for="event:order:7:paid", spare=1)
    out = run("jobs", "show", str(job))[1]
    assert "\nprogress   3 of 4: rows\n" in out
    assert "It waits for the event 'order:7:paid' until 20" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(line.startswith("charge 1 20") and line.endswith('0.25 s {"n":7}') for line in lines)
    assert any(line.startswith("paid (wait) 1 waits for order:7:paid") for line in lines)
    columns = "job, started_at, ended_at, attempt, kind, name"
    hand.sql(f"INSERT INTO pgjobq.step ({columns}) VALUES ($1, now(), now(), 1, 'step', 'a')", other)
    code, _, told = run("jobs", "retry", "--forget-steps")
    assert (code, "--forget-steps: wants one ID" in told) == (2, True)
    assert run("jobs", "retry", str(other), "--forget-steps", "--dry-run")[1] == "1 job would be affected by retry\n"
    assert run("jobs", "retry", str(other), "--forget-steps")[1] == "1 job will run again\n"
    assert hand.value("SELECT count(*) FROM pgjobq.step WHERE job = $1", other) == 0
    assert run("jobs", "retry", str(other), "--forget-steps")[1] == "0 jobs will run again\n"


def test_show_and_explain(run: Run, hand: Hand) -> None:
    job = fail(hand, args={"order": 42})
    code, out, _ = run("jobs", "show", str(job))
    assert code == 0
    for word in ('{"order":42}', "failed for good", "CardError"):
        assert word in out
    assert set(json.loads(run("jobs", "show", str(job), "--json")[1])) == {"job", "errors", "steps", "why"}
    assert "failed for good" in run("explain", str(job))[1]
    assert json.loads(run("explain", str(job), "--json")[1])["state"] == "failed"
    for command in (["explain", "999999"], ["jobs", "show", "999999"]):
        assert run(*command) == (1, "", "pgjobq: there is no job 999999\n")


def test_a_change_by_filter_counts_asks_and_is_audited(
    run: Run, hand: Hand, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [fail(hand) for _ in range(3)]
    states = {"failed": 3}
    assert run("jobs", "retry", "--state", "failed", "--dry-run")[1] == "3 jobs would be affected by retry\n"
    code, _, err = run("jobs", "retry", "--state", "failed")
    assert (code, "add --yes" in err) == (2, True)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert run("jobs", "retry", "--state", "failed")[0] == 1
    assert {state: queue.count(state=state) for state in states} == states
    code, out, _ = run("jobs", "retry", "--state", "failed", "--yes", "--by", "ann")
    assert (code, out) == (0, "3 jobs will run again\n")
    assert queue.count(state="ready", ids=jobs) == 3
    assert [(entry.who, entry.what, entry.jobs) for entry in queue.audit()] == [("ann", "retry", 3)]


def test_changes_by_id_do_not_ask(run: Run, hand: Hand, queue: Queue) -> None:
    job = str(hand.enqueue())
    assert run("jobs", "move", job, "--to", "mail")[:2] == (0, "1 job moved\n")
    assert run("jobs", "edit", job, "--priority", "-5", "--delay", "1h")[:2] == (0, "1 job changed\n")
    found = queue.get(int(job))
    assert found is not None
    assert (found.queue, found.priority, str(found.state)) == ("mail", -5, "scheduled")
    assert json.loads(run("jobs", "cancel", job, "--json")[1]) == {"action": "cancel", "jobs": 1, "dry_run": False}
    assert run("jobs", "edit", job, "--delay", "0")[0] == 1
    assert run("purge", "--state", "cancelled", "--older-than", "1h", "--dry-run")[1].startswith("0 jobs")
    assert run("purge", "--state", "cancelled", "--yes")[1] == "1 job deleted\n"
    assert queue.get(int(job)) is None
    running = hand.enqueue()
    hand.claim_one()
    assert run("jobs", "cancel", str(running), "--running")[1] == "1 job cancelled\n"
    assert hand.sql("SELECT job FROM pgjobq.cancel_request") == [(running,)]
    assert run("jobs", "cancel", "--state", "running", "--running", "--dry-run")[1].startswith("1 job would be")
    assert run("jobs", "cancel", "--task", "send", "--running", "--yes")[1] == "1 job cancelled\n"


def test_limits_of_queues(run: Run, queue: Queue, hand: Hand) -> None:
    assert run("queues", "limit", "mail", "2", "--by", "ann")[:2] == (0, "limited\n")
    hand.enqueue(queue="mail")
    assert "queue mail takes 2 waiting jobs, more are refused; 1 wait (by ann)" in run("queues")[1]
    assert run("queues", "limit", "mail", "1,000")[0] == 2
    assert run("queues", "limit", "mail", "5", "--when-full", "burst")[0] == 2
    assert run("queues", "limits")[0] == run("queues", "unlimit")[0] == 2
    assert json.loads(run("queues", "--json")[1])["limits"][0]["waiting"] == 2
    assert run("queues", "unlimit", "mail")[1] == "has no limit any more\n"
    assert run("queues", "unlimit", "mail")[1] == "had no limit\n"


def test_queues_that_age(run: Run, queue: Queue) -> None:
    assert run("queues", "age", "mail", "10m", "--up-to", "-3", "--by", "ann")[:2] == (
        0,
        "its jobs rise while they wait\n",
    )
    assert "queue mail: jobs rise by a priority for each 600 s, to -3 (by ann)" in run("queues")[1]
    assert json.loads(run("queues", "--json")[1])["ageing"][0]["step"] == 600
    for wrong in (
        ("mail",),
        ("mail", "soon"),
        ("mail", "0"),
        ("mail", "1m", "--up-to", "x"),
        ("mail", "1m", "--up-to", "10"),
    ):
        assert run("queues", "age", *wrong)[0] == 2, wrong
    assert run("queues", "unage", "mail", "3")[0] == 2
    assert run("queues", "unage", "mail")[1] == "its jobs keep their priority\n"
    assert run("queues", "unage", "mail")[1] == "they kept it already\n"


def test_pause_and_resume(run: Run, queue: Queue) -> None:
    assert run("pause", "--queue", "mail", "--for", "1h", "--reason", "relay", "--by", "ann")[:2] == (0, "paused\n")
    assert "queue mail is paused by ann" in run("queues")[1]
    assert run("pause", "--queue", "mail")[1].startswith("was paused already")
    assert run("resume", "--queue", "mail")[1] == "resumed\n"
    assert run("resume", "--queue", "mail")[1] == "was not paused\n"
    assert queue.paused() == []


def test_doctor_finds_what_is_wrong_and_names_the_cure(run: Run, hand: Hand) -> None:
    before = json.loads(run("doctor", "--json")[1])["findings"]
    # A server for tests may be set up for speed.
    assert {one["check"] for one in before if one["verdict"] == "bad"} <= {"setting fsync", "setting full_page_writes"}
    hand.sql("DROP INDEX pgjobq.job_ref")
    hand.enqueue(queue="nobody")
    hand.sql("UPDATE pgjobq.worker SET queues = '{default}'")
    code, out, _ = run("doctor")
    assert code == 1
    assert "missing or not valid: job_ref" in out
    assert "nobody: 1 ready jobs, no live worker" in out
    found = {one["check"]: one for one in json.loads(run("doctor", "--json")[1])["findings"]}
    assert (found["conservation law"]["verdict"], found["indexes"]["verdict"]) == ("ok", "bad")
    assert all(one["cure"] for one in found.values() if one["verdict"] != "ok")


def test_doctor_names_the_index_for_searches_by_argument(run: Run, hand: Hand, queue: Queue) -> None:
    """Only where there is much to search, and it is one that the search then uses."""
    assert "searches" not in run("doctor")[1]
    hand.sql(
        "SELECT pgjobq.enqueue_alike('send', string_agg(jsonb_build_object('n', n)::text, E'\\n'))"
        " FROM generate_series(1, 5000) n"
    )
    hand.sql("ANALYZE pgjobq.job")
    hand.sql("UPDATE pg_class SET reltuples = 1000000 WHERE oid = 'pgjobq.job'::regclass")
    (found,) = [one for one in json.loads(run("doctor", "--json")[1])["findings"] if one["check"] == "searches"]
    assert found["verdict"] == "ok"
    hand.sql(found["cure"].partition(": ")[2])
    assert "searches" not in run("doctor")[1]
    hand.sql("ANALYZE pgjobq.job")
    plan = hand.sql("EXPLAIN SELECT id FROM pgjobq.job v WHERE v.args @> '{\"n\": 7}'::jsonb")
    assert "job_args" in str(plan)
    assert [job.args for job in queue.find(args={"n": 7})] == [{"n": 7}]


def test_doctor_of_an_old_schema_says_migrate(run: Run, hand: Hand) -> None:
    hand.sql("DELETE FROM pgjobq.migration WHERE version > 1")
    code, out, _ = run("doctor")
    assert (code, "run `pgjobq migrate`" in out) == (1, True)


@pytest.mark.lawless("breaks the conservation law, for the doctor to find it")
def test_doctor_finds_a_misplaced_job(run: Run, hand: Hand) -> None:
    hand.enqueue()
    hand.sql("DELETE FROM pgjobq.ready")
    code, out, _ = run("doctor")
    assert (code, "1 jobs misplaced" in out) == (1, True)


def test_health(run: Run, hand: Hand) -> None:
    assert run("health") == (0, "healthy\n", "")
    hand.enqueue()
    code, out, _ = run("health", "--max-wait", "0s")
    assert (code, "queue default" in out) == (1, True)
    hand.sql("DELETE FROM pgjobq.worker")
    assert json.loads(run("health", "--json")[1])["troubles"][0] == "no worker is alive"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["jobs", "lits"], "wants one of list, show"),
        (["jobs", "show"], "wants one ID"),
        (["jobs", "retry"], "wants IDs or a filter"),
        (["jobs", "retry", "x"], "ID 'x': wants a whole number"),
        (["jobs", "move", "1"], "wants --to QUEUE"),
        (["jobs", "edit", "1"], "--priority, --delay or --args"),
        (["jobs", "list", "--state", "broken"], "state='broken': wants one of"),
        (["jobs", "list", "--args", "[1]"], "wants a JSON object"),
        (["jobs", "list", "--newer-than", "soon"], "wants a duration such as"),
        (["jobs", "list", "--limit", "0"], "from 1 to 10,000"),
        (["pause"], "name one: queue="),
        (["purge", "--yes"], "wants IDs or a filter"),
        (["explain", "x"], "wants a whole number"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run: Run, argv: list[str], said: str) -> None:
    code, out, err = run(*argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
