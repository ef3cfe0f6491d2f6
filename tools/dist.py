"""Builds sdist and wheel and checks that they hold what a user needs.

python tools/dist.py             into dist/
python tools/dist.py --check     into a temporary folder
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="build into a temporary folder, keep nothing")
    if not parser.parse_args().check:
        return build_and_check(ROOT / "dist")
    with tempfile.TemporaryDirectory() as scratch:
        return build_and_check(Path(scratch))


def build_and_check(into: Path) -> int:
    # No isolation: the back end is one of the locked packages, so nothing is fetched here.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        print(built.stdout, built.stderr, sep="\n", file=sys.stderr)
        return built.returncode
    wheel = newest(into, "*.whl")
    sdist = newest(into, "*.tar.gz")
    wrong = [*wheel_problems(wheel), *sdist_problems(sdist)]
    for problem in wrong:
        print(problem, file=sys.stderr)
    if not wrong:
        print(f"{wheel.name} ({wheel.stat().st_size // 1024} KiB) and {sdist.name} hold everything.")
    return 1 if wrong else 0


def newest(folder: Path, pattern: str) -> Path:
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime)


def wheel_problems(wheel: Path) -> Iterator[str]:
    """Every file of the package is in the wheel, and nothing else is."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    held = {name for name in names if ".dist-info/" not in name}
    needed = package_files() | {"pgjobq/py.typed", "pgjobq/schema.sql"}
    yield from (f"{wheel.name}: lacks {name}" for name in sorted(needed - held))
    yield from (f"{wheel.name}: holds {name}, no file of the package" for name in sorted(held - needed))
    for ending, what in {"/entry_points.txt": "the console script", "/LICENSE": "the LICENSE"}.items():
        if not any(name.endswith(ending) for name in names):
            yield f"{wheel.name}: lacks {what}"
    if not any(name.startswith("pgjobq/migrations/") for name in held):
        yield f"{wheel.name}: lacks pgjobq/migrations"


def package_files() -> set[str]:
    files = (path for path in (SOURCE / "pgjobq").rglob("*") if path.is_file())
    return {path.relative_to(SOURCE).as_posix() for path in files if "__pycache__" not in path.parts}


def sdist_problems(sdist: Path) -> Iterator[str]:
    """The tests and the examples travel with the source, so that a packager can run them."""
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "LICENSE", "requirements-dev.txt"}
    needed |= {f"src/{name}" for name in package_files()}
    yield from (f"{sdist.name}: lacks {name}" for name in sorted(needed - held))
    for folder in ("tests/", "examples/", "docs/", "tools/"):
        if not any(name.startswith(folder) for name in held):
            yield f"{sdist.name}: lacks {folder}"


if __name__ == "__main__":
    sys.exit(main())
