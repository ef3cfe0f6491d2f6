"""The claim cursor against a simulated database: whatever the order of commits, no job is lost while looks continue.

The simulation has PostgreSQL's own rules, the awkward ones included: a snapshot's xmax is one past the newest xid that
has *ended*, not the next to be given out; an xid is drawn before a number; a claim's own xid comes with the rows it
locks, or before its snapshot when it has settled something in the same transaction, or not at all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from pgjobq.engine.cursor import CHEAP, WHOLE_EVERY, ZERO_EVERY, ClaimCursor, Lane, Look

Taken = Sequence[tuple[Lane, int]]
LANES: tuple[Lane, ...] = (("mail", -1), ("default", 0), ("mail", 0))


# --- a database ------------------------------------------------------------------------------------------


@dataclass
class Transaction:
    """One that enqueues; `wrote` holds (lane, seq)."""

    xid: int
    wrote: list[tuple[Lane, int]] = field(default_factory=list)
    savepoint: int | None = None


@dataclass
class Answer:
    """What a claim returned; `xmax` for the wrong rules only."""

    rows: list[tuple[Lane, int]]
    xmin: int
    xmax: int
    xid: int | None


@dataclass
class Database:
    """Transactions, numbers and snapshots, as far as a claim can tell."""

    next_xid: int = 10
    newest_ended: int = 9
    next_seq: int = 1
    open: dict[int, Transaction] = field(default_factory=dict)
    ready: set[tuple[Lane, int]] = field(default_factory=set)
    taken: set[tuple[Lane, int]] = field(default_factory=set)

    def begin(self) -> Transaction:
        transaction = self.open[self.next_xid] = Transaction(self.next_xid)
        self.next_xid += 1
        return transaction

    def insert(self, transaction: Transaction, lane: Lane) -> None:
        transaction.wrote.append((lane, self.next_seq))
        self.next_seq += 1

    def end(self, transaction: Transaction, *, commit: bool) -> None:
        del self.open[transaction.xid]
        self.newest_ended = max(self.newest_ended, transaction.xid)
        if commit:
            self.ready.update(transaction.wrote)

    def claim(self, look: Look, limit: int, own: Transaction | None) -> Answer:
        """What the statement `claim` does. `own`: its transaction, when that has settled something already."""
        xmax = self.newest_ended + 1
        xmin = min([xid for xid in self.open if xid < xmax], default=xmax)
        rows: list[tuple[Lane, int]] = []
        for lane, above in zip(look.lanes, look.above, strict=True):
            here = sorted((of, seq) for of, seq in self.ready if of == lane and seq > above)
            rows += here[: limit - len(rows)]
        if own is None and rows:  # who locks rows gets an xid, after the snapshot
            own = self.begin()
        if own is not None:
            self.end(own, commit=True)
        self.ready.difference_update(rows)
        self.taken.update(rows)
        return Answer(rows, xmin, xmax, own and own.xid)


# --- cursors ---------------------------------------------------------------------------------------------


class NeverZero(ClaimCursor):
    """Without the looks from zero, which would heal whatever the rule loses; "safe" looks where `thorough`."""

    thorough = True
    xmax = 0
    own: Transaction | None = None

    def plan(self, now: float, *, idle: bool = False) -> Look:
        self._next_zero = float("inf")
        if self.thorough:
            return super().plan(now, idle=True)
        return Look("fast", self.lanes, tuple(self.fast.get(lane, 0) for lane in self.lanes))


class Sparing(NeverZero):
    """Leaves out lanes that were found empty, except where `thorough`; time stands still, so for as long as it may."""

    def plan(self, now: float, *, idle: bool = False) -> Look:
        self._next_zero = float("inf")
        return ClaimCursor.plan(self, now, idle=self.thorough)


class Naive(NeverZero):
    """Greater than the last one seen."""

    def plan(self, now: float, *, idle: bool = False) -> Look:
        return Look("fast", self.lanes, tuple(self.fast.get(lane, 0) for lane in self.lanes))


class ByXmax(NeverZero):
    """Stamps with the next snapshot's xmax: it may be smaller than the xid of somebody who is still writing."""

    def learn(
        self, look: Look, taken: Taken, *, limit: int, xmin: int, xid: int | None, seconds: float, now: float
    ) -> None:
        super().learn(look, taken, limit=limit, xmin=xmin, xid=self.xmax, seconds=seconds, now=now)


class Hasty(NeverZero):
    """Stamps with the xid of the claim itself: with a settle before the claim, it is older than what the claim saw."""

    def learn(
        self, look: Look, taken: Taken, *, limit: int, xmin: int, xid: int | None, seconds: float, now: float
    ) -> None:
        super().learn(look, taken, limit=limit, xmin=xmin, xid=xid, seconds=seconds, now=now)
        if self._fresh is not None and xid is not None:
            self._stamped.append((xid, self._fresh))
            self._fresh = None


class Trusting(NeverZero):
    """Makes safe what a look may not have reached because it was full."""

    def _advance(self, look: Look, highest: object, *, full: bool, xmin: int) -> None:
        super()._advance(look, highest, full=False, xmin=xmin)  # type: ignore[arg-type]


class Careless(NeverZero):
    """Makes safe what was seen without asking who is still writing."""

    def _advance(self, look: Look, highest: object, *, full: bool, xmin: int) -> None:
        super()._advance(look, highest, full=full, xmin=2**62)  # type: ignore[arg-type]


# --- a story ---------------------------------------------------------------------------------------------

Step = tuple[str, int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.just(0), st.just(0)),
        st.tuples(st.just("insert"), st.integers(0, 7), st.integers(0, 2)),
        st.tuples(st.just("commit"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("rollback"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("savepoint"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("undo"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("idle xid"), st.just(0), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("safe"), st.integers(0, 1), st.integers(1, 4)),
        st.tuples(st.just("fast"), st.integers(0, 1), st.integers(1, 4)),
    ),
    min_size=10,
    max_size=80,
)
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def tell(steps: Sequence[Step], kind: Callable[[], NeverZero]) -> set[tuple[Lane, int]]:
    """Play the steps with two workers and end what is open; returns what one of them, left alone, would not find."""
    database, workers = Database(), (kind(), kind())
    for worker in workers:
        worker.see(LANES)
    for step in steps:
        _play(database, workers, step)
    for transaction in list(database.open.values()):
        if transaction not in (workers[0].own, workers[1].own):
            database.end(transaction, commit=True)
    return _left_by(0, database, workers) | _left_by(1, database, workers)


def _left_by(which: int, database: Database, workers: tuple[NeverZero, ...]) -> set[tuple[Lane, int]]:
    database, workers = copy.deepcopy((database, workers))
    worker, other = workers[which], workers[1 - which]
    if other.own is not None:
        database.end(other.own, commit=True)
    worker.thorough = True
    for _ in range(len(database.ready) + 3):
        _look(database, worker, 1)
    return database.ready


def _play(database: Database, workers: tuple[NeverZero, ...], step: Step) -> None:
    what, which, how = step
    if what == "settle":
        workers[which].own = workers[which].own or database.begin()
    elif what in ("safe", "fast"):
        workers[which].thorough = what == "safe"
        _look(database, workers[which], how)
    else:
        writing = [one for one in database.open.values() if one not in [worker.own for worker in workers]]
        _write(database, writing, what, which, how)


def _write(database: Database, writing: list[Transaction], what: str, which: int, lane: int) -> None:
    if what == "begin":
        database.begin()
    elif what == "idle xid":
        database.end(database.begin(), commit=True)
    elif writing:
        transaction = writing[which % len(writing)]
        if what == "insert":
            database.insert(transaction, LANES[lane])
        elif what == "savepoint":
            transaction.savepoint = len(transaction.wrote)
        elif what == "undo" and transaction.savepoint is not None:
            del transaction.wrote[transaction.savepoint :]
        elif what in ("commit", "rollback"):
            database.end(transaction, commit=what == "commit")


def _look(database: Database, worker: NeverZero, limit: int) -> None:
    look = worker.plan(0.0)
    answer = database.claim(look, limit, worker.own)
    worker.own, worker.xmax = None, answer.xmax
    worker.learn(look, answer.rows, limit=limit, xmin=answer.xmin, xid=answer.xid, seconds=0.0, now=0.0)


@given(STEPS)
@MANY
def test_no_job_is_lost(steps: list[Step]) -> None:
    assert tell(steps, NeverZero) == set()


@given(STEPS)
@MANY
def test_what_is_safe_has_no_ready_job_below(steps: list[Step]) -> None:
    """The rule itself, after each step and not only at the end."""
    database, workers = Database(), (NeverZero(), NeverZero())
    for worker in workers:
        worker.see(LANES)
    for step in steps:
        _play(database, workers, step)
        coming = {row for transaction in database.open.values() for row in transaction.wrote} | database.ready
        for worker in workers:
            assert not [(lane, seq) for lane, seq in coming if seq <= worker.safe.get(lane, 0)]


@given(STEPS)
@MANY
def test_no_job_is_lost_when_empty_lanes_are_left_out(steps: list[Step]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pgjobq.engine.cursor.MANY", 1)
        assert tell(steps, Sparing) == set()


def test_the_naive_cursor_loses_jobs_in_the_same_simulation() -> None:
    wide = settings(max_examples=5_000, deadline=None, database=None, phases=[Phase.generate], derandomize=True)
    story = find(STEPS, lambda steps: bool(tell(steps, Naive)), settings=wide)
    assert tell(story, NeverZero) == set()


# Written out, because the search for them would take long: each is the shortest story for its wrong rule.
def _story(*words: str) -> list[Step]:
    return [(word.split()[0], *map(int, (*word.split()[1:], 0, 0)[:2])) for word in words]  # type: ignore[misc]


OLD_WRITER = _story(
    "begin",
    "begin",
    "insert 0 1",
    "insert 1 1",
    "commit 1",
    "safe 0 4",
    "settle 0",
    "safe 0 4",
    "settle 0",
    "safe 0 4",
)
# The worker settles (its xid comes first), then the two writers get theirs; the younger one commits before it is seen.
YOUNG_WRITER = _story(
    "begin",
    "settle 0",
    "begin",
    "insert 1 1",
    "insert 0 1",
    "commit 0",
    "safe 0 4",
    "safe 0 4",
    "safe 0 4",
)
FULL_LOOK = _story(
    "begin",
    "begin",
    "insert 0 1",
    "insert 0 1",
    "insert 1 1",
    "commit 1",
    "fast 0 4",
    "commit 0",
    "settle 0",
    "safe 0 1",
)


@pytest.mark.parametrize(
    ("kind", "story"),
    [(Naive, OLD_WRITER), (Careless, OLD_WRITER), (ByXmax, YOUNG_WRITER), (Hasty, YOUNG_WRITER), (Trusting, FULL_LOOK)],
    ids=["naive", "careless", "by xmax", "hasty", "trusting"],
)
def test_each_half_of_the_rule_is_needed(kind: type[NeverZero], story: list[Step]) -> None:
    assert tell(story, kind), "this wrong rule loses nothing here: the simulation is too tame"
    assert tell(story, NeverZero) == set()


# --- when which look is made -----------------------------------------------------------------------------


def _cursor() -> ClaimCursor:
    cursor = ClaimCursor()
    cursor.see(LANES)
    return cursor


def _learn(cursor: ClaimCursor, look: Look, now: float, *, seconds: float = 0.0, taken: int = 1) -> None:
    rows = [(LANES[1], 100 + number) for number in range(taken)]
    cursor.learn(look, rows, limit=50, xmin=20, xid=20, seconds=seconds, now=now)


def test_the_first_look_starts_from_zero() -> None:
    look = _cursor().plan(1000.0)
    assert (look.start, look.lanes, look.above) == ("zero", LANES, (0, 0, 0))


def test_after_that_every_look_is_a_safe_one_while_it_is_cheap() -> None:
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0)
    for step in range(1, 10):
        look = cursor.plan(step / 100)
        assert look.start == "safe"
        _learn(cursor, look, step / 100, seconds=CHEAP / 2)


def test_dear_looks_take_a_twentieth_of_the_time() -> None:
    cursor, now, dear = _cursor(), 0.0, 0.0
    _learn(cursor, cursor.plan(0.0), 0.0)
    while now < 20.0:
        look = cursor.plan(now)
        seconds = 0.0005 if look.start == "fast" else 0.1
        dear += seconds if look.start != "fast" else 0.0
        now += seconds
        _learn(cursor, look, now, seconds=seconds)
    assert 0.02 * now < dear < 0.08 * now


def test_zero_comes_back_every_thirty_seconds_of_work() -> None:
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0)
    assert cursor.plan(ZERO_EVERY - 0.01).start == "safe"
    assert cursor.plan(ZERO_EVERY + 0.01).start == "zero"


def test_zero_comes_back_every_second_while_idle() -> None:
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0, taken=0)
    assert cursor.plan(0.5, idle=True).start == "safe"
    assert cursor.plan(1.01, idle=True).start == "zero"


def test_an_idle_worker_looks_thoroughly_even_when_that_is_dear() -> None:
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0, seconds=1.0)
    assert cursor.plan(0.1).start == "fast"
    assert cursor.plan(0.1, idle=True).start == "safe"


def test_fast_looks_start_above_what_was_taken() -> None:
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0, seconds=1.0, taken=3)
    assert cursor.plan(0.1).above == (0, 102, 0)


def test_a_new_lane_starts_from_zero_and_is_told() -> None:
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0, seconds=1.0)
    assert cursor.see((*LANES, ("new", 3))) is True
    assert cursor.see((*LANES, ("new", 3))) is False
    assert cursor.plan(0.1).above == (0, 100, 0, 0)


def test_a_lane_that_goes_and_comes_back_loses_nothing() -> None:
    """Another order of lanes, or one fewer for a while, must not mix up what is known of which."""
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0, seconds=1.0)
    cursor.see((LANES[2], LANES[1]))
    assert cursor.plan(0.1).above == (0, 100)


def test_forgetting_keeps_only_the_lanes() -> None:
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0)
    cursor.forget()
    look = cursor.plan(0.1)
    assert (look.start, look.lanes, look.above) == ("zero", LANES, (0, 0, 0))
    assert (cursor.safe, cursor.fast) == ({}, {})


# --- many lanes, most of them empty ----------------------------------------------------------------------

HUNDRED: tuple[Lane, ...] = tuple((f"q{number:02}", 0) for number in range(100))


def _crowded(*, taken: Taken = ((HUNDRED[40], 7), (HUNDRED[60], 8)), limit: int = 50) -> ClaimCursor:
    """One that has looked at a hundred lanes at 0 s."""
    cursor = ClaimCursor()
    cursor.see(HUNDRED)
    cursor.learn(cursor.plan(0.0), taken, limit=limit, xmin=20, xid=20, seconds=0.0, now=0.0)
    return cursor


def test_empty_lanes_are_left_out_for_a_twentieth_of_a_second() -> None:
    cursor = _crowded()
    look = cursor.plan(WHOLE_EVERY - 0.001)
    assert look == Look("fast", (HUNDRED[40], HUNDRED[60]), (7, 8), whole=False)
    later = cursor.plan(WHOLE_EVERY)
    assert (later.start, later.lanes, later.whole) == ("safe", HUNDRED, True)


def test_none_is_left_out_when_nothing_was_found() -> None:
    assert _crowded(taken=()).plan(0.001).lanes == HUNDRED


def test_none_is_left_out_after_a_short_look_that_found_nothing() -> None:
    cursor = _crowded()
    cursor.learn(cursor.plan(0.001), (), limit=50, xmin=20, xid=None, seconds=0.0, now=0.002)
    assert cursor.plan(0.003).lanes == HUNDRED


def test_none_is_left_out_while_idle() -> None:
    assert _crowded().plan(0.001, idle=True).lanes == HUNDRED


def test_lanes_behind_the_last_one_that_filled_a_claim_are_not_taken_for_empty() -> None:
    look = _crowded(limit=2).plan(0.001)
    assert look.lanes == (*HUNDRED[61:], HUNDRED[40], HUNDRED[60])


# --- lanes of the same priority --------------------------------------------------------------------------


def test_of_lanes_alike_the_one_that_gave_jobs_least_recently_comes_first() -> None:
    """A flooded queue keeps nobody from the queues behind it in the alphabet; priorities come first all the same."""
    first, second, third = ("a", 0), ("b", 0), ("c", 0)
    urgent, last = ("z", -1), ("a", 1)
    cursor = ClaimCursor()
    cursor.see((urgent, first, second, third, last))
    order = []
    for seq in range(1, 7):
        look = cursor.plan(0.0)
        assert (look.lanes[0], look.lanes[-1]) == (urgent, last)
        order.append(look.lanes[1])
        cursor.learn(look, ((look.lanes[1], seq),), limit=1, xmin=20, xid=20 + seq, seconds=0.0, now=0.0)
        cursor.see((urgent, first, second, third, last))
    assert order == [first, second, third] * 2


def test_a_claim_that_looked_into_every_lane_changes_no_turn() -> None:
    cursor = ClaimCursor()
    lanes = (("a", 0), ("b", 0))
    cursor.see(lanes)
    cursor.learn(cursor.plan(0.0), ((("a", 0), 1),), limit=2, xmin=20, xid=20, seconds=0.0, now=0.0)
    assert cursor.plan(0.1).lanes == lanes


def test_a_lane_that_runs_out_in_a_short_look_is_left_out_as_well() -> None:
    cursor = _crowded()
    cursor.learn(cursor.plan(0.001), ((HUNDRED[60], 9),), limit=50, xmin=20, xid=21, seconds=0.0, now=0.002)
    assert cursor.plan(0.003).lanes == (HUNDRED[60],)


def test_a_lane_that_is_new_is_looked_at_in_a_short_look() -> None:
    cursor = _crowded()
    cursor.see((("urgent", -9), *HUNDRED))
    assert cursor.plan(0.001).lanes == (("urgent", -9), HUNDRED[40], HUNDRED[60])


def test_short_looks_do_not_put_off_the_whole_one() -> None:
    cursor = _crowded()
    for step in range(1, 50):
        cursor.learn(
            cursor.plan(step / 1000),
            ((HUNDRED[60], 9 + step),),
            limit=50,
            xmin=20,
            xid=21,
            seconds=0.0,
            now=step / 1000,
        )
    assert cursor.plan(WHOLE_EVERY).whole


def test_short_looks_make_nothing_safe() -> None:
    cursor = _crowded()
    look = cursor.plan(0.001)
    cursor.learn(look, ((HUNDRED[60], 9),), limit=50, xmin=1_000, xid=21, seconds=0.0, now=0.001)
    assert cursor.safe == {}


def test_few_lanes_are_all_looked_at() -> None:
    cursor = _cursor()
    _learn(cursor, cursor.plan(0.0), 0.0)
    assert cursor.plan(0.001).lanes == LANES
