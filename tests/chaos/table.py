"""The figures of a mixed run, for people."""

from __future__ import annotations

from chaos.mixed import Result

__all__ = ["draw"]


def draw(result: Result) -> str:
    """The table that is printed at the end."""
    jobs = ", ".join(f"{count:,} {state}" for state, count in sorted(result.jobs.items()))
    lines = [
        f"seed                 {result.seed}",
        f"seconds              {result.seconds:.0f}",
        f"faults               {sum(result.faults.values())}",
        *(f"    {count:3}  {name}" for name, count in sorted(result.faults.items())),
        f"jobs                 {sum(result.jobs.values()):,} ({jobs})",
        f"  rolled back        {result.rolled_back:,}",
        f"  commit unknown     {result.unknown:,}",
        f"  unique key held    {result.refused:,}",
        f"  made by the clock  {result.ticks:,}",
        f"starts               {result.starts:,}",
        f"lost                 {result.lost}",
        f"finished twice       {result.doubled}",
        f"worker deaths        {sum(result.deaths.values())}",
        *(f"    {count:3}  {name}" for name, count in sorted(result.deaths.items())),
        f"time to recover      {_percentile(result.recovered, 50)} (p50), {_percentile(result.recovered, 99)} (p99)",
        *(f"         {seconds:5.1f} s  after {what}" for seconds, what in result.slowest),
        f"exit codes           {', '.join(f'{name} {code}' for name, code in result.exits.items())}",
        f"promises broken      {len(result.findings)}",
        *(f"    {finding}" for finding in result.findings[:30]),
    ]
    return "\n".join(lines)


def _percentile(values: list[float], percent: int) -> str:
    if not values:
        return "–"
    return f"{values[min(len(values) - 1, round(percent / 100 * (len(values) - 1)))]:.1f} s"
