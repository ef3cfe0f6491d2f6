"""When to claim, how much, and where to look: what a worker knows of its supply."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pgjobq.engine.cursor import ClaimCursor, Lane, Look
from pgjobq.engine.exchange import Claimed
from pgjobq.engine.pace import Pace

__all__ = ["Intake"]

LARGEST_CLAIM = 1_000
AHEAD = 0.05
"""Seconds of work that may be claimed ahead of free places, at the present pace: long jobs never wait behind a busy
worker, short ones never wait for a round trip."""
MOST_AHEAD = 2 * LARGEST_CLAIM
"""One claim to work on while the next is under way. More would only take memory."""
FIRST_NAP = 0.01
"""Seconds of the shortest nap. Naps grow with the time for which everybody could see that we sleep, up to the poll
interval: they cover the small race in which a job was committed by somebody who did not see it yet."""
LANES_EVERY = 0.1
"""Seconds between looks at the list of lanes, unless somebody calls and there is nothing where we look."""


class Intake:
    """Decides over claims. Pure but for the clock.

    Args:
        concurrency: places for running jobs, 1 and up.
        poll_interval: the longest nap, seconds.
        most: jobs to claim in all; None: no limit.
        announces: whether others are told that we may be asleep (else we poll anyway).
    """

    def __init__(self, concurrency: int, poll_interval: float, most: int | None, *, announces: bool) -> None:
        self._concurrency = concurrency
        self._poll_interval = poll_interval
        self._most = most
        self._cursor = ClaimCursor()
        self.pace = Pace(concurrency)
        self._lanes_at = float("-inf")
        self._quiet_since = time.monotonic()
        self._look_at: float | None = None
        self._called = self._answers = False
        self._ran_dry = False
        self.announces = announces
        self._announced_at = float("-inf")
        self._call_at = float("inf")
        self._call: Callable[[int], None] = lambda _: None
        self.claimed = 0
        self.dry = False
        """The last look found nothing, and nobody has called since."""

    @property
    def exhausted(self) -> bool:
        """The limit of jobs is reached."""
        return self._most is not None and self.claimed >= self._most

    def call_at(self, jobs: float, call: Callable[[int], None]) -> None:
        """Once so many jobs are claimed, call this with their number; once."""
        self._call_at, self._call = jobs, call

    def count(self, jobs: int) -> None:
        """So many more are claimed."""
        self.claimed += jobs
        if self.claimed >= self._call_at:
            self._call_at = float("inf")
            self._call(self.claimed)

    def left(self, most: int) -> int:
        """`most`, or what the limit of jobs leaves of it."""
        return most if self._most is None else max(0, min(most, self._most - self.claimed))

    def demand(self, running: int, buffered: int) -> int:
        """How many jobs to claim now."""
        ahead = min(int(self.pace.per_second(time.monotonic()) * AHEAD), MOST_AHEAD)
        want = self.left(min(self._concurrency - running + ahead - buffered, LARGEST_CLAIM))
        # A handful of places is not worth a round trip of its own while there is still work at hand.
        return 0 if want <= 0 or (buffered and want < min(ahead, LARGEST_CLAIM) // 2) else want

    # ---------------------------------------------------------------------------------------- where to look

    @property
    def knows_lanes(self) -> bool:
        """Whether the list of lanes was read since there was reason to believe that it is another one."""
        return self._lanes_at != float("-inf")

    def lanes_are_stale(self, *, idle: bool) -> bool:
        """Whether to read the list of lanes again, along with the next look.

        An idle worker reads it after a look that found nothing, so that a job in a known lane starts earlier.
        """
        return not idle and time.monotonic() - self._lanes_at >= LANES_EVERY

    @property
    def misses_lanes(self) -> bool:
        """Whether to read the list of lanes after a look that found nothing.

        When somebody had called, the job may be in a lane that is new; else not each time: the next call is to find us
        free.
        """
        return self._ran_dry and (self._answers or time.monotonic() - self._lanes_at >= LANES_EVERY)

    def see_lanes(self, lanes: Sequence[Lane]) -> bool:
        """The list of lanes as it is now; True if there is a new one."""
        self._lanes_at = time.monotonic()
        return self._cursor.see(lanes)

    def look(self, *, idle: bool) -> Look:
        """Where the next claim starts."""
        self._answers, self._called = self._called, False
        return self._cursor.plan(time.monotonic(), idle=idle)

    def learn(self, look: Look, limit: int, claimed: Claimed) -> None:
        """What the claim found."""
        self._cursor.learn(
            look,
            [((lease.queue, lease.priority), lease.seq) for lease in claimed.leases],
            limit=limit,
            xmin=claimed.xmin,
            xid=claimed.xid,
            seconds=claimed.seconds,
            now=time.monotonic(),
        )
        self.count(len(claimed.leases))
        self._ran_dry, self._look_at = not claimed.leases and look.whole, None
        if not claimed.leases and not look.whole:
            self._called = self._called or self._answers  # the look at all lanes, which is next, answers
        # Who called while the claim was under way may mean a job that its snapshot did not see yet. And nobody sleeps
        # before having said so and looked once more.
        self.dry = self._ran_dry and not self._called and not self.must_announce
        if self.dry:
            self.pace.forget()
        elif claimed.leases and not self.announces:
            self._quiet_since = time.monotonic()  # nobody calls: where one job came from others may follow

    def forget(self) -> None:
        """A new connection or a new identity: look everywhere again, and tell everybody anew that we sleep."""
        self._quiet_since, self._announced_at = time.monotonic(), float("-inf")
        self._cursor.forget()
        self._lanes_at = float("-inf")
        self.wake()

    # ---------------------------------------------------------------------------------------- sleep

    @property
    def must_announce(self) -> bool:
        """Whether others are to be told that we are about to sleep: we ran dry, and the last announcement is old."""
        old = time.monotonic() - self._announced_at > self.announcement / 4
        return self.announces and self._ran_dry and old

    @property
    def answers(self) -> bool:
        """Whether somebody had called when the present look began: it is not to wait for anything else."""
        return self._answers

    @property
    def announcement(self) -> float:
        """Seconds for which we say that somebody may be asleep: until well after our next look."""
        return 2 * self._poll_interval + 1

    def announced(self, at: float) -> None:
        """Others have been told, by a statement that was sent at `at` (time.monotonic()).

        What they were told before may be half used up by then, whoever said it: after more than that there was perhaps
        a time in which nobody called.
        """
        if time.monotonic() - self._announced_at > self.announcement / 2:
            self._quiet_since = at
        self._announced_at = at

    def wake(self) -> None:
        """Somebody called: look at once. The naps stay as long as they have grown."""
        self._called = True
        self.dry, self._look_at = False, None

    def stay_awake(self) -> None:
        """There is no room: look at once when there is, since calls go to others until then."""
        self.dry, self._look_at = False, None

    def until_look(self) -> float:
        """Seconds until a dry worker looks again; at 0 it is dry no longer.

        While everybody knows that we sleep each nap is as long as they have known it, so the next is twice as long; and
        who gets a job then, and has run dry again, need not begin with the short ones.
        """
        now = time.monotonic()
        if self._look_at is None:
            self._look_at = now + min(max(FIRST_NAP, now - self._quiet_since), self._poll_interval)
        if now >= self._look_at:
            self.dry, self._look_at = False, None
            return 0.0
        return self._look_at - now
