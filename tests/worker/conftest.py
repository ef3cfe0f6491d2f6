"""The stage of the worker's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.stage import Stage


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    """The test's database, with worker processes that end before the conservation law is checked."""
    stage = Stage(dsn, tmp_path)
    yield stage
    stage.destroy()
