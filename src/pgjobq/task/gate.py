"""Gates: limits that jobs with one key share, and how the key is made of a call's arguments."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, Final, Literal

import msgspec

from pgjobq.errors import InvalidOption
from pgjobq.wording import did_you_mean, quote

__all__ = ["MOST_GATES", "Gate", "gates_fault", "gates_text"]

LONGEST_KEY: Final = 255
READABLE: Final = 100
"""Characters up to which an argument's value stands in a key as it is; a longer one as a part of its SHA-256."""
MOST_GATES: Final = 8
MOST_CONCURRENCY: Final = 999_999_999

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit that jobs share: `Gate("merchant:{merchant_id}", concurrency=3)`, at most three of a merchant at once.

    Args:
        name: the key that jobs share, 1 to 255 characters. `{argument}` stands for the value of that argument,
            `{task}` and `{queue}` for the job's own; without braces the gate is one for all.
        concurrency: how many of a key's jobs may run at once, on all workers together, from 1 on; None: as many as
            there are, or one if there is an order.
        order: "fifo": one after the other, in the order in which they were enqueued, whatever their priorities.
        on_failure: with an order, what a job does that failed and will be tried again. "hold": the others wait until
            it has succeeded, failed for good or been cancelled. "pass": the next one runs meanwhile.

    Raises:
        InvalidOption: a value is out of its range, or the gate limits nothing.
    """

    name: str
    concurrency: int | None = None
    order: Literal["fifo"] | None = None
    on_failure: Literal["hold", "pass"] = "hold"

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_KEY or "\0" in name:
            raise InvalidOption(f"Gate(name={quote(name)}): wants a text of 1 to {LONGEST_KEY} characters.")
        self.fields  # noqa: B018  # it complains of braces that do not fit
        if self.concurrency is not None and not (
            type(self.concurrency) is int and 1 <= self.concurrency <= MOST_CONCURRENCY
        ):
            raise InvalidOption(
                f"Gate({quote(name)}, concurrency={quote(self.concurrency)}): wants a whole number from 1 on."
            )
        if self.order not in (None, "fifo"):
            raise InvalidOption(f"Gate({quote(name)}, order={quote(self.order)}): wants 'fifo', or None.")
        if self.on_failure not in ("hold", "pass"):
            raise InvalidOption(f"Gate({quote(name)}, on_failure={quote(self.on_failure)}): wants 'hold' or 'pass'.")
        if self.order is None and self.concurrency is None:
            raise InvalidOption(f"Gate({quote(name)}) limits nothing: give it a concurrency or an order.")
        if self.order == "fifo" and self.concurrency not in (None, 1):
            raise InvalidOption(
                f"Gate({quote(name)}, concurrency={self.concurrency}, order='fifo'): an order means one at a time."
            )

    @property
    def fields(self) -> tuple[str, ...]:
        """The names in braces."""
        try:
            parsed = [(field, form, conversion) for _, field, form, conversion in _format.parse(self.name)]
        except ValueError as error:
            raise InvalidOption(f"Gate({quote(self.name)}): {error}; a brace itself is written twice.") from None
        for field, form, conversion in parsed:
            if field is not None and (not field.isidentifier() or form or conversion):
                raise InvalidOption(
                    f"Gate({quote(self.name)}): {{{field}}} is no plain name; wants the name of an argument, "
                    "'task' or 'queue' in braces."
                )
        return tuple(field for field, _, _ in parsed if field is not None)

    def check_arguments(self, task: str, function: Callable[..., Any]) -> None:
        """Refuse names in braces that are no arguments of the task."""
        known = tuple(signature(function).parameters)
        for field in self.fields:
            if field not in (*known, "task", "queue"):
                raise InvalidOption(
                    f"task {quote(task)}: Gate({quote(self.name)}) names {quote(field)}, which is no argument of it."
                    f"{did_you_mean(field, known)}"
                )

    def key_of(self, values: Mapping[str, Any]) -> str:
        """The key that a job with these values shares."""
        key = self.name if "{" not in self.name and "}" not in self.name else _format.vformat(self.name, (), values)
        return key if 1 <= len(key) <= LONGEST_KEY else _digest(key)


def gates_fault(gates: object) -> str | None:
    """What is wrong with a task's or an enqueue's gates; None when nothing is."""
    if not isinstance(gates, list | tuple) or not all(isinstance(gate, Gate) for gate in gates):
        return f"gates={quote(gates)}: wants a list of gates, such as [Gate('api', concurrency=3)]."
    if len(gates) > MOST_GATES:
        return f"gates has {len(gates)} entries; {MOST_GATES} is the most."
    return None


def gates_text(
    gates: tuple[Gate, ...], task: str, function: Callable[..., Any], queue: str, args_text: str, *, hidden: bool
) -> str:
    """The gates of one call as JSON, their keys filled in; `hidden`: values only as digests.

    Raises:
        InvalidOption: two of the gates have the same key.
    """
    values: dict[str, Any] = {"task": task, "queue": queue}
    if any(gate.fields for gate in gates):
        parameters = signature(function).parameters.items()
        given = {name: p.default for name, p in parameters if p.default is not Parameter.empty}
        given.update(_decode(args_text))
        values |= {name: _shown(value, hidden=hidden) for name, value in given.items()}
    entries = [_entry(gate, gate.key_of(values)) for gate in gates]
    if len({entry["key"] for entry in entries}) < len(entries):
        raise InvalidOption(
            f"task {quote(task)}: two of its gates have the same key: {quote([entry['key'] for entry in entries])}."
        )
    return _encode(entries).decode()


def _entry(gate: Gate, key: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"key": key}
    if gate.name != key:
        entry["name"] = gate.name
    if gate.concurrency is not None:
        entry["concurrency"] = gate.concurrency
    if gate.order is not None:
        entry |= {"order": gate.order, "on_failure": gate.on_failure}
    return entry


def _shown(value: Any, *, hidden: bool) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, order="sorted", enc_hook=str).decode()
    return _digest(text) if hidden or len(text) > READABLE else text


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:32]


_format = string.Formatter()
