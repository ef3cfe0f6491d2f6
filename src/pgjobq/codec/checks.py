"""What JSON would change without a word, found by walking the values that need it.

Encoding, decoding and comparing is one pass in C and settles almost every call; only when something came back
different, or when the types hold a datetime, a Decimal or a pydantic model, do these checks walk the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NoReturn, TypeAlias, get_origin
from uuid import UUID

import msgspec
from msgspec import inspect as types

from pgjobq.codec.complaints import hidden_misfit, type_name
from pgjobq.codec.natives import is_model, lower, revive
from pgjobq.codec.search import children
from pgjobq.codec.signature import Signature, inner_types
from pgjobq.errors import EnqueueError, NaiveDatetime, NotSerializable, WrongArgumentType
from pgjobq.wording import quote

__all__ = ["Checks"]

Check: TypeAlias = Callable[[Any, str], None]
"""Takes a value and its path, and raises when the value would not come back as it is."""

_encoder = msgspec.json.Encoder(enc_hook=lower)
_PLAIN = (str, int, float, bool, type(None))


class Checks:
    """The checks of one task's arguments; `always` when equality after a round trip does not prove enough."""

    __slots__ = ("_by_name", "_extra", "_task", "always")

    def __init__(self, signature: Signature) -> None:
        memo: dict[int, Check] = {}
        arguments = (*signature.arguments, *((signature.extra,) if signature.extra else ()))
        self._task = signature.task
        self._by_name = {a.name: compile_check(a.tree, memo) for a in signature.arguments}
        self._extra = compile_check(signature.extra.tree, memo) if signature.extra else plain
        self.always = any(
            isinstance(node, types.DateTimeType | types.DecimalType)
            or (isinstance(node, types.CustomType) and is_model(node.cls))
            for argument in arguments
            for node in inner_types(argument.tree)
        )

    def refuse(self, given: dict[str, Any], hides: Callable[[str], bool]) -> None:
        """Raise for the first argument that would not come back as it is; one that is hidden is not quoted."""
        for name, value in given.items():
            check = self._by_name.get(name, self._extra)
            try:
                check(value, name)
            except EnqueueError as error:
                said = hidden_misfit(self._task, name) if hides(name) else f"{self._task}: {error}"
                raise type(error)(said) from None


def compile_check(node: types.Type, memo: dict[int, Check]) -> Check:
    """The check of a type; a type that contains itself finds its own check in the memo."""
    if id(node) in memo:
        return memo[id(node)]
    check: Check | None = None

    def later(value: Any, path: str) -> None:
        if check is not None:
            check(value, path)

    memo[id(node)] = later
    check = memo[id(node)] = _compile(node, memo)
    return check


def _compile(node: types.Type, memo: dict[int, Check]) -> Check:
    match node:
        case types.AnyType():
            return plain
        case types.StrType():
            return text
        case types.FloatType():
            return finite
        case types.DecimalType():
            return finite_decimal
        case types.DateTimeType():
            return aware
        case types.DateType():
            return calendar_day
        case types.UnionType():
            return _any_of({_name(member): compile_check(member, memo) for member in node.types})
        case types.SetType() | types.FrozenSetType():
            return _each(compile_check(node.item_type, memo), (set, frozenset, list, tuple))
        case types.CollectionType():
            return _each(compile_check(node.item_type, memo), (list, tuple))
        case types.TupleType():
            return _in_turn([compile_check(item, memo) for item in node.item_types])
        case types.DictType():
            return _entries(compile_check(node.key_type, memo), compile_check(node.value_type, memo))
        case types.DataclassType() | types.StructType() | types.TypedDictType() | types.NamedTupleType():
            fields = {f.name: (f.encode_name, compile_check(f.type, memo)) for f in node.fields}
            return _fields(node, fields)
        case types.CustomType() if is_model(node.cls):
            return _model(node.cls)
        case types.CustomType():
            return one_of(node.cls, str)
        case types.EnumType():
            return one_of(node.cls, str, int)
    return one_of(*_CLASSES[type(node)])


_CLASSES: dict[type[types.Type], tuple[type, ...]] = {
    types.NoneType: (type(None),),
    types.BoolType: (bool,),
    types.IntType: (int,),
    types.BytesType: (bytes, bytearray, memoryview),
    types.ByteArrayType: (bytearray, bytes, memoryview),
    types.TimeType: (time, str),
    types.TimeDeltaType: (timedelta, str),
    types.UUIDType: (UUID, str),
    types.LiteralType: (str, int, type(None)),
}
"""What a type takes: its own class first, then the forms it has in JSON."""


def one_of(*classes: type) -> Check:
    """Nothing but these classes: another one may have the same form in JSON, and would come back changed."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, classes):
            _refuse_class(value, path, type_name(classes[0]))

    return check


def _refuse_class(value: Any, path: str, wanted: str) -> NoReturn:
    raise WrongArgumentType(f"argument {path} wants {wanted}, but got {quote(value)} ({type_name(type(value))}).")


def text(value: Any, path: str) -> None:
    """Text is text: bytes, dates and UUIDs also have a text in JSON, and would come back as that."""
    if not isinstance(value, str):
        _refuse_class(value, path, "str")
    _well_formed(value, path)


def finite(value: Any, path: str) -> None:
    """JSON has no NaN and no infinity: they would come back as null, or not at all."""
    if not isinstance(value, float | int):
        _refuse_class(value, path, "float")
    if not math.isfinite(value):
        raise NotSerializable(f"argument {path} is {value!r}, which JSON does not have.")


def finite_decimal(value: Any, path: str) -> None:
    """A Decimal, or what one may be written as."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise NotSerializable(f"argument {path} is {value!r}, which JSON does not have.")
    elif not isinstance(value, str | int | float):
        _refuse_class(value, path, "Decimal")
    elif isinstance(value, float):
        finite(value, path)


def calendar_day(value: Any, path: str) -> None:
    """A date; a datetime is one for Python, and its time of day would be lost."""
    if isinstance(value, datetime) or not isinstance(value, date | str):
        _refuse_class(value, path, "date")


def aware(value: Any, path: str) -> None:
    """An instant needs a time zone."""
    given = value
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return  # the decoder says it better
    if not isinstance(value, datetime):
        _refuse_class(given, path, "datetime")
    offset = value.utcoffset()
    if offset is None:
        raise NaiveDatetime(
            f"argument {path} is {quote(given)}, a datetime without a time zone; "
            f"use datetime.now(timezone.utc), or .replace(tzinfo=…) with the zone that is meant."
        )
    if offset.total_seconds() % 60:
        raise NotSerializable(
            f"argument {path} is {quote(given)}, whose UTC offset has seconds; use .astimezone(timezone.utc)."
        )


def plain(value: Any, path: str) -> None:
    """Without an annotation only JSON's own values come back as they are."""
    if isinstance(value, Enum) or not isinstance(value, (*_PLAIN, list, tuple, dict)):
        raise NotSerializable(
            f"argument {path} is {quote(value)} ({type_name(type(value))}), which comes back as itself only "
            f"under an annotation; annotate the argument, or pass plain JSON values."
        )
    if isinstance(value, str):
        _well_formed(value, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise NotSerializable(
                    f"argument {path} has the key {quote(key)}; keys in JSON are text: use str(), or write "
                    f"the annotation dict[{type_name(type(key))}, …]."
                )
            _well_formed(key, path)
            plain(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            plain(item, f"{path}[{number}]")
    else:
        finite(value, path)


def _well_formed(value: str, path: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotSerializable(
            f"argument {path} contains a lone surrogate ({quote(value)}), which is no character; "
            f"clean it with .encode('utf-8', 'replace').decode(), or send bytes."
        ) from None


def _each(check: Check, classes: tuple[type[Any], ...]) -> Check:
    def each(value: Any, path: str) -> None:
        if not isinstance(value, classes):
            _refuse_class(value, path, type_name(classes[0]))
        for number, item in enumerate(value):
            check(item, f"{path}[{number}]")

    return each


def _in_turn(parts: list[Check]) -> Check:
    def in_turn(value: Any, path: str) -> None:
        if not isinstance(value, list | tuple):
            _refuse_class(value, path, "tuple")
        for number, (check, item) in enumerate(zip(parts, value, strict=False)):
            check(item, f"{path}[{number}]")

    return in_turn


def _entries(key_check: Check, value_check: Check) -> Check:
    def entries(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            _refuse_class(value, path, "dict")
        for key, item in value.items():
            key_check(key, f"{path}[{quote(key)}]")
            value_check(item, f"{path}[{quote(key)}]")

    return entries


def _fields(
    node: types.DataclassType | types.StructType | types.TypedDictType | types.NamedTupleType,
    fields: dict[str, tuple[str, Check]],
) -> Check:
    """The fields of an object, which may be given as itself, as a dict, or (a tuple's) as a list."""
    cls = get_origin(node.cls) or node.cls
    if isinstance(node, types.TypedDictType):
        cls = dict
    in_turn = _in_turn([check for _, check in fields.values()])

    def check_fields(value: Any, path: str) -> None:
        if type(value) is cls and cls is not dict:
            for name, (encoded, check) in fields.items():
                if hasattr(value, name):
                    check(getattr(value, name), f"{path}.{encoded}")
        elif isinstance(value, dict):
            for encoded, check in fields.values():
                if encoded in value:
                    check(value[encoded], f"{path}.{encoded}")
        elif isinstance(value, cls):
            raise WrongArgumentType(
                f"argument {path} wants {type_name(cls)}, but got {quote(value)}; what "
                f"{type_name(type(value))} adds would be lost: annotate it with that class."
            )
        elif isinstance(value, list | tuple):  # a NamedTuple, or an array_like Struct; the decoder knows
            in_turn(value, path)
        else:
            _refuse_class(value, path, type_name(cls))

    return check_fields


def _model(cls: type) -> Check:
    def check_model(value: Any, path: str) -> None:
        if isinstance(value, dict):
            try:
                value = revive(cls, value)
            except (TypeError, ValueError):
                return
        if not is_model(type(value)):
            _refuse_class(value, path, type_name(cls))
        anything(value, path)
        try:
            same = bool(revive(cls, _through_json(value)) == value)
        except (TypeError, ValueError):
            return
        if not same:
            raise NotSerializable(
                f"argument {path} is {quote(value)}, which does not come back as it is from its own JSON; "
                f"secret and excluded fields, private attributes and subclasses do not travel: use plain "
                f"fields."
            )

    return check_model


def _through_json(value: Any) -> Any:
    return msgspec.json.decode(_encoder.encode(value))


def anything(value: Any, path: str) -> None:
    """Naive datetimes and NaN anywhere inside, where no annotation of ours leads the way."""
    if isinstance(value, datetime):
        aware(value, path)
    elif isinstance(value, float | Decimal):
        finite_decimal(value, path)
    else:
        for step, child in children(value):
            anything(child, path + step)


def _any_of(members: dict[str, Check]) -> Check:
    """A union: one member must take the value; if none does, the refusal that says most is raised."""

    def any_of(value: Any, path: str) -> None:
        faults: list[EnqueueError] = []
        for check in members.values():
            try:
                check(value, path)
                return
            except EnqueueError as error:
                faults.append(error)
        # A member that took the value itself, and refused something about it or in it, knows more.
        telling = [fault for fault in faults if not str(fault).startswith(f"argument {path} wants ")]
        if telling:
            raise telling[0]
        _refuse_class(value, path, " or ".join(members))

    return any_of


def _name(node: types.Type) -> str:
    """A member of a union, as one would write it."""
    if isinstance(node, types.NoneType):
        return "None"
    cls = getattr(node, "cls", None)
    return type_name(cls) if cls is not None else type(node).__name__.removesuffix("Type").lower()
