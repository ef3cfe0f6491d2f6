"""Who may: this machine, authorize, roles; and forms that other sites send."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable

import httpx
import pytest
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse

from pgjobq import Queue
from pgjobq.web import Role, Visitor


def token_of(client: httpx.Client) -> str:
    page = client.get("/jobs?state=failed").text
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found, page
    return found[1]


def press(client: httpx.Client, job: int, headers: dict[str, str] | None = None, **form: str) -> httpx.Response:
    return client.post("/act", data={"verb": "retry", "job": str(job), "back": "/jobs", **form}, headers=headers)


SAME = {"Sec-Fetch-Site": "same-origin"}


def test_a_form_of_ours_is_done_once(client: httpx.Client, queue: Queue, letter: int) -> None:
    token = token_of(client)
    answer = press(client, letter, SAME, token=token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    assert "1 job retried." in client.get("/jobs").text
    assert "retried" not in client.get("/jobs?queue=none").text
    press(client, letter, SAME, token=token)
    assert "0 jobs retried; 1 left alone" in client.get("/jobs").text


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "post", "LOOK"])
def test_no_other_method_does_anything(client: httpx.Client, queue: Queue, letter: int, method: str) -> None:
    token = token_of(client)
    form = {"verb": "retry", "job": str(letter), "back": "/jobs", "token": token}
    disguised = {**SAME, "X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST"}
    answer = client.build_request(method, "/act", data=form, headers=disguised)
    answer.method = method  # as it is, not in capitals
    assert client.send(answer).status_code in (400, 405)
    assert client.get("/act", params=form, headers=disguised).status_code == 405
    assert client.post("/act", params=form, headers=SAME).status_code in (403, 413, 415)  # a form is a body
    for path in ("/jobs", f"/jobs/{letter}", "/queues", "/live", "/metrics", "/find"):
        assert client.post(path, data=form, headers=SAME).status_code == 405
    assert queue.get(letter).state == "failed"  # type: ignore[union-attr]
    assert queue.audit() == []


def test_headers_alone_hold_no_stream(client: httpx.Client) -> None:
    answer = client.head("/live", timeout=10)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert client.get("/static/icon.svg", timeout=10).status_code == 200  # on the same connection, which is free again


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/dashboard.css/x",
        "/static/dashboard.css%00", "/jobs/1%2f..%2f..", "/jobs/-1", "/jobs/1e3", "/jobs/٣", "//evil.example/",
        "/jobs/99999999999999999999999", "/./act", "/workflows/99999999999999999999999",
    ],
)  # fmt: skip
def test_odd_paths_lead_nowhere(site: str, path: str) -> None:
    """Sent as they are: httpx would tidy them up."""
    host, port = site.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        head = b"".join(iter(lambda: sock.recv(65536), b"")).split(b"\r\n\r\n")[0].decode()
    status = int(head.split()[1])
    assert status in (400, 404, 405), head
    assert "location:" not in head.lower()


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"},
     {"Origin": "https://evil.example"}, {"Origin": "null"}],
)  # fmt: skip
def test_a_form_of_another_site_is_not_done(
    client: httpx.Client, queue: Queue, letter: int, headers: dict[str, str]
) -> None:
    answer = press(client, letter, headers, token=token_of(client))
    assert answer.status_code == 403
    assert queue.get(letter).state == "failed"  # type: ignore[union-attr]


@pytest.mark.parametrize("token", ["", "x" * 43])
def test_a_form_without_the_token_is_not_done(client: httpx.Client, queue: Queue, letter: int, token: str) -> None:
    token_of(client)  # the cookie is there
    assert press(client, letter, SAME, token=token).status_code == 403
    client.cookies.clear()
    assert press(client, letter, SAME, token=token).status_code == 403
    assert queue.get(letter).state == "failed"  # type: ignore[union-attr]


def test_only_forms_of_a_sane_size_are_read(client: httpx.Client, letter: int) -> None:
    assert client.post("/act", json={"verb": "retry"}, headers=SAME).status_code == 415
    assert client.post("/act", data={"x": "y" * 300_000}, headers=SAME).status_code == 413
    assert client.get("/act").status_code == 405


@pytest.mark.parametrize(
    "back", ["https://evil.example", "//evil.example", "/\\evil.example", "/jobs\r\nX: y", "javascript:x"]
)
def test_a_form_leads_nowhere_else(client: httpx.Client, letter: int, back: str) -> None:
    answer = press(client, letter, SAME, token=token_of(client), back=back)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")


@pytest.mark.parametrize(
    ("headers", "says"),
    [({"Host": "evil.example"}, "answers to localhost"), ({"X-Forwarded-For": "10.0.0.1"}, "through a proxy"),
     ({"Forwarded": "for=10.0.0.1"}, "through a proxy")],
)  # fmt: skip
def test_without_authorize_only_this_machine_is_answered(
    client: httpx.Client, headers: dict[str, str], says: str
) -> None:
    answer = client.get("/", headers=headers)
    assert answer.status_code == 403
    assert says in answer.text


@pytest.mark.parametrize("path", ["/", "/jobs/1", "/live", "/static/dashboard.css", "/nowhere"])
def test_every_answer_has_the_headers(client: httpx.Client, path: str) -> None:
    with client.stream("GET", path) as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'none';")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def visitor(request: HTTPConnection) -> Visitor | RedirectResponse | None:
    name = request.headers.get("x-user")
    if name is None:
        return RedirectResponse("/login", 303)
    return None if name == "mallory" else Visitor(name, Role(request.headers.get("x-role", "viewer")))


@pytest.mark.parametrize(
    ("role", "one", "all_of_them"), [("viewer", 403, 403), ("operator", 303, 403), ("admin", 303, 303)]
)
def test_roles(
    open_dashboard: Callable[..., str], queue: Queue, letter: int, role: str, one: int, all_of_them: int
) -> None:
    site = open_dashboard(authorize=visitor)
    with httpx.Client(base_url=site, headers={"X-User": "ada", "X-Role": role} | SAME) as client:
        page = client.get(f"/jobs/{letter}").text
        assert ('action="/act"' in page) == (role != "viewer")
        token = client.cookies["pgjobq_token"]
        assert press(client, letter, token=token).status_code == one
        form = {"verb": "retry", "all": "1", "sure": "1", "state": "failed", "task": "charge_card", "token": token}
        assert client.post("/act", data=form).status_code == all_of_them
    left = len(queue.jobs(state="failed", task="charge_card"))
    assert (left == 0) == (role == "admin")


def test_authorize_says_who_and_where_to(open_dashboard: Callable[..., str]) -> None:
    site = open_dashboard(authorize=visitor)
    assert httpx.get(site).headers["location"] == "/login"
    assert httpx.get(site, headers={"X-User": "mallory"}).status_code == 403
    page = httpx.get(site, headers={"X-User": "<b>ada</b>", "Host": "jobs.example", "X-Forwarded-For": "10.0.0.1"}).text
    assert "&lt;b&gt;ada&lt;/b&gt;" in page


async def later(request: HTTPConnection) -> Visitor:
    return Visitor("ada", Role.ADMIN)


def test_authorize_may_be_async_and_read_only_binds_everybody(
    open_dashboard: Callable[..., str], queue: Queue, letter: int
) -> None:
    site = open_dashboard(authorize=later, read_only=True)
    with httpx.Client(base_url=site, headers=SAME) as client:
        assert 'action="/act"' not in client.get(f"/jobs/{letter}").text
        assert press(client, letter, token=client.cookies["pgjobq_token"]).status_code == 403
    assert queue.get(letter).state == "failed"  # type: ignore[union-attr]


def test_many_are_shown_before_they_are_done(client: httpx.Client, queue: Queue, letter: int) -> None:
    token = token_of(client)
    before = len(queue.jobs(state="failed"))
    form = {"verb": "retry", "all": "1", "state": "failed", "token": token, "back": "/failed"}
    page = client.post("/act", data=form, headers=SAME)
    assert page.status_code == 200
    assert f"Retry {before} jobs?" in page.text
    assert len(queue.jobs(state="failed")) == before
    assert client.post("/act", data=form | {"sure": "1"}, headers=SAME).status_code == 303
    assert f"{before} jobs retried." in client.get("/failed").text
    assert queue.jobs(state="failed") == []


def test_all_without_a_state_is_refused(client: httpx.Client, letter: int) -> None:
    form = {"verb": "cancel", "all": "1", "sure": "1", "queue": "mail", "token": token_of(client)}
    assert client.post("/act", data=form, headers=SAME).status_code == 400
    assert client.post("/act", data=form | {"state": "failed"}, headers=SAME).status_code == 400


def test_waiting_jobs_are_cancelled(client: httpx.Client, queue: Queue, letter: int) -> None:
    form = {"verb": "cancel", "all": "1", "sure": "1", "state": "scheduled", "token": token_of(client)}
    client.post("/act", data=form, headers=SAME)
    assert queue.jobs(state="scheduled") == []
    assert len(queue.jobs(state="cancelled")) == 7


def test_who_did_what_is_logged_on_one_line(
    open_dashboard: Callable[..., str], letter: int, caplog: pytest.LogCaptureFixture
) -> None:
    site = open_dashboard(authorize=lambda request: Visitor("ada\nroot", Role.OPERATOR))
    with caplog.at_level(logging.INFO, "pgjobq.audit"), httpx.Client(base_url=site, headers=SAME) as client:
        press(client, letter, token=token_of(client))
    assert [record.message for record in caplog.records if record.name == "pgjobq.audit"] == [
        f"ada root retried 1 jobs (jobs={letter})"
    ]
