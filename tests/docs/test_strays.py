"""tools/strays.py finds what must not be committed, and leaves honest text alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pages
import pytest

SPEC = importlib.util.spec_from_file_location("strays", pages.ROOT / "tools/strays.py")
assert SPEC is not None
assert SPEC.loader is not None
strays = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(strays)

PYPI = "files.python" + "hosted.org"  # in two parts: other checks read this file too


@pytest.mark.parametrize(
    "line",
    [
        f"url = https://{PYPI}/packages/x.whl",
        "index = https://registry.npm" + "js.org/",
        "deb http://deb.debi" + "an.org/debian stable main",
        "--index-url https://example.org/simple",
        "--extra-index-url=https://example.org/simple",
        "cd /ho" + "me/ada/projects/pgjobq",
        "open('/Us" + "ers/ada/x')",
        "PATH=/ro" + "ot/.local/bin",
        "pip install pgjobq",
        "$ pip install -U 'pgjobq[web]'",
        "uv add pgjobq",
        "uv pip install --quiet pgjobq",
        f"see {pages.ROOT}/README.md",
    ],
)
def test_stray_is_found(line: str) -> None:
    assert list(strays.findings(line, strays.machine_literals()))


@pytest.mark.parametrize(
    "line",
    [
        "pip install -e '.[dev]'",
        "pip install ./pgjobq",
        "The name is taken on PyPI by another project.",
        "https://www.postgresql.org/docs/current/",
        "the registry of tasks",
        "tmp_path / 'home' / 'x'",
        "$HOME/.cache",
        "--hash=sha256:abc",
        "from pgjobq import Queue",
    ],
)
def test_honest_line_is_left_alone(line: str) -> None:
    assert not list(strays.findings(line, strays.machine_literals()))


def test_host_of_this_machines_index_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "https://user:secret@mirror.example.net/simple")
    assert list(strays.findings("get it from mirror.example.net", strays.machine_literals()))


def test_file_and_line_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "notes.md"
    file.write_text(f"fine\nhttps://{PYPI}/x\n")
    assert strays.main([str(file)]) == 1
    assert "notes.md:2: host name of a package registry" in capsys.readouterr().err


def test_picture_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "shot.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    assert strays.main([str(file)]) == 0
