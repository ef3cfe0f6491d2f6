"""Types that msgspec leaves to us: file paths, and pydantic models when pydantic is there."""

from __future__ import annotations

import sys
from pathlib import Path, PurePath
from typing import Any

import msgspec

__all__ = ["is_model", "lower", "revive", "supported"]


def is_model(cls: object) -> bool:
    """Whether the class is a pydantic model; pydantic is looked up, never imported: a model has done that."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(cls, type):
        return False
    base = getattr(pydantic, "BaseModel", None)
    return isinstance(base, type) and issubclass(cls, base) and hasattr(cls, "model_validate_json")


def is_path(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, PurePath)


def supported(cls: object) -> bool:
    """Whether values of this class can be lowered and revived."""
    return is_path(cls) or is_model(cls)


def lower(value: Any) -> Any:
    """A value msgspec does not know, as something it does (its `enc_hook`)."""
    if isinstance(value, PurePath):
        return str(value)
    if is_model(type(value)):
        # By alias, because that is the form which validation takes back.
        return msgspec.Raw(value.model_dump_json(by_alias=True).encode())
    raise TypeError(f"{type(value).__qualname__} has no form in JSON")


def _validate(cls: Any, text: bytes) -> Any:
    """pydantic's validation, its page of errors made one sentence."""
    try:
        return cls.model_validate_json(text)
    except ValueError as error:
        errors = getattr(error, "errors", None)
        if errors is None:
            raise
        faults = [f"{'.'.join(map(str, fault['loc'])) or cls.__name__}: {fault['msg']}" for fault in errors()[:5]]
        raise ValueError("; ".join(faults)) from error


def revive(cls: type, plain: Any) -> Any:
    """The value back from its plain form (msgspec's `dec_hook`); TypeError or ValueError on a misfit."""
    if is_path(cls):
        if not isinstance(plain, str):
            raise TypeError(f"Expected `{cls.__name__}`, got `{type(plain).__name__}`")
        return Path(plain) if cls is Path else cls(plain)
    if is_model(cls):
        # As JSON and not as Python objects: strict models take an ISO text for a datetime only from JSON.
        return _validate(cls, msgspec.json.encode(plain))
    raise TypeError(f"{cls.__qualname__} has no form in JSON")
