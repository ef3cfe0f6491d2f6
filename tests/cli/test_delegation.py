"""`pgjobq worker` and `pgjobq devdb` do what `python -m pgjobq.worker` and `… pgjobq.devdb` do."""

from __future__ import annotations

import subprocess
import sys

import pytest


def output(*argv: str) -> tuple[int, str, str]:
    found = subprocess.run([sys.executable, "-m", *argv], capture_output=True, text=True, timeout=60, check=False)
    return found.returncode, found.stdout, found.stderr


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("worker", ["--concurrency", "0", "shop.jobs:queue"]),
        ("worker", ["--concurency", "5"]),
        ("worker", ["--help"]),
        ("devdb", ["--set", "nonsense"]),
        ("devdb", ["--help"]),
    ],
)
def test_the_command_and_the_module_say_the_same(command: str, argv: list[str]) -> None:
    # Each names itself as it was called, in its help and in what it advises.
    by_command, by_module = output("pgjobq", command, *argv), output(f"pgjobq.{command}", *argv)
    names = {f"python -m pgjobq.{command}": "pgjobq COMMAND", f"pgjobq {command}": "pgjobq COMMAND"}
    assert renamed(by_command, names) == renamed(by_module, names)
    assert by_command[0] == by_module[0] == (0 if "--help" in argv else 2)
    assert "Traceback" not in by_command[2]


def renamed(found: tuple[int, str, str], names: dict[str, str]) -> str:
    """What was printed, with these names changed and without regard to where the lines break."""
    text = " ".join(found[1:])
    for old, new in names.items():
        text = text.replace(old, new)
    return " ".join(text.split())
