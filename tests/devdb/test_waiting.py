"""eventually(): gives up, tells why, and gives back what it waited for."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from support.dsn import as_url
from support.waiting import aeventually, eventually


def test_gives_back_the_first_true_answer() -> None:
    answers = iter([0, None, "", "there"])
    assert eventually(lambda: next(answers)) == "there"


def test_gives_up_and_tells_the_last_answer() -> None:
    before = time.monotonic()
    with pytest.raises(AssertionError, match=r"did not become true within 0\.2 s; its last answer was \[\]"):
        eventually(list, timeout=0.2)
    assert 0.2 <= time.monotonic() - before < 5


def test_an_assert_means_not_yet_and_other_errors_are_raised() -> None:
    count = itertools.count()

    def settle() -> str:
        assert next(count) > 2, "not yet"
        return "settled"

    assert eventually(settle) == "settled"
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        eventually(lambda: 1 / 0, timeout=0, ignoring=(ZeroDivisionError,))


def test_async_twin_lets_the_loop_go_on() -> None:
    async def scenario() -> str:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, event.set)

        async def look() -> str:
            return "set" if event.is_set() else ""

        return await aeventually(look)

    assert asyncio.run(scenario()) == "set"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("host=h port=1 user=u dbname=d", "postgresql://u@h:1/d"),
        ("host=/a/b user=u password='p @/' dbname='x y'", "postgresql://u:p%20%40%2F@/x%20y?host=/a/b"),
        ("postgresql://u:p@h:5/d?sslmode=disable", "postgresql://u:p@h:5/d?sslmode=disable"),
        ("host=::1 dbname=d", "postgresql://[::1]/d"),
        ("dbname=d", "postgresql:///d"),
    ],
)
def test_every_dsn_has_a_url(given: str, url: str) -> None:
    from psycopg.conninfo import conninfo_to_dict

    assert as_url(given) == url
    assert conninfo_to_dict(url) == conninfo_to_dict(given)


def test_url_with_changes() -> None:
    assert as_url("host=h user=u password=p dbname=d", dbname="e", password=None) == "postgresql://u@h/e"
