"""Where a system's code runs: our own interpreter, or a virtualenv or node_modules of its own, made on first use."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["Environment", "Node", "NotInstallable", "Ours", "Python"]

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = ROOT / "bench" / "drivers"
HOME = ROOT / ".cache" / "bench"
"""Git-ignored. Delete it to have everything made anew."""
INSTALL_SECONDS = 300.0


class NotInstallable(Exception):
    """The system cannot be had on this machine; the message says why."""


class Environment(Protocol):
    """Where a driver runs."""

    def install(self) -> None:
        """Make it when it is missing or out of date. Raises NotInstallable."""

    def program(self) -> str:
        """The interpreter."""

    def variables(self) -> dict[str, str]:
        """What the driver's process needs to know."""


@dataclass(frozen=True)
class Ours:
    """The interpreter and packages the runner itself has."""

    def install(self) -> None:
        pass

    def program(self) -> str:
        return sys.executable

    def variables(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{DRIVERS}", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Python:
    """A virtualenv with these packages, by exact version."""

    name: str
    packages: tuple[str, ...]
    newer_than: tuple[int, int] = (3, 11)

    def install(self) -> None:
        home = HOME / self.name
        if _is_made(home, self.packages):
            return
        interpreter = _find_python(self.newer_than)
        shutil.rmtree(home, ignore_errors=True)
        uv = _find_uv()
        if uv:
            _run([*uv, "venv", "-q", "--python", interpreter, str(home)])
            _run([*uv, "pip", "install", "-q", "--python", self.program(), *self.packages])
        else:
            _run([interpreter, "-m", "venv", str(home)])
            _run([self.program(), "-m", "pip", "install", "-q", *self.packages])
        _note(home, self.packages)

    def program(self) -> str:
        return str(HOME / self.name / "bin" / "python")

    def variables(self) -> dict[str, str]:
        return {"PYTHONPATH": str(DRIVERS), "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Node:
    """A node_modules with these packages, by exact version; `own_node`: Node itself is one of them."""

    name: str
    packages: tuple[str, ...]
    own_node: bool = False

    def install(self) -> None:
        home = HOME / self.name
        if _is_made(home, self.packages):
            return
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise NotInstallable("needs Node.js: install node and npm")
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        (home / "package.json").write_text('{"private": true}\n')
        _run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *self.packages], home)
        _note(home, self.packages)

    def program(self) -> str:
        own = HOME / self.name / "node_modules" / "node" / "bin" / "node"
        return str(own) if self.own_node else "node"

    def variables(self) -> dict[str, str]:
        return {"BENCH_MODULES": str(HOME / self.name), "NODE_NO_WARNINGS": "1"}


def _is_made(home: Path, packages: tuple[str, ...]) -> bool:
    try:
        return bool(json.loads((home / "bench.json").read_text()) == list(packages))
    except (OSError, ValueError):
        return False


def _note(home: Path, packages: tuple[str, ...]) -> None:
    (home / "bench.json").write_text(json.dumps(packages) + "\n")


def _find_python(oldest: tuple[int, int]) -> str:
    """An interpreter that is new enough: ours, else one on PATH."""
    if sys.version_info[:2] >= oldest:
        return sys.executable
    for minor in range(20, oldest[1] - 1, -1):
        for found in _named(f"python3.{minor}"):
            return found
    raise NotInstallable(f"needs Python {oldest[0]}.{oldest[1]} or newer, and there is none on PATH")


def _named(name: str) -> Iterator[str]:
    """The programs of this name that run: a version manager leaves names on PATH that lead nowhere."""
    own = [
        str(path)
        for path in Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv").glob(f"versions/*/bin/{name}")
    ]
    for program in [shutil.which(name), *own]:
        if program and subprocess.run([program, "--version"], capture_output=True).returncode == 0:
            yield program


def _find_uv() -> list[str]:
    if found := shutil.which("uv"):
        return [found]
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else []


def _run(command: list[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstallable(f"{command[0]}: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise NotInstallable(" ".join(lines[-3:])[-300:] or f"{command[0]} ended with {done.returncode}")
