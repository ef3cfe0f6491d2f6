"""`python -m pgjobq.devdb [DATADIR]`: a PostgreSQL to develop against, until Ctrl-C."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from pgjobq.devdb import Postgres
from pgjobq.errors import PgjobqError

EPILOG = """\
examples:
  python -m pgjobq.devdb                 throw-away data, gone at the end
  python -m pgjobq.devdb devdata --tcp   data kept in ./devdata, over TCP
environment:
  PGJOBQ_PG_BINDIR   directory of the initdb and postgres to run
  PGJOBQ_PG_USER     as root: the user to run the server as (default nobody)
exit codes:
  0  stopped by Ctrl-C or SIGTERM      1  the server ended by itself
  2  no server to run, or a setting that cannot be used
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m pgjobq.devdb",
        description="Run a private PostgreSQL for development, and print how to reach it.\nNot for production.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("datadir", nargs="?", metavar="DATADIR", help="keep the data here (default: throw it away)")
    parser.add_argument("--tcp", action="store_true", help="listen on 127.0.0.1 instead of a unix socket")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a server setting; repeatable")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run until interrupted; returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(argv)
    settings = dict(setting.partition("=")[::2] for setting in options.set)
    if bad := [setting for setting in options.set if "=" not in setting]:
        parser.error(f"--set {bad[0]!r}: write it as NAME=VALUE, such as --set work_mem=64MB")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Postgres(options.datadir, settings=settings, tcp=options.tcp) as postgres:
            print(f"export PGJOBQ_DSN={shlex.quote(postgres.dsn())}")
            ending = "another process runs it" if postgres.attached else "Ctrl-C stops it"
            print(f"# {ending}", flush=True)
            postgres.wait()
            log = postgres.log.read_text(errors="replace")[-2000:]
        print(f"pgjobq: the server ended by itself; it wrote:\n{log}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except PgjobqError as error:
        print(f"pgjobq: {error}", file=sys.stderr)
        return 2


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
