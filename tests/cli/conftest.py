"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pgjobq import cli
from sql.support.hand import Hand


@pytest.fixture
def hand(dsn: str) -> Iterator[Hand]:
    """A worker's hand on the test's database."""
    with Hand(dsn) as opened:
        yield opened


@pytest.fixture
def run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `pgjobq …` here, on the test's database; gives exit code, stdout, stderr."""
    monkeypatch.setenv("PGJOBQ_DSN", request.getfixturevalue("dsn"))
    for name in ("PGJOBQ_SCHEMA", "PGJOBQ_APP", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*argv: str) -> tuple[int, str, str]:
        code = cli.main(list(argv))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
