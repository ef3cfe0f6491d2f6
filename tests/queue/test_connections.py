"""Every kind of connection runs the same scenarios."""

from __future__ import annotations

import pytest

from kinds import KINDS, Kind, Shop, play
from kinds.scenarios import IN_AUTOCOMMIT, IN_TRANSACTION, Scenario

pytest_plugins = ["kinds.fixtures"]


async def _scene(kind: Kind, scenario: Scenario, shop: Shop, autocommit: bool) -> None:
    async with kind.open(shop.dsn, autocommit) as caller:
        await scenario(caller, shop)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("scenario", IN_TRANSACTION, ids=lambda scenario: scenario.__name__)
def test_in_a_transaction(kind: Kind, scenario: Scenario, shop: Shop) -> None:
    play(kind, _scene(kind, scenario, shop, False))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.autocommit], ids=str)
@pytest.mark.parametrize("scenario", IN_AUTOCOMMIT, ids=lambda scenario: scenario.__name__)
def test_in_autocommit(kind: Kind, scenario: Scenario, shop: Shop) -> None:
    play(kind, _scene(kind, scenario, shop, True))
