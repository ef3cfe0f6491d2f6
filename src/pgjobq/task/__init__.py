"""Tasks: functions that can be enqueued.

task         Task, what `using(...)` makes of it (Bound), and a call as a value (Call)
chunk        many jobs in one call
declaration  what may become a task
gate         limits that jobs share
rate         how often they may start
options      how a job is enqueued, checked
evolution    versions of arguments, and names of old
registry     tasks by name
reading      stored jobs for people to look at
unique       what only one job may have
"""

from __future__ import annotations

from pgjobq.task.chunk import Chunk
from pgjobq.task.evolution import Upcast, version_of
from pgjobq.task.gate import Gate
from pgjobq.task.options import Options, UsingOptions
from pgjobq.task.rate import Quota, Rate
from pgjobq.task.reading import opened, shown
from pgjobq.task.registry import Registry, key_of
from pgjobq.task.task import Bound, Call, Door, Task
from pgjobq.task.unique import Unique

__all__ = [
    "Bound",
    "Call",
    "Chunk",
    "Door",
    "Gate",
    "Options",
    "Quota",
    "Rate",
    "Registry",
    "Task",
    "Unique",
    "Upcast",
    "UsingOptions",
    "key_of",
    "opened",
    "shown",
    "version_of",
]
