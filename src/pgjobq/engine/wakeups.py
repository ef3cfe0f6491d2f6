"""Signals as something a selector waits for: they wake it, and are read from a list."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable

__all__ = ["catch_signals"]


def catch_signals(selector: selectors.BaseSelector, caught: list[int]) -> Callable[[], None]:
    """Have SIGTERM and SIGINT appended to `caught`, and these and SIGCHLD wake the selector, whose data are functions
    to call; gives what restores the former handlers and closes the selector."""
    hears, calls = socket.socketpair()
    hears.setblocking(False)
    calls.setblocking(False)
    selector.register(hears, selectors.EVENT_READ, lambda: hears.recv(4096))
    former_fd = signal.set_wakeup_fd(calls.fileno(), warn_on_full_buffer=False)
    numbers = (signal.SIGTERM, signal.SIGINT)
    former = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in numbers}
    former[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_fd)
        selector.close()
        hears.close()
        calls.close()

    return restore
