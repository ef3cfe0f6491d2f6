"""Codec: a task's arguments to JSON text at enqueue, and back to typed values in the worker."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec.inspect import BoolType, IntType, StrType

from pgjobq.codec.checks import Checks
from pgjobq.codec.complaints import hidden_misfit, look_up, misfit
from pgjobq.codec.natives import lower, revive
from pgjobq.codec.search import find_nul, not_encodable, too_deep
from pgjobq.codec.secrecy import HIDDEN, Veil, veil_over
from pgjobq.codec.signature import Argument, Signature
from pgjobq.errors import (
    MissingArgument,
    NulCharacter,
    PayloadTooLarge,
    UnknownArgument,
    WrongArgumentType,
)
from pgjobq.wording import did_you_mean, quote

__all__ = ["Codec"]

_encoder = msgspec.json.Encoder(enc_hook=lower)
_plain = msgspec.json.Decoder()
_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNSET = msgspec.UNSET


class Codec:
    """The arguments of one task as JSON text and back.

    Arguments that are left out stay out of the text: when a default changes between enqueue and run, the new
    one applies. Values without an annotation, or under Any, are plain JSON values: None, bool, int, float,
    str, lists and dicts with text keys; a tuple among them comes back as a list. The database (jsonb) keeps
    neither the order of a dict's keys nor, under Any, the difference between 1e20 and 10 ** 20.
    """

    __slots__ = (
        "_by_name",
        "_checks",
        "_decoder",
        "_exact",
        "_extra",
        "_hides_extra",
        "_names",
        "_optional",
        "_required",
        "hides_all",
        "hides_any",
        "secrets",
        "signature",
    )

    def __init__(self, signature: Signature, secrets: Iterable[str] = (), *, hides_all: bool = False) -> None:
        self.signature = signature
        secrets = frozenset(secrets)
        self.secrets = secrets | {a.name for a in signature.arguments if a.secret}
        self._hides_extra = signature.extra is not None and (signature.extra.secret or signature.extra.name in secrets)
        self.hides_all = hides_all
        self.hides_any = hides_all or self._hides_extra or bool(self.secrets)
        self._by_name = {argument.name: argument for argument in signature.arguments}
        self._names = tuple(self._by_name)
        self._required = frozenset(a.name for a in signature.arguments if a.required)
        self._optional = len(self._required) < len(self._names)
        self._decoder = msgspec.json.Decoder(_struct(signature), dec_hook=revive)
        self._extra = _extra_decoder(signature)
        self._checks = Checks(signature)
        self._exact = _exact(signature)

    @classmethod
    def of(cls, function: Callable[..., Any], secrets: Iterable[str] = (), *, hides_all: bool = False) -> Codec:
        """The codec of a function's arguments.

        Args:
            function: the task's function.
            secrets: names of arguments whose values no text may show, beside those annotated as `Secret[…]`.
            hides_all: no value of any argument is to be shown.

        Raises:
            UnsupportedAnnotation: an argument cannot travel as JSON; the sentence names it and what to use.
        """
        return cls(Signature.read(function), secrets, hides_all=hides_all)

    def hides(self, name: str) -> bool:
        """Whether the value of this argument is not to be shown."""
        return self.hides_all or self._is_marked(name)

    def _is_marked(self, name: str) -> bool:
        return name in self.secrets or (self._hides_extra and name not in self._by_name)

    @property
    def hidden_names(self) -> frozenset[str] | None:
        """The arguments that are hidden, by name; None when any may be."""
        return None if self.hides_all or self._hides_extra else frozenset(self.secrets)

    def veil(self, arguments: dict[str, Any]) -> Veil | None:
        """What takes the hidden arguments out of a text about this call; None when nothing is hidden."""
        if not self.hides_any:
            return None
        marked = [value for name, value in arguments.items() if self._is_marked(name)]
        others = [value for name, value in arguments.items() if not self._is_marked(name)] if self.hides_all else []
        return veil_over(marked, others)

    def shown(self, args: dict[str, Any]) -> dict[str, Any]:
        """Stored arguments for people to look at, without the values that are marked as secret."""
        return {name: HIDDEN if self._is_marked(name) else value for name, value in args.items()}

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, max_bytes: int) -> str:
        """The arguments of a call as JSON text, checked against the task's annotations.

        Values may also come in their JSON form (an ISO text for a datetime, a dict for a dataclass), because
        that is what a caller by name has at hand; bytes and text are never taken for each other.

        Args:
            args, kwargs: what the task would be called with.
            max_bytes: the most bytes the text may have in UTF-8.

        Raises:
            UnknownArgument, MissingArgument: the names do not fit the task.
            WrongArgumentType: a value does not fit its annotation.
            NotSerializable, NulCharacter, NaiveDatetime: a value would not come back as it went in.
            PayloadTooLarge: the text has more than `max_bytes` bytes.
        """
        if not args and tuple(kwargs) == self._names and (*map(type, kwargs.values()),) == self._exact:
            text = _encode_exact(kwargs, max_bytes)
            if text is not None:
                return text
        given = self._bind(args, kwargs)
        try:
            return self._encode(given, max_bytes)
        except RecursionError as error:
            raise too_deep(self.signature.task, given) from error

    def _encode(self, given: dict[str, Any], max_bytes: int) -> str:
        try:
            data = _encoder.encode(given)
        except RecursionError:
            raise
        except Exception as error:
            self._checks.refuse(given, self.hides)
            refusal = not_encodable(self.signature.task, given, error, self.hides)
            raise refusal from (None if self.hides_any else error)
        if len(data) > max_bytes:
            raise PayloadTooLarge(
                f"{self.signature.task}: the arguments take {len(data)} bytes as JSON, the limit is "
                f"{max_bytes}; store the data elsewhere (a table, a bucket) and pass its key."
            )
        text = data.decode()
        if "\\u0000" in text:
            self._refuse_nul(text)
        try:
            back = self._read(data)
        except RecursionError:
            raise
        except Exception as error:  # beside msgspec's own: a class of the user's that refuses with anything
            self._checks.refuse(given, self.hides)
            raise self._misfit(given, error) from (None if self.hides_any else error)
        if self._checks.always or not _same(back, given):
            self._checks.refuse(given, self.hides)
        return text

    def decode(self, text: str | bytes) -> dict[str, Any]:
        """The stored arguments as typed values, ready for `function(**arguments)`.

        Raises:
            WrongArgumentType: the text does not fit the task (any more).
        """
        try:
            return self._read(text)
        except msgspec.ValidationError as error:
            raise self._stale(text, error) from (None if self.hides_any else error)
        except Exception as error:  # beside msgspec's own: a class of the user's that refuses with anything
            if self.hides_any:
                raise WrongArgumentType(
                    f"{self.signature.task}: the stored arguments cannot be read; they are not shown, some are secret."
                ) from None
            raise WrongArgumentType(
                f"{self.signature.task}: the stored arguments cannot be read ({error}): {quote(text)}."
            ) from error

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by name; a fast agreement first, the reasons for a refusal after it."""
        given = self._name(args, kwargs) if args else kwargs
        if not self._extra and not given.keys() <= self._by_name.keys():
            self._refuse_unknown(given)
        if not self._required <= given.keys():
            self._refuse_missing(given)
        return given

    def _name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        names = self.signature.positional
        if len(args) > len(names):
            raise UnknownArgument(
                f"{self.signature.task}: takes at most {len(names)} unnamed arguments "
                f"({', '.join(names) or 'none'}), but got {len(args)}; the first one too many is "
                f"{HIDDEN if self.hides_any else quote(args[len(names)])}."
            )
        named = dict(zip(names, args, strict=False))
        twice = named.keys() & kwargs.keys()
        if twice:
            raise UnknownArgument(f"{self.signature.task}: argument {min(twice)} is given twice, unnamed and named.")
        return named | kwargs

    def _refuse_unknown(self, given: dict[str, Any]) -> None:
        name = next(name for name in given if name not in self._by_name)
        takes = f"it takes {', '.join(self._names)}" if self._names else "it takes no arguments"
        raise UnknownArgument(
            f"{self.signature.task}: has no argument {name!r}; {takes}.{did_you_mean(name, self._names)}"
        )

    def _refuse_missing(self, given: dict[str, Any]) -> None:
        missing = [name for name in self._names if name in self._required and name not in given]
        plural = "s" if len(missing) > 1 else ""
        raise MissingArgument(f"{self.signature.task}: argument{plural} {', '.join(missing)} must be given.")

    def _refuse_nul(self, text: str) -> None:
        path = find_nul(_plain.decode(text))
        if path is not None:
            name = _top(path)
            path = name if self.hides(name) else path
            raise NulCharacter(
                f"{self.signature.task}: argument {path} contains the character U+0000, which PostgreSQL "
                f"cannot store; remove it, or declare the argument as bytes."
            )

    def _read(self, text: str | bytes) -> dict[str, Any]:
        values = msgspec.structs.astuple(self._decoder.decode(text))
        read = dict(zip(self._names, values, strict=True))
        if self._optional:
            read = {name: value for name, value in read.items() if value is not _UNSET}
        if self._extra is not None:
            read |= self._read_extra(text, self._extra)
        return read

    def _read_extra(self, text: str | bytes, decoder: msgspec.json.Decoder[Any]) -> dict[str, Any]:
        extra = {}
        for name, raw in _raw.decode(text).items():
            if name in self._by_name:
                continue
            try:
                extra[name] = decoder.decode(raw)
            except msgspec.ValidationError as error:
                message, path = _split(error)
                raise msgspec.ValidationError(f"{message} - at `$.{name}{path}`") from error
        return extra

    def _misfit(self, given: dict[str, Any], error: Exception) -> WrongArgumentType:
        return WrongArgumentType(self._sentence(given, *_split(error)))

    def _stale(self, text: str | bytes, error: Exception) -> WrongArgumentType:
        message, path = _split(error)
        if not path:
            return WrongArgumentType(
                f"{self.signature.task}: the stored arguments do not fit the task: {message}. "
                f"Was its signature changed? Keep old arguments until their jobs are done."
            )
        sentence = self._sentence(_plain.decode(text), message, path)
        return WrongArgumentType(f"{sentence} (The stored value; was the annotation changed?)")

    def _sentence(self, given: Any, message: str, path: str) -> str:
        name = _top(path)
        if self.hides(name):
            return hidden_misfit(self.signature.task, name)
        argument: Argument | None = self._by_name.get(name) or self.signature.extra
        try:
            value = quote(look_up(given, path))
        except Exception:
            value = quote(given.get(name, given))
        annotation = argument.annotation if argument is not None else Any
        return misfit(self.signature.task, path.removeprefix("."), value, annotation, message)


def _top(path: str) -> str:
    """The argument that a path leads into."""
    return path.removeprefix(".").partition(".")[0].partition("[")[0]


_EXACT = ((IntType(), int), (StrType(), str), (BoolType(), bool))
"""Types without conditions, whose very own values come back from JSON as they went in."""


def _exact(signature: Signature) -> tuple[type, ...] | None:
    """The classes to look for, when that is all there is to check; most tasks take a few keys and texts."""
    found = [cls for argument in signature.arguments for tree, cls in _EXACT if argument.tree == tree]
    return tuple(found) if signature.extra is None and len(found) == len(signature.arguments) else None


def _encode_exact(given: dict[str, Any], max_bytes: int) -> str | None:
    """The text without reading it back, which is half the time; None: it has to be looked at more closely."""
    try:
        data = _encoder.encode(given)
    except Exception:
        return None
    text = data.decode()
    return text if len(data) <= max_bytes and "\\u0000" not in text else None


def _struct(signature: Signature) -> type[msgspec.Struct]:
    """A Struct of the arguments. Its own field names are numbers: an argument may be called anything."""
    fields: list[Any] = []
    for number, argument in enumerate(signature.arguments):
        field = (
            msgspec.field(name=argument.name)
            if argument.required
            else msgspec.field(name=argument.name, default=_UNSET)
        )
        fields.append((f"_{number}", argument.annotation, field))
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=signature.extra is None, gc=False)


def _extra_decoder(signature: Signature) -> msgspec.json.Decoder[Any] | None:
    if signature.extra is None:
        return None
    return msgspec.json.Decoder(signature.extra.annotation, dec_hook=revive)


def _same(back: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether everything came back as it went in; a comparison that fails is a no."""
    try:
        return bool(back == given)
    except Exception:
        return False


_PLACE = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>.*)`$", re.DOTALL)


def _split(error: Exception) -> tuple[str, str]:
    """msgspec's "message - at `$.path`" as the message and ".path"."""
    message = str(error)
    found = _PLACE.search(message)
    if found is None:
        return message, ""
    return message[: found.start()] + (" in a key" if found["key"] else ""), found["path"]
