"""What the pages say, over HTTP."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable

import httpx
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from pgjobq import Queue, Secret
from pgjobq.survey import Filter, Survey
from pgjobq.web import Visitor, dashboard
from sql.support.hand import Hand
from web.conftest import served

PAGES = [
    "/",
    "/jobs",
    "/jobs?state=failed",
    "/failed",
    "/queues",
    "/workers",
    "/gates",
    "/schedules",
    "/audit",
    "/ref?ref=order:1339",
]


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def ids_in(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<td class="id"><a href="[^"]*/jobs/(\d+)"', page)]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_on_an_empty_queue_too(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == (404 if path.startswith("/ref") else 200)


def test_the_overview_tells_what_stands_where(client: httpx.Client, letter: int) -> None:
    said = text_of(client.get("/").text)
    for part in ("19 ready", "4 running", "7 scheduled", "0 blocked", "send_confirmation", "2 workers alive"):
        assert part in said


def test_a_queue_that_nobody_serves_says_so(client: httpx.Client, queue: Queue) -> None:
    with psycopg.connect(queue.pools.dsn()) as conn:
        conn.execute("SELECT pgjobq.enqueue('x', queue => 'lonely')")
    assert "lonely" in (page := text_of(client.get("/queues").text))
    assert "none" in page


def test_one_job_tells_its_life(client: httpx.Client, letter: int) -> None:
    said = text_of(client.get(f"/jobs/{letter}").text)
    for part in ("It was tried 3 times and given up. The last time: ConnectionRefusedError", "attempt 2 failed",
                 "Traceback", '"language": "en"', "Also for order:1339", "3 of 3"):  # fmt: skip
        assert part in said


def test_everything_of_one_ref(client: httpx.Client, letter: int) -> None:
    page = client.get("/ref", params={"ref": "order:1339"}).text
    assert ids_in(page) == [letter, letter - 1, letter - 2]
    assert "1 job failed: send_confirmation" in text_of(page)


@pytest.mark.parametrize(
    ("query", "leads"),
    [("#{letter}", "/jobs/{letter}"), ("{letter}", "/jobs/{letter}"), ("order:1339", "/ref?ref=order%3A1339"),
     ("Refused", "/jobs?text=Refused"), ("  ", "/jobs")],
)  # fmt: skip
def test_the_search_box_leads_there(client: httpx.Client, letter: int, query: str, leads: str) -> None:
    answer = client.get("/find", params={"q": query.format(letter=letter)})
    assert (answer.status_code, answer.headers["location"]) == (303, leads.format(letter=letter))


@pytest.mark.parametrize(
    "query",
    ["text=connection refused", "text=ada@EXAMPLE", "text=order:1339&state=failed", "ref=order:1339&state=failed",
     "tag=checkout&state=failed", "queue=mail&task=send_confirmation&tag=checkout"],
)  # fmt: skip
def test_a_filter_finds_the_letter(client: httpx.Client, letter: int, query: str) -> None:
    assert ids_in(client.get(f"/jobs?{query}").text) == [letter]


@pytest.mark.parametrize("state", ["", "ready", "scheduled", "failed", "succeeded", "running"])
def test_pages_follow_each_other_without_gap_or_double(queue: Queue, letter: int, state: str) -> None:
    survey = Survey(queue)
    wanted = Filter(state=state or None)  # type: ignore[arg-type]
    whole = [job.id for job in survey.look(wanted, limit=1000).jobs]
    seen: list[int] = []
    after = None
    while True:
        page = survey.look(wanted, after=after, limit=7)
        seen += [job.id for job in page.jobs]
        after = page.after
        if after is None:
            break
    assert seen == whole
    assert len(seen) == len(set(seen)) > 0


def test_the_last_that_failed_comes_first_and_the_next_due_too(queue: Queue, letter: int) -> None:
    survey = Survey(queue)
    ended = [job.finished_at for job in survey.look(Filter(state="failed")).jobs]  # type: ignore[arg-type]
    assert ended == sorted(ended, reverse=True)  # type: ignore[type-var]
    assert len(ended) > 10
    due = [job.run_at for job in survey.look(Filter(state="scheduled")).jobs]  # type: ignore[arg-type]
    assert due == sorted(due)  # type: ignore[type-var]


def test_a_search_that_takes_several_pages_goes_on(queue: Queue, letter: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgjobq.survey.MOST_SEARCHED", 100)
    survey = Survey(queue)
    after, steps, found = None, 0, []
    while True:
        page = survey.look(Filter(text="order:1000"), after=after)
        found += page.jobs
        steps += 1
        after = page.after
        if after is None:
            break
    assert steps > 5
    assert {job.ref for job in found} == {"order:1000"}


def test_the_charts_go_back_an_hour_a_day_or_three(client: httpx.Client, letter: int) -> None:
    for span, words, count in (("1h", "hour", 60), ("24h", "24 hours", 96), ("3d", "3 days", 72)):
        page = client.get(f"/?span={span}").text
        for said in ("Jobs ended in", "Time an attempt took in", "Attempts that failed in", "Jobs that waited for a"):
            assert re.search(f'aria-label="{said}[^"]* the last {words}', page), (span, said)
        assert re.search(f'aria-current="true">last {words}<', page)
        (ended,) = re.findall(r'<svg class="chart"[^>]*aria-label="Jobs ended.*?</svg>', page)
        assert ended.count('<rect class="hit"') == count
    assert client.get("/?span=9w").status_code == 400


def test_a_queue_shows_its_hour_its_limit_and_its_ageing(client: httpx.Client, queue: Queue, letter: int) -> None:
    queue.limit("mail", waiting=20, when_full="drop_oldest")
    queue.limit("unheard-of", waiting=5)
    queue.set_ageing("mail", step=600, up_to=-5)
    page = client.get("/queues").text
    assert re.search(r'class="spark"[^>]*aria-label="\d+ jobs ended in the last hour, \d+ given up"', page)
    said = text_of(page)
    assert "at most 20 may wait, then the oldest are cancelled full" not in said  # 19 of 20
    assert "at most 20 may wait, then the oldest are cancelled" in said
    assert "priorities rise by one each 10 min, up to -5" in said
    assert "unheard-of at most 5 may wait, then enqueuing fails" in said


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("argument=order_id=1339", 3),
        ("argument=letter.language=en", 1),
        ("argument=letter.copies=1", 1),
        ('argument=letter.copies="1"', 0),
        ("argument=letter={}", 1),
        ("state=failed&argument=order_id=1339", 1),
        ("ref=order:1339&worker=11111111-1111-4111-8111-111111111111", 3),
        ("ref=order:1339&worker=22222222-2222-4222-8222-222222222222", 0),
        ("ref=order:1339&since=2020-01-01", 3),
        ("ref=order:1339&until=2020-01-01T00:00", 0),
        ("ref=order:1339&since=2099-01-01T00:00:00%2B02:00", 0),
    ],
)
def test_more_conditions(client: httpx.Client, letter: int, query: str, found: int) -> None:
    page = client.get(f"/jobs?{query}").text
    assert len(ids_in(page)) == found
    assert '<details class="more" open>' in page


def test_errors_that_differ_in_numbers_are_one_group(queue: Queue, letter: int) -> None:
    groups = Survey(queue).failures().groups
    declined = [group for group in groups if group.kind == "shop.payment.CardDeclined"]
    assert len(declined) == 1
    assert declined[0].jobs > 1
    found = Survey(queue).look(Filter(state="failed", error=declined[0].fingerprint)).jobs  # type: ignore[arg-type]
    assert len(found) == declined[0].jobs
    assert {job.task for job in found} == {"charge_card"}


def test_a_gate_tells_who_has_its_places_and_who_waits(client: httpx.Client, dsn: str) -> None:
    with Hand(dsn) as hand:
        gate = {"key": "merchant:7", "name": "merchant:{m}", "concurrency": 2}
        call = {"task": "charge", "ref": "order:7", "gates": [gate]}
        jobs = [job for (job,) in hand.sql("SELECT * FROM pgjobq.enqueue_many($1)", json.dumps([call] * 5))]
        assert "No job waits" not in (page := text_of(client.get("/gates").text))
        assert "merchant:7 2 0 5" in page
        hand.say("look_at_gates", 10)
        page = text_of(client.get("/gates").text)
        assert f"merchant:7 2 2 3 #{jobs[2]}" in page
        assert f"charge #{jobs[0]} order:7 , charge #{jobs[1]} order:7" in page


@pytest.mark.parametrize("query", ["state=nope", "after=x", "after=1;DROP", "state=failed&after=5", "text=" + "x" * 501,
                                   "text=%00", "state=scheduled&after=2026-01-01", "argument=x", "argument=a..b=1",
                                   "worker=7", "since=tomorrow", "until=0001-01-01T00:00%2B10:00"])  # fmt: skip
def test_what_cannot_be_a_filter_is_refused_kindly(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/jobs?{query}")
    assert answer.status_code == 400
    assert "This filter cannot be used" in answer.text


def test_a_job_that_is_not_there(client: httpx.Client) -> None:
    assert client.get("/jobs/99").status_code == client.get("/jobs/99999999999999999999").status_code == 404


def test_secrets_are_neither_shown_nor_found(dsn: str, open_dashboard: Callable[..., str]) -> None:
    queue = Queue(dsn)

    @queue.task
    def charge(order: int, card: Secret[str]) -> None: ...

    job = charge.enqueue(order=77, card="4000-1234").id
    site = open_dashboard(queue)
    assert "4000-1234" not in (page := httpx.get(f"{site}/jobs/{job}").text)
    assert "[secret]" in page
    assert ids_in(httpx.get(f"{site}/jobs?text=4000-1234").text) == []
    assert ids_in(httpx.get(f"{site}/jobs?text=77").text) == [job]
    assert ids_in(httpx.get(f"{site}/jobs?argument=card=4000-1234").text) == []
    assert ids_in(httpx.get(f"{site}/jobs?argument=order=77").text) == [job]
    queue.close()


def test_steps_and_progress_of_a_job(dsn: str, open_dashboard: Callable[..., str]) -> None:
    """What was done and when, what it waits for, a bar for how far it is; what steps gave passes by `redact`, too."""
    with Hand(dsn) as hand:
        job = hand.enqueue()
        who = (job, hand.claim_one().attempt, hand.id)
        hand.sql("SELECT pgjobq.remember_step($1, $2, $3, 'charge', '{\"card\": \"4000\"}', 0.25)", *who)
        hand.sql("SELECT pgjobq.sleep_step($1, $2, $3, 'nap', 3600)", *who)
        hand.sql("SELECT pgjobq.wait_step($1, $2, $3, 'paid', 'order:7', 60)", *who)
        report = {"job": job, "attempt": 1, "worker": str(hand.id), "done": 3, "total": 4, "message": "rows of ada"}
        hand.sql("SELECT pgjobq.report_progress($1::jsonb)", json.dumps([report]))
    page = httpx.get(f"{open_dashboard()}/jobs/{job}").text
    said = text_of(page)
    for part in (
        "3 of 4: rows of ada",
        "charge 1",
        "after 250 ms",
        '{"card": "4000"}',
        "nap sleep 1 not over sleeps until",
        "paid wait 1 not over waits for order:7 until",
    ):
        assert part in said, (part, said)
    assert '<progress max="1" value="0.75"' in page
    veiled = open_dashboard(redact=lambda path, value: "•••" if path in ("step.charge.card", "progress") else value)
    page = httpx.get(f"{veiled}/jobs/{job}").text
    assert "4000" not in page
    assert "rows of ada" not in page


def test_what_is_redacted_is_neither_shown_nor_searched(letter: int, open_dashboard: Callable[..., str]) -> None:
    def redact(path: str, value: object) -> object:
        return "•••" if path in ("args.email", "error.message", "error.traceback", "reason") else value

    site = open_dashboard(redact=redact)
    for path in (f"/jobs/{letter}", "/ref?ref=order:1339", "/failed", "/", "/jobs?state=failed"):
        page = httpx.get(f"{site}{path}", timeout=30).text
        assert "ada@example" not in page
        assert "Connection refused" not in page
    assert "•••" in httpx.get(f"{site}/jobs/{letter}").text
    assert ids_in(httpx.get(f"{site}/jobs?text=ada@example").text) == []
    assert httpx.get(f"{site}/jobs?argument=email=ada@example.com").status_code == 400
    assert 'name="argument"' not in httpx.get(f"{site}/jobs").text


def test_a_dashboard_below_a_path_stays_there(dsn: str, letter: int) -> None:
    queue = Queue(dsn)
    app = Starlette(routes=[Mount("/admin/jobs", dashboard(queue, authorize=lambda request: Visitor("ada")))])
    with served(app) as site, httpx.Client(base_url=site, timeout=30) as client:
        for path in PAGES:
            page = client.get(f"/admin/jobs{path}").text
            links = re.findall(r'(?:href|action|src)="([^"#]+)"', page)
            assert links
            assert [link for link in links if not link.startswith("/admin/jobs/")] == []
        assert client.get("/admin/jobs/find?q=order:1339").headers["location"].startswith("/admin/jobs/ref?")
    queue.close()


def test_a_database_that_is_away_is_said_kindly(open_dashboard: Callable[..., str]) -> None:
    queue = Queue("host=127.0.0.1 port=1 connect_timeout=1")
    site = open_dashboard(queue)
    answer = httpx.get(f"{site}/queues", timeout=60)
    assert answer.status_code == 503
    assert "The database does not answer" in answer.text
    queue.close()
