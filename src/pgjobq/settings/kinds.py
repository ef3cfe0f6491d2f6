"""The kinds of value a setting may have, and durations as people write them."""

from __future__ import annotations

import math
import re
from typing import Protocol

import msgspec

__all__ = [
    "DAY",
    "Choice",
    "Duration",
    "Host",
    "Kind",
    "Names",
    "Port",
    "Size",
    "Switch",
    "Whole",
    "parse_duration",
    "parse_size",
    "show_duration",
    "show_size",
]

SECOND = 1.0
DAY = 86_400.0
_UNITS = {"ms": 0.001, "s": SECOND, "m": 60.0, "h": 3600.0, "d": DAY}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h|d)?\s*", re.ASCII | re.IGNORECASE)
_SIZES = {"kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(kb|mb|gb|tb)\s*", re.ASCII | re.IGNORECASE)
_FOREVER = ("forever", "for ever", "never")
_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


def parse_duration(text: str, *, unit: float = SECOND) -> float:
    """Read `30`, `30s`, `250ms`, `5m`, `1h` or `7d` as seconds; a bare number counts in `unit` seconds.

    Raises ValueError when it is none of these.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError("is not a duration such as 30s, 5m, 1h or 7d")
    number, suffix = found.groups()
    return float(number) * (_UNITS[suffix.lower()] if suffix else unit)


def show_duration(seconds: float) -> str:
    """Write seconds the way parse_duration reads them, in the largest unit that needs no fraction."""
    for name in ("d", "h", "m", "s"):
        if seconds >= _UNITS[name] and (seconds / _UNITS[name]).is_integer():
            return f"{int(seconds / _UNITS[name])}{name}"
    return f"{round(seconds * 1000)}ms" if 0 < seconds < 1 else f"{seconds:g}s"


def parse_size(text: str) -> int:
    """Read `512MB` or `1.5GB` as bytes; as in PostgreSQL's settings, 1 kB is 1,024 bytes.

    Raises ValueError when it is no size, or a number without a unit.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("is not a size such as 512MB or 2GB")
    return round(float(found[1]) * _SIZES[found[2].lower()])


def show_size(size: int) -> str:
    """Write bytes the way parse_size reads them, in the largest unit that leaves a whole part."""
    unit = next((unit for unit in ("TB", "GB", "MB") if size >= _SIZES[unit.lower()]), "kB")
    number = size / _SIZES[unit.lower()]
    return f"{number:.0f}{unit}" if number.is_integer() or number >= 100 else f"{number:.1f}{unit}"


class Kind(Protocol):
    """What a setting's value may be; `parse` and `check` raise ValueError with what is wrong with it."""

    def parse(self, text: str) -> object: ...

    def check(self, value: object) -> None: ...

    def show(self, value: object) -> str: ...

    @property
    def range(self) -> str: ...


class Whole(msgspec.Struct, frozen=True):
    """A whole number within low..high; None (no limit) too when `optional`."""

    low: int
    high: int
    optional: bool = False

    def parse(self, text: str) -> int:
        digits = text.strip().replace("_", "")
        if not re.fullmatch(r"[+-]?[0-9]{1,30}", digits):
            raise ValueError("is not a whole number")
        return int(digits)

    def check(self, value: object) -> None:
        if value is None and self.optional:
            return
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("is not a whole number")
        if not self.low <= value <= self.high:
            raise ValueError("is out of range")

    def show(self, value: object) -> str:
        return "no limit" if value is None else str(value)

    @property
    def range(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


class Duration(msgspec.Struct, frozen=True):
    """A duration within low..high, both in `unit`; a bare number is in that unit too.

    None is taken when `optional` (no limit) or `forever` (written `forever`).
    """

    low: float
    high: float
    unit: float = SECOND
    optional: bool = False
    forever: bool = False

    def parse(self, text: str) -> float | None:
        if self.forever and text.strip().lower() in _FOREVER:
            return None
        return parse_duration(text, unit=self.unit) / self.unit

    def check(self, value: object) -> None:
        if value is None and (self.optional or self.forever):
            return
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError("is not a duration")
        if not self.low <= value <= self.high:
            raise ValueError("is out of range")

    def show(self, value: object) -> str:
        if not isinstance(value, int | float):
            return "for ever" if self.forever else "no limit"
        return show_duration(value * self.unit)

    @property
    def range(self) -> str:
        low, high = show_duration(self.low * self.unit), show_duration(self.high * self.unit)
        return f"a duration from {low} to {high}" + (", or forever" if self.forever else "")


class Size(msgspec.Struct, frozen=True):
    """An amount of memory within low..high, in bytes; None (no limit) too."""

    low: int
    high: int

    def parse(self, text: str) -> int:
        return parse_size(text)

    def check(self, value: object) -> None:
        if value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("is not a number of bytes")
        if not self.low <= value <= self.high:
            raise ValueError("is out of range")

    def show(self, value: object) -> str:
        return show_size(value) if isinstance(value, int) else "no limit"

    @property
    def range(self) -> str:
        return f"a size from {show_size(self.low)} to {show_size(self.high)}"


class Switch(msgspec.Struct, frozen=True):
    """On or off."""

    def parse(self, text: str) -> bool:
        word = text.strip().lower()
        if word not in _YES + _NO:
            raise ValueError("is neither yes nor no")
        return word in _YES

    def check(self, value: object) -> None:
        if not isinstance(value, bool):
            raise ValueError("is neither True nor False")

    def show(self, value: object) -> str:
        return "on" if value else "off"

    @property
    def range(self) -> str:
        return "true or false (1/0, yes/no, on/off)"


class Choice(msgspec.Struct, frozen=True):
    """One of a few words."""

    words: tuple[str, ...]

    def parse(self, text: str) -> str:
        return text.strip().lower()

    def check(self, value: object) -> None:
        if value not in self.words:
            raise ValueError("is not known")

    def show(self, value: object) -> str:
        return str(value)

    @property
    def range(self) -> str:
        return ", ".join(self.words[:-1]) + f" or {self.words[-1]}"


class Names(msgspec.Struct, frozen=True):
    """Queue names separated by commas; none at all means every queue."""

    longest: int = 255

    def parse(self, text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.strip() for part in text.split(",")))

    def check(self, value: object) -> None:
        if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
            raise ValueError("is not a tuple of names")
        for name in value:
            if not name:
                raise ValueError("has an empty name in it")
            if len(name) > self.longest or "\0" in name:
                raise ValueError("has a name in it that no queue can have")

    def show(self, value: object) -> str:
        return ",".join(value) if isinstance(value, tuple) and value else "all"

    @property
    def range(self) -> str:
        return f"queue names separated by commas, each of 1 to {self.longest} characters"


class Port(msgspec.Struct, frozen=True):
    """A TCP port; 0: any that is free; None: none."""

    def parse(self, text: str) -> int:
        return Whole(0, 65_535).parse(text)

    def check(self, value: object) -> None:
        Whole(0, 65_535, optional=True).check(value)

    def show(self, value: object) -> str:
        return "none" if value is None else str(value)

    @property
    def range(self) -> str:
        return "a port from 1 to 65535, or 0"


class Host(msgspec.Struct, frozen=True):
    """The name or address of an interface of this machine."""

    def parse(self, text: str) -> str:
        return text.strip()

    def check(self, value: object) -> None:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Za-z.:_-]{1,253}", value):
            raise ValueError("is no name or address of a machine")

    def show(self, value: object) -> str:
        return str(value)

    @property
    def range(self) -> str:
        return "a host name or an address"
