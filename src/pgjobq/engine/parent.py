"""A process that must not outlive the one that started it."""

from __future__ import annotations

import ctypes
import signal
import sys

__all__ = ["die_with_parent"]

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Where the kernel can do it (Linux), die at once with the process that started this one, whatever a handler is
    doing; elsewhere the end of the connection tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
