"""What a worker process does not import before it needs it: each costs memory in each process."""

from __future__ import annotations

import subprocess
import sys

SPARED = {
    "argparse": "the command line: the supervisor reads it",
    "difflib": "for wrong names",
    "hashlib": "for long keys and for encryption; it brings OpenSSL's digests",
    "psycopg_pool": "for handlers that enqueue",
    "pgjobq.engine.cells": "for isolated handlers",
    "pgjobq.engine.supervisor": "the process above",
    "pgjobq.engine.upkeep": "the process above",
    "pgjobq.explanation": "for people",
    "pgjobq.metrics": "for --metrics-port",
    "pgjobq.web": "the dashboard",
}


def test_a_worker_process_imports_only_what_it_needs() -> None:
    program = "import sys, pgjobq.engine.process; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {name: reason for name, reason in SPARED.items() if name in found}
