"""The stage, for what needs worker processes."""

from __future__ import annotations

from worker.conftest import stage

__all__ = ["stage"]
