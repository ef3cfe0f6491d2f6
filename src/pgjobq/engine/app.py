"""From `module:queue` to the Queue it names."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from pgjobq.errors import AppNotFound
from pgjobq.queue import Queue
from pgjobq.wording import did_you_mean

__all__ = ["find_app", "load_app"]


def load_app(app: str) -> Queue:
    """Import the module (also from the current directory) and give its Queue.

    Raises AppNotFound when it does not lead to one; whatever the module itself raises goes through.
    """
    name, colon, attribute = app.partition(":")
    if not name or not colon or not attribute:
        raise AppNotFound(f"app {app!r}: write module:queue, as Python would import them, such as shop.jobs:queue")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise  # the module is there; something it imports is not
        raise AppNotFound(
            f"app {app!r}: there is no module {error.name!r} on the import path; start the worker in the directory "
            "from which your application imports it, or set PYTHONPATH"
        ) from None
    return _queue_in(module, attribute, app)


def find_app(queue: Queue) -> str | None:
    """The way back: `module:queue` of a Queue that stands at the top of an imported module; None when it does not."""
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        real = name if name != "__main__" else spec and spec.name  # a script cannot be imported by name
        found = [attribute for attribute, value in list(getattr(module, "__dict__", {}).items()) if value is queue]
        if found and real:
            return f"{real}:{found[0]}"
    return None


def _queue_in(module: ModuleType, attribute: str, app: str) -> Queue:
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            queues = [name for name, value in vars(module).items() if isinstance(value, Queue)]
            hint = did_you_mean(part, queues) or (f" Its queues: {', '.join(queues)}." if queues else "")
            raise AppNotFound(f"app {app!r}: {module.__name__} has no {part!r}.{hint}")
        found = getattr(found, part)
    if not isinstance(found, Queue):
        raise AppNotFound(
            f"app {app!r} is a {type(found).__name__}, not a Queue; name the Queue(…) of your application"
        )
    return found
