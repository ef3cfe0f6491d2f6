"""What a step is, and how much of everything a run does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bench.results import Results
from bench.server import Server
from bench.systems import System

__all__ = ["FULL", "QUICK", "Run", "Sizes", "Step", "cut"]


@dataclass(frozen=True)
class Sizes:
    """How much is done. `seconds`: about how long one cell of a slow system may take."""

    rounds: int
    one: int
    bulk: int
    probes: int
    held: int
    held_tail: int
    seconds: float
    idle: float
    depths: tuple[int, ...]
    crowd: int
    history: int = 1_000_000
    processes: tuple[int, ...] = (1, 2, 4, 8)
    flat: int = 1_000_000

    def told(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


FULL = Sizes(3, 2_000, 100_000, 150, 200_000, 50_000, 1.5, 2.5, (10_000, 1_000_000, 3_000_000), 32)
QUICK = Sizes(1, 400, 10_000, 40, 20_000, 5_000, 1.0, 1.5, (10_000,), 8)


@dataclass(frozen=True)
class Run:
    """What the steps work with."""

    server: Server
    sizes: Sizes
    results: Results
    everyone: bool = False
    """Minor systems take part in every step, too."""


@dataclass(frozen=True)
class Step:
    """A kind of question. `measure` answers it for one system, once.

    `repeated`: asked in every round, systems in turn (of slow systems once). `quick`: part of a quick run.
    `narrow`: minor systems take part only when they are asked for by name. `ours`: about pgjobq, and others
    only when they are asked for by name. `among`: the same of all but these.
    """

    letters: str
    title: str
    measure: Callable[[Run, System], None]
    repeated: bool = False
    quick: bool = True
    narrow: bool = False
    ours: bool = False
    among: tuple[str, ...] = ()


def cut(asked: int, pace: float, seconds: float) -> int:
    """So many jobs that a system of this pace is done in about `seconds`: never more than asked, never under 200."""
    return max(200, min(asked, int(pace * seconds)))
