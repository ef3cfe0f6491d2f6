"""A minute of everything, with a fixed seed."""

from __future__ import annotations

import pytest

from chaos.mixed import run_mixed
from chaos.table import draw


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_minute_of_everything() -> None:
    result = run_mixed(60, 1, print)
    print(draw(result))
    assert result.valid, f"{draw(result)}\n{result.logs}"
    assert sum(result.faults.values()) >= 8
    assert sum(result.jobs.values()) >= 500
