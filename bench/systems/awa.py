"""awa-pg: Python bindings of a Rust core."""

from __future__ import annotations

from bench.systems.base import System
from bench.systems.environments import Python

SYSTEM = System(
    name="awa-pg",
    version="0.6.9",
    settings="queue storage, enqueue_many_copy in 5,000s, poll_interval_ms 200 (default) with LISTEN/NOTIFY",
    environment=Python("awa", ("awa-pg==0.6.9",)),
    driver="on_awa.py",
    unfinished="SELECT false",  # only a view tells, in minutes on tables without statistics: its handlers are counted
    ended=None,
    gate=None,  # its runtime does not start while a table of its own is locked
    pace=8_000,
    bulk_pace=60_000,
    minor=True,
)
