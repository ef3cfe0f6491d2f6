"""Waits that begin side by side: none leaves before all have said what they wait for."""

from __future__ import annotations

import asyncio

import pytest

from pgjobq.steps.asking import Asking


@pytest.mark.parametrize("fails", [False, True])
def test_the_first_waits_until_the_others_have_asked(fails: bool) -> None:
    order: list[str] = []

    async def quick(asking: Asking, asked: asyncio.Event) -> None:
        with asking:
            await asyncio.sleep(0)
        order.append("quick has asked")
        asked.set()
        await asking.all_have_asked(30)
        order.append("quick leaves")

    async def slow(asking: Asking, asked: asyncio.Event) -> None:
        with asking:
            await asked.wait()
            order.append("slow has asked")
            if fails:
                raise ValueError("no")

    async def both() -> None:
        asking, asked = Asking(), asyncio.Event()
        await asyncio.gather(quick(asking, asked), slow(asking, asked), return_exceptions=True)
        await asking.all_have_asked(30)

    asyncio.run(both())
    assert order == ["quick has asked", "slow has asked", "quick leaves"]


def test_it_does_not_wait_for_ever() -> None:
    async def one() -> None:
        asking = Asking()
        with asking:
            await asking.all_have_asked(0.01)

    asyncio.run(one())
