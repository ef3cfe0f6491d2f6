"""Reads a Markdown page: its code blocks in order, its links, its headings and the words in code style.

A block is what stands between two fences. What a comment right above it says about it:

    <!-- no-run: reason -->       is not run; the reason is for the reader of the source
    <!-- stop-after: text -->     console: end the command with Ctrl-C once it has printed this text
    <!-- raises: Name -->         python: must end in an exception of that class

A fence inside a comment (`<!-- hidden`, … `-->`) is run like any other and not shown to the reader.
A page that starts on a database without our schema says `<!-- database: empty -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^(`{3,})([\w-]*)\s*$")
DIRECTIVE = re.compile(r"^<!-- ([a-z-]+): (.+?) -->$")
FILE_NAME = re.compile(r"^# ((?:\w+/)*\w+\.py)$")
HEADING = re.compile(r"^#{1,6} (.+?)\s*$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")

RUN = {"python", "sql", "console"}
SHOWN_ONLY = {"text", "mermaid", "ini", "dockerfile", "yaml", "toml"}


class BadPage(Exception):
    """A page that cannot be read: says where and why."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; `line` is the number of its first line of code."""

    page: Path
    line: int
    language: str
    code: str
    directives: dict[str, str]

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in RUN and "no-run" not in self.directives

    @property
    def file_name(self) -> str | None:
        """The file that a python block shows: its first line is `# shop/jobs.py`."""
        named = FILE_NAME.match(self.code.partition("\n")[0])
        return named[1] if named and self.language == "python" else None


def all_pages() -> list[Path]:
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Every block of the page; raises BadPage for a language nobody knows or a fence that is not closed."""
    return list(_blocks(page, page.read_text().splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    directives: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if fence := FENCE.match(line):
            end = _closing(page, lines, number, fence[1])
            yield _block(page, number + 1, fence[2], lines[number:end], directives)
            directives, number = {}, end + 1
        elif directive := DIRECTIVE.match(line):
            directives[directive[1]] = directive[2]
        elif line.strip() not in {"", "<!-- hidden"}:
            directives = {}


def _closing(page: Path, lines: list[str], start: int, fence: str) -> int:
    for number in range(start, len(lines)):
        if lines[number].rstrip() == fence:
            return number
        if (opened := FENCE.match(lines[number])) and opened[1] == fence:
            break
    raise BadPage(f"{page.name}:{start}: this block is never closed")


def _block(page: Path, line: int, language: str, code: list[str], directives: dict[str, str]) -> Block:
    if language not in RUN | SHOWN_ONLY:
        known = ", ".join(sorted(RUN | SHOWN_ONLY))
        raise BadPage(f"{page.name}:{line - 1}: a block in {language or 'no language'!r}; known are {known}")
    return Block(page, line, language, "\n".join(code) + "\n", directives)


def starts_empty(page: Path) -> bool:
    return "<!-- database: empty -->" in page.read_text()


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    kept, fence = [], None
    for line in page.read_text().splitlines():
        if fence is None and (opened := FENCE.match(line)):
            fence = opened[1]
        elif fence is not None and line.rstrip() == fence:
            fence = None
        elif fence is None:
            kept.append(line)
    return "\n".join(kept)


def links(page: Path) -> list[str]:
    return LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown renderer gives the page's headings."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        if heading := HEADING.match(line):
            slug = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
            found.add(slug)
    return found


def code_spans(page: Path) -> list[str]:
    return CODE_SPAN.findall(prose(page))


def commands(page: Path) -> list[str]:
    """Every command that a reader could type: console lines, no-run ones too, and whole commands in prose."""
    typed = [span for span in code_spans(page) if span.startswith(("pgjobq ", "python -m pgjobq"))]
    for block in blocks(page):
        if block.language == "console":
            typed += [command for command, _ in console_steps(block)]
    return typed


def console_steps(block: Block) -> list[tuple[str, list[str]]]:
    """(command, expected lines of output) for each `$ `; a backslash at the end goes on in the next line."""
    steps: list[tuple[str, list[str]]] = []
    going_on = False
    for line in block.code.splitlines():
        if going_on:
            steps[-1] = (f"{steps[-1][0]}\n{line}", [])
        elif line.startswith("$ "):
            steps.append((line[2:], []))
        elif steps:
            steps[-1][1].append(line)
        else:
            raise BadPage(f"{block.where}: a console block starts with `$ ` and a command")
        going_on = line.endswith("\\") and not steps[-1][1]
    return steps
