"""The player notices a broken page; were it not so, every page would pass."""

from __future__ import annotations

from pathlib import Path

import pages
import player
import pytest
from test_pages import play


def write_page(tmp_path: Path, text: str) -> Path:
    page = tmp_path / "page.md"
    page.write_text(text)
    return page


BROKEN = {
    "an exception": ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
    "a syntax error": ("```python\ndef f(:\n```\n", "SyntaxError"),
    "a false assertion": ("```python\nassert 1 == 2\n```\n", "AssertionError"),
    "a name of another page": ("```python\nprint(queue)\n```\n", "NameError"),
    "a warning": ("```python\nimport warnings\nwarnings.warn('old')\n```\n", "UserWarning"),
    "an awaited exception": (
        "```python\nimport asyncio\nawait asyncio.sleep(0)\nraise KeyError('x')\n```\n",
        "KeyError: 'x'",
    ),
    "no exception where one is promised": (
        "<!-- raises: ValueError -->\n```python\nint('1')\n```\n",
        "no ValueError",
    ),
    "another exception than promised": (
        "<!-- raises: ValueError -->\n```python\n{}['a']\n```\n",
        "KeyError: 'a'",
    ),
    "a table that is not there": ("```sql\nSELECT * FROM nowhere;\n```\n", "UndefinedTable"),
    "a second statement that fails": ("```sql\nSELECT 1; SELECT 1 / 0;\n```\n", "DivisionByZero"),
    "a command that fails": ("```console\n$ exit 3\n```\n", "exits with 3"),
    "a command nobody has": ("```console\n$ no-such-command\n```\n", "exits with 127"),
    "another output": ("```console\n$ echo two\none\n```\n", "should print\none\nbut prints\ntwo"),
    "less output": ("```console\n$ echo one\none\ntwo\n```\n", "should print"),
    "a worker that never says so": (
        "<!-- stop-after: ready -->\n```console\n$ echo no\n```\n",
        "never prints",
    ),
    "a hidden block": ("<!-- hidden\n```python\n1 / 0\n```\n-->\n", "ZeroDivisionError"),
    "an unknown language": ("```pyhton\n1\n```\n", "'pyhton'"),
    "a block without language": ("```\n1\n```\n", "no language"),
    "a fence left open": ("```python\n1\n", "never closed"),
    "output before a command": ("```console\nls\n```\n", "starts with `$ `"),
    "a misplaced job": (
        "```sql\nSELECT pgjobq.enqueue('t'); DELETE FROM pgjobq.ready;\n```\n",
        "misplaced",
    ),
}


@pytest.mark.lawless("one of the pages misplaces a job")
@pytest.mark.parametrize("what", BROKEN)
def test_broken_page_is_noticed(what: str, dsn: str, tmp_path: Path) -> None:
    text, said = BROKEN[what]
    page = write_page(tmp_path, f"# A page\n\n```python\nx = 1\n```\n\n{text}\n```python\nprint('went on')\n```\n")

    played = play(page, dsn, tmp_path)

    assert played.returncode == 1, played.stdout
    assert "BROKEN" in played.stdout
    assert said in played.stdout
    assert "went on" not in played.stdout.replace("print('went on')", "") or what == "a misplaced job"


GOOD = """\
```python
# shop/parts.py
def double(x: int) -> int:
    return 2 * x
```

```python
from shop.parts import double

x = double(3)
```

```python
import asyncio

await asyncio.sleep(0)
assert x == 6
```

```sql
CREATE TABLE orders (id int);
INSERT INTO orders VALUES (1), (2);
```

```console
$ echo "job 17 done"; \\
  echo more
job … done
more
$ echo "$DATABASE_URL" | cut -c 1-10
postgresql
```

<!-- stop-after: waiting -->
```console
$ python -c "from signal import *; pthread_sigmask(SIG_BLOCK, [SIGINT]); \\
print('waiting', flush=True); sigwait([SIGINT])"
waiting
```

<!-- raises: ArithmeticError -->
```python
1 / 0
```

<!-- no-run: it would break the page -->
```python
raise SystemExit("not reached")
```
"""


def test_good_page_runs_whole(dsn: str, tmp_path: Path) -> None:
    played = play(write_page(tmp_path, GOOD), dsn, tmp_path)
    assert played.returncode == 0, played.stdout + played.stderr
    assert played.stdout.count("page.md:") == 7


def test_traceback_shows_the_line_of_the_page(dsn: str, tmp_path: Path) -> None:
    played = play(write_page(tmp_path, "# T\n\ntext\n\n```python\nx = 1\n1 / 0\n```\n"), dsn, tmp_path)
    assert 'page.md", line 7' in played.stdout


@pytest.mark.parametrize(
    ("expected", "printed", "fits"),
    [
        (["one"], "one\n", True),
        (["one"], "one  \n\n", True),
        (["one"], "one two\n", False),
        (["one …"], "one two\n", True),
        (["…", "last"], "a\nb\nlast\n", True),
        (["a", "…", "d"], "a\nb\nc\nd\n", True),
        (["a.c"], "abc\n", False),
    ],
)
def test_matches(expected: list[str], printed: str, fits: bool) -> None:
    assert player.matches(expected, printed) is fits


def test_directive_belongs_to_the_next_block_only(tmp_path: Path) -> None:
    page = write_page(tmp_path, "<!-- no-run: why not -->\n```sql\n1\n```\n```sql\n2\n```\n")
    assert [block.runs for block in pages.blocks(page)] == [False, True]
    page = write_page(tmp_path, "<!-- no-run: why not -->\nSome text.\n```sql\n1\n```\n")
    assert [block.runs for block in pages.blocks(page)] == [True]


def test_links_anchors_and_code_are_found(tmp_path: Path) -> None:
    page = write_page(
        tmp_path,
        "# Signals, and exit codes\n\nSee [this](a.md#b), `--drain` and `pgjobq worker x:q --lease 5`.\n"
        "```console\n$ pgjobq migrate --check\nok\n```\n[not](in/a/block.md)\n",
    )
    assert pages.links(page) == ["a.md#b", "in/a/block.md"]
    assert pages.anchors(page) == {"signals-and-exit-codes"}
    assert pages.code_spans(page) == ["--drain", "pgjobq worker x:q --lease 5"]
    assert pages.commands(page) == ["pgjobq worker x:q --lease 5", "pgjobq migrate --check"]
