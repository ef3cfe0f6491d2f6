"""Every page's code is run, each page against a database of its own; what the pages point at exists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pages
import pytest

PLAYER = Path(__file__).with_name("player.py")
PAGES = pages.all_pages()
MOST_NOT_RUN = 8
"""Blocks marked no-run that we put up with in all the pages together: make it smaller whenever it can be."""


def play(page: Path, dsn: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a page as a reader would: DATABASE_URL is set, nothing else of ours or libpq's is."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PGJOBQ_", "PG", "PYTEST_"))
    }
    environment |= {
        "DATABASE_URL": dsn,
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    return subprocess.run(
        [sys.executable, "-W", "error", str(PLAYER), str(page)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_the_code_of_the_page_runs(page: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    running = [block for block in pages.blocks(page) if block.runs]
    if not running:
        return
    dsn = request.getfixturevalue("empty_dsn" if pages.starts_empty(page) else "dsn")

    played = play(page, dsn, tmp_path)

    assert played.returncode == 0, f"{played.stdout}\n{played.stderr}"
    assert played.stdout.count(f"{page.name}:") == len(running), played.stdout


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    not_run = [
        block for page in PAGES for block in pages.blocks(page) if block.language in pages.RUN and not block.runs
    ]
    assert all(len(block.directives["no-run"]) > 10 for block in not_run)
    assert len(not_run) <= MOST_NOT_RUN, [block.where for block in not_run]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(pages.ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            lost.append(link)
        elif anchor and anchor not in pages.anchors(target):
            lost.append(f"{link} (no such heading)")
    assert not lost


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), [pages.ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        found = (link.partition("#")[0] for link in pages.links(page) if "://" not in link)
        targets = ((page.parent / file).resolve() for file in found if file)  # without: a place on the same page
        ahead += [target / "README.md" if target.is_dir() else target for target in targets]
    assert not {str(page.relative_to(pages.ROOT)) for page in set(PAGES) - reached}
