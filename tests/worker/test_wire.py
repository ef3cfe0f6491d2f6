"""The worker's own connection when its server goes away."""

from __future__ import annotations

import os
import sys

import pytest

from worker.stage import HERE, SOURCE, Stage, clean_environment


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_watched_connection_that_is_cut(stage: Stage, loop: str) -> None:
    """libpq closes its descriptor when the server is gone; an event loop that still had it registered would end the
    whole process (libuv calls abort()). It is told as a loss, and the next connection works."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    path = os.pathsep.join(map(str, (SOURCE, HERE, HERE.parent)))
    environ = clean_environment(**stage.environ()) | {"PYTHONPATH": path}
    running = stage.run([sys.executable, "-X", "faulthandler", "-m", "apps.cut_wire", loop], environ)
    assert running.wait() == 0, running.text
    assert "survived" in running.text
