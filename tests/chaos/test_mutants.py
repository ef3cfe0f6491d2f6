"""Twenty mistakes, one in each mutant of the engine: the checker finds every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import drill
from chaos.mutants import MUTANTS
from chaos.site import Site, open_server

pytestmark = pytest.mark.chaos

QUICK = ("complete_by_job_alone", "settle_drops_retries", "rescue_gives_the_attempt_back", "nobody_is_woken")
"""One for each kind of promise; the others are marked slow, together they take some minutes."""


@pytest.fixture
def mutant_site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site for the drill in which the mutant shows."""
    name = request.node.callspec.params["name"]
    if MUTANTS[name].drill == "outage":
        with open_server() as (postgres, dsn):
            yield Site(dsn, tmp_path, postgres)
    else:
        yield Site(request.getfixturevalue("dsn"), tmp_path)


@pytest.mark.lawless("a mutant may break the conservation law: that is one way to catch it")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MUTANTS]
)
def test_a_mutant_is_caught(mutant_site: Site, name: str) -> None:
    MUTANTS[name].infect_database(mutant_site.dsn)
    findings = drill.run(MUTANTS[name].drill, mutant_site, name)
    broken = {finding.promise for finding in findings}
    print(f"{name}: {len(findings)} findings, promises {sorted(broken)}")
    assert "does not fit" not in mutant_site.logs()
    assert MUTANTS[name].breaks in broken, f"{MUTANTS[name].about}: only {findings}.\n{mutant_site.logs()}"
