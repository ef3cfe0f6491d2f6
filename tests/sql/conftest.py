"""Fixtures of the SQL tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sql.support.gate import Gate, gate_of
from sql.support.hand import Hand


@pytest.fixture
def hands(dsn: str) -> Iterator[Callable[..., Hand]]:
    """Makes hands on the test's database; closed at the end."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Hand(dsn, **options))


@pytest.fixture
def hand(hands: Callable[..., Hand]) -> Hand:
    """One worker."""
    return hands()


@pytest.fixture
def gate(dsn: str) -> Iterator[Gate]:
    """A gate in the test's database, closed."""
    with gate_of(dsn) as opened:
        yield opened
