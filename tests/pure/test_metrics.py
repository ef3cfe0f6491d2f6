"""What is counted adds up however it is handed over, stays bounded, and reads as Prometheus wants it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pgjobq.events import ConnectionLost, JobsTakenBack
from pgjobq.metrics import Family, Standing, Tally, expose, gauges
from pgjobq.metrics.gauges import MOST_QUEUES
from pgjobq.metrics.tally import MOST_SERIES
from pgjobq.overview import Pause, QueueStats, Stats, WorkerInfo

NAMES = st.text(min_size=1, max_size=5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("started"), NAMES, NAMES, st.none() | st.floats(0, 10_000)),
        st.tuples(
            st.just("ended"),
            NAMES,
            NAMES,
            st.sampled_from(["succeeded", "retried", "lost"]),
            st.none() | st.floats(0, 9_999),
        ),
        st.tuples(st.just("claims"), st.integers(1, 2_000)),
        st.tuples(st.just("event")),
        st.tuples(st.just("give")),
    ),
    max_size=60,
)


def do(tally: Tally, step: Any) -> None:
    kind, *rest = step
    if kind in ("started", "ended"):
        getattr(tally, kind)(*rest)
    elif kind == "claims":
        tally.claims.add(*rest)
        tally.settles.add(*rest)
    elif kind == "event":
        tally.hear(JobsTakenBack(worker="w", reason="r", jobs=2, failed=1))
        tally.hear(ConnectionLost(purpose="claims", error="e", error_message="m"))


def samples(families: list[Family]) -> dict[Any, float]:
    """As Prometheus would read them."""
    read = text_string_to_metric_families(expose(families))
    return {
        (sample.name, *sorted(sample.labels.items())): round(sample.value, 6)
        for family in read
        for sample in family.samples
    }


@given(steps=STEPS)
def test_handed_over_in_pieces_it_is_the_same(steps: list[Any]) -> None:
    """Also when the other side is not ready now and then: nothing is lost, nothing is counted twice."""
    whole, total = Tally(), Tally()
    ready = random.Random(len(steps))

    def take(told: dict[str, Any]) -> bool:
        if ready.random() < 0.3:
            return False
        total.merge(told)
        return True

    parts = Tally(take)
    for step in steps:
        do(whole, step)
        do(parts, step)
        if step[0] == "give":
            parts.hand_over()
    total.merge(parts.told)
    assert samples(total.families()) == samples(whole.families())


def test_series_are_bounded() -> None:
    """Names may come from outside; each costs Prometheus forty series."""
    tally = Tally()
    for number in range(MOST_SERIES * 3):
        tally.started(f"tenant-{number}", "task", None)
    told = samples(tally.families())
    started = {key: value for key, value in told.items() if key[0] == "pgjobq_attempts_started_total"}
    assert len(started) == MOST_SERIES + 1
    assert started["pgjobq_attempts_started_total", ("queue", "(other)"), ("task", "(other)")] == 2 * MOST_SERIES
    assert sum(started.values()) == 3 * MOST_SERIES


@given(label=st.text(), value=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_any_label_and_value_come_through(label: str, value: float) -> None:
    family = Family("x", "gauge", 'a "quoted"\nhelp \\')
    family.add(value, queue=label)
    (read,) = text_string_to_metric_families(expose([family]))
    (sample,) = read.samples
    assert sample.value == value
    assert sample.labels["queue"] == label.encode("utf-8", "replace").decode()


def queue(number: int, **changes: Any) -> QueueStats:
    base: dict[str, Any] = {
        "name": f"q{number:04}", "ready": number, "running": 1, "scheduled": 0, "blocked": 0, "oldest": None,
        "workers": 1, "paused": False,
    }  # fmt: skip
    return QueueStats(**(base | changes))


def test_depth_and_age_by_queue_of_the_largest_ones() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    queues = [queue(number) for number in range(MOST_QUEUES + 50)]
    queues[3] = queue(3, oldest=now - timedelta(seconds=90), workers=0, paused=True)
    queues[-1] = queue(MOST_QUEUES + 49, oldest=now + timedelta(seconds=5))
    alive = {
        "id": "w", "app": "a", "host": "h", "pid": 1, "version": "1", "started_at": now, "beat_at": now,
        "expires_at": now, "concurrency": 1, "running": 0, "queues": (), "tasks": (),
    }  # fmt: skip
    workers = [WorkerInfo(**alive, alive=True), WorkerInfo(**alive, alive=False)]  # type: ignore[arg-type]
    stats = Stats(1, 2, 3, 4, 5, 6, 7, 8, 9, 1)
    pauses = [Pause("task", "t", now, None, None, "me")]
    told = samples(gauges(Standing(queues, workers, stats, pauses, now, 0.25)))
    depth = {key: value for key, value in told.items() if key[0] == "pgjobq_queue_jobs"}
    assert len(depth) == MOST_QUEUES * 4
    assert sum(depth.values()) == sum(queue.ready + queue.running for queue in queues)
    age = "pgjobq_queue_oldest_ready_seconds"
    assert told[age, ("queue", "(other)")] == 90
    assert told[age, ("queue", f"q{MOST_QUEUES + 49:04}")] == 0, "a clock that differs makes no negative age"
    assert told["pgjobq_queue_workers", ("queue", "(other)")] == 0, "one of them has none"
    assert told[("pgjobq_workers_alive",)] == 1
    assert told["pgjobq_jobs_kept", ("state", "failed")] == 5
    assert told[("pgjobq_tasks_paused",)] == 1
