"""Figures: what each metric means, every sample of it, and how they are kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.arithmetic import median, ratio

__all__ = ["FLOOR", "METRICS", "Figure", "Metric", "Results"]

FLOOR = "raw"


@dataclass(frozen=True)
class Metric:
    """One column: its step's letter, its head in the tables, its unit, and which way is better."""

    step: str
    head: str
    unit: str
    what: str
    better: str = "more"
    digits: int = 0


METRICS: dict[str, Metric] = {
    "one": Metric("a", "one by one", "/s", "jobs enqueued one by one, each committed, by one client"),
    "pooled": Metric("a", "pooled", "/s", "the same through the library's own pool (pgjobq)"),
    "bulk": Metric("b", "bulk", "/s", "jobs enqueued in bulk"),
    "drain1": Metric("c", "drain 1", "/s", "jobs worked off by one worker process"),
    "cpu_worker": Metric("c", "worker µs", "µs", "CPU of the worker process a job, supervisor included", "less", 1),
    "cpu_db": Metric(
        "c", "database µs", "µs", "CPU of the database a job, its background processes included", "less", 1
    ),
    "drain2": Metric("d", "drain 2", "/s", "jobs worked off by two worker processes"),
    "pickup50": Metric("e", "p50", "ms", "from calling enqueue to the handler, idle worker, median", "less", 2),
    "pickup95": Metric("e", "p95", "ms", "the same, 95th percentile", "less", 2),
    "pickup99": Metric("e", "p99", "ms", "the same, 99th percentile", "less", 2),
    "held": Metric("f", "held", "/s", "the last jobs of a long drain under a held snapshot"),
    "held_ratio": Metric("f", "of calm", "×", "held, as a multiple of drain 1 of the same system", digits=2),
    "waiting": Metric("g", "B waiting", "B", "bytes a waiting job takes, indexes included", "less"),
    "done": Metric("g", "B done", "B", "bytes a job takes after it has run, as the disk then is", "less"),
    "wal_in": Metric("g", "WAL in", "B", "bytes of WAL to enqueue a job in bulk", "less"),
    "wal_run": Metric("g", "WAL run", "B", "bytes of WAL to run a job", "less"),
    "rss": Metric("h", "RSS", "MB", "resident memory of a worker process that has run some thousand jobs", "less"),
    "idle": Metric("h", "idle CPU", "%", "CPU of an idle worker with its supervisor, of one core", "less", 2),
    "idle_db": Metric("h", "idle db", "%", "CPU of the database meanwhile, of one core", "less", 2),
    "eight": Metric("i", "8 alone", "/s", "jobs enqueued one by one by 8 clients at once, no worker"),
    "eight_busy": Metric("i", "8 busy", "/s", "the same while a worker is busy"),
    "eight_ratio": Metric("i", "busy/alone", "×", "the one as a multiple of the other", digits=2),
    "deep10k": Metric("j", "at 10k", "/s", "jobs worked off in the first two seconds of a backlog of 10,000"),
    "deep1m": Metric("j", "at 1M", "/s", "… of 1,000,000"),
    "deep3m": Metric("j", "at 3M", "/s", "… of 3,000,000"),
    "ms1": Metric("k", "1 ms", "%", "throughput with handlers of 1 ms, 50 at once, of 50,000/s", digits=1),
    "ms10": Metric("k", "10 ms", "%", "… of 10 ms, of 5,000/s", digits=1),
    "ms100": Metric("k", "100 ms", "%", "… of 100 ms, of 500/s", digits=1),
    "threads": Metric("l", "threads", "/s", "plain functions that do nothing, 10 at once, one process"),
    "cpu1": Metric("l", "cpu 1", "/s", "plain functions that compute for 1 ms, one process"),
    "cpu2": Metric("l", "cpu 2", "/s", "the same, two processes"),
    "herd": Metric("m", "a job", "ms", "CPU of the database for a job that comes while 32 workers sleep", "less", 2),
    "crowd": Metric("m", "db CPU", "%", "CPU of the database with 32 idle worker processes, of one core", "less", 1),
    "hist0": Metric("n", "drain", "/s", "jobs worked off, no history"),
    "hist": Metric("n", "drain, long", "/s", "jobs worked off with a long history"),
    "hist_ratio": Metric("n", "ratio", "×", "the one as a multiple of the other", digits=2),
    "hist0_one": Metric("n", "1 by 1", "/s", "jobs enqueued one by one, no history but what was just drained"),
    "hist_one": Metric("n", "1 by 1, long", "/s", "… with a long history"),
    "hist_one_ratio": Metric("n", "ratio", "×", "the one as a multiple of the other", digits=2),
    "pruned": Metric("n", "deleting", "/s", "jobs worked off while as many old ones are deleted"),
    "pruned_ratio": Metric("n", "ratio", "×", "as a multiple of the same without a history", digits=2),
    "hist0_cpu": Metric("n", "CPU", "µs", "CPU of worker and database a job, no history", "less", 1),
    "hist_cpu": Metric("n", "long", "µs", "… with a long history", "less", 1),
    "hist_cpu_ratio": Metric("n", "ratio", "×", "the one as a multiple of the other", "less", 2),
    "pruned_cpu": Metric("n", "deleting", "µs", "… while as many old ones are deleted", "less", 1),
    "pruned_cpu_ratio": Metric("n", "ratio", "×", "as a multiple of the same without a history", "less", 2),
    "sleep1": Metric("o", "50 ms: 1", "/s", "handlers of 50 ms, 25 at once a process: one process (500/s at the most)"),
    "sleep2": Metric("o", "2 proc.", "/s", "… two processes (1,000/s)"),
    "sleep4": Metric("o", "4 proc.", "/s", "… four (2,000/s)"),
    "sleep8": Metric("o", "8 proc.", "/s", "… eight (4,000/s)"),
    "noop4": Metric("o", "no-op 4", "/s", "handlers that do nothing, four processes on these cores"),
    "noop8": Metric("o", "no-op 8", "/s", "… eight"),
    "spread": Metric("o", "spread", "%", "of eight processes: most minus fewest jobs, of the mean", "less", 1),
    "stream": Metric("p", "1M stream", "/s", "a million jobs enqueued from a generator, in one transaction"),
    "stream_memory": Metric(
        "p", "memory", "MB", "by so much the client's memory grows meanwhile, the ids it gets included", "less"
    ),
    "flat_first": Metric("p", "first", "/s", "the first tenth of a million jobs under a held snapshot"),
    "flat_last": Metric("p", "last", "/s", "… and the last tenth"),
    "flat_ratio": Metric("p", "ratio", "×", "the one as a multiple of the other", digits=2),
    "lane1": Metric("p", "1 lane", "/s", "jobs worked off in one lane"),
    "lane1000": Metric("p", "1,000 lanes", "/s", "… in ten of a thousand lanes (100 queues, 10 priorities each)"),
    "lane_ratio": Metric("p", "ratio", "×", "the one as a multiple of the other", digits=2),
}


@dataclass
class Figure:
    """What was measured of one system under one metric."""

    metric: str
    system: str
    samples: list[float]
    jobs: int = 0

    @property
    def value(self) -> float:
        """The median of the samples."""
        return median(self.samples)


@dataclass
class Results:
    """Everything one run has found out."""

    machine: dict[str, Any]
    server: dict[str, Any]
    plan: dict[str, Any]
    systems: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[tuple[str, str], Figure] = field(default_factory=dict)
    troubles: list[tuple[str, str, str]] = field(default_factory=list)
    """(system, step, what went wrong): shown with the tables, never dropped."""
    interrupted: bool = False

    def add(self, metric: str, system: str, sample: float, jobs: int = 0) -> None:
        """One more sample."""
        assert metric in METRICS, metric
        figure = self.figures.setdefault((metric, system), Figure(metric, system, [], jobs))
        figure.samples.append(sample)

    def add_ratio(self, metric: str, system: str, over: str, under: str) -> None:
        """One figure of a system as a multiple of another one of its own, when both are known."""
        multiple = ratio(self.value(over, system), self.value(under, system))
        if multiple is not None:
            self.add(metric, system, multiple)

    def value(self, metric: str, system: str) -> float | None:
        """The figure, or None when it was not measured."""
        figure = self.figures.get((metric, system))
        return None if figure is None else figure.value

    def against_floor(self, metric: str, system: str) -> float | None:
        """The figure as a multiple of raw's of the same run."""
        return ratio(self.value(metric, system), self.value(metric, FLOOR))

    def reduced(self) -> dict[str, list[tuple[str, int]]]:
        """By system: the columns whose rate is that of fewer jobs than others were given, and how many it was."""
        most: dict[str, int] = {}
        for figure in self.figures.values():
            most[figure.metric] = max(most.get(figure.metric, 0), figure.jobs)
        found: dict[str, list[tuple[str, int]]] = {}
        for figure in self.figures.values():
            if METRICS[figure.metric].unit == "/s" and 0 < figure.jobs < most[figure.metric]:
                found.setdefault(figure.system, []).append((METRICS[figure.metric].head, figure.jobs))
        return found

    def save(self, path: Path) -> None:
        """Write all of it as JSON."""
        content = {
            "machine": self.machine,
            "server": self.server,
            "plan": self.plan,
            "systems": self.systems,
            "metrics": {name: asdict(metric) for name, metric in METRICS.items()},
            "figures": [{**asdict(figure), "value": figure.value} for figure in self.figures.values()],
            "troubles": [dict(zip(("system", "step", "what"), trouble, strict=True)) for trouble in self.troubles],
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
