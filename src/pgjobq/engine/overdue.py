"""SIGTERM in a worker process: it ends a coroutine handler that holds up the event loop long after its time-out.

The loop cannot do that, since it is what is held up. A signal handler runs in the midst of the handler's own code.
Other SIGTERMs (to the whole group, from a terminal or a process manager) are none of the process's business: the
supervisor decides about those.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from types import FrameType

from pgjobq.current import current_job
from pgjobq.engine.board import Board
from pgjobq.engine.threads import Interruption
from pgjobq.errors import NotInJob

__all__ = ["interrupt_overdue_handlers"]

_MACHINERY = (str(Path(__file__).parent), str(Path(asyncio.__file__).parent))


def interrupt_overdue_handlers(board: Board) -> None:
    """From now on SIGTERM raises Interruption in the code that runs in the main thread, if that is a handler past its
    deadline on the board, and does nothing else."""

    def obey(_: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        late = {entry.job for entry in board.entries() if entry.deadline < now}
        if not late or frame is None or _running_job() not in late:
            return
        # In the loop's own code an exception would do harm; and who comes by there is not holding it up.
        if not frame.f_code.co_filename.startswith(_MACHINERY):
            raise Interruption

    signal.signal(signal.SIGTERM, obey)


def _running_job() -> int | None:
    """The job whose code was interrupted; a task that a handler started counts as the handler."""
    try:
        return current_job().id if asyncio.current_task() is not None else None
    except (NotInJob, RuntimeError):  # RuntimeError: no loop runs
        return None
