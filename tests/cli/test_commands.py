"""The command `pgjobq` as a user meets it: in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pgjobq import cli
from pgjobq.cli.commands import COMMANDS, HELP
from pgjobq.errors import PgjobqError
from pgjobq.migrate import library_version

UNSET = ("PGJOBQ_DSN", "DATABASE_URL", "PGHOST", "PGSERVICE", "PGDATABASE", "PGSERVICEFILE", "PGJOBQ_SCHEMA")
CLEAN = {name: value for name, value in os.environ.items() if name not in UNSET} | {"COLUMNS": "80"}


def run(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pgjobq", *argv]
    return subprocess.run(command, env=CLEAN | environ, capture_output=True, text=True, timeout=60, check=False)


def test_the_installed_command_is_the_same() -> None:
    script = Path(sys.executable).with_name("pgjobq")
    assert script.exists(), "install the project first: pip install -e ."
    found = subprocess.run([script, "--version"], env=CLEAN, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stdout) == (0, run("--version").stdout)


@pytest.mark.parametrize("argv", [["-h"], ["--help"], ["help"]])
def test_help(argv: list[str]) -> None:
    found = run(*argv)
    assert (found.returncode, found.stdout, found.stderr) == (0, HELP, "")


def test_help_fits_and_names_everything() -> None:
    assert max(map(len, HELP.splitlines())) <= 80
    for word in (*COMMANDS, "PGJOBQ_DSN", "PGJOBQ_SCHEMA", "exit codes:", "examples:", "--version"):
        assert word in HELP


def test_without_a_command_the_help_goes_to_stderr() -> None:
    found = run()
    assert (found.returncode, found.stdout, found.stderr) == (2, "", HELP)


def test_version() -> None:
    found = run("--version")
    assert found.returncode == 0
    assert found.stdout.startswith(f"pgjobq {library_version()} (Python 3.")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_fits(command: str) -> None:
    found = run(command, "--help")
    assert (found.returncode, found.stderr) == (0, "")
    assert max(map(len, found.stdout.splitlines())) <= 80
    for word in ("usage: ", "examples:", "exit codes:"):
        assert word in found.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["wroker"], "unknown command 'wroker'. Did you mean 'worker' or 'workers'? (see pgjobq --help)"),
        (["zzz"], "unknown command 'zzz'. (see pgjobq --help)"),
        (["--verson"], "unknown flag '--verson'. Did you mean '--version'? (see pgjobq --help)"),
        (["migrate", "--chek"], "unknown flag '--chek'. Did you mean '--check'"),
        (["migrate", "--check", "--sql"], "not allowed with"),
        (["migrate", "--schema", "Shop"], "schema name 'Shop' cannot be used"),
        (["migrate", "extra"], "one argument too many: 'extra'"),
        (["migrate"], "no database is named: give --dsn"),
        (["migrate", "--dsn", "postgresql://u:s3cret@[h/x"], "cannot be read as a connection string"),
        (["migrate", "--dsn", "host=127.0.0.1 port=1"], "cannot connect to the database: "),
    ],
)
def test_what_is_wrong_is_one_line(argv: list[str], said: str) -> None:
    found = run(*argv)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("pgjobq: ")
    assert said in found.stderr
    assert found.stderr.count("\n") == 1
    assert "s3cret" not in found.stderr


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: list[str]) -> int:
        raise RuntimeError("ours")

    monkeypatch.setitem(cli.COMMANDS, "broken", cli.commands.Command("", broken))
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["broken"])


def test_every_error_of_the_library_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: list[str]) -> int:
        raise PgjobqError("no, because")

    monkeypatch.setitem(cli.COMMANDS, "refuse", cli.commands.Command("", refuse))
    assert cli.main(["refuse"]) == 2
    assert capsys.readouterr().err == "pgjobq: no, because\n"


def test_a_reader_that_left_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        found = subprocess.run(
            [sys.executable, "-m", "pgjobq", "migrate", "--sql"],
            env=CLEAN,
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (found.returncode, found.stderr) == (141, b"")


def test_ctrl_c_is_quiet() -> None:
    """A database that accepts and never answers: the command waits in it until Ctrl-C."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        port = silent.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "pgjobq", "migrate", "--dsn", f"host=127.0.0.1 port={port}"],
            env=CLEAN,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(30)
            assert connection.recv(8)  # it has said hello and waits for the answer
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")
