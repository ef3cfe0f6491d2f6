"""`python -m tests.chaos --seconds 60 --seed 1`: torment a running site, then say which promises were kept.

CHAOS_SECONDS and CHAOS_SEED in the environment are the defaults (600, and a seed from the clock). The same seed gives
the same faults, jobs and pauses again; the machine's own timing it cannot replay. Exit code 0: every promise was kept.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Faults on a running site.")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("CHAOS_SECONDS") or 600))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CHAOS_SEED") or time.time()))
    parser.add_argument("--keep", type=Path, help="a directory for the history and the workers' logs")
    wanted = parser.parse_args(argv)

    from chaos.mixed import run_mixed
    from chaos.table import draw

    _say(f"chaos for {wanted.seconds:g} s with seed {wanted.seed}")
    result = run_mixed(wanted.seconds, wanted.seed, _say, wanted.keep)
    _say("\n" + draw(result))
    if not result.valid:
        _say(f"\n{result.logs}")
        _say(f"\nagain: python -m tests.chaos --seconds {wanted.seconds:g} --seed {wanted.seed}")
    return 0 if result.valid else 1


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    tests = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(tests), str(tests.parent / "src")]
    sys.exit(main())
