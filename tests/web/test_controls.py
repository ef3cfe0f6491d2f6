"""What people do to queues, schedules and waiting jobs: each by its form, by who may, and in the audit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest
from starlette.requests import HTTPConnection

from pgjobq import Queue, Secret
from pgjobq.web import Role, Visitor
from web.test_guard import SAME, token_of
from web.test_pages import text_of


@pytest.fixture
def ada(open_dashboard: Callable[..., str], letter: int) -> Iterator[httpx.Client]:
    """A visitor with a name, an admin."""
    site = open_dashboard(authorize=lambda request: Visitor("ada", Role.ADMIN))
    with httpx.Client(base_url=site, headers=SAME, timeout=30, follow_redirects=True) as client:
        yield client


def send(client: httpx.Client, verb: str, back: str, **form: str) -> str:
    """Send a form; gives what the page says then."""
    data = {"verb": verb, "back": back, "token": token_of(client), **form}
    answer = client.post("/act", data=data)
    assert answer.status_code == 200, answer.text
    return text_of(answer.text)


def test_a_queue_is_paused_with_a_reason_and_resumed(ada: httpx.Client, queue: Queue) -> None:
    said = send(ada, "pause", "/queues", kind="queue", name="mail", reason="the <b>provider</b> is down", minutes="30")
    assert "paused by ada" in said
    assert "the <b>provider</b> is down" in said
    (pause,) = queue.paused()
    assert (pause.kind, pause.name, pause.who) == ("queue", "mail", "ada")
    assert pause.until is not None
    waiting = queue.find(queue="mail", state="ready")[0].id
    assert "was paused by ada" in text_of(ada.get(f"/jobs/{waiting}").text)
    assert "goes on" in send(ada, "resume", "/queues", kind="queue", name="mail")
    assert queue.paused() == []
    send(ada, "pause", "/queues", kind="task", name="charge_card")
    assert "Paused tasks charge_card".replace(" ", "") in text_of(ada.get("/queues").text).replace(" ", "").replace(
        "TaskPauseAct", ""
    )
    assert [(entry.who, entry.what) for entry in queue.audit()] == [
        ("ada", "pause"),
        ("ada", "resume"),
        ("ada", "pause"),
    ]


def test_who_did_what_stands_in_the_audit(ada: httpx.Client, queue: Queue, letter: int) -> None:
    send(ada, "retry", "/jobs", job=str(letter))
    send(ada, "retry", "/jobs", all="1", sure="1", state="failed", task="charge_card")
    (all_of_them, one) = queue.audit()
    assert (one.who, one.what, one.jobs) == ("ada", "retry", 1)
    assert all_of_them.jobs is not None
    assert all_of_them.jobs > 1
    assert text_of(ada.get("/audit").text).count("ada retry") == 2


def test_the_audit_is_paged(ada: httpx.Client, queue: Queue) -> None:
    for number in range(60):
        queue.pause(queue="mail", by=f"person-{number:02}")
    first = ada.get("/audit").text
    assert "person-59" in first
    assert "person-09" not in first
    older = ada.get("/audit", params={"before": str(queue.audit(limit=50)[-1].id)}).text
    assert "person-09" in older
    assert "person-10" not in older
    assert ada.get("/audit?before=x").status_code == 400


def test_a_schedule_is_paused_resumed_and_run_now(ada: httpx.Client, dsn: str) -> None:
    queue = Queue(dsn)

    @queue.task
    def nightly() -> None: ...

    queue.schedule("nightly", "0 3 * * *", nightly, tz="Europe/Paris")
    page = ada.get("/schedules").text
    assert page.count("03:00:00 CE") == 5
    assert "nightly is paused." in send(ada, "pause_schedule", "/schedules", name="nightly", reason="stocktaking")
    assert "It makes no jobs" in (said := text_of(ada.get("/schedules").text))
    assert "stocktaking" in said
    assert "has made a job" in send(ada, "run_schedule", "/schedules", name="nightly")
    assert len(queue.find(task="nightly")) == 1
    assert "nightly goes on." in send(ada, "resume_schedule", "/schedules", name="nightly")
    assert "Nothing was done" in send(ada, "run_schedule", "/schedules", name="weekly")
    assert {entry.who for entry in queue.audit(limit=3)} == {"ada"}
    queue.close()


def test_a_waiting_job_is_changed(dsn: str, open_dashboard: Callable[..., str]) -> None:
    queue = Queue(dsn)

    @queue.task
    def refund(order: int, cents: int) -> None: ...

    @queue.task
    def pay(order: int, card: Secret[str]) -> None: ...

    job = refund.using(delay=3600).enqueue(order=7, cents=100).id
    site = open_dashboard(queue, authorize=lambda request: Visitor("ada", Role(request.headers["x-role"])))
    with httpx.Client(base_url=site, headers=SAME | {"X-Role": "admin"}, follow_redirects=True) as client:
        assert '"cents": 100' in client.get(f"/jobs/{job}").text.replace("&#34;", '"')
        # The listing's token is on every page with a form: this one has it, too.
        token = client.get(f"/jobs/{job}").text.partition('name="token" value="')[2].partition('"')[0]
        form = {"verb": "edit", "job": str(job), "back": f"/jobs/{job}", "token": token}

        def change(**fields: str) -> str:
            return text_of(client.post("/act", data=form | fields).text)

        assert "was changed" in change(priority="-3", due="2031-01-02T03:04:05", args='{"order": 7, "cents": 250}')
        found = queue.get(job)
        assert found is not None
        assert (found.priority, found.run_at, found.args["cents"]) == (
            -3,
            datetime(2031, 1, 2, 3, 4, 5, tzinfo=UTC),
            250,
        )
        assert "Nothing was changed" in change(args='{"order": 7, "cents": "many"}')
        assert "Nothing was changed" in change(args="[1]")
        assert "Nothing was changed" in change(due="soon")
        assert "Nothing was changed" in change(priority="77")
        client.headers["X-Role"] = "operator"
        assert "takes the role admin" in change(args='{"order": 8, "cents": 1}')
        assert "was changed" in change(due="now")
        assert queue.get(job).state == "ready"  # type: ignore[union-attr]
        client.headers["X-Role"] = "admin"
        secret = pay.enqueue(order=7, card="4000").id
        assert "Change it while it waits" in (page := client.get(f"/jobs/{secret}").text)
        assert "<textarea" not in page  # who does not see all of it would write back less
        assert "Nothing was changed" in change(job=str(secret), args='{"order": 9, "card": "[secret]"}')
    assert [(entry.who, entry.what) for entry in queue.audit()] == [("ada", "edit"), ("ada", "edit")]
    queue.close()


def test_a_running_job_is_asked_to_end(ada: httpx.Client, queue: Queue) -> None:
    running = queue.find(state="running")[0].id
    send(ada, "cancel", f"/jobs/{running}", job=str(running))
    assert "Somebody wants it cancelled" in text_of(ada.get(f"/jobs/{running}").text)


def test_a_queues_limit_and_ageing_are_set_and_taken_away(ada: httpx.Client, queue: Queue) -> None:
    assert "at most 5,000 jobs may wait" in send(
        ada, "limit", "/queues", name="mail", waiting="5000", when_full="drop_oldest"
    )
    (limit,) = queue.limits()
    assert (limit.queue, limit.waiting, limit.when_full, limit.who) == ("mail", 5000, "drop_oldest", "ada")
    assert "any number of jobs may wait" in send(ada, "limit", "/queues", name="mail", waiting="")
    assert queue.limits() == []
    assert "rise by one priority each 10 min, up to -5" in send(
        ada, "ageing", "/queues", name="mail", step="600", up_to="-5"
    )
    (rise,) = queue.ageing()
    assert (rise.queue, rise.step, rise.up_to, rise.who) == ("mail", 600, -5, "ada")
    assert "jobs keep their priority" in send(ada, "ageing", "/queues", name="mail")
    assert queue.ageing() == []
    assert [entry.what for entry in queue.audit()] == ["unset_ageing", "set_ageing", "unlimit", "limit"]


@pytest.mark.parametrize(
    ("verb", "form"),
    [
        ("limit", {"waiting": "0"}),
        ("limit", {"waiting": "9" * 5000}),
        ("limit", {"waiting": "\u0663"}),
        ("limit", {"waiting": "5", "name": ""}),
        ("ageing", {"step": "0"}),
        ("ageing", {"step": "60", "up_to": "10"}),
        ("ageing", {"step": "60", "name": "x\0"}),
        ("pause", {"kind": "queue", "minutes": "9" * 5000}),
    ],
)
def test_what_no_form_of_ours_says(ada: httpx.Client, queue: Queue, verb: str, form: dict[str, str]) -> None:
    data = {"verb": verb, "name": "mail", "token": token_of(ada)} | form
    assert ada.post("/act", data=data).status_code == 400
    assert (queue.limits(), queue.ageing(), queue.paused()) == ([], [], [])


@pytest.mark.parametrize(
    ("verb", "role", "status"),
    [("pause", "operator", 403), ("resume", "operator", 403), ("pause_schedule", "operator", 403),
     ("resume_schedule", "operator", 403), ("run_schedule", "viewer", 403), ("run_schedule", "operator", 303),
     ("edit", "viewer", 403), ("limit", "operator", 403), ("ageing", "operator", 403), ("pause", "admin", 303)],
)  # fmt: skip
def test_who_may(
    open_dashboard: Callable[..., str], queue: Queue, letter: int, verb: str, role: str, status: int
) -> None:
    def who(request: HTTPConnection) -> Visitor:
        return Visitor("ada", Role(request.headers.get("x-role", "operator")))

    with httpx.Client(base_url=open_dashboard(authorize=who), headers=SAME) as client:
        form = {"verb": verb, "kind": "queue", "name": "mail", "job": "1", "token": token_of(client)}
        assert client.post("/act", data=form, headers={"X-Role": role}).status_code == status
        assert client.post("/act", data=form | {"token": "x"}, headers={"X-Role": "admin"}).status_code == 403
        assert (
            client.post("/act", data=form, headers={"X-Role": "admin", "Sec-Fetch-Site": "cross-site"}).status_code
            == 403
        )
    assert len(queue.audit()) == (verb == "pause" and status == 303)


@pytest.mark.parametrize(
    "form", [{"kind": "table"}, {"name": ""}, {"name": "x" * 256}, {"minutes": "0"}, {"minutes": "x"}]
)
def test_what_cannot_be_paused(ada: httpx.Client, queue: Queue, form: dict[str, str]) -> None:
    data = {"verb": "pause", "kind": "queue", "name": "mail", "token": token_of(ada)} | form
    assert ada.post("/act", data=data).status_code == 400
    assert queue.paused() == []
