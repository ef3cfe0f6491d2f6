"""What a worker process and its cells say to each other: MessagePack, each message behind its length. No pickle: what
crosses is data, and nothing in it is ever called."""

from __future__ import annotations

import struct
from typing import Any
from uuid import UUID

import msgspec

from pgjobq.engine.attempt import SUCCEEDED
from pgjobq.engine.lease import Lease
from pgjobq.outcome import Awaiting, Discarded, Failed, Outcome, Parked, Retried, Snoozed, Succeeded

__all__ = ["HEAD", "Halt", "Message", "Order", "Reply", "Setup", "length", "pack", "unpack"]

HEAD = 4
"""Bytes of the length before each message."""
_LENGTH = struct.Struct("!I")


class Setup(msgspec.Struct, tag=True):
    """To a new cell: what to load. Answered by a Reply without an outcome."""

    app: str
    dsn: str
    schema: str
    path: list[str]
    log_format: str
    log_level: str


class Order(msgspec.Struct, tag=True):
    """To a cell: run this."""

    lease: Lease
    worker: UUID


class Halt(msgspec.Struct, tag=True):
    """To a cell: end what you run. `timed_out`: because its time is over."""

    timed_out: bool
    spare: bool
    """Not the job's fault: its attempt is spared."""


class Reply(msgspec.Struct, tag=True):
    """From a cell: what became of the job."""

    kind: str = ""
    outcome: dict[str, Any] = {}
    completing: bool = False
    """The handler has called complete()."""
    spent: bool = False
    """The cell is not to be used again."""
    hooks: int | None = None
    """Of its lease, as it is now."""

    @classmethod
    def of(cls, outcome: Outcome, *, completing: bool = False, spent: bool = False, hooks: int | None = None) -> Reply:
        """The outcome as data."""
        return cls(type(outcome).__name__, msgspec.to_builtins(outcome), completing, spent, hooks)

    def read(self) -> Outcome:
        """The outcome again."""
        outcome: Outcome = msgspec.convert(self.outcome, _KINDS[self.kind])
        return SUCCEEDED if outcome == SUCCEEDED else outcome


Message = Setup | Order | Halt | Reply

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Awaiting, Discarded, Failed, Parked, Retried, Snoozed, Succeeded)
}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def pack(message: Message) -> bytes:
    """The bytes to send."""
    data = _encode(message)
    return _LENGTH.pack(len(data)) + data


def length(head: bytes) -> int:
    """How many bytes follow this head."""
    return int(_LENGTH.unpack(head)[0])


def unpack(data: bytes) -> Message:
    """The message in these bytes."""
    message: Message = _decode(data)
    return message
