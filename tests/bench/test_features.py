"""The cost of each feature: measured on a few jobs, and every feature of the driver has its line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from bench.features import DRIVER, ROOT, TITLES, Cost, main, measure, table
from bench.server import Server, open_server

from pgjobq.devdb import Postgres


def test_each_feature_of_the_driver_has_its_line() -> None:
    tree = ast.parse(Path(DRIVER).read_text())
    (features,) = (
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "FEATURES"
    )
    assert isinstance(features, ast.Dict)
    assert [ast.literal_eval(key) for key in features.keys if key is not None] == list(TITLES)


def test_a_few_jobs_of_some_features() -> None:
    """All are run to their end, and cost something; the databases are gone afterwards."""
    chosen = ["nothing", "depends_on", "gate"]
    with Postgres(tcp=True) as postgres, open_server(postgres.dsn()) as server:
        costs = measure(server, ROOT / "nowhere", chosen, jobs=2000, rounds=1)
        for feature in chosen:
            assert costs[feature].of("run client") > 0
            assert costs[feature].of("bulk wal") > 100
        assert _databases(server) == ["bench_made"]
    assert costs["gate"].of("bulk wal") > costs["nothing"].of("bulk wal")


def _databases(server: Server) -> list[str]:
    return [name for (name,) in server.admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'bench%'")]


def test_the_table() -> None:
    cost = Cost()
    for verb in ("one", "bulk", "run"):
        for what in ("client", "server", "wal"):
            for sample in (1.0, 1000.0, 3.0):
                cost.add(f"{verb} {what}", sample)
    assert table({"unique": cost}).splitlines()[-1] == f"| {TITLES['unique']} | 3 + 3 µs | 3 + 3 µs | 3 + 3 µs | 6 B |"


def test_an_unknown_feature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["magic"]) == 2
    assert "there is no 'magic'; there are version1, nothing" in capsys.readouterr().err
