"""Row factories, cursor classes, adapters, codecs, caches, execution options: none of them matters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

from kinds import Kind, Shop, play
from kinds.dressed import DRESSED
from kinds.scenarios import (
    IN_TRANSACTION,
    Scenario,
    any_statement_runs,
    awkward_text_arrives_as_it_is,
    every_operation_joins,
    gone_on_rollback,
)

pytest_plugins = ["kinds.fixtures"]

TESTS = Path(__file__).parents[1]
SCRIPT = TESTS / "kinds" / "django_psycopg2.py"


@pytest.mark.parametrize("kind", DRESSED, ids=str)
@pytest.mark.parametrize(
    "scenario",
    [gone_on_rollback, every_operation_joins, awkward_text_arrives_as_it_is, any_statement_runs],
    ids=lambda scenario: scenario.__name__,
)
def test_dressed(kind: Kind, scenario: Scenario, shop: Shop) -> None:
    async def scene() -> None:
        async with kind.open(shop.dsn, False) as caller:
            await scenario(caller, shop)

    play(kind, scene())


def test_adapter_of_the_whole_process_for_str(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg2's adapters are global: one for str that shouts must not change what is stored."""
    key = (str, psycopg2.extensions.ISQLQuote)
    monkeypatch.setitem(psycopg2.extensions.adapters, key, lambda text: psycopg2.extensions.QuotedString(text.upper()))
    own = psycopg2.connect(shop.dsn)
    try:
        shop.ship.using(conn=own).enqueue(order=1, note="quiet")
        own.commit()
    finally:
        own.close()
    stored = shop.onlooker.execute("SELECT args->>'note' FROM pgjobq.job").fetchone()
    assert stored == ("quiet",)


def test_django_on_psycopg2(shop: Shop) -> None:
    """Django takes psycopg 3 wherever it is installed, so psycopg2 needs a process in which it is hidden."""
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, shop.dsn],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        timeout=100,
    )
    played = [f"{scenario.__name__} on psycopg2" for scenario in IN_TRANSACTION]
    assert (done.returncode, done.stdout.splitlines()) == (0, played), done.stderr
