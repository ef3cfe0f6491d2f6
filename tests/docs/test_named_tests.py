"""Pages that say which test shows a claim name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pages
import pytest

PAGES = (
    "docs/promises.md",
    "SECURITY.md",
    *(str(p.relative_to(pages.ROOT)) for p in (pages.ROOT / "docs/decisions").glob("*.md")),
)
TEST = re.compile(r"`?\(?\b((?:tests/[\w/]+/)?(?:test_)\w+\.py)(?:::(\w+))?")


def missing(text: str) -> list[str]:
    """The tests that are named and are not there; a name without its directory is of tests/chaos or tests/worker."""
    found = []
    for name, test in TEST.findall(text):
        places = (
            [pages.ROOT / name] if "/" in name else [pages.ROOT / "tests" / room / name for room in ("chaos", "worker")]
        )
        files = [place for place in places if place.is_file()]
        if not files or (test and not any(f"def {test}(" in file.read_text() for file in files)):
            found.append(f"{name}::{test}" if test else name)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    assert missing(Path(pages.ROOT / page).read_text()) == []


def test_a_test_that_is_gone_is_found() -> None:
    gone = "`test_board.py`, `test_gone.py`, `tests/sql/test_races.py::test_gone`, [x](tests/web/test_gone.py)"
    assert missing(gone) == ["test_gone.py", "tests/sql/test_races.py::test_gone", "tests/web/test_gone.py"]
