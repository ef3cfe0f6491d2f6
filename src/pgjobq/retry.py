"""When a failed attempt is tried again: a pure rule over the attempt's number and its exception."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal, TypeAlias

from pgjobq.durations import LONGEST, to_seconds
from pgjobq.errors import MiddlewareError, TaskError

__all__ = ["MOST_ATTEMPTS", "Retry", "Rule"]

MOST_ATTEMPTS: Final = 32_767
"""The upper bound of max_attempts: it is stored as a smallint."""

Rule: TypeAlias = "float | timedelta | Retry | Literal[False]"
"""What to do on an exception: wait so many seconds, follow another Retry, or (False) give up at once."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon a failed attempt is tried again: exponential, with jitter.

    After the nth failed attempt the job waits `wait * factor ** (n - 1)` seconds, at most `cap`, less a
    random part of up to `jitter` of it, so that jobs which failed together do not come back together.

    Args:
        max_attempts: how many attempts in all, the first included; 1..32767.
        wait: seconds after the first failed attempt; 0..cap.
        factor: what each further wait is multiplied by; 1 or more (1 is a constant wait).
        cap: the longest wait, in seconds; up to 100 years.
        jitter: which part of a wait is left to chance; 0..1. It only ever shortens, so `cap` holds.
        give_up_on: exception classes after which no other attempt is made; short for `rules={cls: False}`.
        rules: exception class to seconds or a timedelta (exact, no jitter), to another Retry (without rules
            of its own; its max_attempts can lower the limit, never raise it) or to False (give up). When
            several classes fit an exception, the first one in its MRO wins: the most specific.

    Raises:
        TaskError: an argument is outside its range; the sentence says which and what fits.
    """

    max_attempts: int = 20
    wait: float = 1.0
    factor: float = 2.0
    cap: float = 3600.0
    jitter: float = 0.2
    give_up_on: tuple[type[BaseException], ...] = ()
    rules: Mapping[type[BaseException], Rule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_attempts(self.max_attempts)
        _check_number("cap", self.cap, 0.0, LONGEST, "seconds")
        _check_number("wait", self.wait, 0.0, LONGEST, "seconds")
        if self.wait > self.cap:
            raise TaskError(
                f"Retry(wait={self.wait!r}, cap={self.cap!r}): the first wait is longer than the longest "
                f"one; raise cap to {self.wait!r} or more, or lower wait."
            )
        _check_number("factor", self.factor, 1.0, 1e6, "times")
        _check_number("jitter", self.jitter, 0.0, 1.0, "as a part of the wait")
        _check_give_up(self.give_up_on)
        _check_rules(self.rules, self.give_up_on)
        object.__setattr__(self, "rules", dict(self.rules))

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait after that many spent attempts.

        Args:
            attempt: how many attempts were spent, 1 or more.
            random: gives a number in [0, 1), such as `random.random`; called once when there is jitter.
        """
        longest = self._base(attempt)
        if not self.jitter:
            return longest
        return longest * (1.0 - self.jitter * random())

    def rule_for(self, error: BaseException) -> Rule:
        """What to do about this exception: this Retry itself when no rule names one of its classes. Of a middleware
        that failed, what it raised counts, unless a rule names MiddlewareError."""
        for cls in type(error).__mro__:
            if cls in self.rules:
                return self.rules[cls]
            if cls in self.give_up_on:
                return False
        if isinstance(error, MiddlewareError) and error.__cause__ is not None:
            return self.rule_for(error.__cause__)
        return self

    def _base(self, attempt: int) -> float:
        """The wait without jitter, through logarithms: factor ** 30000 is beyond a float."""
        steps = max(attempt, 1) - 1
        if not self.wait or not steps or self.factor == 1.0:
            return float(self.wait)
        growth = steps * math.log(self.factor)
        if growth >= math.log(self.cap) - math.log(self.wait):
            return float(self.cap)
        if growth > 700:  # and yet below the cap: the wait is tinier than that
            return float(min(self.cap, math.exp(math.log(self.wait) + growth)))
        return float(min(self.cap, self.wait * self.factor**steps))


def _check_attempts(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ATTEMPTS:
        raise TaskError(
            f"Retry(max_attempts={value!r}): wants a whole number from 1 (no second try) to {MOST_ATTEMPTS}."
        )


def _check_number(name: str, value: object, low: float, high: float, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise TaskError(f"Retry({name}={value!r}): wants a number from {low:g} to {high:.10g} ({unit}).")


def _check_give_up(classes: object) -> None:
    if not isinstance(classes, tuple):
        raise TaskError(f"Retry(give_up_on={classes!r}): wants a tuple of exception classes, such as (ValueError,).")
    for cls in classes:
        _check_class("give_up_on", cls)


def _check_class(argument: str, cls: object) -> None:
    if not (isinstance(cls, type) and issubclass(cls, BaseException)):
        raise TaskError(f"Retry({argument}=…): {cls!r} is not an exception class.")


def _check_rules(rules: object, give_up_on: tuple[type[BaseException], ...]) -> None:
    if not isinstance(rules, Mapping):
        raise TaskError(
            f"Retry(rules={rules!r}): wants a dict of exception class to seconds, Retry or False (give up)."
        )
    for cls, rule in rules.items():
        _check_class("rules", cls)
        if cls in give_up_on:
            raise TaskError(f"Retry: {cls.__name__} stands both in give_up_on and in rules; keep one of them.")
        _check_rule(cls, rule)


def _check_rule(cls: type[BaseException], rule: object) -> None:
    where = f"Retry(rules={{{cls.__name__}: {rule!r}}})"
    if rule is False:
        return
    if isinstance(rule, Retry):
        if rule.rules or rule.give_up_on:
            raise TaskError(f"{where}: a Retry inside rules cannot have rules or give_up_on of its own.")
        return
    if to_seconds(rule) is None:
        raise TaskError(f"{where}: wants seconds or a timedelta (0 to 100 years), a Retry, or False to give up.")
