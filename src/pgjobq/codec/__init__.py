"""A task's arguments as JSON text and back, checked against the task's annotations on both ways.

signature    what a function takes: names, resolved annotations, refusals
checks       what JSON would silently change: naive datetimes, NaN, bytes for text, untyped objects
natives      types JSON does not know and we do: paths, pydantic models
search       which value is to blame
complaints   the sentences of the errors
secrecy      Secret[…]: values that no text shows
arguments    Codec: encode and decode
"""

from __future__ import annotations

from pgjobq.codec.arguments import Codec
from pgjobq.codec.secrecy import Secret, Veil

__all__ = ["Codec", "Secret", "Veil"]
