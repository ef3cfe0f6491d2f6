"""What each feature costs a job, and that it costs nothing to jobs that do not use it.

    python -m bench.features [--jobs N] [--rounds N] [FEATURE …]

For each feature jobs that use it are enqueued one by one, then a thousand at a time, and are run: microseconds of CPU
of the server and of the client for each job, and bytes of WAL. The first two lines are jobs that use nothing, with the
library and the schema as they were before there was any of this (version 1), and as they are now. Features take turns,
and the median of the rounds counts. CPU times come from /proc, so they mean something on a busy machine, too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.children import start_child
from bench.server import Server, open_server

ROOT = Path(__file__).resolve().parent.parent
DRIVER = ROOT / "bench" / "drivers" / "feature.py"
VERSION_1 = ROOT / "tests" / "sql" / "released" / "0001.tar.xz"
SECONDS = 600.0
"""The longest that one measurement may take."""

TITLES = {
    "version1": "nothing, in version 1",
    "nothing": "nothing",
    "labels": "`ref`, a tag, a header",
    "result": "a result that is kept",
    "priorities": "19 priorities",
    "ageing": "a queue that ages",
    "delay": "a delay, which is over when they are run",
    "expires": "`expires`",
    "limit": "a queue with a limit",
    "unique": "`unique`, each its own key",
    "throttle": "`unique` with a period",
    "gate": "a gate: 100 keys, 10 at once in each",
    "fifo": "a gate with an order: 100 keys",
    "rate": "a gate with a rate, for all of them",
    "fair": "a gate that 10 share fairly",
    "depends_on": "`depends_on`: every second on one before",
    "chunk": "chunks of 100",
    "version": "a version of its arguments",
    "middleware": "middleware around enqueue and run",
}
"""How the table calls the features of drivers/feature.py."""


@dataclass
class Cost:
    """Of one feature: the samples of each figure, a job."""

    samples: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """One more sample."""
        self.samples.setdefault(name, []).append(value)

    def of(self, name: str) -> float:
        """The median."""
        return median(self.samples[name])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; gives the exit code."""
    given = _parser().parse_args(arguments)
    unknown = [name for name in given.features if name not in TITLES]
    if unknown:
        print(f"bench.features: there is no {unknown[0]!r}; there are {', '.join(TITLES)}", file=sys.stderr)
        return 2
    chosen = given.features or list(TITLES)
    with tempfile.TemporaryDirectory() as directory, open_server(None) as server:
        with tarfile.open(VERSION_1) as archive:
            archive.extractall(directory, filter="data")
        costs = measure(server, Path(directory), chosen, given.jobs, given.rounds)
    print(table(costs))
    return 0


def measure(server: Server, version_1: Path, chosen: Sequence[str], jobs: int, rounds: int) -> dict[str, Cost]:
    """All of these in turn, so many times."""
    costs = {feature: Cost() for feature in chosen}
    for library in {_library(feature, version_1) for feature in chosen}:
        _drive("prepare", "nothing", 0, server.recreate(_made(library)), library)
    for number in range(rounds):
        for feature in chosen:
            print(f"round {number + 1}: {feature}", file=sys.stderr, flush=True)
            _measure_one(server, _library(feature, version_1), feature, jobs, costs[feature])
    return costs


def _library(feature: str, version_1: Path) -> Path:
    return version_1 if feature == "version1" else ROOT / "src"


def _made(library: Path) -> str:
    return "made" if library == ROOT / "src" else "made_1"


def _measure_one(server: Server, library: Path, feature: str, jobs: int, cost: Cost) -> None:
    dsn = server.recreate("feature", _made(library))
    server.settle()
    for verb, count in (("one", jobs // 10), ("bulk", jobs), ("run", jobs + jobs // 10)):
        database, wal = server.cpu() or 0.0, server.wal_position()
        python = _drive(verb, feature, count, dsn, library)
        cost.add(f"{verb} client", python / count * 1e6)
        cost.add(f"{verb} server", ((server.cpu() or 0.0) - database) / count * 1e6)
        cost.add(f"{verb} wal", (server.wal_position() - wal) / count)
    server.drop("feature")


def _drive(verb: str, feature: str, jobs: int, dsn: str, library: Path) -> float:
    child = start_child(
        [sys.executable, str(DRIVER), verb, feature, str(jobs), dsn],
        env={"PYTHONPATH": str(library)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        told, _ = child.communicate(timeout=SECONDS)
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode:
        raise SystemExit(f"bench.features: {verb} {feature} ended with exit code {child.returncode}")
    return float(json.loads(told.splitlines()[-1])["seconds"])


def table(costs: dict[str, Cost]) -> str:
    """As Markdown: server + client."""
    lines = [
        "| jobs that use | enqueue one by one | a thousand at a time | run | WAL |",
        "|---|---|---|---|---|",
    ]
    for feature, cost in costs.items():
        cells = [
            f"{cost.of(f'{verb} server'):.0f} + {cost.of(f'{verb} client'):.0f} µs" for verb in ("one", "bulk", "run")
        ]
        wal = cost.of("bulk wal") + cost.of("run wal")
        lines.append(f"| {TITLES[feature]} | {' | '.join(cells)} | {wal:,.0f} B |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.features",
        description="What each feature costs a job: CPU of the server and of the client, and WAL.",
        epilog=f"features: {', '.join(TITLES)}",
    )
    parser.add_argument("features", metavar="FEATURE", nargs="*", help="these only (default: all)")
    parser.add_argument("--jobs", metavar="N", type=int, default=20_000, help="jobs of a measurement (default: 20,000)")
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="how often (default: 3)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
