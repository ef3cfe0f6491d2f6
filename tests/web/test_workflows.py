"""The pages of workflows: what they say, what can be done there, and the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from pgjobq import JobState, Queue
from pgjobq.web import Role, Visitor
from pgjobq.web.graph import ALIKE, BOX, HIGH, Box, laid_out
from pgjobq.workflow import WorkflowGraph, WorkflowLink, WorkflowNode
from web.flows import furnish_flows
from web.test_guard import SAME, token_of
from web.test_pages import text_of


@pytest.fixture
def flows(dsn: str) -> dict[str, int]:
    return furnish_flows(dsn)


def test_the_list_tells_how_far_each_is(client: httpx.Client, flows: dict[str, int]) -> None:
    said = text_of(client.get("/workflows").text)
    assert f"#{flows['import']} failed import file:7 40 40 1" in said
    assert f"#{flows['fulfil']} running fulfil order:42 6 2 0" in said
    only = text_of(client.get("/workflows", params={"state": "failed", "name": "import"}).text)
    assert f"#{flows['import']}" in only
    assert f"#{flows['fulfil']}" not in only
    assert "None of them is like that" in text_of(client.get("/workflows", params={"ref": "no:1"}).text)
    assert client.get("/workflows?state=done").status_code == 400
    assert client.get(f"/workflows?before={flows['fulfil']}").text.count('class="id"') == 1


def test_an_empty_queue_says_so(client: httpx.Client) -> None:
    assert "No jobs belong together" in text_of(client.get("/workflows").text)
    assert "There is no workflow 7" in text_of((missing := client.get("/workflows/7")).text)
    assert missing.status_code == 404


def test_one_workflow(client: httpx.Client, flows: dict[str, int], queue: Queue) -> None:
    page = client.get(f"/workflows/{flows['fulfil']}").text
    said = text_of(page)
    for part in (
        "fulfil",
        "2 of 6 jobs ended",
        "all of it",
        "if it fails",
        "if it succeeds",
        "order:42",
        "Cancel the 4 jobs",
    ):
        assert part in said
    first = queue.find(workflow=flows["fulfil"], task="charge")[0].id
    assert f'href="/jobs/{first}" class="succeeded"' in page
    assert "style=" not in page
    assert f'href="/workflows/{flows["fulfil"]}">#{flows["fulfil"]}' in client.get(f"/jobs/{first}").text
    blocked = queue.find(workflow=flows["fulfil"], state="blocked")[0].id
    why = text_of(client.get(f"/jobs/{blocked}").text)
    assert "It waits for" in why
    assert f"It belongs to workflow {flows['fulfil']} ('fulfil')" in why
    only = client.get(f"/workflows/{flows['fulfil']}?state=blocked").text
    assert only.count('<td class="id">') == 2


def test_what_cancelled_the_others(client: httpx.Client, flows: dict[str, int], queue: Queue, dsn: str) -> None:
    (bad,) = queue.find(workflow=flows["import"], state="failed")
    page = client.get(f"/workflows/{flows['import']}").text
    assert f"because of #{bad.id}" in text_of(page)
    assert "fails fast" not in page
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE pgjobq.workflow SET fail_fast = true WHERE id = ANY (%s)", ([*flows.values()],))
    assert "fails fast because of" in text_of(client.get(f"/workflows/{flows['import']}").text)
    said = text_of(client.get(f"/workflows/{flows['fulfil']}").text)
    assert "fails fast: the first job that fails cancels the others" in said


def test_hostile_names_are_shown_as_they_are(client: httpx.Client, flows: dict[str, int]) -> None:
    page = client.get(f"/workflows/{flows['import']}").text
    assert "<b>load</b>" not in page
    assert "&lt;b&gt;load&lt;/b&gt;" in page
    assert "40 × &lt;b&gt;load" in page, "alike ones are one box"


def test_a_large_one_is_drawn_task_by_task(client: httpx.Client, flows: dict[str, int]) -> None:
    assert "task by task" not in client.get(f"/workflows/{flows['net']}").text
    page = client.get(f"/workflows/{flows['large']}").text
    assert "task by task" in page
    assert "299 × pack" in page


def test_cancel_and_retry(open_dashboard: Callable[..., str], flows: dict[str, int], queue: Queue) -> None:
    for role in (Role.VIEWER, Role.OPERATOR):
        site = open_dashboard(authorize=lambda _, role=role: Visitor("eve", role))
        with httpx.Client(base_url=site, timeout=30) as client:
            page = client.get(f"/workflows/{flows['fulfil']}").text
            assert ("Cancel the 4 jobs" in page) == (role is Role.OPERATOR)
            asked = {"token": token_of(client) if role is Role.OPERATOR else "x", "back": "/workflows"}
            for verb, flow in (("cancel_workflow", "fulfil"), ("retry_workflow", "import")):
                answer = client.post("/act", data=asked | {"verb": verb, "workflow": str(flows[flow])}, headers=SAME)
                assert answer.status_code == (303 if role is Role.OPERATOR else 403)
            if role is Role.OPERATOR:
                nonsense = asked | {"verb": "retry_workflow", "workflow": "x"}
                assert client.post("/act", data=nonsense, headers=SAME).status_code == 400
    assert [(entry.what, entry.who, entry.jobs) for entry in queue.audit()] == [
        ("retry_workflow", "eve", 1), ("cancel_workflow", "eve", 4)
    ]  # fmt: skip


@pytest.mark.parametrize("script", [True, False], ids=["live", "no-js"])
def test_a_visitor_follows_an_order_and_cancels_it(
    visit: Callable[..., Any], site: str, flows: dict[str, int], queue: Queue, script: bool
) -> None:
    page = visit(site, java_script_enabled=script)
    page.get_by_role("link", name="Workflows").click()
    page.get_by_role("link", name=f"#{flows['fulfil']}").click()
    page.locator("svg.flow a", has_text="charge").click()
    page.get_by_role("link", name=f"#{flows['fulfil']}", exact=True).click()
    page.get_by_text("Cancel …").click()
    page.get_by_label("Reason").fill("withdrawn")
    page.get_by_role("button", name="Cancel the 4 jobs").click()
    assert "jobs cancelled, or told to end" in page.get_by_role("status").inner_text()
    found = queue.get_workflow(flows["fulfil"])
    assert found is not None
    assert found.cancelled == 4  # one of them was not needed; the one that runs is told to end
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_axe_finds_nothing(
    visit: Callable[..., Any], site: str, flows: dict[str, int], scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(site, color_scheme=scheme)
    for path in ("/workflows", *(f"/workflows/{flow}" for flow in flows.values())):
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(f"{site}{path}")
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"


# --- the graph, without a page ----------------------------------------------------------------------------


def _graph(links: list[tuple[int, int]], tasks: dict[int, str], followers: set[int] = frozenset()) -> WorkflowGraph:  # type: ignore[assignment]
    nodes = [WorkflowNode(n, task, {JobState.READY: 1}, n in followers) for n, task in tasks.items()]
    return WorkflowGraph(nodes, [WorkflowLink(a, b, "success") for a, b in links], grouped=False)


def _overlap(one: Box, other: Box) -> bool:
    return abs(one.x - other.x) < BOX and abs(one.y - other.y) < HIGH


def test_each_stands_right_of_what_it_comes_after_and_none_on_another() -> None:
    links = [(n // 3, n) for n in range(1, 120)] + [(n * 2 // 3, n) for n in range(2, 120)]
    boxes = laid_out(_graph(links, {n: f"task{n}" for n in range(120)}), 999)
    at = {box.id: box for box in boxes}
    assert all(at[a].x + BOX < at[b].x for a, b in links)
    assert not any(_overlap(one, other) for one in boxes for other in boxes if one is not other)


def test_many_alike_ones_are_one_box() -> None:
    fan = [(0, n) for n in range(1, ALIKE + 1)] + [(n, 100) for n in range(1, ALIKE + 1)]
    boxes = laid_out(_graph(fan, {0: "a", 100: "c"} | dict.fromkeys(range(1, ALIKE + 1), "b")), 999)
    assert sorted((box.task, box.jobs) for box in boxes) == [("a", 1), ("b", ALIKE), ("c", 1)]
    few = [(0, n) for n in range(1, ALIKE)]
    assert len(laid_out(_graph(few, {0: "a"} | dict.fromkeys(range(1, ALIKE), "b")), 999)) == ALIKE


def test_the_whole_is_a_box_where_something_waits_for_it() -> None:
    boxes = laid_out(_graph([(1, 2), (999, 3), (3, 4)], {1: "a", 2: "b", 3: "c", 4: "d"}, {3, 4}), 999)
    assert [box.id for box in sorted(boxes, key=lambda box: box.x)] == [1, 2, 999, 3, 4]
    assert laid_out(_graph([], {}), 999) == []


def test_groups_that_run_in_a_circle_are_drawn_too() -> None:
    assert len(laid_out(_graph([(1, 2), (2, 3), (3, 1), (3, 4)], {1: "a", 2: "b", 3: "c", 4: "d"}), 999)) == 4
