"""Pages of large queues: how far they look, that they say so, and that going on from there leaves nothing out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from pgjobq import JobState, Queue
from pgjobq.survey import Filter, Survey
from sql.support.hand import Hand
from web.flows import furnish_flows
from web.test_guard import SAME
from web.test_pages import ids_in, text_of


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    with Hand(dsn) as hand:
        yield hand


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search is over when it has begun: it looks at the fifty jobs that it may not leave out."""
    monkeypatch.setattr("pgjobq.survey.LOOK_FOR", 0.0)
    monkeypatch.setattr("pgjobq.web.acts.LOOK_FOR", 0.0)


def all_of(survey: Survey, wanted: Filter) -> tuple[list[int], list[int]]:
    """The ids that are found page by page, and how many were looked at for each."""
    found: list[int] = []
    looked: list[int] = []
    after = None
    while True:
        page = survey.look(wanted, after=after)
        found += [job.id for job in page.jobs]
        looked.append(page.searched)
        if (after := page.after) is None:
            return found, looked


@pytest.mark.parametrize("state", [None, "succeeded", "failed", "ready", "scheduled", "running"])
def test_a_search_without_time_goes_on_by_fifties_and_leaves_nothing_out(
    queue: Queue, letter: int, no_time: None, state: JobState | None
) -> None:
    wanted = Filter(state=state, task="charge_card")
    found, looked = all_of(Survey(queue), wanted)
    assert set(looked[:-1]) <= {50}
    assert sorted(found) == sorted(job.id for job in queue.find(task="charge_card", state=state, limit=10_000))
    assert len(found) == len(set(found))


def test_a_page_says_how_far_it_looked(client: httpx.Client, letter: int, no_time: None) -> None:
    page = client.get("/jobs?text=nowhere-to-be-found").text
    assert "None among the 50 jobs that were looked at so far." in text_of(page)
    assert ">Search further</a>" in page
    some = client.get("/jobs?task=charge_card").text
    assert f"{len(ids_in(some))} jobs among the 50 that were looked at so far." in text_of(some)


@pytest.mark.parametrize("state", [None, "succeeded", "failed", "ready", "blocked", "running", "scheduled"])
def test_jobs_of_some_time_are_found_by_their_ids(queue: Queue, letter: int, state: JobState | None) -> None:
    now = datetime.now(UTC)
    survey = Survey(queue)
    for since, until in ((40, 20), (None, 30), (30, None), (1, None), (None, 500), (500, 400)):
        times: dict[str, Any] = {
            "since": since and now - timedelta(minutes=since),
            "until": until and now - timedelta(minutes=until),
        }
        found, _ = all_of(survey, Filter(state=state, **times))
        assert sorted(found) == sorted(job.id for job in queue.find(state=state, limit=10_000, **times)), times


def test_a_time_long_ago_is_reached_at_once(queue: Queue, hand: Hand) -> None:
    """Without the halving, a search would look at what is newer first."""
    hand.conn.execute(
        "INSERT INTO pgjobq.job (created_at, priority, max_attempts, queue, task, args)"
        " SELECT now() - make_interval(mins => 6000 - i), 0, 1, 'mail', 'send', '{}' FROM generate_series(1, 6000) i"
    )
    hand.conn.execute(
        "INSERT INTO pgjobq.finished (job, finished_at, attempt, outcome) SELECT id, created_at, 1, 's' FROM pgjobq.job"
    )
    now = datetime.now(UTC)
    page = Survey(queue).look(Filter(until=now - timedelta(hours=90)), limit=10)
    assert len(page.jobs) == 10
    assert page.searched <= 250
    page = Survey(queue).look(Filter(since=now - timedelta(minutes=30)), limit=100)
    assert (len(page.jobs), page.after) == (30, None)
    assert page.searched < 50
    hand.conn.execute("DELETE FROM pgjobq.finished")
    hand.conn.execute("DELETE FROM pgjobq.job")


def test_what_went_wrong_goes_on_to_older_ones(client: httpx.Client, queue: Queue, hand: Hand, no_time: None) -> None:
    hand.conn.execute(
        "WITH made AS (INSERT INTO pgjobq.job (created_at, priority, max_attempts, queue, task, args)"
        " SELECT now() - make_interval(secs => i), 0, 1, 'mail', CASE WHEN i <= 50 THEN 'late' ELSE 'early' END, '{}'"
        " FROM generate_series(1, 120) i RETURNING id, created_at)"
        " INSERT INTO pgjobq.finished (job, finished_at, attempt, outcome, reason)"
        " SELECT id, created_at, 1, 'f', 'no' FROM made"
    )
    told, after = {}, None
    while True:
        found = Survey(queue).failures(after=after)
        for one in found.groups:
            told[one.task] = told.get(one.task, 0) + one.jobs
        if (after := found.after) is None:
            break
    assert told == {"late": 50, "early": 70}
    assert asyncio.run(_failures(queue)) == {"late": 50}
    page = client.get("/failed").text
    assert "These are the newest 50 failed jobs; there are older ones." in text_of(page)
    assert "50 jobs late" in text_of(page)
    (older,) = [part.split('"')[0] for part in page.split('rel="next" href="')[1:]]
    said = text_of(client.get(older.replace("&amp;", "&")).text)
    assert "50 jobs early" in said
    assert "late" not in said
    assert client.get("/failed?after=x").status_code == 400


async def _failures(queue: Queue) -> dict[str, int]:
    found = await Survey(queue).afailures()
    await queue.aclose()
    return {one.task: one.jobs for one in found.groups}


def test_what_a_bulk_act_would_be_is_counted_in_time_or_to_the_end(
    client: httpx.Client, queue: Queue, hand: Hand, no_time: None
) -> None:
    hand.enqueue_many([{"task": "send", "tags": ["odd"] if number < 30 else None} for number in range(200)])
    client.get("/jobs")
    form = {"verb": "cancel", "all": "1", "state": "ready", "tag": "odd", "back": "/jobs"}
    form["token"] = client.cookies["pgjobq_token"]
    shown = client.post("/act", data=form, headers=SAME).text
    assert "None found among the 50 jobs that were looked at so far; there may be more." in text_of(shown)
    assert "Look at all of them" in shown
    shown = client.post("/act", data=form | {"to_the_end": "1"}, headers=SAME).text
    assert "Cancel 30 jobs?" in text_of(shown)
    assert 'name="most" value="30"' in shown
    assert queue.count(state="ready") == 200
    done = client.post("/act", data=form | {"most": "20", "sure": "1"}, headers=SAME, follow_redirects=True).text
    assert "20 jobs cancelled." in text_of(done)
    assert queue.count(state="cancelled", tag="odd") == 20


def test_a_filter_names_a_workflow(client: httpx.Client, dsn: str, queue: Queue) -> None:
    flow = furnish_flows(dsn)["import"]
    jobs = {job.id for job in queue.find(workflow=flow)}
    assert set(ids_in(client.get(f"/jobs?workflow={flow}").text)) == jobs
    failed = {job.id for job in queue.find(workflow=flow, state="failed")}
    assert failed
    assert set(ids_in(client.get(f"/jobs?workflow={flow}&state=failed").text)) == failed
    assert client.get("/jobs?workflow=x").status_code == 400


def test_a_large_workflow_is_told_by_its_first_jobs(
    dsn: str, queue: Queue, open_dashboard: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgjobq.statements.workflows.MOST_NODES", 3)
    monkeypatch.setattr("pgjobq.statements.workflows.MOST_GROUPED", 10)
    flow = furnish_flows(dsn)["import"]
    assert queue.workflow_graph(flow).jobs == 10
    page = httpx.get(f"{open_dashboard()}/workflows/{flow}").text
    assert "task by task, of its first 10 jobs" in text_of(page)
