"""`pgjobq workflows` on a real database: what it prints, what it changes, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from pgjobq import Queue
from sql.support.hand import Hand

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def flow(queue: Queue, hand: Hand) -> int:
    """One with a job that failed, one that ended well, and one that waits."""

    @queue.task(name="step" * 10)
    def step(n: int) -> None: ...

    with queue.workflow("fulfil" * 10, ref="order:42") as flow:
        flow.add_all([step.call(n) for n in range(2)])
        flow.add(step.using(delay=3600).call(3))
    bad, good = hand.claim()
    hand.settle_as("f", bad, kind="CardError", message="declined \x1b[31m" + "x" * 300)
    hand.complete(good)
    hand.say("look_at_workflows", 100)
    return flow.id


def test_list_and_show(run: Run, flow: int) -> None:
    for argv in (["list"], ["show", str(flow)]):
        code, out, _ = run("workflows", *argv)
        assert code == 0
        assert "\x1b" not in out
        assert max(len(line) for line in out.splitlines() if not line.startswith("name ")) <= 80
    assert "2 of 3 ended (67%)" in out
    assert "1 scheduled, 1 succeeded, 1 failed" in out
    (found,) = json.loads(run("workflows", "list", "--ref", "order:42", "--state", "running", "--json")[1])
    assert (found["id"], found["total"], found["failed"]) == (flow, 3, 1)
    assert json.loads(run("workflows", "list", "--name", "other", "--json")[1]) == []
    shown = json.loads(run("workflows", "show", str(flow), "--json")[1])
    assert [job["state"] for job in shown["failed"]] == ["failed"]
    assert len(run("jobs", "list", "--workflow", str(flow))[1].splitlines()) == 4


def test_one_that_fails_fast_says_so(run: Run, flow: int, hand: Hand, queue: Queue) -> None:
    (bad,) = queue.find(workflow=flow, state="failed")
    out = run("workflows", "show", str(flow))[1]
    assert f"because of job {bad.id}" in out
    assert "fails fast" not in out
    ((other,),) = hand.sql("SELECT pgjobq.start_workflow('other', fail_fast => true)")
    out = run("workflows", "show", str(other))[1]
    assert "fails fast the first job that fails cancels the others" in out
    assert "because of" not in out


def test_cancel_and_retry(run: Run, flow: int, queue: Queue) -> None:
    assert run("workflows", "cancel", str(flow), "--dry-run") == (0, "1 job would be affected by cancel\n", "")
    code, _, err = run("workflows", "cancel", str(flow))
    assert code == 2
    assert "add --yes to do it" in err
    assert run("workflows", "cancel", str(flow), "--yes", "--by", "eve", "--reason", "why not")[:2] == (
        0, "1 job cancelled\n"
    )  # fmt: skip
    code, out, _ = run("workflows", "retry", str(flow), "--yes", "--json")
    assert json.loads(out) == {"action": "retry", "workflow": flow, "jobs": 2, "dry_run": False}
    assert [(entry.what, entry.who) for entry in queue.audit()][1:] == [("cancel_workflow", "eve")]


def test_what_cannot_be(run: Run, flow: int) -> None:
    assert run("workflows", "show", "999") == (1, "", "pgjobq: there is no workflow 999\n")
    for argv, sentence in (
        (["drop"], "wants one of list, show, cancel, retry"),
        (["show"], "wants one ID"),
        (["show", "x"], "wants a whole number"),
        (["list", "--state", "done"], "wants one of running"),
    ):
        code, _, err = run("workflows", *argv)
        assert code == 2
        assert sentence in err
