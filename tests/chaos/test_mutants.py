"""Twenty-eight mistakes, one in each mutant of the engine: the checker finds every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos import drill
from chaos.mutants import MUTANTS
from chaos.site import Site, open_server
from support.databases import open_database

pytestmark = pytest.mark.chaos

QUICK = ("complete_by_job_alone", "settle_drops_retries", "rescue_gives_the_attempt_back", "nobody_is_woken")
"""One for each kind of promise; the others are marked slow, together they take some minutes."""


TRIES = 3
"""Drills in which a mutant has to be noticed once: some mistakes show only when a race goes their way."""


@contextmanager
def open_site(name: str, server: str, template: str, directory: Path) -> Iterator[Site]:
    """A site for the drill in which the mutant shows."""
    directory.mkdir()
    if MUTANTS[name].drill == "outage":
        with open_server() as (postgres, dsn):
            yield Site(dsn, directory, postgres)
    else:
        with open_database(server, template) as dsn:
            yield Site(dsn, directory)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MUTANTS]
)
def test_a_mutant_is_caught(pg_server: str, schema_template: str, tmp_path: Path, name: str) -> None:
    told = []
    for attempt in range(TRIES):
        with open_site(name, pg_server, schema_template, tmp_path / str(attempt)) as site:
            MUTANTS[name].infect_database(site.dsn)
            findings = drill.run(MUTANTS[name].drill, site, name)
            broken = {finding.promise for finding in findings}
            print(f"{name}: {len(findings)} findings, promises {sorted(broken)}")
            assert "does not fit" not in site.logs()
            if MUTANTS[name].breaks in broken:
                return
            told.append(f"{findings}\n{site.logs()}")
    pytest.fail(f"{MUTANTS[name].about}: not noticed in {TRIES} drills.\n" + "\n".join(told))
