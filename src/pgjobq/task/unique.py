"""Unique jobs: how the key is made that only one job may hold, and what becomes of a second call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, get_args

import msgspec

from pgjobq.durations import to_seconds
from pgjobq.errors import InvalidOption
from pgjobq.wording import did_you_mean, quote

__all__ = ["OnConflict", "Unique", "Until"]

OnConflict = Literal["return", "skip", "raise", "replace"]
Until = Literal["finished", "started"]

LONGEST_KEY: Final = 1000
READABLE: Final = 200
"""Characters up to which a key made from arguments is kept as text; a longer one is kept as its SHA-256."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Unique:
    """At most one job of a task for a key: `send.using(unique=Unique(key=f"digest:{user}")).enqueue(user=user)`.

    Args:
        key: what must be unique among the jobs of the task, 1 to 1,000 characters; None: made from arguments.
        args: the names of the arguments that make the key; None (and no key): all of them.
        period: seconds (or a timedelta) for which the key is taken from the enqueue on, even when its job has ended;
            None: only while its job is there.
        until: "finished": a job holds its key until it has succeeded, failed or been cancelled; "started": until it
            runs.
        on_conflict: what a second call does while the key is held. "return": nothing, and it gives the holder's id.
            "skip": nothing, and it gives the id 0. "raise": JobExists. "replace": the holder, while it waits, gets
            the arguments, the priority and the time of the second call (with a delay: debounce); one that runs no
            longer holds the key, whatever `until` says.

    Raises:
        InvalidOption: a value is out of its range, or key and args are both given.
    """

    key: str | None = None
    args: tuple[str, ...] | None = None
    period: float | timedelta | None = None
    until: Until = "finished"
    on_conflict: OnConflict = "return"

    def __post_init__(self) -> None:
        if self.key is not None:
            if self.args is not None:
                raise InvalidOption(f"Unique(key={quote(self.key)}, args=…): the key is one or the other.")
            key: object = self.key
            if not isinstance(key, str) or not 1 <= len(key) <= LONGEST_KEY or "\0" in key:
                raise InvalidOption(f"Unique(key={quote(self.key)}): wants a text of 1 to {LONGEST_KEY:,} characters.")
        if self.args is not None:
            names: Any = self.args
            if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
                raise InvalidOption(f"Unique(args={quote(self.args)}): wants names of arguments, as in ('user',).")
            object.__setattr__(self, "args", tuple(names))
        if self.period is not None:
            seconds = to_seconds(self.period)
            if not seconds:
                raise InvalidOption(
                    f"Unique(period={quote(self.period)}): wants seconds or a timedelta above 0, up to 100 years."
                )
            object.__setattr__(self, "period", seconds)
        for name, taken in (("until", get_args(Until)), ("on_conflict", get_args(OnConflict))):
            value = getattr(self, name)
            if value not in taken:
                near = did_you_mean(value, taken) if isinstance(value, str) else ""
                raise InvalidOption(f"Unique({name}={quote(value)}): wants one of {', '.join(taken)}.{near}")

    @property
    def seconds(self) -> float | None:
        """The period in seconds."""
        return to_seconds(self.period)

    def key_of(self, args_text: str, *, hidden: bool) -> str:
        """The key of a call with these arguments; `hidden`: as a digest, because the arguments must not be read."""
        if self.key is not None:
            return self.key
        values: dict[str, Any] = _decode(args_text)
        if self.args is not None:
            values = {name: values[name] for name in self.args if name in values}
        text = _encode(values)
        if not hidden and len(text) <= READABLE:
            return text.decode()
        import hashlib  # here: it brings OpenSSL into the process

        return "sha256:" + hashlib.sha256(text).hexdigest()

    def check_arguments(self, task: str, known: tuple[str, ...]) -> None:
        """Refuse names in `args` that are no arguments of the task."""
        for name in self.args or ():
            if name not in known:
                raise InvalidOption(
                    f"task {quote(task)}: Unique(args=…) names {quote(name)}, which is no argument of it."
                    f"{did_you_mean(name, known)}"
                )
