"""One metric with its samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = ["Family", "Sample"]


class Sample(NamedTuple):
    """One value; `suffix` is what the sample's name has beyond its family's: `_total`, `_bucket`, `_sum`, `_count`."""

    suffix: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name without suffix, its type and what it says; units are seconds, jobs, …, named in the name."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    help: str
    samples: list[Sample] = field(default_factory=list)

    def add(self, value: float, suffix: str = "", **labels: str) -> None:
        """One more sample."""
        self.samples.append(Sample(suffix, labels, value))

    def add_histogram(self, bounds: tuple[float, ...], counts: list[int], total: float, **labels: str) -> None:
        """The samples of a histogram: `counts` by bucket, the last one for what is above all bounds."""
        below = 0
        for bound, count in zip((*bounds, float("inf")), counts, strict=True):
            below += count
            self.add(below, "_bucket", **labels, le=number(bound))
        self.add(below, "_count", **labels)
        self.add(total, "_sum", **labels)


def number(value: float) -> str:
    """A value as Prometheus writes it."""
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
