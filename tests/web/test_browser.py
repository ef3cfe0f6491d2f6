"""People at a real browser: the customer-care story, without JavaScript too, keyboard, phone, and hostile payloads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest

from pgjobq import Queue
from pgjobq.settings import WorkerSettings
from pgjobq.web import live
from pgjobq.worker import Worker
from support.waiting import eventually
from web.scene import furnish_fulfilment, furnish_operators


def run_worker(queue: Queue) -> tuple[Worker, Callable[[], None]]:
    """A worker in a thread; gives how to stop it."""
    worker = Worker(queue, WorkerSettings(queues=("mail",), concurrency=1, poll_interval=0.1))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(worker.run(),))
    thread.start()

    def stop() -> None:
        loop.call_soon_threadsafe(worker.stop)
        thread.join(30)
        loop.close()

    return worker, stop


@pytest.fixture
def wait_live(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Waits until the stream of the one open page has taken its first pulse: it tells of whatever happens from then on.

    Streams are opened one after the other, so the page's own is the newest.
    """
    streams: list[threading.Event] = []
    events = live._events

    def opened(*given: Any) -> AsyncIterator[str]:
        streams.append(threading.Event())
        return listened(events(*given), streams[-1])

    async def listened(told: Any, pulsed: threading.Event) -> AsyncIterator[str]:
        async with contextlib.aclosing(told):
            async for event in told:
                if "id: " in event:
                    pulsed.set()
                yield event

    def wait(page: Any) -> None:
        page.wait_for_selector("#live:not([hidden])")
        eventually(lambda: streams[-1].is_set())

    monkeypatch.setattr(live, "_events", opened)
    return wait


@pytest.mark.parametrize("script", [True, False], ids=["live", "no-js"])
def test_customer_care_finds_the_order_and_retries_the_letter(
    visit: Callable[..., Any],
    site: str,
    dsn: str,
    letter: int,
    wait_live: Callable[[Any], None],
    script: bool,
) -> None:
    """Find the order, see in plain words what failed, press retry, see it done."""
    queue = Queue(dsn)
    sent = []

    @queue.task(queue="mail")
    def send_confirmation(order_id: int, email: str = "", letter: dict[str, Any] | None = None) -> None:
        sent.append(order_id)

    page = visit(site, java_script_enabled=script)
    page.fill("#q", "order:1339")
    page.press("#q", "Enter")
    assert page.url == f"{site}/ref?ref=order%3A1339"
    assert "1 job failed: send_confirmation" in page.inner_text(".why")
    assert "Connection refused" in page.inner_text("tr:has(.pill.failed)")
    page.click(f"button[aria-label='Retry job {letter}']")
    page.wait_for_selector("text=1 job retried.")
    assert page.url == f"{site}/ref?ref=order%3A1339"
    assert page.locator(".pill.ready").count() == 1
    if script:
        wait_live(page)
    _, stop = run_worker(queue)
    try:
        if script:  # the page tells by itself
            page.wait_for_selector("text=Everything is done.", timeout=60_000)
        else:
            for _ in range(300):
                page.reload()
                if page.locator("text=Everything is done.").count():
                    break
                page.wait_for_timeout(100)
    finally:
        stop()
    assert page.locator(".pill.succeeded").count() == 3
    assert sent.count(1339) == 1
    queue.close()


def test_some_are_chosen_without_javascript(visit: Callable[..., Any], site: str, queue: Queue, letter: int) -> None:
    page = visit(f"{site}/jobs?state=failed", java_script_enabled=False)
    before = page.locator("tbody tr").count()
    for place in (0, 1, 2):
        page.locator("input[type=checkbox]").nth(place).check()
    page.click("text=Retry the chosen")
    assert page.inner_text("h1") == "Retry 3 jobs?"
    page.click("button.main")
    assert "3 jobs retried." in page.inner_text(".said")
    assert page.locator("tbody tr").count() == before - 3


def test_a_group_of_failures_is_retried(visit: Callable[..., Any], site: str, queue: Queue, letter: int) -> None:
    page = visit(f"{site}/failed")
    group = page.locator("article:has-text('CardDeclined')")
    count = int(group.locator("h2 a").inner_text().split()[0])
    group.locator("button").click()
    assert page.inner_text("h1") == f"Retry {count} jobs?"
    assert len(queue.jobs(state="failed", task="charge_card")) == count  # nothing done yet
    page.click("button.main")
    page.wait_for_selector(f"text={count} jobs retried.")
    assert queue.jobs(state="failed", task="charge_card") == []


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "</pre></textarea><svg onload=alert(1)>",
]


# A step that is done, a wait that is not, and how far the job is.
STEPS = """
    WITH one AS (
        INSERT INTO pgjobq.step (job, started_at, ended_at, attempt, kind, name, event, value)
        SELECT %(job)s, now(), CASE WHEN kind = 'step' THEN now() END, 1, kind, name, event, to_jsonb(%(text)s::text)
        FROM (VALUES ('step', %(text)s, NULL), ('wait', 'x' || %(text)s, %(text)s)) x(kind, name, event)
    )
    INSERT INTO pgjobq.progress (job, at, done, total, attempt, message) VALUES (%(job)s, now(), 1, 2, 1, %(text)s)
"""


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_shown_and_do_nothing(
    visit: Callable[..., Any], site: str, dsn: str, queue: Queue, text: str
) -> None:
    """In every place that a producer can fill: task, queue, ref, tags, arguments, headers, errors, results."""
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            "SELECT pgjobq.enqueue(%(t)s, jsonb_build_object(%(t)s::text, %(t)s::text), %(t)s, ref => %(t)s,"
            " tags => ARRAY[%(t)s::text], headers => jsonb_build_object(%(t)s::text, %(t)s::text))", {"t": text},
        ).fetchone()  # fmt: skip
        assert row
        conn.execute("DELETE FROM pgjobq.ready")
        conn.execute(
            "INSERT INTO pgjobq.finished (job, started_at, finished_at, worker, attempt, outcome, reason, result)"
            " VALUES (%s, now(), now(), gen_random_uuid(), 1, 'f', %s, to_jsonb(%s::text))", [row[0], text, text],
        )  # fmt: skip
        conn.execute(
            "INSERT INTO pgjobq.attempt_error VALUES (%s, now(), now(), NULL, 1, %s, %s, %s)",
            [row[0], text, text, text],
        )
        conn.execute(
            "INSERT INTO pgjobq.worker (id, expires_at, pid, concurrency, host, app, version, queues, tasks)"
            " SELECT gen_random_uuid(), now() + interval '1 h', 1, 1, t, t, t, ARRAY[t], ARRAY[t]"
            " FROM (SELECT %(t)s::text AS t) x",
            {"t": text},
        )
    queue.pause(queue=text, reason=text, by=text)
    queue.limit(text, waiting=5, by=text)
    queue.set_ageing(text, step=60, by=text)
    with psycopg.connect(dsn) as conn:
        gate = json.dumps([{"task": text, "gates": [{"key": text, "name": text, "concurrency": 1}]}])
        conn.execute("SELECT pgjobq.enqueue_many(%s::jsonb)", [gate])
        conn.execute(STEPS, {"job": row[0], "text": text})
    queue.pause(task=text, reason=text, by=text)
    page = visit(site)
    for path in ("/", "/jobs", "/jobs?state=failed", f"/jobs/{row[0]}", "/failed", "/queues", "/workers", "/gates",
                 "/audit", "/?span=3d"):  # fmt: skip
        page.goto(f"{site}{path}")
        assert text in page.inner_text("#page"), path
        assert page.locator("#page script, #page img, [onerror], [onload], [onmouseover]").count() == 0
        assert page.locator("a[href^='javascript:' i]").count() == 0
    page.fill("#q", text)
    page.press("#q", "Enter")
    page.wait_for_url(re.compile("/ref"))
    assert page.inner_text("h1").startswith(text)
    page.click("button:has-text('Retry')")
    page.wait_for_selector("text=1 job retried.")
    assert page.inner_text("h1").startswith(text)


def test_another_site_cannot_press_the_button(
    visit: Callable[..., Any], chromium: Any, site: str, queue: Queue, letter: int
) -> None:
    context = chromium.new_context()
    context.new_page().goto(f"{site}/jobs/{letter}")  # the cookie is there
    page = context.new_page()
    page.goto("data:text/html,<p>hello")
    page.set_content(
        f"<form method=post action='{site}/act'><input name=verb value=retry><input name=job value={letter}>"
        "<input name=token value=x><button>win</button></form>"
    )
    page.click("button")
    page.wait_for_selector("text=Not allowed")
    assert queue.get(letter).state == "failed"  # type: ignore[union-attr]
    context.close()


def test_it_cannot_be_framed(visit: Callable[..., Any], chromium: Any, site: str) -> None:
    page = chromium.new_page()
    page.set_content(f"<iframe src='{site}/'></iframe>")
    page.wait_for_timeout(500)
    assert all(
        "Overview" not in (frame.content() if frame.url.startswith("http://127") else "") for frame in page.frames
    )
    page.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out(
    visit: Callable[..., Any], site: str, dsn: str, queue: Queue, letter: int, width: int, scheme: str
) -> None:
    furnish_operators(queue)
    flow = furnish_fulfilment(queue, dsn)
    page = visit(site, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for path in (
        "/",
        "/jobs",
        "/jobs?state=failed",
        f"/jobs/{letter}",
        "/failed",
        "/queues",
        "/workers",
        "/gates",
        "/schedules",
        "/audit",
        "/ref?ref=order:1339",
        "/workflows",
        f"/workflows/{flow}",
        "/jobs?argument=order_id=1339",
    ):
        page.goto(f"{site}{path}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    visit: Callable[..., Any], site: str, dsn: str, queue: Queue, letter: int, scheme: str
) -> None:
    """What a machine can tell of accessibility: names, labels, contrasts, order of headings."""
    from axe_playwright_python.sync_playwright import Axe

    furnish_operators(queue)
    flow = furnish_fulfilment(queue, dsn)
    waiting = queue.find(state="scheduled")[0].id
    page = visit(site, color_scheme=scheme)
    for path in ("/", "/jobs?state=failed", f"/jobs/{letter}", f"/jobs/{waiting}", "/failed", "/queues", "/workers",
                 "/gates", "/schedules", "/audit", "/ref?ref=order:1339", "/?span=24h", "/workflows",
                 f"/workflows/{flow}", "/jobs?argument=order_id=1339"):  # fmt: skip
        page.goto(f"{site}{path}")
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"


def test_keys(visit: Callable[..., Any], site: str, letter: int) -> None:
    page = visit(f"{site}/jobs?state=failed")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/jobs/{letter}")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.reload()
    page.keyboard.press("?")
    assert page.locator("#keys").evaluate("each => each.open")
    page.keyboard.press("j")  # of the page behind it, nothing
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    page.keyboard.press("g")
    page.keyboard.press("f")
    page.wait_for_url(f"{site}/failed")
    page.goto(f"{site}/jobs?state=failed")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.locator("input[type=checkbox]:checked").count() == 1
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_a_page_tells_of_a_new_job_by_itself_and_spares_what_is_chosen(
    visit: Callable[..., Any], site: str, dsn: str, letter: int, wait_live: Callable[[Any], None]
) -> None:
    page = visit(f"{site}/jobs?state=ready")
    wait_live(page)
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT pgjobq.enqueue('fresh_one')")
    page.wait_for_selector("td.task:has-text('fresh_one')", timeout=30_000)
    page.locator("input[type=checkbox]").first.check()
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT pgjobq.enqueue('another_one')")
    page.wait_for_timeout(2500)
    assert page.locator("input[type=checkbox]").first.is_checked()
    assert page.locator("td.task:has-text('another_one')").count() == 0
