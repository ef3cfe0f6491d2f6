"""The dashboard's `/metrics`: what `pgjobq metrics` tells, to whoever may look."""

from __future__ import annotations

from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import HTTPConnection

from pgjobq.web import Role, Visitor


def test_metrics_of_what_stands_in_the_queue(client: httpx.Client, letter: int) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert sum(value for key, value in told.items() if key[0] == "pgjobq_queue_jobs" and key[2] == "ready") == 19
    assert told["pgjobq_workers_alive",] == 2


def test_only_those_are_told_who_may_look(open_dashboard: Callable[..., str], letter: int) -> None:
    def authorize(request: HTTPConnection) -> Visitor | None:
        asks = request.headers.get("authorization") == "Bearer of-prometheus"
        return Visitor("prometheus", Role.VIEWER) if asks else None

    url = open_dashboard(authorize=authorize)
    assert httpx.get(f"{url}/metrics").status_code in (401, 403)
    assert httpx.get(f"{url}/metrics", headers={"Authorization": "Bearer of-prometheus"}).status_code == 200
