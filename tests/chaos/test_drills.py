"""The engine as it is passes every drill. (That each mutant fails one is tests/chaos/test_mutants.py.)"""

from __future__ import annotations

import pytest

from chaos import drill
from chaos.checker import Finding
from chaos.site import Site

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("name", ["storm", "late", "quiet", "shared"])
def test_a_drill_breaks_no_promise(site: Site, name: str) -> None:
    demand_none(drill.run(name, site), site)


def test_an_outage_breaks_no_promise(own_site: Site) -> None:
    demand_none(drill.run("outage", own_site), own_site)


def demand_none(findings: list[Finding], site: Site) -> None:
    shown = "\n".join(map(str, findings))
    assert not findings, f"{shown}\n{site.logs()}"
