"""A queue's life, made up by hypothesis: what may happen to jobs and workers, done to the real thing and to its model.

Every step runs the real statements on a real database with the virtual clock. After each of them the whole of the view
`jobs`, the places with their counters, the errors and the order of what is ready are compared with model.py, and the
conservation law is asked.
"""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sql.support.hand import Hand
from sql.support.model import ENDED, WAITING, Held, Model

EPOCH = datetime.fromisoformat("2030-01-01T00:00:00+00:00")
WORKERS = 3
EXAMPLES = int(os.environ.get("PGJOBQ_MODEL_EXAMPLES", "60"))

JOBS = """
SELECT id, task, queue, priority, max_attempts, created_at, state, attempt, run_at, started_at, finished_at,
       worker::text, reason, result
FROM pgjobq.jobs ORDER BY id
"""
SPARED = """
SELECT job, spared FROM pgjobq.ready UNION ALL SELECT job, spared FROM pgjobq.running
UNION ALL SELECT job, spared FROM pgjobq.scheduled UNION ALL SELECT job, spared FROM pgjobq.blocked
"""
EMPTY = """
TRUNCATE pgjobq.job, pgjobq.ready, pgjobq.running, pgjobq.scheduled, pgjobq.blocked, pgjobq.finished,
         pgjobq.attempt_error, pgjobq.lane, pgjobq.worker RESTART IDENTITY
"""

picks = st.integers(0, 999)
limits = st.integers(1, 6)
some_jobs = st.none() | st.lists(picks, max_size=4)  # of those that are newest
new_jobs = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["send", "rare"]),
        "queue": st.sampled_from(["default", "mail"]),
        "priority": st.sampled_from([0, 0, -1, 5]),
        "max_attempts": st.sampled_from([1, 1, 2, 3]),
        "wait": st.sampled_from([None, None, None, 0, 5, 60, -5]),
    }
)
outcomes = st.sampled_from(
    [
        {"fate": "s"},
        {"fate": "s", "result": {"sent": 1}},
        {"fate": "f", "kind": "ValueError", "message": "no"},
        {"fate": "f"},
        {"fate": "c", "reason": "nobody wants it"},
        {"fate": "again", "delay": 5, "kind": "OSError", "message": "later"},
        {"fate": "again", "kind": "OSError", "message": "at once"},
        {"fate": "again", "delay": 60, "spare": 1},
        {"fate": "again", "delay": 0, "spare": 1},
        {"fate": "again", "back": 1},
        {"fate": "blocked", "back": 1, "waits_for": "task:rare"},
        {"fate": "blocked", "spare": 1, "waits_for": "task:send"},
    ]
)


class Life(RuleBasedStateMachine):
    """A queue's life: some workers, and whatever may happen to their jobs."""

    def __init__(self, dsn: str, replaced: dict[str, str]) -> None:
        super().__init__()
        self.model = Model()
        self.leases: list[Held] = []
        self.known_ids: list[int] = []
        self.newest_seq = 0
        self.hands = [Hand(dsn, lease=None) for _ in range(WORKERS)]
        self.hands[0].sql(EMPTY)
        for hand in self.hands:
            hand.replaced = replaced
            self._set_clock(hand)
            self._join(hand)

    def teardown(self) -> None:
        for hand in self.hands:
            hand.conn.close()

    def _set_clock(self, hand: Hand) -> None:
        hand.set_now((EPOCH + timedelta(seconds=self.model.now)).isoformat())

    def _join(self, hand: Hand) -> None:
        hand.id = uuid.uuid4()
        hand.register()
        self.model.workers.add(str(hand.id))

    def _hand(self, pick: int) -> Hand:
        return self.hands[pick % WORKERS]

    def _id(self, pick: int) -> int:
        """A job that was ever enqueued, the newest ones rather than the oldest; or one that never was."""
        return self.known_ids[-1 - pick % min(len(self.known_ids), 8)] if self.known_ids else 7

    def _some_leases(self, chosen: list[int]) -> list[Held]:
        """Leases that are held, and now and then any that ever was: one attempt of a job at most once."""
        held = [lease for lease in self.leases if self.model.holds(lease)]
        found = []
        for pick in chosen:
            among = self.leases if pick % 5 == 0 or not held else held
            found.append(among[-1 - pick % len(among)])
        return list({(lease.job, lease.attempt): lease for lease in found}.values())

    # ------------------------------------------------------------------------------------------ applications

    @initialize(jobs=st.lists(new_jobs, min_size=2, max_size=6), limit=limits)
    def begin(self, jobs: list[dict[str, Any]], limit: int) -> None:
        self.enqueue_many(jobs)
        self.claim(0, limit, None)

    @rule(job=new_jobs)
    def enqueue(self, job: dict[str, Any]) -> None:
        wait = job["wait"]
        due = None if wait is None else self.model.now + wait
        options = {name: job[name] for name in ("task", "queue", "priority", "max_attempts")}
        more = {} if wait is None else {"run_at": (EPOCH + timedelta(seconds=due or 0)).isoformat()}
        new = self.hands[0].enqueue(**options, **more)
        self.known_ids.append(new)
        self.model.enqueue(new, **options, due=due)

    @rule(jobs=st.lists(new_jobs, max_size=4))
    def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        entries = []
        for job in jobs:
            entry = {name: value for name, value in job.items() if name != "wait"}
            entries.append(entry if job["wait"] is None else entry | {"delay": f"{job['wait']} seconds"})
        ids = self.hands[0].enqueue_many(entries)
        assert len(ids) == len(jobs)
        assert ids == sorted(ids)
        for new, job in zip(ids, jobs, strict=True):
            due = None if job["wait"] is None else self.model.now + job["wait"]
            self.known_ids.append(new)
            self.model.enqueue(new, job["task"], job["queue"], job["priority"], job["max_attempts"], due)

    @precondition(lambda self: self.model.any(*ENDED))
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        job = self._id(pick)
        assert self.hands[0].retry(job) == self.model.retry(job)

    @precondition(lambda self: self.model.any(*WAITING))
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        job = self._id(pick)
        assert self.hands[0].cancel(job) == self.model.cancel(job)

    # ------------------------------------------------------------------------------------------ workers

    @rule(pick=picks, limit=limits, queues=st.sampled_from([None, None, ["mail"], ["default", "mail"], ["none"]]))
    def claim(self, pick: int, limit: int, queues: list[str] | None) -> None:
        hand = self._hand(pick)
        claimed = [Held(lease.job, lease.attempt, str(hand.id)) for lease in hand.claim(limit, queues)]
        expected = self.model.claim(str(hand.id), limit, queues)
        self.leases += claimed
        assert sorted(claimed) == sorted(expected)

    @precondition(lambda self: self.model.any("blocked"))
    @rule(pick=picks, limit=limits, tasks=st.sampled_from([["rare"], ["send"], ["send", "rare"]]))
    def adopt(self, pick: int, limit: int, tasks: list[str]) -> None:
        hand = self._hand(pick)
        adopted = [Held(lease.job, lease.attempt, str(hand.id)) for lease in hand.adopt(tasks, None, limit)]
        self.leases += adopted
        assert sorted(adopted) == sorted(self.model.adopt(str(hand.id), tasks, limit))

    @precondition(lambda self: self.leases)
    @rule(chosen=st.lists(picks, min_size=1, max_size=3))
    def complete(self, chosen: list[int]) -> None:
        leases = self._some_leases(chosen)
        for worker in {lease.worker for lease in leases}:
            own = [lease for lease in leases if lease.worker == worker]
            jobs, attempts = [lease.job for lease in own], [lease.attempt for lease in own]
            settled = self.hands[0].say("complete", jobs, attempts, worker)
            assert sorted(job for (job,) in settled) == self.model.complete(own)

    @precondition(lambda self: self.leases)
    @rule(chosen=st.lists(st.tuples(picks, outcomes), min_size=1, max_size=3))
    def settle(self, chosen: list[tuple[int, dict[str, Any]]]) -> None:
        leases = self._some_leases([pick for pick, _ in chosen])
        fates = dict(zip(leases, [outcome for _, outcome in chosen], strict=False))
        for worker in {lease.worker for lease in leases}:
            own = [lease for lease in leases if lease.worker == worker]
            text = json.dumps([{"job": lease.job, "attempt": lease.attempt, **fates[lease]} for lease in own])
            settled = self.hands[0].say("settle", text, worker)
            assert sorted(settled) == sorted(
                (lease.job, True) for lease in own if self.model.settle(lease, fates[lease])
            )

    @precondition(lambda self: self.leases)
    @rule(pick=picks)
    def complete_within(self, pick: int) -> None:
        (lease,) = self._some_leases([pick])
        done = self.hands[0].value("SELECT pgjobq.complete($1, $2::int, $3::uuid)", *lease)
        assert done == self.model.settle(lease, {"fate": "s"})

    @precondition(lambda self: self.model.any("running"))
    @rule(pick=picks, keep=st.integers(0, 3))
    def stray(self, pick: int, keep: int) -> None:
        hand = self._hand(pick)
        known = [lease.job for lease in self.leases if lease.worker == str(hand.id)][:keep]
        assert sorted(job for (job,) in hand.say("stray", hand.id, known)) == self.model.stray(str(hand.id), known)

    @precondition(lambda self: self.model.any("running"))
    @rule(pick=picks, wrong=st.sampled_from(["worker", "attempt", "job"]))
    def come_too_late(self, pick: int, wrong: str) -> None:
        """Whoever names only two of the three that make the fence changes nothing, whatever it says."""
        running = [job for job in self.model.jobs.values() if job.state == "running"]
        job = running[pick % len(running)]
        stale = {
            "worker": Held(job.id, job.attempt, str(uuid.uuid4())),
            "attempt": Held(job.id, job.attempt + (pick % 3 - 1 or 7), str(job.worker)),
            "job": Held(job.id + 1_000_000, job.attempt, str(job.worker)),
        }[wrong]
        hand = self.hands[0]
        assert hand.say("complete", [stale.job], [stale.attempt], stale.worker) == []
        for fate in ("s", "f", "c", "again", "blocked"):
            outcome = {
                "job": stale.job,
                "attempt": stale.attempt,
                "fate": fate,
                "waits_for": "task:rare",
                "kind": "Late",
            }
            assert hand.say("settle", json.dumps([outcome | {"message": "late"}]), stale.worker) == []
        assert hand.value("SELECT pgjobq.complete($1, $2::int, $3::uuid)", *stale) is False

    # ------------------------------------------------------------------------------------------ chores

    @precondition(lambda self: self.model.any("scheduled"))
    @rule(limit=st.sampled_from([1, 1000]))
    def promote(self, limit: int) -> None:
        before = {job.id: job.run_at for job in self.model.jobs.values() if job.state == "scheduled"}
        due = [run_at for run_at in before.values() if run_at is not None and run_at <= self.model.now]
        if limit == 1 and due.count(min(due, default=0)) > 1:
            limit = 1000  # which of two that are due at the same time goes first is nobody's promise
        count = self.hands[0].promote(limit)
        promoted = self.model.promote(limit)
        assert count == len(promoted)
        seqs = dict(self.hands[0].sql("SELECT job, seq FROM pgjobq.ready"))
        ranks = [(self.model.jobs[job].priority, before[job]) for job in sorted(promoted, key=lambda job: seqs[job])]
        assert ranks == sorted(ranks), "what was due first, and matters most, goes first"

    @precondition(lambda self: self.model.any("running"))
    @rule(pick=picks, started=some_jobs, spare=some_jobs)
    def be_buried(self, pick: int, started: list[int] | None, spare: list[int] | None) -> None:
        """The supervisor knows that a process has died; it starts another, which is somebody new."""
        hand = self._hand(pick)
        jobs = None if started is None else [self._id(number) for number in started]
        spared = None if spare is None else [self._id(number) for number in spare]
        taken = self.hands[0].rescue([hand.id], "it was killed", jobs, spare=spared)
        expected = self.model.rescue([str(hand.id)], True, "it was killed", jobs, spared)
        assert [row[0] for row in taken] == expected
        self._join(hand)

    @precondition(lambda self: self.model.any("running"))
    @rule(pick=picks, spare=some_jobs)
    def fall_silent(self, pick: int, spare: list[int] | None) -> None:
        """A lease runs out. The owner wakes later, finds that it was declared dead, and joins as somebody new."""
        hand = self._hand(pick)
        assert hand.beat(-1.0)
        spared = None if spare is None else [self._id(number) for number in spare]
        taken = self.hands[0].rescue(None, "silent", None, spare=spared)
        assert [row[0] for row in taken] == self.model.rescue([str(hand.id)], False, "silent")
        assert not hand.beat()
        assert hand.claim() == []
        self._join(hand)

    @precondition(lambda self: self.model.any(*ENDED))
    @rule(succeeded=st.sampled_from([None, 0, 10]), failed=st.sampled_from([None, 0, 10]))
    def retain(self, succeeded: int | None, failed: int | None) -> None:
        assert self.hands[0].retain(1000, succeeded, failed) == self.model.retain(succeeded, failed)

    @rule(seconds=st.sampled_from([1, 4, 30, 100]))
    def advance(self, seconds: int) -> None:
        self.model.now += seconds
        for hand in self.hands:
            self._set_clock(hand)

    @precondition(lambda self: self.leases)
    @rule(job=new_jobs, pick=picks, outcome=outcomes, limit=limits)
    def roll_back(self, job: dict[str, Any], pick: int, outcome: dict[str, Any], limit: int) -> None:
        """A transaction in which a lot happens, and then nothing did."""
        before, leases, ids = self.model.copy(), list(self.leases), list(self.known_ids)
        with self.hands[0].conn.transaction(force_rollback=True):
            self.enqueue(job)
            self.settle([(pick, outcome)])
            self.cancel(pick)
            self.retry(pick + 1)
            self.what_becomes_ready_draws_a_new_number()
            self.claim(0, limit, None)
            self.promote(1000)
        self.model, self.leases, self.known_ids = before, leases, ids

    # ------------------------------------------------------------------------------------------ after each step

    @invariant()
    def the_model_and_the_view_agree(self) -> None:
        spared = dict(self.hands[0].sql(SPARED))
        found = {}
        for job, *row in self.hands[0].sql(JOBS):
            times = [None if at is None else (at - EPOCH).total_seconds() for at in (row[4], *row[7:10])]
            found[job] = (*row[:4], times[0], *row[5:7], *times[1:], *row[10:], spared.get(job))
        expected = {
            j.id: (
                *(j.task, j.queue, j.priority, j.max_attempts, j.created_at, j.state, j.attempt),
                *(j.run_at, j.started_at, j.finished_at, j.worker, j.reason, j.result, j.spared),
            )
            for j in self.model.jobs.values()
        }
        assert found == expected

    @invariant()
    def each_job_stands_in_exactly_one_place(self) -> None:
        assert self.hands[0].sql("SELECT * FROM pgjobq.misplaced") == []

    @invariant()
    def what_becomes_ready_draws_a_new_number(self) -> None:
        newest = self.newest_seq
        for job, seq in self.hands[0].sql("SELECT job, seq FROM pgjobq.ready ORDER BY seq"):
            known = self.model.jobs[job]
            if known.seq != seq:
                assert known.seq == 0, f"job {job} has another number, {seq}, without having left"
                assert seq > newest, f"job {job} became ready again under an old number"
                known.seq = seq
            self.newest_seq = max(self.newest_seq, seq)
        self.newest_seq = max([self.newest_seq, *self.known_ids])

    @invariant()
    def errors_are_kept_as_long_as_their_jobs(self) -> None:
        rows = self.hands[0].sql("SELECT job, attempt, kind, message FROM pgjobq.attempt_error ORDER BY 1, 2")
        assert rows == sorted((job.id, *error) for job in self.model.jobs.values() for error in job.errors)

    @invariant()
    def every_worker_that_lives_is_listed(self) -> None:
        assert {str(id_) for (id_,) in self.hands[0].sql("SELECT id FROM pgjobq.worker")} == self.model.workers


def live(dsn: str, replaced: dict[str, str], *, search: bool = True) -> None:
    """So many lives of so many steps. `search`: a failure is made small before it is told."""
    run_state_machine_as_test(
        lambda: Life(dsn, replaced),
        settings=settings(
            max_examples=EXAMPLES if search else 250,
            stateful_step_count=40,
            deadline=None,
            database=None,
            derandomize=not search or bool(os.environ.get("CI")),
            phases=[Phase.generate, Phase.shrink] if search else [Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=search,
        ),
    )
