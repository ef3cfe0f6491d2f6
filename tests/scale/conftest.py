"""Worker processes on one host or on several."""

from __future__ import annotations

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

    `.ci/run` installs what they need; whether a container may make namespaces is its host's choice.
    """
    if reason := why_not():
        pytest.skip(f"no hosts: {reason}")
    with Hosts(NAMES, stage.dsn) as made:
        yield made
        stage.destroy()
