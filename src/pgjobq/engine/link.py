"""What a supervisor and its processes say to each other: one JSON object a line, over a socket pair."""

from __future__ import annotations

import json
import select
import socket
import threading
from typing import Any

__all__ = ["Link"]


class Link:
    """One end. `say` may be called from any thread; a message is an object with one key, its kind."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self._lock = threading.Lock()
        self._rest = b""

    def say(self, kind: str, value: Any = None) -> None:
        """Send; silently nothing when the other side is gone (its end is noticed by `hear`)."""
        try:
            with self._lock:
                self.end.sendall(json.dumps({kind: value}).encode() + b"\n")
        except OSError:
            pass

    def offer(self, kind: str, value: Any = None) -> bool:
        """Send what may be left for later; False when the other side has not even read what came before."""
        try:
            ready = bool(select.select([], [self.end], [], 0)[1])
        except (OSError, ValueError):
            return False
        if ready:
            self.say(kind, value)
        return ready

    def hear(self, *, wait: bool = True) -> list[tuple[str, Any]] | None:
        """The complete messages in what has arrived (`wait`: as soon as something has); None: the other side is gone.

        A process that the other side forked may keep its end open for ever, so do not wait for the end of the dead.
        """
        try:
            data = self.end.recv(65536, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [next(iter(json.loads(line).items())) for line in lines]

    def close(self) -> None:
        """Hang up."""
        self.end.close()
