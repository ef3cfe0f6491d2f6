"""The pages name only flags, variables and make targets that exist, and leave no worker flag out."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest

from pgjobq.cli import main
from pgjobq.cli.commands import COMMANDS

PAGES = pages.all_pages()
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
VARIABLE = re.compile(r"\bPGJOBQ_[A-Z_]+\b")
OURS = ("pgjobq", "python -m pgjobq")
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(pages.ROOT)))


@functools.cache
def help_of(*command: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main([*command, "--help"])
    return shown.getvalue()


@functools.cache
def tool_flags() -> frozenset[str]:
    """Those of the programs that come with a checkout: the pages name them, too."""
    found: set[str] = set()
    for module in ("bench", "tests.chaos"):
        command = [sys.executable, "-m", module, "--help"]
        shown = subprocess.run(command, cwd=pages.ROOT, capture_output=True, text=True, timeout=60)
        assert shown.returncode == 0, f"{module} --help: {shown.stderr}"
        found |= set(FLAG.findall(shown.stdout))
    return frozenset(found)


@functools.cache
def flags_of(*command: str) -> frozenset[str]:
    return frozenset(FLAG.findall(help_of(*command)))


def subcommand(command: str) -> tuple[str, ...]:
    """`pgjobq worker shop.jobs:queue --drain` -> ("worker",)"""
    words = command.split()
    if words[0] == "python":
        words = ["pgjobq", *words[2].split(".")[1:], *words[3:]]
    return tuple(words[1:2]) if len(words) > 1 and re.fullmatch("[a-z]+", words[1]) else ()


def our_commands(page: Path) -> Iterator[str]:
    for command in pages.commands(page):
        for piece in re.split(r"[;&|]+", command.replace("\\\n", " ")):
            words = [word for word in piece.split() if not re.match(r"\w+=", word)]
            if " ".join(words).startswith(OURS):
                yield " ".join(words)


def unknown_flags(page: Path) -> list[str]:
    """Flags that the page gives a command of ours, or names in code style, and that no `--help` knows."""
    known = flags_of().union(*(flags_of(command) for command in COMMANDS))
    known |= tool_flags()
    known |= {flag.replace("--", "--no-", 1) for flag in known}
    named = [flag for span in pages.code_spans(page) if span.startswith("--") for flag in FLAG.findall(span)]
    return [flag for flag in named if flag not in known] + [
        f"{flag} in: {command}"
        for command in our_commands(page)
        for flag in FLAG.findall(command)
        if flag not in flags_of(*subcommand(command))
    ]


@EACH_PAGE
def test_every_flag_exists(page: Path) -> None:
    assert not unknown_flags(page)


def test_unknown_flags_are_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Use `--drain`, `--wet-run` or `pgjobq migrate --lease 5`; `--no-drain` as well; not `make x --odd`.\n"
        "```console\n$ cd shop && PGJOBQ_LEASE=5 pgjobq worker shop.jobs:queue --drain \\\n --colour | head -n 1\n```\n"
        "<!-- no-run: only to be read -->\n```console\n$ python -m pgjobq.worker shop.jobs:queue --speed 9\n```\n"
    )
    assert unknown_flags(page) == [
        "--wet-run",
        "--lease in: pgjobq migrate --lease 5",
        "--colour in: pgjobq worker shop.jobs:queue --drain --colour",
        "--speed in: python -m pgjobq.worker shop.jobs:queue --speed 9",
    ]


@EACH_PAGE
def test_every_variable_is_read_somewhere(page: Path) -> None:
    named = set(VARIABLE.findall(page.read_text()))
    assert not named - variables()


@functools.cache
def variables() -> frozenset[str]:
    found = set(VARIABLE.findall(help_of("worker")))
    for folder in ("src", "tests/support", "tests/conftest.py", "examples"):
        path = pages.ROOT / folder
        for file in [path] if path.is_file() else path.rglob("*.py"):
            found |= set(VARIABLE.findall(file.read_text()))
    return frozenset(found)


def test_the_worker_page_leaves_no_flag_out() -> None:
    page = (pages.ROOT / "docs/worker.md").read_text()
    assert not {flag for flag in flags_of("worker") if f"`{flag}" not in page}


@EACH_PAGE
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (pages.ROOT / "Makefile").read_text(), re.M))
    named = set()
    for text in [*pages.commands(page), *pages.code_spans(page)]:
        if text.startswith("make "):
            named |= {word for word in shlex.split(text, comments=True)[1:] if re.fullmatch("[a-z-]+", word)}
    assert not named - targets
