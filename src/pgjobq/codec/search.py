"""Finding the value to blame: called only once something is known to be wrong, so it may take its time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pgjobq.codec.complaints import hidden_misfit, type_name
from pgjobq.codec.natives import is_model, lower
from pgjobq.errors import NotSerializable
from pgjobq.wording import quote

__all__ = ["children", "find_nul", "not_encodable", "too_deep"]

_encoder = msgspec.json.Encoder(enc_hook=lower)


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value holds, each part with its step of the path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{quote(key)}]", key
            yield f"[{quote(key)}]", item
    elif isinstance(value, list | tuple | set | frozenset):
        for number, item in enumerate(value):
            yield f"[{number}]", item
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f".{name}", getattr(value, name)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if hasattr(value, field.name):
                yield f".{field.name}", getattr(value, field.name)
    elif is_model(type(value)):
        for name in type(value).model_fields:
            yield f".{name}", getattr(value, name)


def find_nul(value: Any, path: str = "") -> str | None:
    """The path of the first text with U+0000 in a tree of plain JSON values."""
    if isinstance(value, str):
        return path if "\0" in value else None
    if isinstance(value, dict):
        for key, item in value.items():
            step = f"{path}.{key}" if path else key
            if "\0" in key:
                return f"{path} (in a key)" if path else repr(key)
            found = find_nul(item, step)
            if found is not None:
                return found
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found = find_nul(item, f"{path}[{number}]")
            if found is not None:
                return found
    return None


def not_encodable(task: str, given: dict[str, Any], error: Exception, hides: Callable[[str], bool]) -> NotSerializable:
    """The error for what could not be encoded, with the path of the innermost value that is to blame."""
    path, value = "arguments", given
    for name, item in given.items():
        if _fails(item):
            if hides(name):
                return NotSerializable(hidden_misfit(task, name))
            path, value = _innermost(item, name)
            break
    return NotSerializable(
        f"{task}: argument {path} is {quote(value)} ({type_name(type(value))}), which cannot travel as JSON: {error}."
    )


def too_deep(task: str, given: dict[str, Any]) -> NotSerializable:
    """The error for values nested deeper than Python's stack goes, or without end."""
    name = next((name for name, item in given.items() if _fails(item)), None)
    which = f"argument {name} is" if name is not None else "the arguments are"
    return NotSerializable(f"{task}: {which} nested too deeply, or contain a loop; send a flat form.")


def _innermost(value: Any, path: str, depth: int = 0) -> tuple[str, Any]:
    if depth < 100:
        for step, child in children(value):
            if _fails(child):
                return _innermost(child, path + step, depth + 1)
    return path, value


def _fails(value: Any) -> bool:
    try:
        _encoder.encode(value)
    except Exception:
        return True
    return False
