"""describe(): whatever was raised becomes bounded text that PostgreSQL can store, the user's frame first."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgjobq
from pgjobq.outcome import Failure, describe
from pgjobq.outcome.failure import LONGEST_MESSAGE, LONGEST_TRACEBACK, cut, storable


def caught(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def check(failure: Failure) -> None:
    """Storable and bounded, whatever it came from."""
    for text, limit in (
        (failure.kind, 255),
        (failure.message, LONGEST_MESSAGE),
        (failure.traceback, LONGEST_TRACEBACK),
    ):
        assert type(text) is str
        assert len(text) <= limit
        assert "\0" not in text
        text.encode("utf-8")


def test_an_ordinary_error() -> None:
    failure = describe(caught(lambda: int("x")))
    check(failure)
    assert failure.kind == "ValueError"
    assert failure.message == "invalid literal for int() with base 10: 'x'"
    assert failure.summary == "ValueError: invalid literal for int() with base 10: 'x'"
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert 'test_failure.py", line' in failure.traceback
    assert failure.traceback.endswith("ValueError: invalid literal for int() with base 10: 'x'\n")


class MerchantDown(Exception):
    pass


def test_the_kind_of_an_own_class_has_its_module() -> None:
    assert describe(MerchantDown()).kind == f"{__name__}.MerchantDown"
    assert describe(MerchantDown()).summary == f"{__name__}.MerchantDown"


def test_nul_and_surrogates_are_replaced_visibly() -> None:
    failure = describe(ValueError("a\0b\ud800c"))
    check(failure)
    assert failure.message == "a\\x00b\\ud800c"


def test_a_huge_message_keeps_both_ends_and_says_what_is_missing() -> None:
    began = time.perf_counter()
    failure = describe(ValueError("begin" + "x" * 20_000_000 + "end"))
    assert time.perf_counter() - began < 5
    check(failure)
    assert failure.message.startswith("begin")
    assert failure.message.endswith("end")
    assert "characters cut out" in failure.message


@given(st.text(alphabet=st.characters(), max_size=300), st.integers(min_value=100, max_value=200))
def test_any_text_is_made_storable(text: str, limit: int) -> None:
    made = storable(text, limit)
    assert len(made) <= limit
    assert "\0" not in made
    made.encode("utf-8")


@given(st.text(max_size=500), st.integers(min_value=80, max_value=400))
def test_a_cut_says_how_much_is_gone(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short) <= limit
    if len(text) <= limit:
        assert short == text
        return
    head, rest = short.split("\n[… ", 1) if "\n[… " not in text else (short, "")
    if rest:
        gone, tail = rest.split(" characters cut out …]\n", 1)
        assert len(head) + int(gone) + len(tail) == len(text)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")

    __repr__ = __str__


class Evil(Exception):
    """Whatever is asked of it, it raises, even what is not an Exception."""

    def __str__(self) -> str:
        raise SystemExit("no str")

    __repr__ = __str__

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt(name)


class TextOfItsOwn(str):
    def __len__(self) -> int:
        raise RuntimeError("no len")

    def __getitem__(self, key: Any) -> Any:
        raise RuntimeError("no slices")


HOSTILE: dict[str, Callable[[], BaseException]] = {
    "Unprintable": Unprintable,
    "Evil": Evil,
    "str of its own": lambda: ValueError(TextOfItsOwn("hello")),
    "unprintable argument": lambda: ValueError(Unprintable()),
    "StopIteration": lambda: StopIteration(Unprintable()),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "SyntaxError": lambda: SyntaxError("bad", ("file.py", 1, 2, "text\0", 1, 3)),
    "empty SyntaxError": SyntaxError,
    "KeyError": lambda: KeyError("\0"),
    "OSError": lambda: OSError(2, "no\0such"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_exceptions_are_described_all_the_same(name: str) -> None:
    error = HOSTILE[name]()

    def throw() -> None:
        raise error

    check(describe(error))
    failure = describe(caught(throw))
    check(failure)
    assert type(error).__name__ in failure.kind


def test_an_exception_without_str_says_so() -> None:
    failure = describe(Unprintable())
    assert "whose str() raised RuntimeError" in failure.message


def test_causes_and_contexts_are_told_oldest_first() -> None:
    def chained() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError as error:
                raise ValueError("second") from error
        except ValueError:
            raise TypeError("third")  # noqa: B904 - the context is what is tested

    trace = describe(caught(chained)).traceback
    assert trace.index("first") < trace.index("direct cause") < trace.index("second")
    assert trace.index("second") < trace.index("During handling") < trace.index("third")


def test_a_suppressed_context_stays_hidden() -> None:
    def hidden() -> None:
        try:
            raise KeyError("secret")
        except KeyError:
            raise ValueError("told") from None

    assert "secret" not in describe(caught(hidden)).traceback


def test_a_chain_without_end_is_cut() -> None:
    error: BaseException = ValueError("link 0")
    for number in range(1, 100_000):
        newer = ValueError(f"link {number}")
        newer.__cause__ = error
        error = newer
    began = time.perf_counter()
    failure = describe(error)
    assert time.perf_counter() - began < 5
    check(failure)
    assert "link 99999" in failure.traceback
    assert "older causes left out" in failure.traceback


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    check(describe(one))


def test_a_group_shows_its_members() -> None:
    group = ExceptionGroup("two went wrong", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])])
    failure = describe(group)
    check(failure)
    assert failure.message == "two went wrong (2 sub-exceptions)"
    assert "--- 1 of 2 ---" in failure.traceback
    assert "ValueError: a" in failure.traceback
    assert "KeyError: 'b'" in failure.traceback


def test_a_wide_and_deep_group_is_bounded() -> None:
    group: Exception = ValueError("leaf")
    for _ in range(30):
        group = ExceptionGroup("level", [group, *(ValueError(str(n)) for n in range(2_000))])
        group.__cause__ = ExceptionGroup("cause", [group])
    began = time.perf_counter()
    failure = describe(group)
    assert time.perf_counter() - began < 5
    check(failure)
    assert "more exceptions left out" in failure.traceback


def test_notes_are_kept() -> None:
    error = ValueError("x")
    error.add_note("while sending order 7")
    assert "while sending order 7" in describe(error).traceback


def test_a_deep_recursion_is_shortened_in_the_middle() -> None:
    def dive(depth: int) -> int:
        return dive(depth + 1) + depth % 3

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        error = caught(lambda: dive(0))
    finally:
        sys.setrecursionlimit(before)
    began = time.perf_counter()
    failure = describe(error)
    assert time.perf_counter() - began < 5
    check(failure)
    assert failure.kind == "RecursionError"
    assert "frames left out" in failure.traceback
    assert failure.traceback.startswith("Traceback")


def run_as(path: Path, source: str, **names: Any) -> Any:
    """A function `run` compiled as if it stood in that file."""
    space: dict[str, Any] = dict(names)
    exec(compile(source, str(path), "exec"), space)
    return space["run"]


ENGINE = Path(pgjobq.__file__).parent / "engine" / "made_up.py"
ASYNCIO = Path(asyncio.__file__).parent / "made_up.py"
CATCH = """
def run():
    try:
        inner()
    except BaseException as error:
        return error
"""


def frames(failure: Failure) -> list[str]:
    return [line for line in failure.traceback.splitlines() if line.startswith("  File")]


def handler() -> None:
    raise ValueError("mine")


def test_the_users_frame_comes_first() -> None:
    through_asyncio = run_as(ASYNCIO, "def run(): inner()", inner=handler)
    through_both = run_as(ENGINE, "def run(): inner()", inner=through_asyncio)
    for inner in (handler, through_asyncio, through_both):
        error = run_as(ENGINE, CATCH, inner=inner)()
        shown = frames(describe(error))
        assert len(shown) == 1
        assert "test_failure.py" in shown[0]


def test_engine_frames_below_the_user_stay() -> None:
    ours = run_as(ENGINE, "def run(): raise LookupError('ours')")

    def calls_us() -> None:
        ours()

    shown = frames(describe(run_as(ENGINE, CATCH, inner=calls_us)()))
    assert ["test_failure.py" in shown[0], "made_up.py" in shown[1]] == [True, True]


def test_an_error_of_the_engine_alone_keeps_its_frames() -> None:
    error = run_as(ENGINE, CATCH, inner=run_as(ENGINE, "def run(): raise LookupError('ours')"))()
    assert len(frames(describe(error))) == 2
