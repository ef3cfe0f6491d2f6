"""Looks for what must not be in the repository: host names of package registries, paths of one machine,
and advice to install the PyPI project that happens to have our name (it belongs to somebody else).

    python tools/strays.py [FILE …]      exit 1 when something is found; without arguments all of git's files
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = {"tools/strays.py", "tests/docs/test_strays.py"}  # they speak of what they look for

REGISTRY = re.compile(
    r"\b(?:[\w-]+\.)*[\w-]*(?:pypi|pythonhosted|npmjs|yarnpkg|artifactory|jfrog|devpi|registry|deb\.debian)"
    r"[\w-]*(?:\.[\w-]+)*\.(?:org|com|net|io|dev|internal|local|cloud)\b",
    re.IGNORECASE,
)
INDEX_OPTION = re.compile(r"^\s*(?:-i|--index-url|--extra-index-url|-f|--find-links|--trusted-host)[ =]\S")
HOME_PATH = re.compile(r"(?<![\w.$}])(?:/home/[a-z][\w-]*|/Users/\w+|/root)/[\w.]")
FOREIGN_NAME = re.compile(
    r"\b(?:pip3?|pipx|uv) +(?:\w+ +)*(?:-{1,2}[\w-]+ +)*(?:install|add) +(?:-{1,2}[\w-]+ +)*['\"]?pgjobq\b"
)


class Stray(NamedTuple):
    file: str
    line: int
    what: str
    text: str


def main(arguments: list[str]) -> int:
    files = [Path(argument).resolve() for argument in arguments] or list(repository_files())
    found = [stray for file in files for stray in strays_of(file)]
    for stray in found:
        print(f"{stray.file}:{stray.line}: {stray.what}: {stray.text}", file=sys.stderr)
    if found:
        print(f"{len(found)} stray(s): write a placeholder, or leave it out.", file=sys.stderr)
    return 1 if found else 0


def repository_files() -> Iterator[Path]:
    """What is committed or would be by `git add .`; without git, what stands in the tree."""
    for name in known_to_git() or walked():
        if name and name not in SKIPPED and (ROOT / name).is_file():
            yield ROOT / name


def known_to_git() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return listed.stdout.split("\0") if listed.returncode == 0 else []


def walked() -> Iterator[str]:
    """An unpacked source archive, or a checkout that another user owns: hidden folders are tools' caches."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        yield from (str((Path(folder) / name).relative_to(ROOT)) for name in files)


def strays_of(file: Path) -> Iterator[Stray]:
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        return  # a picture, a font
    name = str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)
    literals = list(machine_literals())
    for number, line in enumerate(text.splitlines(), start=1):
        for what in findings(line, literals):
            yield Stray(name, number, what, line.strip()[:100])


def findings(line: str, literals: Iterable[tuple[str, str]]) -> Iterator[str]:
    if REGISTRY.search(line):
        yield "host name of a package registry"
    if INDEX_OPTION.search(line):
        yield "option that names a package index"
    if HOME_PATH.search(line):
        yield "path of one machine"
    if FOREIGN_NAME.search(line) and " not in " not in line:  # a test may assert that nobody says so
        yield "installs somebody else's project (say: from a checkout, `-e .`)"
    for what, literal in literals:
        if literal in line:
            yield what


def machine_literals() -> Iterator[tuple[str, str]]:
    """This machine's own words: where the checkout lies, and the hosts its package clients are set up for."""
    if len(ROOT.parts) > 2:  # "/app" alone would be found in every other sentence
        yield "path of this checkout", f"{ROOT}"
    for name, value in os.environ.items():
        if name.startswith(("PIP_", "UV_", "NPM_CONFIG_", "npm_config_")) and "://" in value:
            for address in value.split():
                host = urlsplit(address).hostname
                if host and host not in {"localhost", "127.0.0.1"}:
                    yield "host of this machine's package index", host


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
