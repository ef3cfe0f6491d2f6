"""The sentences of the codec's errors: which argument, which value, what would fit."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["hidden_misfit", "look_up", "misfit", "type_name"]

_EXPECTED = re.compile(r"^Expected (?P<wanted>`.+`), got `(?P<got>.+?)`(?P<more>.*)$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")


def type_name(annotation: object) -> str:
    """An annotation as one would write it: `int`, `list[int]`, `shop.Order`."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")


def misfit(task: str, path: str, value: str, annotation: Any, message: str) -> str:
    """The sentence for a value that does not fit its annotation, from msgspec's own message."""
    top = re.split(r"[.\[]", path, maxsplit=1)[0]
    declared = f"; {top} is declared as {type_name(annotation)}" if path != top else ""
    expected = _EXPECTED.match(message)
    if expected:
        wanted = expected["wanted"].replace("`", "")
        return f"{task}: argument {path} wants {wanted}{expected['more']}, but got {value}{declared}."
    return f"{task}: argument {path} wants {type_name(annotation)}, but got {value}: {message.rstrip('.')}."


def hidden_misfit(task: str, name: str) -> str:
    """The sentence for a secret that is refused: neither the value nor what was said about it, which may quote it."""
    return f"{task}: argument {name} cannot be taken as it is; it is secret, so neither it nor the reason is shown."


def look_up(root: Any, path: str) -> Any:
    """The value at a msgspec path such as `.items[0].qty` under root; LookupError when it is not there."""
    value = root
    for step in _STEP.finditer(path):
        name, index = step.groups()
        if index is not None:
            value = list(value)[int(index)]
        elif name is None:
            raise KeyError(path)
        else:
            value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value
