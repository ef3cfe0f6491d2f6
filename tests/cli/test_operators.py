"""gates, schedules, audit, enqueue, watch, filters and progress: what they print, what they change, how they end."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.support.typist import CODES, Typist
from pgjobq import Gate, Queue
from pgjobq.cli.progress import bar_line
from pgjobq.cli.selection import arguments
from sql.support.hand import Hand

Run = Callable[..., tuple[int, str, str]]

APP = """
from pgjobq import Queue, Secret

queue = Queue()

@queue.task(queue="mail", priority=-3)
def send_letter(order_id: int, colour: str = "red") -> None: ...

@queue.task
def pay(card: Secret[str]) -> None: ...
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An application on the import path, as module:queue."""
    (tmp_path / "letters_app.py").write_text(APP)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "letters_app:queue"
    if module := sys.modules.pop("letters_app", None):
        module.queue.close()


# --- gates -----------------------------------------------------------------------------------------------


def test_gates_say_who_runs_and_who_waits(run: Run, queue: Queue, hand: Hand) -> None:
    assert run("gates") == (0, "no gate has jobs that wait or hold a place\n", "")

    @queue.task(gates=[Gate("shop:{shop}", concurrency=1)])
    def pull(shop: int) -> None: ...

    first, second = (pull.enqueue(shop=7).id for _ in range(2))
    hand.sql("SELECT pgjobq.look_at_gates(100)")
    head, row = run("gates")[1].splitlines()
    assert head.split()[:4] == ["KEY", "LIMIT", "RUNNING", "WAITING"]
    assert row.split()[:4] == ["shop:7", "1", "1", "1"]
    assert row.endswith(str(first))
    (gate,) = json.loads(run("gates", "--json")[1])["gates"]
    assert (gate["holders"][0]["job"], gate["first"]) == (first, second)
    # … and so does `explain`.
    said = run("explain", str(second))[1]
    assert f"It waits at the gate 'shop:7', of whose 1 place 1 is taken, by job {first} (pull, ready)." in said
    assert run("gates", "set", "shop:7", "0", "--by", "ann")[:2] == (0, "set: none of its jobs starts\n")
    assert "which is closed: its limit was set to 0" in run("explain", str(second))[1]
    assert "shop:7 was set to 0 places " in run("gates")[1]
    assert run("gates", "unset", "shop:8")[1] == "nothing was set for it, but for shop:7\n"
    assert run("gates", "unset", "shop:7", "--by", "bob")[1] == "back to what the code says\n"
    assert [(one.who, one.what, one.about) for one in queue.audit()] == [
        ("bob", "unset_gate", {"gate": "shop:7"}),
        ("ann", "set_gate", {"gate": "shop:7", "concurrency": 0}),
    ]


# --- schedules -------------------------------------------------------------------------------------------


def test_a_schedule_from_its_making_to_its_end(run: Run, queue: Queue, app: str) -> None:
    made = ["schedules", "set", "nightly", "--cron", "0 3 * * *", "--tz", "Europe/Paris", "--task", "send_letter"]
    assert run(*made, "--args", "order_id=7", "--app", app)[:2] == (0, "created\n")
    head, row = run("schedules")[1].splitlines()
    assert head.split() == ["NAME", "STATE", "NEXT", "LAST", "TASK", "WHEN"]
    assert row.split()[:2] == ["nightly", "ok"]
    assert row.endswith("0 3 * * * Europe/Paris")
    shown = run("schedules", "show", "nightly", "--next", "2")[1]
    assert 'arguments  {"order_id":7}' in shown
    assert shown.count(" 03:00:00+0") == 2
    # A change of one thing leaves the others as they are.
    assert run("schedules", "set", "nightly", "--cron", "0 4 * * *", "--by", "ann")[1] == "changed\n"
    (one,) = queue.schedules()
    assert (one.expression, one.tz, one.queue, one.priority, one.args) == (
        "0 4 * * *", "Europe/Paris", "mail", -3, {"order_id": 7},
    )  # fmt: skip
    assert run("schedules", "pause", "nightly", "--reason", "closed")[1] == "paused\n"
    assert "paused     since" in run("schedules", "show", "nightly")[1]
    assert run("schedules", "pause", "nightly")[1] == "was paused already\n"
    said = json.loads(run("schedules", "run", "nightly", "--json")[1])
    assert queue.get(said["job"]).task == "send_letter"  # type: ignore[union-attr]
    assert run("schedules", "resume", "nightly")[1] == "resumed\n"
    assert run("schedules", "reset", "nightly")[1] == "nothing to undo\n"
    assert "add --yes" in run("schedules", "delete", "nightly")[2]
    assert run("schedules", "delete", "nightly", "--yes")[1] == "deleted\n"
    assert run("schedules")[1] == "there is no schedule\n"
    assert [one.what for one in queue.audit()][-2:] == ["put_schedule", "put_schedule"]
    assert {one.who for one in queue.audit() if one.what == "put_schedule"} >= {"ann"}


def test_what_a_schedule_refuses(run: Run, queue: Queue, app: str) -> None:
    queue.task(name="send_letter")(lambda **_: None)
    queue.schedule("nightly", "0 3 * * *", "send_letter")
    assert "Did you mean 'nightly'?" in run("schedules", "show", "nigthly")[2]
    assert "wants a NAME" in run("schedules", "pause")[2]
    assert "wants --cron" in run("schedules", "set", "new", "--task", "x")[2]
    assert "wants --task" in run("schedules", "set", "new", "--every", "5m")[2]
    assert (
        "Registered: pay, send_letter" in run("schedules", "set", "n", "--every", "5m", "--task", "x", "--app", app)[2]
    )
    bad = run("schedules", "set", "n", "--every", "5m", "--task", "send_letter", "--args", "order=7", "--app", app)
    assert (bad[0], "order" in bad[2]) == (2, True)


# --- enqueue ---------------------------------------------------------------------------------------------


def test_enqueue_with_the_app_checks_and_takes_its_options(run: Run, queue: Queue, app: str) -> None:
    code, out, _ = run(
        "enqueue", app, "send_letter", '{"order_id": 7}', "--ref", "order:7", "--tag", "a", "--tag", "b", "--json"
    )
    assert code == 0
    job = queue.get(json.loads(out)["id"])
    assert job is not None
    assert (job.queue, job.priority, job.args, job.ref, job.tags) == (
        "mail",
        -3,
        {"order_id": 7},
        "order:7",
        ("a", "b"),
    )
    code, out, err = run("enqueue", app, "send_letter", "order_id=seven")
    assert (code, out) == (2, "")
    assert "order_id" in err
    assert "Did you mean 'send_letter'?" in run("enqueue", app, "send_leter", "order_id=7")[2]
    assert queue.count() == 1


def test_enqueue_without_the_app_needs_a_worker_that_knows_the_task(run: Run, queue: Queue, hand: Hand) -> None:
    hand.sql("UPDATE pgjobq.worker SET tasks = '{send}'")
    code, _, err = run("enqueue", "sned", "n=1")
    assert (code, "no live worker knows a task 'sned'. Did you mean 'send'?" in err) == (2, True)
    assert run("enqueue", "sned", "n=1", "--yes")[0] == 0
    assert run("enqueue", "send", "n=1", "who.name=Zoë", "--queue", "q", "--delay", "1h", "--priority", "2")[0] == 0
    (job,) = queue.find(queue="q")
    assert (job.args, str(job.state), job.priority) == ({"n": 1, "who": {"name": "Zoë"}}, "scheduled", 2)


# --- watch -----------------------------------------------------------------------------------------------


def test_watch_tells_each_step_and_how_it_ended(run: Run, queue: Queue, hand: Hand) -> None:
    good, bad = hand.enqueue("send", ref="order:7"), hand.enqueue("send", ref="order:7")

    def work() -> None:
        with Hand(queue.pools.dsn()) as worker:
            seen.wait(30)
            leases = worker.claim(2)
            seen.clear()
            seen.wait(30)
            worker.settle_as("s", leases[0])
            worker.settle_as("f", leases[1], kind="CardError", message="declined")

    seen = Signals(queue)
    thread = threading.Thread(target=work)
    thread.start()
    code, out, _ = run("jobs", "watch", "--ref", "order:7")
    thread.join()
    assert code == 3
    lines = out.splitlines()
    assert [line.split()[1:3] for line in lines][:2] == [[str(good), "ready"], [str(bad), "ready"]]
    assert [str(good), "succeeded"] in [line.split()[1:3] for line in lines]
    assert re.search(rf" {bad}  failed     send order:7, after \d+ s, CardError: declined\n", out)
    assert run("jobs", "watch", str(good))[0] == 0
    assert run("jobs", "watch", str(bad))[0] == 3


class Signals:
    """`wait` returns once `watch` has asked to be told of ends: it has looked by then."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with Hand(self.queue.pools.dsn(), lease=None) as hand:
            while time.monotonic() < until and not hand.value("SELECT count(*) FROM pgjobq.awaited"):
                time.sleep(0.01)

    def clear(self) -> None:
        with Hand(self.queue.pools.dsn(), lease=None) as hand:
            hand.sql("DELETE FROM pgjobq.awaited")


def test_watch_that_finds_nothing_or_ends_too_soon(run: Run, hand: Hand) -> None:
    assert run("jobs", "watch", "999")[::2] == (1, "pgjobq: there is no job 999\n")
    assert run("jobs", "watch")[0] == 2
    job = hand.enqueue(delay="1 hour")
    code, out, err = run("jobs", "watch", str(job), "--timeout", "0.2s", "--json")
    assert (code, err) == (124, "pgjobq: 1 had not ended in time\n")
    assert json.loads(out)["state"] == "scheduled"


# --- filters ---------------------------------------------------------------------------------------------


def test_arguments_as_paths() -> None:
    assert arguments(["customer.id=7", "customer.name=Zoë", '{"ok": true}', 'zip="75001"']) == {
        "customer": {"id": 7, "name": "Zoë"}, "ok": True, "zip": "75001",
    }  # fmt: skip


def test_filters_by_argument_and_age(run: Run, hand: Hand) -> None:
    job = hand.enqueue(args={"customer": {"id": 7}})
    hand.enqueue(args={"customer": {"id": 8}})
    found = json.loads(run("jobs", "list", "--args", "customer.id=7", "--json")[1])
    assert [one["id"] for one in found] == [job]
    hand.sql("UPDATE pgjobq.job SET created_at = now() - interval '3 hours' WHERE id = $1", job)
    assert [one["id"] for one in json.loads(run("jobs", "list", "--older-than", "2h", "--json")[1])] == [job]
    assert run("jobs", "cancel", "--older-than", "2h", "--yes")[1] == "1 job cancelled\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["jobs", "list", "--queue", "mial"], "no queue 'mial' is known. Did you mean 'mail'?"),
        (["jobs", "cancel", "--task", "sned", "--yes"], "no task 'sned' is known. Did you mean 'send'?"),
        (["pause", "--queue", "mial"], "Did you mean 'mail'?"),
        (["resume", "--queue", "mial"], "Did you mean 'mail'?"),
        (["jobs", "lits"], "jobs 'lits': wants one of list, show"),
        (["schedules", "paus", "x"], "Did you mean 'pause'?"),
        (["gates", "sett"], "Did you mean 'set'"),
        (["completion", "bsh"], "Did you mean 'bash'"),
    ],
)
def test_a_slip_is_noticed(run: Run, hand: Hand, argv: list[str], said: str) -> None:
    hand.enqueue(queue="mail")
    hand.sql("UPDATE pgjobq.worker SET tasks = '{send}'")
    assert said in run(*argv)[2]


# --- audit, rights, progress -----------------------------------------------------------------------------


def test_audit_pages(run: Run, queue: Queue) -> None:
    assert run("audit")[1] == "nobody has done anything yet\n"
    for name in ("a", "b", "c"):
        queue.pause(queue=name, by="ann", reason="so")
    lines = run("audit", "--limit", "2")[1].splitlines()
    assert [line.split()[2:4] for line in lines[1:]] == [["ann", "pause"]] * 2
    assert "queue=c reason=so" in lines[1]
    newest = json.loads(run("audit", "--json")[1])
    older = json.loads(run("audit", "--before", str(newest[1]["id"]), "--json")[1])
    assert [entry["about"]["queue"] for entry in older] == ["a"]


def test_who_may_not_is_told_who_could(run: Run, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    job = hand.enqueue()
    name = hand.value("SELECT 'viewer_' || md5(current_database())")
    hand.sql(f"CREATE ROLE {name}")
    try:
        hand.sql(f"GRANT USAGE ON SCHEMA pgjobq TO {name}")
        hand.sql(f"SELECT pgjobq.allow('{name}', 'viewer')")
        with monkeypatch.context() as patched:
            patched.setenv("PGOPTIONS", f"-c role={name}")
            assert run("jobs", "list")[0] == 0
            code, _, err = run("jobs", "cancel", str(job))
        assert (code, err.count("\n")) == (2, 1)
        assert "permission denied" in err
        assert "pgjobq.allow('your_role', 'operator')" in err
    finally:
        hand.sql(f"DROP OWNED BY {name}")
        hand.sql(f"DROP ROLE {name}")


def test_bar_line() -> None:
    assert bar_line("retry", 400, 1000, 2.0) == "retry  ████████░░░░░░░░░░░░  40%  400 of 1,000  200/s  3 s left"
    assert bar_line("retry", 0, 1000, 2.0) == "retry  ░░░░░░░░░░░░░░░░░░░░  0%  0 of 1,000"
    assert bar_line("migrate", 0, None, 2.4) == "migrate  2 s"


SLOW = """
import sys, time
from pgjobq.cli import main, progress
from pgjobq.bulk import Bulk
plain = Bulk._run
def slow(self, statement, conn):
    if statement.name == "act":
        time.sleep(1.5)
    return plain(self, statement, conn)
Bulk._run = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("flags", "draws"), [([], True), (["--json"], False)])
def test_what_takes_its_time_shows_how_far_it_is(dsn: str, hand: Hand, flags: list[str], draws: bool) -> None:
    hand.sql("SELECT pgjobq.enqueue_alike('t', repeat(E'{}\\n', 1500))")
    env = dict(os.environ) | {"PGJOBQ_DSN": dsn, "TERM": "xterm"}
    with Typist([sys.executable, "-c", SLOW, "jobs", "cancel", "--task", "t", "--yes", *flags], env) as typist:
        assert typist.end() == 0
        assert ("% " in typist.shown and "of 1,500" in typist.shown) is draws
        if draws:
            assert "cancel  █████████████░░░░░░░  67%  1,000 of 1,500" in typist.shown
            left = typist.shown.rpartition("\033[K")[2]
            assert CODES.sub("", left).strip() == "1,500 jobs cancelled"


# --- limits of gates, set by hand -------------------------------------------------------------------------


def test_every_limit_of_a_gate_is_set(run: Run, queue: Queue) -> None:
    flags = ("--rate", "10/s", "--quota", "1000/day", "--weights", "acme=3, globex=2")
    assert run("gates", "set", "shop:7", *flags)[:2] == (0, "set\n")
    assert (
        "shop:7 was set to a rate of 10 in 1 s and a quota of 1,000 in each day and the weights acme 3, globex 2 "
        in run("gates")[1]
    )
    assert run("gates", "set", "shop:7", "4", "--rate", "5/s")[0] == 0
    assert "shop:7 was set to 4 places and a rate of 5 in 1 s and a quota of 1,000" in run("gates")[1]
    for wrong, said in (
        (("set", "shop:7"), "wants nothing, or"),
        (("unset", "shop:7", "--rate", "1/s"), "wants nothing, or"),
        (("set", "shop:7", "--rate", "often"), "often"),
        (("set", "shop:7", "--quota", "1000/moon"), "moon"),
        (("set", "shop:7", "--weights", "acme"), "acme=3,globex=2"),
        (("set", "shop:7", "--weights", "a=1,a=2"), "each share once"),
        (("set", "shop:7", "--weights", "a=x"), "wants a whole number"),
        (("set", "shop:7", "--weights", "a=0"), "from 1 to"),
    ):
        code, _, err = run("gates", *wrong)
        assert (code, said in err) == (2, True), (wrong, err)
    assert run("gates", "unset", "shop:7")[1] == "back to what the code says\n"


# --- jobs edit --args --------------------------------------------------------------------------------------


def test_arguments_are_edited_and_checked_by_the_app(run: Run, app: str, queue: Queue) -> None:
    assert run("enqueue", app, "send_letter", "order_id=7")[0] == 0
    (job,) = queue.find(task="send_letter")
    edit = ("jobs", "edit", str(job.id), "--app", app, "--by", "ann")
    assert run(*edit, "--args", "order_id=8", "--args", "colour=blue")[:2] == (0, "1 job changed\n")
    assert queue.find(task="send_letter")[0].args == {"order_id": 8, "colour": "blue"}
    code, _, err = run(*edit, "--args", '{"order_id": "eight"}')
    assert (code, "order_id" in err) == (2, True)
    code, _, err = run(*edit, "--args", "order=8")
    assert (code, "order" in err) == (2, True)
    assert queue.find(task="send_letter")[0].args == {"order_id": 8, "colour": "blue"}
    assert [(one.who, one.what, one.about["args"]) for one in queue.audit()] == [("ann", "edit", "changed")]
    code, _, err = run("jobs", "list", "--app", app)
    assert (code, "--app is for edit" in err) == (2, True)


def test_without_the_app_arguments_are_taken_as_they_come(run: Run, queue: Queue, hand: Hand) -> None:
    @queue.task(version=3)
    def send(n: int) -> None: ...

    job = send.enqueue(1)
    assert run("jobs", "edit", str(job.id), "--args", '{"m": [1, "x"]}')[:2] == (0, "1 job changed\n")
    found = queue.get(job.id)
    assert found is not None
    assert (found.args, found.version) == ({"m": [1, "x"]}, 3)
    assert run("jobs", "edit", "4711", "--args", "n=1")[0] == 1, "there is none"
    hand.sql("UPDATE pgjobq.job SET args = '{\"$enc\": {}}' WHERE id = $1", job.id)
    code, _, err = run("jobs", "edit", str(job.id), "--args", "n=1")
    assert (code, "are sealed" in err) == (2, True)
