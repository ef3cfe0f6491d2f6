"""The dashboard and the alert rules for Prometheus name only metrics and labels that exist, and the page leaves none
out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime

import pages
import pytest

from pgjobq.engine.figures import about_worker
from pgjobq.metrics import Family, Standing, Tally, gauges
from pgjobq.overview import QueueStats, Stats
from pgjobq.settings import WorkerSettings

OPS = pages.ROOT / "ops"
ALERTS = OPS / "prometheus/alerts.yml"
DASHBOARD = OPS / "grafana/pgjobq.json"
NAME = re.compile(r"\bpgjobq_[a-z_]+\b")
SELECTOR = re.compile(r"\b(pgjobq_[a-z_]+)\{([^}]*)\}")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')


def families() -> list[Family]:
    """Every metric there is, each with a sample."""
    tally = Tally()
    tally.ended("q", "t", "succeeded", 0.1)
    queue = QueueStats(name="q", ready=1, running=0, scheduled=0, blocked=0, oldest=None, workers=1, paused=False)
    standing = Standing([queue], [], Stats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0), [], datetime.now(UTC), 0.0)
    return [*about_worker("app", WorkerSettings(), 0, 1), *tally.families(), *gauges(standing)]


def known() -> dict[str, set[str]]:
    """The labels of each sample, by its name."""
    suffixes = {"counter": "_total", "info": "_info"}
    return {
        family.name + (sample.suffix or suffixes.get(family.kind, "")): set(sample.labels)
        for family in families()
        for sample in family.samples
    }


def wrong(expression: str) -> list[str]:
    """What an expression names that there is not."""
    samples = known()
    found = [name for name in NAME.findall(expression) if name not in samples]
    for name, selector in SELECTOR.findall(expression):
        found += [f"{name}{{{label}}}" for label in set(LABEL.findall(selector)) - samples.get(name, set())]
    return found


def expressions() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    told = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    told += [variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    rules = re.findall(r"expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", ALERTS.read_text())
    return told + [folded or plain for folded, plain in rules]


def test_every_metric_and_label_of_dashboard_and_alerts_exists() -> None:
    told = expressions()
    assert len(told) > 30, "they are found at all"
    assert not [fault for expression in told for fault in wrong(expression)]


def test_faults_are_noticed() -> None:
    assert wrong('rate(pgjobq_jobs_total{queue="a"}[5m])') == ["pgjobq_jobs_total", "pgjobq_jobs_total{queue}"]
    assert wrong('pgjobq_queue_jobs{tenant=~"a",queue!="b"} > 1') == ["pgjobq_queue_jobs{tenant}"]
    assert not wrong('histogram_quantile(0.9, pgjobq_job_wait_seconds_bucket{le="1"})')


def test_the_page_leaves_no_metric_out_and_names_no_other() -> None:
    page = (pages.ROOT / "docs/observability.md").read_text()
    named = set(re.findall(r"`(pgjobq_[a-z_]+)`", page))
    suffixes = {"counter": "_total", "info": "_info"}
    assert named == {family.name + suffixes.get(family.kind, "") for family in families()}


def test_panels_do_not_overlap_and_each_says_what_it_shows() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_prometheus_takes_the_rules_and_they_fire_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        told = subprocess.run([promtool, *command], cwd=ALERTS.parent, capture_output=True, text=True, timeout=60)
        assert told.returncode == 0, told.stdout + told.stderr
