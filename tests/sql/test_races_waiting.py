"""Races made on purpose: two who name the same waiting job, and each puts it elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from sql.support.hand import Hand, doctored, function_text
from support.waiting import eventually

Hands = Callable[..., Hand]


@pytest.mark.parametrize("place", ["scheduled", "blocked", "ready", "again"])
@pytest.mark.parametrize("first", ["edit", "move"])
@pytest.mark.parametrize("second", ["cancel", "edit", "move", "cancel_running"])
def test_who_names_a_job_that_another_one_has_in_hand_finds_it(
    hands: Hands, place: str, first: str, second: str
) -> None:
    """Wherever it stood, and wherever the other one has put it."""
    assert _named_by_two(hands, place, first, second)


@pytest.mark.parametrize("name", ["cancel", "change_waiting", "move"])
def test_who_looks_only_once_would_not_find_it(hands: Hands, name: str) -> None:
    once = doctored(function_text(name), (f"IF NOT pgjobq.is_waiting({name}.job) THEN", "IF true THEN"))
    hands(lease=None).sql(once)
    assert not _named_by_two(hands, "scheduled", "edit", "edit" if name == "change_waiting" else name)


NAMES_ONE = {
    "cancel": "SELECT pgjobq.cancel($1)",
    "cancel_running": "SELECT pgjobq.cancel_running($1)",
    "edit": "SELECT pgjobq.edit($1, priority => 7)",
    "move": "SELECT pgjobq.move($1, 'there')",
}


def _named_by_two(hands: Hands, place: str, first: str, second: str) -> bool:
    """Whether the second does something to a job that the first has changed and not yet committed."""
    worker, one, other = hands(), hands(lease=None), hands(lease=None)
    job = worker.enqueue(**({"delay": "1 hour"} if place == "scheduled" else {}))
    if place == "again":
        worker.settle_as("again", worker.claim_one())
    elif place == "blocked":
        worker.settle_as("blocked", worker.claim_one(), waits_for="task:send", back=1)
    told: list[bool] = []
    racer = threading.Thread(target=lambda: told.append(bool(other.value(NAMES_ONE[second], job))))
    with one.conn.transaction():
        assert one.value(NAMES_ONE[first].replace("there", "elsewhere").replace("7", "3"), job)
        racer.start()
        eventually(
            lambda: worker.value("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1", other.pid)
        )
    racer.join(30)
    worker.places()  # in one place only
    lanes = worker.sql("SELECT queue, priority FROM pgjobq.ready UNION ALL SELECT queue, priority FROM pgjobq.scheduled"
                       " UNION ALL SELECT queue, priority FROM pgjobq.blocked")  # fmt: skip
    said = worker.sql("SELECT queue, priority FROM pgjobq.job")
    assert lanes in ([], said), "its place and its facts say the same"
    return told == [True]
