"""Writes requirements-dev.txt: every package of the `dev` extra with its version and hashes.

    python tools/lock.py             resolve anew (needs uv), for all Pythons and platforms at once
    python tools/lock.py --check     exit 1 when pyproject.toml asks for something else than was resolved

No index is named in the file, so it works with whichever index a machine is set up for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-dev.txt"
MARK = "# asked for: "


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare; offline")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions, not the locked ones")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        print(
            "tools/lock.py: uv is needed to resolve for all Pythons at once; install uv first.",
            file=sys.stderr,
        )
        return 2
    resolved = resolve(uv, upgrade=arguments.upgrade)
    LOCK.write_text(header() + resolved)
    print(f"{LOCK.name}: {len(re.findall('^[a-z]', resolved, re.M))} packages.")
    return 0


def check() -> int:
    marked = re.search(rf"^{re.escape(MARK)}(\w+)$", LOCK.read_text(), re.M)
    if marked and marked[1] == asked_for():
        return 0
    print(f"{LOCK.name} was resolved for another pyproject.toml: run `make lock` (needs uv).", file=sys.stderr)
    return 1


def asked_for() -> str:
    """A fingerprint of every requirement in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = [project["requires-python"], project["dependencies"], project["optional-dependencies"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def header() -> str:
    return (
        "# Everything a developer of pgjobq installs (the extra `dev`), with hashes. Made by `make lock`.\n"
        "# One file for Python 3.11 and newer on Linux and macOS; no index is named in it.\n"
        f"{MARK}{asked_for()}\n"
    )


def resolve(uv: str, *, upgrade: bool) -> str:
    command = [uv, "pip", "compile", "pyproject.toml", "--extra", "dev", "--quiet"]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "lock.txt"
        if LOCK.exists() and not upgrade:
            output.write_text(LOCK.read_text())  # uv keeps the versions it finds here
        subprocess.run([*command, "--output-file", str(output)], cwd=ROOT, check=True)
        return output.read_text()


if __name__ == "__main__":
    sys.exit(main())
