"""Payloads that the database cannot read: a key ring, and the form in which a sealed payload is stored.

    queue = Queue(encryption=Keyring({"2026-11": NEW_KEY, "2026-05": OLD_KEY}))

AES-256-GCM (NIST SP 800-38D) with a fresh random nonce of 96 bits for each payload. The task's and the queue's name are
authenticated along with it, so a payload that is copied under another task or into another queue does not open.

What is stored is a JSON object, so that SQL and people can tell it:

    {"$enc": {"alg": "A256GCM", "key": "2026-11.5d1fa2c3", "data": "…"}}

`key` is the key's name and a fingerprint of it: a wrong key under a known name is a missing key, not a broken payload.
"""

from __future__ import annotations

import binascii
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pgjobq.errors import CannotDecrypt, ConfigError, KeyMissing
from pgjobq.wording import quote

__all__ = ["Keyring", "is_sealed", "open_sealed"]

ALGORITHM: Final = "A256GCM"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MEMBER: Final = "$enc"
"""The only member of the object that stands for a sealed payload."""
_START = '{"' + MEMBER + '"'
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


class _Sealed(msgspec.Struct, forbid_unknown_fields=True):
    alg: str
    key: str
    data: str


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    enc: _Sealed = msgspec.field(name=MEMBER)


_encode = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(_Envelope).decode


class Keyring:
    """The keys of one application. The first one seals, all of them open: a new key is put in front of the old ones.

    Args:
        keys: by name, 32 bytes each, or their base64 text as from an environment variable; `Keyring.generate()` makes
            one. Names have 1 to 64 letters, digits, `_`, `-` and `.`; they are stored with each payload.

    Raises:
        ConfigError: there is no key, or one cannot be used; or the package `cryptography` is missing.
    """

    __slots__ = ("_ciphers", "_current")

    def __init__(self, keys: Mapping[str, bytes | str]) -> None:
        if not keys:
            raise ConfigError('a Keyring wants at least one key by its name: Keyring({"2026-11": key}).')
        import hashlib  # here: it brings OpenSSL into the process

        make_cipher = _cipher()
        self._ciphers: dict[str, Any] = {}
        for name, given in keys.items():
            key = _key(name, given)
            self._ciphers[f"{name}.{hashlib.sha256(b'pgjobq' + key).hexdigest()[:8]}"] = make_cipher(key)
        self._current = next(iter(self._ciphers))

    @staticmethod
    def generate() -> str:
        """A new key from the system's random source, as base64 text. Keep it where you keep passwords."""
        return b64encode(os.urandom(KEY_BYTES)).decode()

    @property
    def names(self) -> tuple[str, ...]:
        """The keys as they are named in stored payloads (name and fingerprint); the one that seals comes first."""
        return tuple(self._ciphers)

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(self._ciphers)}>"

    def __contains__(self, name: object) -> bool:
        return name in self._ciphers

    def seal(self, text: str, *, task: str, queue: str, part: str = "args") -> str:
        """A payload as the JSON text that is stored in its place.

        Args:
            text: the payload.
            task, queue: of its job; the payload opens with the same ones only.
            part: "args" or "result": neither can stand for the other.
        """
        nonce = os.urandom(NONCE_BYTES)
        context = _context(self._current, part, task, queue)
        data = nonce + self._ciphers[self._current].encrypt(nonce, text.encode(), context)
        return _encode(_Envelope(_Sealed(ALGORITHM, self._current, b64encode(data).decode()))).decode()

    def open(self, text: str, *, task: str, queue: str, part: str = "args") -> str:
        """The payload that `seal` was given. Raises KeyMissing, or CannotDecrypt when it is not what was sealed."""
        return open_sealed(self, text, task=task, queue=queue, part=part)

    def _decrypt(self, sealed: _Sealed, context: bytes) -> str:
        try:
            data = b64decode(sealed.data, validate=True)
            plain: bytes = self._ciphers[sealed.key].decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], context)
        except Exception as error:  # InvalidTag, no base64, too short a nonce: all the same to who reads it
            raise CannotDecrypt(
                "the payload does not open: it was changed, cut, or moved here from another task or queue"
            ) from error
        return plain.decode()


def is_sealed(text: str) -> bool:
    """Whether stored JSON text is a sealed payload."""
    return text.startswith(_START)


def open_sealed(ring: Keyring | None, text: str, *, task: str, queue: str, part: str = "args") -> str:
    """Open a sealed payload with a key of this ring.

    Raises:
        KeyMissing: the ring does not have its key, or there is no ring.
        CannotDecrypt: it is not what was sealed for this task and queue.
    """
    try:
        sealed = _read(text).enc
    except msgspec.DecodeError as error:
        raise CannotDecrypt(f"the payload is marked as encrypted, but is not in that form: {error}") from error
    if sealed.alg != ALGORITHM:
        raise CannotDecrypt(f"the payload is encrypted with {quote(sealed.alg)}; this version knows {ALGORITHM} only")
    if ring is None or sealed.key not in ring:
        known = ", ".join(ring.names) if ring is not None else "none"
        raise KeyMissing(
            f"task {task}: the payload is encrypted with the key {quote(sealed.key)}, and the keys here are: {known}",
            sealed.key,
        )
    return ring._decrypt(sealed, _context(sealed.key, part, task, queue))


def _context(key: str, part: str, task: str, queue: str) -> bytes:
    """What is authenticated beside the payload; a JSON list, so that no two contexts have the same bytes."""
    return _encode(["pgjobq", ALGORITHM, key, part, task, queue])


def _key(name: object, given: object) -> bytes:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"key name {quote(name)}: wants 1 to 64 letters, digits, _, - and ., such as 2026-11.")
    key = given
    if isinstance(given, str):
        try:
            key = b64decode(given.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = None
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ConfigError(
            f"key {name!r}: wants {KEY_BYTES} random bytes, or their base64 text; Keyring.generate() makes one."
        )
    return key


def _cipher() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigError(
            "encryption needs the package cryptography, which is not installed here: pip install cryptography, or "
            "install pgjobq with its extra [encryption]."
        ) from error
    return AESGCM
