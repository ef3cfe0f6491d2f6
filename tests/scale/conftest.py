"""Worker processes on one host or on several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scale.hosts import Hosts, why_not
from worker.stage import Stage

NAMES = ("oak", "ash")


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    """The test's database, with worker processes that end before the conservation law is checked."""
    stage = Stage(dsn, tmp_path)
    yield stage
    stage.destroy()


@pytest.fixture
def hosts(stage: Stage) -> Iterator[Hosts]:
    """Two hosts that reach the server over a network of their own; skipped, with the reason, where they cannot be had.

    Where CI is set they must be there: it runs as root, and a test that never runs holds nothing.
    """
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(f"no hosts in CI: {reason}")
        pytest.skip(f"no hosts: {reason}")
    with Hosts(NAMES, stage.dsn) as made:
        yield made
        stage.destroy()
