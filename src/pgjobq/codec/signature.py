"""What a function takes, read once when it becomes a task: names, resolved types, and the refusals."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
from msgspec import inspect as types

from pgjobq.codec.complaints import type_name
from pgjobq.codec.natives import revive, supported
from pgjobq.codec.secrecy import is_secret
from pgjobq.errors import UnsupportedAnnotation

__all__ = ["Argument", "Signature", "inner_types", "resolved_hints"]

_ADVICE = (
    "use plain values (str, int, float, bool, list, dict), datetime, UUID, Decimal, Enum, Path, bytes, "
    "a dataclass, a msgspec.Struct or a pydantic model; store anything bigger and pass its key"
)
_CURES = {
    "Iterable": "use list[…]",
    "Iterator": "use list[…]",
    "Generator": "use list[…]",
    "deque": "use list[…]",
    "OrderedDict": "use dict[…] (the order of keys is not kept in the database)",
    "defaultdict": "use dict[…]",
    "Counter": "use dict[str, int]",
    "object": "use typing.Any for plain JSON values",
    "complex": "use tuple[float, float]",
    "Fraction": "use tuple[int, int] or Decimal",
    "range": "pass its bounds as int",
    "Callable": "register what is to be called as a task and pass its name",
}


_NOT_HASHABLE = (types.ListType, types.DictType, types.SetType, types.TypedDictType)
_NO_KEYS = (
    *_NOT_HASHABLE,
    types.TupleType,
    types.VarTupleType,
    types.FrozenSetType,
    types.NamedTupleType,
    types.DataclassType,
    types.StructType,
    types.BoolType,
    types.NoneType,
)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a task: its name, its annotation (Any without one), and msgspec's view of that."""

    name: str
    annotation: Any
    tree: types.Type
    required: bool
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """What a task takes; `positional` are those that may come unnamed, `extra` the `**kwargs: T`, if any."""

    task: str
    arguments: tuple[Argument, ...]
    positional: tuple[str, ...]
    extra: Argument | None

    @classmethod
    def read(cls, function: Callable[..., Any]) -> Signature:
        """Read a function's signature.

        Raises:
            UnsupportedAnnotation: an argument cannot travel as JSON under its name; the sentence says which,
                and what to use instead.
        """
        task = getattr(function, "__name__", repr(function))
        parameters = inspect.signature(function).parameters
        hints = resolved_hints(task, function, parameters)
        arguments, positional, extra = [], [], None
        for name, parameter in parameters.items():
            _refuse_kind(task, parameter)
            annotation = hints.get(name, Any)
            required = parameter.default is parameter.empty
            argument = Argument(name, annotation, _tree(task, name, annotation), required, is_secret(annotation))
            if parameter.kind is parameter.VAR_KEYWORD:
                extra = argument
                continue
            arguments.append(argument)
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                positional.append(name)
        return cls(task, tuple(arguments), tuple(positional), extra)


def _refuse_kind(task: str, parameter: inspect.Parameter) -> None:
    if parameter.kind is parameter.VAR_POSITIONAL:
        raise UnsupportedAnnotation(
            f"{task}(*{parameter.name}): arguments are stored by name, and these have none; "
            f"use one argument {parameter.name}: list[…]."
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise UnsupportedAnnotation(
            f"{task}({parameter.name}, /): arguments are stored and given back by name; "
            f"remove the / so that {parameter.name} may be named."
        )


def resolved_hints(
    task: str, function: Callable[..., Any], parameters: typing.Mapping[str, inspect.Parameter]
) -> dict[str, Any]:
    """The annotations as types, one by one: a broken return annotation is none of our business."""
    inner = inspect.unwrap(function)
    names = dict(getattr(inner, "__globals__", {}))
    code, cells = getattr(inner, "__code__", None), getattr(inner, "__closure__", None) or ()
    free = code.co_freevars if code is not None else ()
    local = {name: cell.cell_contents for name, cell in zip(free, cells, strict=False) if _filled(cell)}
    resolved = {}
    for name, parameter in parameters.items():
        if parameter.annotation is parameter.empty:
            continue
        holder = SimpleNamespace(__annotations__={name: parameter.annotation})
        try:
            resolved.update(typing.get_type_hints(holder, names, local, include_extras=True))
        except Exception as error:
            raise UnsupportedAnnotation(
                f"{task}({name}: {parameter.annotation}): the annotation cannot be resolved ({error}). What "
                f"it names must exist when the task is declared: import it outside `if TYPE_CHECKING:`, and "
                f"define classes at module level, above the task."
            ) from error
    return resolved


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading is the test
    except ValueError:
        return False
    return True


def _tree(task: str, name: str, annotation: Any) -> types.Type:
    where = f"{task}({name}: {type_name(annotation)})"
    try:
        tree = types.type_info(annotation)
        msgspec.json.Decoder(annotation, dec_hook=revive)
    except Exception as error:
        raise UnsupportedAnnotation(f"{where}: {error}. What travels: {_ADVICE}.") from error
    for inner in inner_types(tree):
        fault = _fault(inner)
        if fault is not None:
            raise UnsupportedAnnotation(f"{where}: {fault}.")
    return tree


def _fault(node: types.Type) -> str | None:
    """Why values of this one type cannot travel, and what to use instead; None when they can."""
    match node:
        case types.CustomType() if not supported(node.cls):
            return f"a {type_name(node.cls)} cannot travel as JSON; {_CURES.get(node.cls.__name__, _ADVICE)}"
        case types.RawType() | types.ExtType() | types.MemoryViewType():
            return "raw memory cannot be kept; use bytes, or typing.Any for plain JSON values"
        case types.DictType() if isinstance(node.key_type, _NO_KEYS):
            return "keys in JSON are text or numbers; use a list of pairs, list[tuple[…, …]]"
        case types.SetType() | types.FrozenSetType() if isinstance(node.item_type, _NOT_HASHABLE):
            return "what a set holds must be hashable; use list[…]"
    return None


def inner_types(tree: types.Type) -> Iterator[types.Type]:
    """The tree's own node and every node below it, each once: a type may contain itself."""
    seen: set[int] = set()
    waiting: list[types.Type] = [tree]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        waiting.extend(_children(node))


def _children(node: types.Type) -> Iterator[types.Type]:
    for name in ("type", "item_type", "key_type", "value_type"):
        child = getattr(node, name, None)
        if isinstance(child, types.Type):
            yield child
    for name in ("types", "item_types"):
        yield from getattr(node, name, ())
    for field in getattr(node, "fields", ()):
        yield field.type
