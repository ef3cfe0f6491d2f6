"""What JSON would change without a word, found by walking the values that need it.

Encoding, decoding and comparing is one pass in C and settles almost every call; only when something came back
different, or when the types can hold a datetime or a pydantic model, these checks walk the given values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias, get_origin
from uuid import UUID

import msgspec
from msgspec import inspect as types

from pgjobq.codec.complaints import type_name
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

    def refuse(self, given: dict[str, Any]) -> None:
        """Raise for the first argument that would not come back as it is."""
        for name, value in given.items():
            check = self._by_name.get(name, self._extra)
            try:
                check(value, name)
            except EnqueueError as error:
                raise type(error)(f"{self._task}: {error}") from None


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
        case types.BytesType() | types.ByteArrayType():
            return binary
        case types.FloatType() | types.DecimalType():
            return finite
        case types.DateTimeType():
            return aware
        case types.UnionType():
            return _any_of(node, memo)
        case types.CollectionType():
            return _each(compile_check(node.item_type, memo))
        case types.TupleType():
            return _in_turn([compile_check(item, memo) for item in node.item_types])
        case types.DictType():
            return _entries(compile_check(node.key_type, memo), compile_check(node.value_type, memo))
        case types.DataclassType() | types.StructType() | types.TypedDictType() | types.NamedTupleType():
            fields = {f.name: (f.encode_name, compile_check(f.type, memo)) for f in node.fields}
            return _fields(get_origin(node.cls) or node.cls, fields)
        case types.CustomType() if is_model(node.cls):
            return _model(node.cls)
    return nothing


def nothing(value: Any, path: str) -> None:
    """For types whose values come back or are refused by msgspec itself."""


def text(value: Any, path: str) -> None:
    """Text is text: bytes, dates and UUIDs also have a text in JSON, and would come back as that."""
    if not isinstance(value, str) and value is not None:
        raise WrongArgumentType(
            f"argument {path} wants str, but got {quote(value)} ({type_name(type(value))})."
        )
    if isinstance(value, str):
        _well_formed(value, path)


def binary(value: Any, path: str) -> None:
    """Bytes are bytes: a text would be read as base64."""
    if isinstance(value, str):
        raise WrongArgumentType(
            f"argument {path} wants bytes, but got the text {quote(value)}; encode it first."
        )


def finite(value: Any, path: str) -> None:
    """JSON has no NaN and no infinity: they would come back as null, or not at all."""
    if isinstance(value, float) and not math.isfinite(value):
        raise NotSerializable(f"argument {path} is {value!r}, which JSON does not have.")
    if isinstance(value, Decimal) and not value.is_finite():
        raise NotSerializable(f"argument {path} is {value!r}, which JSON does not have.")


def aware(value: Any, path: str) -> None:
    """An instant needs a time zone."""
    given = value
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return
    if not isinstance(value, datetime):
        return
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


def _each(check: Check) -> Check:
    if check is nothing:
        return nothing

    def each(value: Any, path: str) -> None:
        if isinstance(value, list | tuple | set | frozenset):
            for number, item in enumerate(value):
                check(item, f"{path}[{number}]")

    return each


def _in_turn(parts: list[Check]) -> Check:
    def in_turn(value: Any, path: str) -> None:
        if isinstance(value, list | tuple):
            for number, (check, item) in enumerate(zip(parts, value, strict=False)):
                check(item, f"{path}[{number}]")

    return in_turn


def _entries(key_check: Check, value_check: Check) -> Check:
    def entries(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                key_check(key, f"{path}[{quote(key)}]")
                value_check(item, f"{path}[{quote(key)}]")

    return entries


def _fields(cls: type, fields: dict[str, tuple[str, Check]]) -> Check:
    def check_fields(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for encoded, check in fields.values():
                if encoded in value:
                    check(value[encoded], f"{path}.{encoded}")
            return
        if not isinstance(value, cls):
            return
        if type(value) is not cls:
            raise WrongArgumentType(
                f"argument {path} wants {type_name(cls)}, but got {quote(value)}; what "
                f"{type_name(type(value))} adds would be lost: annotate it with that class."
            )
        for name, (encoded, check) in fields.items():
            if hasattr(value, name):
                check(getattr(value, name), f"{path}.{encoded}")

    return check_fields


def _model(cls: type) -> Check:
    def check_model(value: Any, path: str) -> None:
        if isinstance(value, dict):
            try:
                value = revive(cls, value)
            except (TypeError, ValueError):
                return
        if not is_model(type(value)):
            return
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
        finite(value, path)
    else:
        for step, child in children(value):
            anything(child, path + step)


def _any_of(node: types.UnionType, memo: dict[int, Check]) -> Check:
    """A union: the member that the value belongs to; msgspec allows one of a kind, so there is no doubt."""
    members = [(_classes(member), compile_check(member, memo)) for member in node.types]
    texts = [check for _, check in members if check in (text, binary)]

    def any_of(value: Any, path: str) -> None:
        for classes, check in members:
            if isinstance(value, classes):
                check(value, path)
                return
        if _goes_as_text(value):
            for check in texts:
                check(value, path)

    return any_of


def _goes_as_text(value: Any) -> bool:
    """Whether the value is written as a text in JSON, and so could be taken for one."""
    return isinstance(value, _WRITTEN_AS_TEXT) or (isinstance(value, Enum) and isinstance(value.value, str))


_WRITTEN_AS_TEXT = (str, bytes, bytearray, memoryview, date, time, timedelta, UUID, Decimal, PurePath)


def _classes(node: types.Type) -> tuple[type, ...]:
    """The Python classes whose values a type takes as they are."""
    match node:
        case types.StrType():
            return (str,)
        case types.FloatType():
            return (float,)
        case types.DecimalType():
            return (Decimal,)
        case types.DateTimeType():
            return (datetime, str)
        case types.NoneType():
            return (type(None),)
        case types.BytesType() | types.ByteArrayType():
            return (bytes, bytearray)
        case types.DictType() | types.TypedDictType():
            return (dict,)
        case types.CollectionType() | types.TupleType():
            return (list, tuple, set, frozenset)
        case types.CustomType() | types.DataclassType() | types.StructType() | types.NamedTupleType():
            return (get_origin(node.cls) or node.cls,)
    return ()
