"""Runs one page's blocks in order, in a process and a folder of their own; ends at the first that fails.

    python tests/docs/player.py PAGE       with DATABASE_URL set; the working directory is the page's folder

Python blocks share one module, as in a session at the prompt (`await` works at the top), and one whose first
line is `# shop/jobs.py` is written to that file instead. SQL blocks are sent whole, in autocommit mode.
Console commands must exit with 0 and print what the page says they print, where `…` stands for anything.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType

import pages
import psycopg

COMMAND_SECONDS = 60


class Broken(Exception):
    """A block that does not do what its page says."""


class Player:
    def __init__(self, page: Path) -> None:
        self.page = page
        self.module = ModuleType("page")
        self.module.__file__ = str(page)
        sys.modules["page"] = self.module
        sys.path.insert(0, str(Path.cwd()))
        self.loop = asyncio.Runner()

    def play(self) -> None:
        with self.loop:
            for block in pages.blocks(self.page):
                if block.runs:
                    print(f"{block.where} ({block.language})", flush=True)
                    getattr(self, block.language)(block)
        check_conservation()

    def python(self, block: pages.Block) -> None:
        if block.file_name:
            write_file(Path(block.file_name), block.code)
            return
        expected = block.directives.get("raises")
        try:
            self.run_python(block)
        except Exception as error:
            if expected is None or expected not in {kind.__name__ for kind in type(error).__mro__}:
                raise
        else:
            if expected is not None:
                raise Broken(f"raises no {expected}")

    def run_python(self, block: pages.Block) -> None:
        # Empty lines in front make a traceback show the page's own line numbers.
        source = "\n" * (block.line - 1) + block.code
        code = compile(source, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, self.module.__dict__)
        if inspect.iscoroutine(result):
            self.loop.run(result)

    def sql(self, block: pages.Block) -> None:
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as conn:
            conn.execute(block.code.encode())

    def console(self, block: pages.Block) -> None:
        for command, expected in pages.console_steps(block):
            stop_after = block.directives.get("stop-after")
            printed = until(command, stop_after) if stop_after else once(command)
            if expected and not matches(expected, printed):
                shown = "\n".join(expected)
                raise Broken(f"$ {command}\nshould print\n{shown}\nbut prints\n{printed}")


def write_file(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    package = path.parts[0].removesuffix(".py")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def once(command: str) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    if done.returncode:
        raise Broken(f"$ {command}\nexits with {done.returncode} and prints\n{done.stdout}")
    return done.stdout


def until(command: str, text: str) -> str:
    """Run a command that goes on until Ctrl-C; press it once the text was printed."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        signal.signal(signal.SIGALRM, lambda *_: process.kill())
        signal.alarm(COMMAND_SECONDS)  # the reading below blocks
        assert process.stdout is not None
        printed = ""
        for line in process.stdout:
            printed += line
            if text in line:
                process.send_signal(signal.SIGINT)
                break
        printed += process.stdout.read()
        signal.alarm(0)
    if text not in printed:
        raise Broken(f"$ {command}\nnever prints {text!r} but\n{printed}")
    if process.returncode:
        raise Broken(f"$ {command}\nexits with {process.returncode} after Ctrl-C and prints\n{printed}")
    return printed


def matches(expected: list[str], printed: str) -> bool:
    pattern = ".*?".join(re.escape(part) for part in "\n".join(expected).rstrip().split("…"))
    return re.fullmatch(pattern, plain(printed), re.DOTALL) is not None


def plain(printed: str) -> str:
    return "\n".join(line.rstrip() for line in printed.splitlines()).rstrip()


def check_conservation() -> None:
    """Whatever a page does, each of its jobs ends up in exactly one place."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as conn:
        installed = conn.execute("SELECT to_regclass('pgjobq.misplaced') IS NOT NULL").fetchone()
        if installed == (True,):
            misplaced = conn.execute("SELECT * FROM pgjobq.misplaced").fetchall()
            if misplaced:
                raise Broken(f"jobs are misplaced at the end of the page: {misplaced}")


def main(page: Path) -> int:
    began = time.monotonic()
    try:
        Player(page).play()
    except (Broken, pages.BadPage) as error:
        print(f"BROKEN: {error}", flush=True)
        return 1
    except Exception:
        print("BROKEN:", traceback.format_exc(), flush=True)
        return 1
    print(f"{page.name} in {time.monotonic() - began:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
