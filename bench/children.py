"""Processes that do not outlive the runner, however it ends."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

__all__ = ["Interrupted", "interrupt_once", "start_child"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
"""Loaded here: between fork and exec nothing may be imported."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to end, by Ctrl-C or by SIGTERM."""


def start_child(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a process that is killed with us, even by kill -9 (on Linux). `options` are those of Popen."""
    return subprocess.Popen(command, preexec_fn=_die_with_parent if _LIBC else None, **options)


def _die_with_parent() -> None:
    assert _LIBC is not None
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def interrupt_once() -> None:
    """From now on the first Ctrl-C or SIGTERM raises Interrupted; further ones do not disturb the cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(signal.Signals(number).name)
