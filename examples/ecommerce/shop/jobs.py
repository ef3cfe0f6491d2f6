"""The shop's queue, for `python -m pgjobq.worker examples.ecommerce.shop.jobs:queue`."""

from __future__ import annotations

import importlib
import logging
import pkgutil

from pgjobq import Queue

queue = Queue()

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per request would drown the worker's own log


def load_tasks() -> list[str]:
    """Import every module in `tasks/`, which registers its tasks with the queue and with their events."""
    from . import tasks

    names = sorted(f"{tasks.__name__}.{module.name}" for module in pkgutil.iter_modules(tasks.__path__))
    for name in names:
        importlib.import_module(name)
    return names


load_tasks()
