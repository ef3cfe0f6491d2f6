"""The runner: `python -m bench [--quick] [--only a,c,e] [--systems pgjobq,raw] [--out DIR] [--docs]`.

Exit code: 0, 1 when pgjobq itself could not be measured, 2 for a wrong command line, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import machine, systems
from bench.children import interrupt_once
from bench.page import fill_page, fill_sizing
from bench.plots import write_plots
from bench.progress import Progress
from bench.results import METRICS, Results
from bench.server import Server, open_server
from bench.steps import FULL, QUICK, STEPS, Run, Sizes, Step, choose_steps
from bench.systems import System
from bench.table import render

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; gives the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        steps = choose_steps(given.only, quick=given.quick)
        default = systems.QUICK if given.quick else [system.name for system in systems.ALL]
        chosen = systems.choose(given.systems.split(",") if given.systems else default)
    except ValueError as error:
        parser.error(str(error))
    sizes = QUICK if given.quick else FULL
    if given.history is not None:
        sizes = dataclasses.replace(sizes, history=given.history)
    interrupt_once()
    try:
        with Progress() as progress:
            progress.doing("starting PostgreSQL" if given.dsn is None else "connecting")
            with open_server(given.dsn) as server:
                results = measure(server, sizes, steps, chosen, progress, everyone=bool(given.systems))
    except KeyboardInterrupt:
        print("bench: interrupted before anything was measured", file=sys.stderr)
        return 130
    print(render(results))
    keep(results, given.out, given.docs)
    if results.interrupted:
        return 130
    return 1 if any(system == "pgjobq" for system, _, _ in results.troubles) else 0


def measure(
    server: Server,
    sizes: Sizes,
    steps: Iterable[Step],
    chosen: Iterable[System],
    progress: Progress,
    *,
    everyone: bool = True,
) -> Results:
    """Every step for every system, systems in turn so that a drift of the machine meets all of them, and every other
    round the other way round.
    """
    plan = {"date": datetime.now(UTC).date().isoformat(), "sizes": sizes.told()}
    results = Results(machine.describe(), server.facts(), plan)
    run = Run(server, sizes, results, everyone)
    ready: list[System] = []
    begun = time.monotonic()
    took: dict[str, float] = {}
    try:
        ready += [system for system in chosen if _prepare(run, system, progress)]
        took["preparing"] = time.monotonic() - begun
        for step in steps:
            since = time.monotonic()
            for turn in range(sizes.rounds if step.repeated else 1):
                for system in ready[:: -1 if turn % 2 else 1]:
                    if (turn and system.slow) or (step.ours and system.name != "pgjobq" and not run.everyone):
                        continue
                    title = f"({','.join(step.letters)}) {step.title}: {system.name}"
                    progress.doing(title + (f", round {turn + 1}" if turn else ""))
                    _measure_cell(run, step, system, progress)
            took[",".join(step.letters)] = time.monotonic() - since
    except KeyboardInterrupt:
        results.interrupted = True
        results.troubles.append(("all", "…", "interrupted: the rest was not measured"))
    finally:
        for system in ready:
            if system.unfinished is not None:
                server.drop(f"{system.slug}_made")
    results.plan["minutes"] = round((time.monotonic() - begun) / 60, 1)
    results.plan["seconds"] = {what: round(seconds) for what, seconds in took.items()}
    results.machine["load_after"] = machine.load()
    return results


def _prepare(run: Run, system: System, progress: Progress) -> bool:
    """Its environment and its schema; False, and the reason with the results, when it cannot be had."""
    progress.doing(f"preparing {system.name}")
    run.results.systems[system.name] = {"version": system.version, "settings": system.settings}
    try:
        system.install()
        if system.unfinished is not None:
            system.prepare(run.server.recreate(f"{system.slug}_made"))
    except Exception as error:  # a peer that cannot be had is no reason to end
        _trouble(run, system, "install", error, progress)
        return False
    return True


def _measure_cell(run: Run, step: Step, system: System, progress: Progress) -> None:
    reason = system.skips.get(step.letters[0])
    left_out = (step.narrow and system.minor) or (step.among and system.name not in step.among)
    if reason is None and left_out and not run.everyone:
        reason = "left out to keep the run short; --systems with its name measures it"
    if reason is not None:
        trouble = (system.name, step.letters, reason)
        if trouble not in run.results.troubles:
            run.results.troubles.append(trouble)
        return
    before = {key: len(figure.samples) for key, figure in run.results.figures.items()}
    try:
        step.measure(run, system)
    except Exception as error:  # whatever it is, the others go on
        _trouble(run, system, step.letters, error, progress)
    for key, figure in run.results.figures.items():
        if len(figure.samples) > before.get(key, 0):
            metric = METRICS[figure.metric]
            progress.found(f"{system.name}: {metric.head} {figure.samples[-1]:,.{metric.digits}f} {metric.unit}")


def _trouble(run: Run, system: System, step: str, error: Exception, progress: Progress) -> None:
    what = " ".join(f"{error}".split()) or type(error).__name__
    run.results.troubles.append((system.name, step, what))
    progress.found(f"{system.name}: {what}")


def keep(results: Results, out: Path | None, docs: bool) -> None:
    """Write them where they are asked for; those of an interrupted run never go into the docs."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        results.save(out / "results.json")
        write_plots(results, out)
        print(f"{out / 'results.json'}: every sample, the settings and the machine")
    if docs and results.interrupted:
        print("docs/benchmarks.md is as it was: these figures are not complete")
    elif docs:
        page = ROOT / "docs" / "benchmarks.md"
        fill_page(results, page)
        fill_sizing(results, page.with_name("scaling.md"))
        print("docs/benchmarks.md, docs/plots/ and docs/scaling.md hold these figures now")


def _parser() -> argparse.ArgumentParser:
    letters = "\n".join(f"  {','.join(step.letters):6} {step.title}" for step in STEPS)
    names = ", ".join(system.name for system in systems.ALL)
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure pgjobq, a raw-SQL floor and the peers on one PostgreSQL.",
        epilog=f"steps:\n{letters}\n\nsystems: {names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="about a minute: few jobs, few systems")
    parser.add_argument("--only", metavar="a,c,e", help="these steps only")
    parser.add_argument("--systems", metavar="NAMES", help="these systems only, with commas between them")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write results.json and the plots there")
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/benchmarks.md")
    parser.add_argument("--history", metavar="N", type=int, help="finished jobs of step n (default: 1,000,000)")
    parser.add_argument("--dsn", help="a server to use instead of one of our own; databases bench_* are dropped there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
