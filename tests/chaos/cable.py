"""A machine of its own for a worker, joined to ours by a cable that drops and delays packets: a network namespace and
two TUN devices, between which a thread carries every packet. Linux, and only as root.

What a TCP proxy cannot do: packets that are never acknowledged, one by one, in one direction, some of them or all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import heapq
import itertools
import os
import random
import secrets
import selectors
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Cable", "Trouble", "can_lay", "lay_cable"]

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


@dataclass(frozen=True, slots=True)
class Trouble:
    """Of one direction. loss: the share of packets that vanish, 0 to 1; delay, jitter: seconds, plus or minus."""

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0


GOOD = Trouble()
GONE = Trouble(loss=1.0)


class Cable:
    """Carries packets for as long as the block of `lay_cable` lasts.

    here: our address; `argv` runs a program at the other end.
    """

    def __init__(self, namespace: str, here: str, near: int, far: int) -> None:
        self.namespace, self.here = namespace, here
        self._trouble = {near: GOOD, far: GOOD}
        self._near, self._far = near, far
        self._over = False
        self._thread = threading.Thread(target=self._carry, name="chaos-cable", daemon=True)
        self._thread.start()

    @property
    def argv(self) -> list[str]:
        """What a command line begins with that is to run over there."""
        return ["ip", "netns", "exec", self.namespace]

    def set(self, *, out: Trouble = GOOD, back: Trouble = GOOD) -> None:
        """From now on: `out` for what the other machine sends, `back` for what it is sent."""
        self._trouble = {self._far: out, self._near: back}

    def cut(self) -> None:
        """Both directions."""
        self.set(out=GONE, back=GONE)

    def end(self) -> None:
        """Carry no more."""
        self._over = True
        self._thread.join(10)

    def _carry(self) -> None:
        dice, number = random.Random(1), itertools.count()
        waiting: list[tuple[float, int, int, bytes]] = []
        with selectors.DefaultSelector() as selector:
            for fd in (self._near, self._far):
                selector.register(fd, selectors.EVENT_READ)
            while not self._over:
                until = waiting[0][0] - time.monotonic() if waiting else 0.2
                for key, _ in selector.select(max(0.0, min(until, 0.2))):
                    packet, trouble = os.read(key.fd, 65536), self._trouble[key.fd]
                    if dice.random() >= trouble.loss:
                        due = time.monotonic() + trouble.delay + dice.uniform(-trouble.jitter, trouble.jitter)
                        to = self._far if key.fd == self._near else self._near
                        heapq.heappush(waiting, (due, next(number), to, packet))
                while waiting and waiting[0][0] <= time.monotonic():
                    _, _, to, packet = heapq.heappop(waiting)
                    with contextlib.suppress(OSError):  # the other end is down
                        os.write(to, packet)


def can_lay() -> bool:
    """Whether this process may; asked by doing it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with contextlib.suppress(OSError, subprocess.CalledProcessError), lay_cable():
        return True
    return False


@contextlib.contextmanager
def lay_cable() -> Iterator[Cable]:
    """A namespace and the cable to it; both go with the block."""
    name = f"pgjobq{secrets.token_hex(3)}"
    net = f"10.{random.randrange(64, 192)}.{random.randrange(256)}"
    with contextlib.ExitStack() as stack:
        _run("ip", "netns", "add", name)
        stack.callback(_run, "ip", "netns", "del", name)
        near = _open_tun(f"{name}a")
        stack.callback(os.close, near)
        far = _open_tun(f"{name}b")
        stack.callback(os.close, far)
        inside = ("ip", "netns", "exec", name)
        _run("ip", "link", "set", f"{name}b", "netns", name)
        for where, device, address in (((), f"{name}a", f"{net}.1/30"), (inside, f"{name}b", f"{net}.2/30")):
            _run(*where, "ip", "addr", "add", address, "dev", device)
            _run(*where, "ip", "link", "set", device, "up")
        _run(*inside, "ip", "link", "set", "lo", "up")
        cable = Cable(name, f"{net}.1", near, far)
        stack.callback(cable.end)
        yield cable


def _open_tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno or errno.EPERM, f"no TUN device: {error.strerror}") from error
    return fd


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
