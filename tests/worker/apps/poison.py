"""Handlers that do the worst, each as a plain function, as a coroutine, and isolated."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable
from typing import Any

from apps.basic import hold, note
from apps.trace import mark
from pgjobq import Queue, Retry

queue = Queue()
for harmless in (hold, note):
    queue.task(harmless.function)


class Base(BaseException):
    """No Exception."""


class Unspeakable(Exception):
    """Cannot be turned into text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def throw(error: BaseException) -> Any:
    raise error


def recurse() -> Any:
    return recurse()


def spin() -> Any:
    while True:
        pass


def eat() -> Any:
    kept = []
    while True:
        kept.append(bytearray(b"x") * (5 * 2**20))


POISONS: dict[str, Callable[[], Any]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "os._exit": lambda: os._exit(3),
    "os._exit(0)": lambda: os._exit(0),
    "sys.exit": lambda: throw(SystemExit(3)),
    "BaseException": lambda: throw(Base("b")),
    "KeyboardInterrupt": lambda: throw(KeyboardInterrupt()),
    "GeneratorExit": lambda: throw(GeneratorExit()),
    "StopIteration": lambda: throw(StopIteration("s")),
    "CancelledError": lambda: throw(asyncio.CancelledError("c")),
    "recursion": recurse,
    "unserialisable": object,
    "nul in the result": lambda: "a\0b",
    "huge message": lambda: throw(ValueError("x" * 20_000_000)),
    "nul": lambda: throw(ValueError("a\0b")),
    "surrogate": lambda: throw(ValueError("a\ud800b")),
    "unprintable": lambda: throw(Unspeakable()),
    "spin": spin,
    "hold the GIL": lambda: ctypes.PyDLL(None).sleep(60),
    "block": lambda: ctypes.CDLL(None).sleep(60),
    "eat memory": eat,
}

TWICE = Retry(max_attempts=2, wait=0)


def plain(which: str) -> Any:
    mark("start", which=which)
    return POISONS[which]()


async def coroutine(which: str) -> Any:
    mark("start", which=which)
    await asyncio.sleep(0)
    return POISONS[which]()


for name, function in (("plain", plain), ("coroutine", coroutine)):
    queue.task(name=name, retry=TWICE)(function)
    queue.task(name=f"{name}, timed", retry=TWICE, timeout=0.5)(function)
    queue.task(name=f"{name}, isolated", retry=TWICE, timeout=2, isolation="process", memory_limit="150MB")(function)
