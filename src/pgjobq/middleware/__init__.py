"""What goes around every enqueue and every run: middleware, and the context that jobs carry along.

wrapper        one middleware, and how it is written
passage        one job's way through them
surroundings   those of a queue, put around its tasks
doors          the half of Queue that declares them

A task is wrapped when it is declared, or when the middleware is: a queue that has none calls its handlers directly.
"""

from __future__ import annotations

from pgjobq.middleware.doors import Around
from pgjobq.middleware.surroundings import Surroundings, jobs_of_call
from pgjobq.middleware.wrapper import Outgoing

__all__ = ["Around", "Outgoing", "Surroundings", "jobs_of_call"]
