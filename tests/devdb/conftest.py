"""Directories for kept data which the server's user can reach; pytest's own are closed to others."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.waiting import eventually


@pytest.fixture
def kept_root() -> Iterator[Path]:
    """An empty directory of mode 0755 for kept data; removed when a server that still goes down lets it."""
    root = Path(tempfile.mkdtemp(prefix="pgjobq-kept-", dir="/tmp"))
    root.chmod(0o755)
    yield root

    def remove() -> bool:
        shutil.rmtree(root, ignore_errors=True)
        return not root.exists()

    eventually(remove)
