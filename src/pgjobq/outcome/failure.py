"""An exception as text that can be stored: describing it never raises and never takes long."""

from __future__ import annotations

import os
import traceback as tracebacks
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from pgjobq.codec import Veil

__all__ = ["Failure", "describe", "storable"]

LONGEST_KIND = 255
LONGEST_MESSAGE = 10_000
LONGEST_TRACEBACK = 50_000
LONGEST_CHAIN = 10
"""Causes that are written out; a loop that re-raises can chain thousands."""
WIDEST_GROUP = 10
"""Members of an exception group that are written out."""
DEEPEST_GROUP = 4
"""Groups within groups that are written out."""
MOST_EXCEPTIONS = 50
"""Exceptions that are written out in all, causes and members together."""
FRAMES_AT_HEAD, FRAMES_AT_TAIL = 30, 70
"""Frames that are written out of one traceback; a RecursionError has a thousand, or a million."""

_OURS = tuple(f"{Path(__file__).resolve().parent.parent / room}{os.sep}" for room in ("engine", "middleware"))
_STDLIB = Path(os.__file__).resolve().parent
_CARRIERS = (
    str(_STDLIB / "asyncio") + os.sep,
    str(_STDLIB / "concurrent") + os.sep,
    str(_STDLIB / "threading.py"),
    str(_STDLIB / "contextlib.py"),
)
"""Files whose frames stand between the engine and the handler."""

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt as storable text: no NUL, no lone surrogates, bounded in length."""

    kind: str
    message: str
    traceback: str

    @property
    def summary(self) -> str:
        """`kind: message`, the way Python itself would end a traceback."""
        return f"{self.kind}: {self.message}" if self.message else self.kind


def describe(error: BaseException, veil: Veil | None = None) -> Failure:
    """The exception as a Failure, its texts under a veil; never raises, whatever the exception's own methods do."""
    kind = _kind(error)
    message = storable(error, LONGEST_MESSAGE, veil)
    try:
        trace = storable("".join(_Writer(veil).render(error)), LONGEST_TRACEBACK)
    except BaseException as trouble:
        trace = f"{kind}: {message}\n[its traceback could not be written: {_kind(trouble)}]\n"
    return Failure(kind, message, trace)


def storable(value: object, limit: int, veil: Veil | None = None) -> str:
    """The value's text as PostgreSQL can store it, at most `limit` characters long; never raises.

    NUL and lone surrogates become their escapes (`\\x00`, `\\ud800`); out of a longer text the middle is cut,
    and the cut says how much is missing. `veil` sees the whole of it first: half a secret is still one.
    """
    text = _text(value)
    return cut(_clean(cut(text if veil is None else veil(text), limit)), limit)


def cut(text: str, limit: int) -> str:
    """The text with so much of its middle left out that it fits the limit."""
    if len(text) <= limit:
        return text
    room = max(limit - 60, 0)
    head, tail = room - room // 3, room // 3
    gone = len(text) - head - tail
    return f"{text[:head]}\n[… {gone} characters cut out …]\n{text[len(text) - tail :]}"[:limit]


def _text(value: object) -> str:
    """`str(value)` as an exact str: a subclass may have overridden anything."""
    try:
        return "".join((str(value),)) if type(value) is not str else value
    except BaseException as trouble:
        return f"<{_kind(value)} whose str() raised {_kind(trouble)}>"


def _clean(text: str) -> str:
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def _kind(value: object) -> str:
    """The class's name, with its module as a traceback would show it."""
    try:
        cls = type(value)
        module, name = cls.__module__, cls.__qualname__
        full = name if module in ("builtins", "__main__") else f"{module}.{name}"
        return cut(_clean(full), LONGEST_KIND)
    except BaseException:
        return "Exception"


def _chain(error: BaseException) -> tuple[list[tuple[BaseException, str]], bool]:
    """The exception and its causes, newest first, each with the sentence that leads on to the newer one."""
    chain: list[tuple[BaseException, str]] = [(error, "")]
    seen = {id(error)}
    while True:
        newest = chain[-1][0]
        if newest.__cause__ is not None:
            older, joint = newest.__cause__, _CAUSE
        elif newest.__context__ is not None and not newest.__suppress_context__:
            older, joint = newest.__context__, _CONTEXT
        else:
            return chain, False
        if id(older) in seen:
            return chain, False
        if len(chain) == LONGEST_CHAIN:
            return chain, True
        seen.add(id(older))
        chain.append((older, joint))


class _Writer:
    """Writes one traceback. `left` is how many exceptions it still writes: groups of groups have no end."""

    def __init__(self, veil: Veil | None) -> None:
        self.left = MOST_EXCEPTIONS
        self.veil = veil

    def render(self, error: BaseException, depth: int = 0) -> Iterator[str]:
        """The pieces of the traceback: the oldest cause first, as Python prints it."""
        chain, left_out = _chain(error)
        if left_out:
            yield "[… older causes left out …]\n\n"
        for link, joint in reversed(chain):
            yield from self._one(link, depth)
            yield joint

    def _one(self, error: BaseException, depth: int) -> Iterator[str]:
        self.left -= 1
        frames = _frames(error.__traceback__)
        if frames:
            yield "Traceback (most recent call last):\n"
            yield from frames
        yield _last_line(error, self.veil)
        if isinstance(error, BaseExceptionGroup):
            yield from self._members(error, depth)

    def _members(self, group: BaseExceptionGroup[BaseException], depth: int) -> Iterator[str]:
        """The exceptions inside a group, numbered and indented."""
        total, shown = len(group.exceptions), 0
        for member in group.exceptions[:WIDEST_GROUP]:
            if self.left <= 0 or depth == DEEPEST_GROUP:
                break
            shown += 1
            yield f"  --- {shown} of {total} ---\n"
            text = cut("".join(self.render(member, depth + 1)), LONGEST_TRACEBACK // WIDEST_GROUP)
            yield from (f"  {line}\n" for line in text.splitlines())
        if shown < total:
            yield f"  [… {total - shown} more exceptions left out …]\n"


def _last_line(error: BaseException, veil: Veil | None) -> str:
    message = storable(error, LONGEST_MESSAGE, veil)
    line = f"{_kind(error)}: {message}\n" if message else f"{_kind(error)}\n"
    notes: Any = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        line += "".join(f"{storable(note, 1_000, veil)}\n" for note in notes[:20])
    return line


def _frames(trace: TracebackType | None) -> list[str]:
    """The frames as text: the engine's own at the head left out, and the middle of a very deep stack."""
    trace = _without_engine(trace)
    total = sum(1 for _ in tracebacks.walk_tb(trace))
    if total <= FRAMES_AT_HEAD + FRAMES_AT_TAIL:
        return tracebacks.StackSummary.extract(tracebacks.walk_tb(trace)).format()
    head = islice(tracebacks.walk_tb(trace), FRAMES_AT_HEAD)
    tail = islice(tracebacks.walk_tb(trace), total - FRAMES_AT_TAIL, None)
    return [
        *tracebacks.StackSummary.extract(head).format(),
        f"  [… {total - FRAMES_AT_HEAD - FRAMES_AT_TAIL} frames left out …]\n",
        *tracebacks.StackSummary.extract(tail).format(),
    ]


def _without_engine(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's first frame on; the whole of it when no frame is the user's."""
    user = trace
    while user is not None and user.tb_frame.f_code.co_filename.startswith((*_OURS, *_CARRIERS)):
        user = user.tb_next
    return trace if user is None else user
