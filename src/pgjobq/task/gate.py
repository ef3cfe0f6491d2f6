"""Gates: limits that jobs with one key share, and how the key is made of a call's arguments."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, Final, Literal

import msgspec

from pgjobq.errors import InvalidOption
from pgjobq.task.rate import Quota, Rate
from pgjobq.wording import did_you_mean, quote

__all__ = ["MOST_GATES", "Gate", "gates_fault", "gates_text", "limits_of"]

LONGEST_KEY: Final = 255
READABLE: Final = 100
"""Characters up to which an argument's value stands in a key as it is; a longer one as a part of its SHA-256."""
MOST_GATES: Final = 8
MOST_CONCURRENCY: Final = 999_999_999
MOST_WEIGHT: Final = 9_999
SEPARATOR: Final = "\x1f"
"""Stands between a key and a share in the database; a key that has it is replaced by its digest."""

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
        rate: how often a key's jobs may start: a Rate, or a text such as "10/s". Each attempt takes a token.
        quota: how many of a key's jobs may start in a period: a Quota, or a text such as "1000/day".
        fair: what the jobs of a key take turns by, such as "{tenant}": of those that wait, each of its values gets its
            share, however many jobs the others have. Without a concurrency as many are let through as workers can run.
        weights: of shares, by value, 1..9,999: a share with 3 gets three turns while one with 1 (the others) gets one.

    Raises:
        InvalidOption: a value is out of its range, or the gate limits nothing.
    """

    name: str
    concurrency: int | None = None
    order: Literal["fifo"] | None = None
    on_failure: Literal["hold", "pass"] = "hold"
    rate: Rate | str | None = None
    quota: Quota | str | None = None
    fair: str | None = None
    weights: Mapping[str, int] | None = field(default=None, hash=False)

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
        if self.on_failure == "pass" and self.order is None:
            raise InvalidOption(f"Gate({quote(name)}, on_failure='pass'): says nothing without order='fifo'.")
        if self.rate is not None:
            object.__setattr__(self, "rate", Rate.of(self.rate))
        if self.quota is not None:
            object.__setattr__(self, "quota", Quota.of(self.quota))
        self._check_shares()
        if (self.order, self.concurrency, self.rate, self.quota, self.fair) == (None,) * 5:
            raise InvalidOption(
                f"Gate({quote(name)}) limits nothing: give it a concurrency, an order, a rate, a quota or fair shares."
            )
        if self.order == "fifo" and self.concurrency not in (None, 1):
            raise InvalidOption(
                f"Gate({quote(name)}, concurrency={self.concurrency}, order='fifo'): an order means one at a time."
            )

    def _check_shares(self) -> None:
        fair: object = self.fair
        if fair is not None and (not isinstance(fair, str) or "{" not in fair):
            raise InvalidOption(f"Gate({quote(self.name)}, fair={quote(fair)}): wants a text such as '{{tenant}}'.")
        if fair is not None and self.order is not None:
            raise InvalidOption(f"Gate({quote(self.name)}): fair shares and an order exclude each other.")
        if self.weights is not None:
            if fair is None:
                raise InvalidOption(f"Gate({quote(self.name)}, weights=…): of what? Say fair='{{argument}}' as well.")
            object.__setattr__(self, "weights", _checked_weights(f"Gate({quote(self.name)}, ", self.weights))

    @property
    def fields(self) -> tuple[str, ...]:
        """The names in braces."""
        texts = (self.name,) if self.fair is None else (self.name, self.fair)
        try:
            parsed = [(name, form, conversion) for text in texts for _, name, form, conversion in _format.parse(text)]
        except ValueError as error:
            raise InvalidOption(f"Gate({quote(self.name)}): {error}; a brace itself is written twice.") from None
        for name, form, conversion in parsed:
            if name is not None and (not name.isidentifier() or form or conversion):
                raise InvalidOption(
                    f"Gate({quote(self.name)}): {{{name}}} is no plain name; wants the name of an argument, "
                    "'task' or 'queue' in braces."
                )
        return tuple(name for name, _, _ in parsed if name is not None)

    def check_arguments(self, task: str, function: Callable[..., Any]) -> None:
        """Refuse names in braces that are no arguments of the task."""
        known = tuple(signature(function).parameters)
        for name in self.fields:
            if name not in (*known, "task", "queue"):
                raise InvalidOption(
                    f"task {quote(task)}: Gate({quote(self.name)}) names {quote(name)}, which is no argument of it."
                    f"{did_you_mean(name, known)}"
                )

    def key_of(self, values: Mapping[str, Any]) -> str:
        """The key that a job with these values shares."""
        key = self.name if "{" not in self.name and "}" not in self.name else _format.vformat(self.name, (), values)
        return key if 1 <= len(key) <= LONGEST_KEY and SEPARATOR not in key else _digest(key)

    def share_of(self, values: Mapping[str, Any]) -> str | None:
        """The share that a job with these values has; None: the gate has no shares."""
        if self.fair is None:
            return None
        share = _format.vformat(self.fair, (), values)
        return share if 1 <= len(share) <= LONGEST_KEY else _digest(share)


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
    entries = [_entry(gate, gate.key_of(values), gate.share_of(values)) for gate in gates]
    if len({entry["key"] for entry in entries}) < len(entries):
        raise InvalidOption(
            f"task {quote(task)}: two of its gates have the same key: {quote([entry['key'] for entry in entries])}."
        )
    return _encode(entries).decode()


def limits_of(
    concurrency: int | None, rate: Rate | str | None, quota: Quota | str | None, weights: Mapping[str, int] | None
) -> tuple[int | None, str | None, str | None, str | None]:
    """What `set_gate` sets, checked, the last three as JSON; raises InvalidOption."""
    if (concurrency, rate, quota, weights) == (None,) * 4:
        raise InvalidOption("set_gate sets nothing: give it a concurrency, a rate, a quota or weights.")
    if concurrency is not None and not (type(concurrency) is int and 0 <= concurrency <= MOST_CONCURRENCY):
        raise InvalidOption(f"set_gate(concurrency={quote(concurrency)}): wants a whole number from 0 on.")
    return (
        concurrency,
        None if rate is None else _encode(Rate.of(rate).entry).decode(),
        None if quota is None else _encode(Quota.of(quota).entry).decode(),
        None if weights is None else _encode(_checked_weights("set_gate(", weights)).decode(),
    )


def _checked_weights(where: str, weights: object) -> dict[str, int]:
    if not isinstance(weights, Mapping) or not all(
        isinstance(share, str) and type(weight) is int and 1 <= weight <= MOST_WEIGHT
        for share, weight in weights.items()
    ):
        raise InvalidOption(
            f"{where}weights={quote(weights)}): wants whole numbers from 1 to {MOST_WEIGHT:,} by share: {{'acme': 3}}."
        )
    return dict(weights)


def _entry(gate: Gate, key: str, share: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"key": key}
    if gate.name != key:
        entry["name"] = gate.name
    if gate.concurrency is not None:
        entry["concurrency"] = gate.concurrency
    if gate.order is not None:
        entry |= {"order": gate.order, "on_failure": gate.on_failure}
    if isinstance(gate.rate, Rate):
        entry["rate"] = gate.rate.entry
    if isinstance(gate.quota, Quota):
        entry["quota"] = gate.quota.entry
    if share is not None:
        entry["share"] = share
        if weight := (gate.weights or {}).get(share):
            entry["weight"] = weight
    return entry


def _shown(value: Any, *, hidden: bool) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, order="sorted", enc_hook=str).decode()
    return _digest(text) if hidden or len(text) > READABLE else text


def _digest(text: str) -> str:
    import hashlib  # here: it brings OpenSSL into the process

    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:32]


_format = string.Formatter()
