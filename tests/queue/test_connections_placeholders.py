"""$1 in each driver's own spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobq.run.placeholders import arranged, as_dollars, as_format, as_text, texts


@pytest.mark.parametrize(
    ("sql", "wanted", "order"),
    [
        ("SELECT $1::text", "SELECT %s::text", (0,)),
        ("SELECT $2::int, $1::text, $2::int", "SELECT %s::int, %s::text, %s::int", (1, 0, 1)),
        ("SELECT $10::text, $1::text", "SELECT %s::text, %s::text", (9, 0)),
        ("SELECT 5 % 2, $1::text LIKE '10%'", "SELECT 5 %% 2, %s::text LIKE '10%%'", (0,)),
        ("SELECT '$1', \"a$2\", $1", "SELECT '$1', \"a$2\", %s", (0,)),
        ("SELECT 'it''s $1' -- don't $2 %\n, $1", "SELECT 'it''s $1' -- don't $2 %%\n, %s", (0,)),
        ("SELECT /* 'a' $3 % */ $1", "SELECT /* 'a' $3 %% */ %s", (0,)),
        ("SELECT 1", "SELECT 1", ()),
    ],
)
def test_as_format(sql: str, wanted: str, order: tuple[int, ...]) -> None:
    assert as_format(sql) == (wanted, order)


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT $1::text, $2::int", "SELECT $1::text, $2::text::int"),
        ("SELECT $1::text[], $1::textual", "SELECT $1::text[], $1::text::textual"),
        ("SELECT '$1', $1 -- $2", "SELECT '$1', $1::text -- $2"),
    ],
)
def test_as_dollars(sql: str, wanted: str) -> None:
    assert as_dollars(sql) == wanted


def test_numbers_travel_as_text() -> None:
    assert texts(("a", 7, None, -1)) == ["a", "7", None, "-1"]
    assert arranged(("a", 7, None), (2, 1, 1, 0)) == [None, "7", "7", "a"]


@given(st.lists(st.sampled_from(["$1", "$2", "%", "'%$1'", " ", "x", "--\n", '"%"'])))
def test_percent_signs_come_out_as_they_were(parts: list[str]) -> None:
    """Python's own % shows what a driver makes of the text."""
    sql = "".join(f"{part} " for part in parts)
    spelled, order = as_format(sql)
    assert spelled % tuple(f"${index + 1}" for index in order) == sql


def test_bytes_become_text() -> None:
    assert as_text([(b"1", None), (b"\xc3\xbc", b"true")]) == [["1", None], ["ü", "true"]]
    rows = [("1", None)]
    assert as_text(rows) is rows
    assert as_text([]) == []
