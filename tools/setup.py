"""Makes `.venv` with everything a developer of pgjobq needs, and only when something changed.

    python tools/setup.py            make it when it is missing or out of date (otherwise 50 ms and silence)
    python tools/setup.py --force    make it anew

uv does the work when it is on PATH, else venv and pip. Versions and hashes come from requirements-dev.txt.
Only the standard library is used here: nothing else is installed yet.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "pgjobq-setup.json"
LOCK = ROOT / "requirements-dev.txt"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")


class SetupFailed(Exception):
    """The environment cannot be made; the message says what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--force", action="store_true", help="make the environment anew")
    force: bool = parser.parse_args().force
    try:
        if force or not is_current():
            with one_at_a_time():
                if force or not is_current():
                    make()
    except SetupFailed as error:
        print(f"pgjobq setup: {error}", file=sys.stderr)
        return 2
    return 0


def is_current() -> bool:
    """Whether `.venv` was made from today's pyproject and lock, here, and still has its interpreter."""
    try:
        made = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    asked = bool(os.environ.get("PYTHON")) and not running_inside()
    return (
        made.get("inputs") == fingerprint()
        and made.get("path") == str(VENV)  # an environment that was moved is broken
        and (not asked or made.get("python") == sys.version)
        and (BIN / "python").exists()
    )


def running_inside() -> bool:
    return Path(sys.prefix).resolve() == VENV.resolve()


def fingerprint() -> str:
    """What the environment depends on; a change of, say, a lint rule in pyproject.toml is not one."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    parts = {"project": pyproject["project"], "build": pyproject["build-system"], "lock": LOCK.read_text()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def make() -> None:
    began = time.monotonic()
    python = base_python()
    uv = shutil.which("uv")
    print(f"Setting up .venv with {'uv' if uv else 'venv and pip'} (once; about a minute) …", flush=True)
    if VENV.exists():
        remove(VENV)
    if uv:
        with_uv(uv, python)
    else:
        with_pip(python)
    STAMP.write_text(json.dumps({"inputs": fingerprint(), "path": str(VENV), "python": version_of(python)}))
    print(f"Ready in {time.monotonic() - began:.0f} s.", flush=True)


def with_uv(uv: str, python: str) -> None:
    install = [uv, "pip", "install", "--quiet", "--python", str(BIN / "python")]
    run([uv, "venv", "--quiet", "--python", python, str(VENV)])
    run([*install, "--require-hashes", "-r", str(LOCK)])
    run([*install, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])


def with_pip(python: str) -> None:
    if subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True).returncode:
        raise SetupFailed(
            f"{python} cannot make virtual environments (its ensurepip is packaged apart).\n"
            "  Debian, Ubuntu:  apt-get install python3-venv\n"
            "  or install uv, which needs neither, and run the command again."
        )
    install = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([python, "-m", "venv", str(VENV)])
    run([*install, "--require-hashes", "-r", str(LOCK)])
    # The build back end is one of the locked packages: nothing unpinned is fetched for the build.
    run([*install, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])


def run(command: list[str]) -> None:
    """Run one step; its output is shown only as it comes from the tool itself."""
    misleading = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}
    environment = {name: value for name, value in os.environ.items() if name not in misleading}
    if os.name != "nt" and os.geteuid() == 0:
        environment["PIP_ROOT_USER_ACTION"] = "ignore"  # it is a virtual environment: root harms nothing
    if subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL).returncode:
        raise SetupFailed(f"this step failed (see above): {' '.join(command)}")


def base_python() -> str:
    """The interpreter to build on: never the one inside the environment about to be removed."""
    if not running_inside():
        return sys.executable
    for name in (f"python{sys.version_info.major}.{sys.version_info.minor}", "python3", "python"):
        found = Path(sys.base_prefix) / ("" if os.name == "nt" else "bin") / name
        if found.exists():
            return str(found)
    raise SetupFailed("delete .venv and run the command again (its base interpreter is gone).")


def version_of(python: str) -> str:
    shown = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True)
    return shown.stdout.strip()


def remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise SetupFailed(
            f"{path.name} is out of date and cannot be removed ({error.strerror}): was it made by another "
            f"user? Remove it as that user, then run the command again."
        ) from error


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two `make` at once set up once; the second waits."""
    try:
        import fcntl
    except ImportError:  # Windows: nobody runs two at once there
        yield
        return
    try:
        lock = (ROOT / ".venv.lock").open("w")
    except OSError as error:
        raise SetupFailed(f"cannot write into {ROOT} ({error.strerror}): .venv is made there.") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
