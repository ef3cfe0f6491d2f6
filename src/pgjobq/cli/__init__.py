"""The command `pgjobq`: finds the subcommand, and turns what goes wrong into one line and an exit code.

What a subcommand needs is imported when it is run, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from pgjobq.cli.commands import COMMANDS, HELP
from pgjobq.errors import ConfigError, PgjobqError
from pgjobq.wording import did_you_mean

__all__ = ["main"]

USAGE_ERROR = 2
# What a shell reports for a process that these signals ended.
INTERRUPTED = 128 + 2
PIPE_CLOSED = 128 + 13


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pgjobq` with these arguments (else the process's own); returns the exit code."""
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the prompt stands on a line of its own, not behind ^C
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return PIPE_CLOSED
    except PgjobqError as error:
        return _refuse(str(error))
    except Exception as error:
        if (sentence := _known(error)) is None:
            raise
        return _refuse(sentence)


def _run(argv: list[str]) -> int:
    if not argv:
        print(HELP, end="", file=sys.stderr)
        return USAGE_ERROR
    word, *rest = argv
    if word in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if word in ("-V", "--version"):
        print(_version())
        return 0
    return _quietly(_command(word), rest)


def _command(word: str) -> Callable[[list[str]], int]:
    if word in COMMANDS:
        return COMMANDS[word].run
    kind = "flag" if word.startswith("-") else "command"
    known = ["--help", "--version"] if kind == "flag" else list(COMMANDS)
    raise ConfigError(f"unknown {kind} {word!r}.{did_you_mean(word, known)} (see pgjobq --help)")


def _quietly(run: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a subcommand; argparse's way out after `--help` becomes an exit code like any other."""
    try:
        return run(argv)
    except SystemExit as ending:
        if ending.code is None or isinstance(ending.code, int):
            return ending.code or 0
        raise


def _version() -> str:
    import platform

    from psycopg import pq

    from pgjobq.migrate import library_version

    libpq = f"{pq.version() // 10_000}.{pq.version() % 10_000}"
    return f"pgjobq {library_version()} (Python {platform.python_version()}, libpq {libpq})"


def _known(error: Exception) -> str | None:
    """A sentence for an error of the database's, None for what is a fault of ours."""
    import psycopg
    from psycopg_pool import PoolTimeout

    if isinstance(error, PoolTimeout):
        return "the database does not answer: no connection within 10 s"
    if not isinstance(error, psycopg.Error):
        return None
    reason = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{reason}: the owner of the schema allows it with SELECT pgjobq.allow('your_role', 'operator')"
    if isinstance(error, psycopg.errors.CheckViolation):  # a function of ours says what cannot be
        return error.diag.message_primary or reason
    if not isinstance(error, psycopg.OperationalError):
        return None
    if error.sqlstate:
        return f"the database refused ({error.sqlstate}): {reason}"
    return f"cannot connect to the database: {reason} (which one: --dsn, else PGJOBQ_DSN, DATABASE_URL, PG*)"


def _refuse(sentence: str) -> int:
    print(f"pgjobq: {sentence.removeprefix('pgjobq ')}", file=sys.stderr)
    return USAGE_ERROR


def _forget_stdout() -> None:
    """The reader has gone (`| head`): keep the interpreter's last flush from complaining about it."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
