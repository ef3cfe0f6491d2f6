"""The worker's command line, made from the table of settings."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from pgjobq.errors import AppNotFound, ConfigError
from pgjobq.settings.kinds import Switch
from pgjobq.settings.schema_name import check_schema_name
from pgjobq.settings.table import SETTINGS, Setting
from pgjobq.settings.worker import WorkerSettings, default_of
from pgjobq.wording import did_you_mean

__all__ = ["ASKED", "CommandLine", "CommandLineAsked", "WorkerArguments", "read_worker_arguments", "worker_parser"]

WIDTH = 80
_DESCRIPTION = """\
Run the jobs of one app. APP is the module and the Queue in it, as Python
would import them: shop.jobs:queue."""

_EPILOG = """\
Every flag has its variable, named in brackets; a flag wins over its variable,
a variable over the default. PGJOBQ_APP stands for APP. Times are written 30,
30s, 250ms, 5m, 1h or 7d.

signals:
  SIGTERM, SIGINT   take no more jobs, let the running ones finish within the
                    grace, give back what has not begun, exit 0
  the same again    hurry: cancel what runs; those jobs are run again later

exit codes:
  0  stopped or drained, all well
  1  crashed
  2  wrong usage or configuration: no database named, bad flag, app not found,
     schema not installed
  3  --drain ended, and at least one job failed for good

examples:
  {prog} shop.jobs:queue --queues mail --concurrency 20
  PGJOBQ_LEASE=1m {prog} shop.jobs:queue --drain
"""


class CommandLineAsked(BaseException):
    """A command was asked for its command line, not to do anything: `ASKED` in place of the arguments."""

    def __init__(self, line: CommandLine) -> None:
        super().__init__(line.prog)
        self.line = line


ASKED = [""]
"""Arguments that no user can type (they are known by identity): see CommandLineAsked."""


class CommandLine(argparse.ArgumentParser):
    """An argument parser that raises ConfigError instead of ending the process, and knows near misses."""

    actions: tuple[str, ...] = ()
    """The words that its first argument may be, if there are such."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            add_help=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=WIDTH, max_help_position=26),
        )
        self.add_argument("-h", "--help", action="help", help="show this and exit")

    def add_actions(self, *actions: str, default: str | None = None) -> None:
        """A first argument that is one of these words; it may be left out where there is a default."""
        self.actions = actions
        named = f"{', '.join(actions[:-1])} or {actions[-1]}" + (f" (default: {default})" if default else "")
        if default is None:
            self.add_argument("action", metavar="ACTION", help=named)
        else:
            self.add_argument("action", metavar="ACTION", nargs="?", default=default, help=named)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse; raises ConfigError for what it does not know, with the nearest flag that it does."""
        if argv is ASKED:
            raise CommandLineAsked(self)
        namespace, unknown = self.parse_known_args(argv)
        if unknown:
            self.error(self._did_you_mean(unknown[0]))
        if self.actions and namespace.action not in self.actions:
            hint = did_you_mean(namespace.action, self.actions)
            self.error(f"{self.prog} {namespace.action!r}: wants one of {', '.join(self.actions)}.{hint}")
        return namespace

    def _did_you_mean(self, word: str) -> str:
        if not word.startswith("-"):
            return f"one argument too many: {word!r}"
        flag = word.partition("=")[0]
        known = [option for action in self._actions for option in action.option_strings]
        return f"unknown flag {flag!r}.{did_you_mean(flag, known)}"


@dataclass(frozen=True, slots=True)
class WorkerArguments:
    """A worker's whole command line.

    Attributes:
        app: `module:queue`.
        dsn: what `--dsn` said, or None: the app's own Queue, then the environment, decides.
        schema: what `--schema` or PGJOBQ_SCHEMA said, or None: the app's own Queue decides.
        settings: everything else.
    """

    app: str
    dsn: str | None
    schema: str | None
    settings: WorkerSettings


def read_worker_arguments(
    argv: Sequence[str], environ: Mapping[str, str], prog: str = "pgjobq worker"
) -> WorkerArguments:
    """Read a worker's arguments; raises ConfigError saying what is wrong, AppNotFound when no app is named.

    `--help` prints the help and raises SystemExit(0).
    """
    given = vars(worker_parser(prog).read(argv))
    app = given["app"] or environ.get("PGJOBQ_APP", "").strip()
    if not app:
        raise AppNotFound(
            f"no app is named: give the module and the Queue in it, for example {prog} shop.jobs:queue, "
            "or set PGJOBQ_APP"
        )
    schema = given["schema"] if given["schema"] is not None else environ.get("PGJOBQ_SCHEMA", "").strip() or None
    return WorkerArguments(
        app=app,
        dsn=given["dsn"],
        schema=None if schema is None else check_schema_name(schema),
        settings=WorkerSettings.resolve({setting.name: given[setting.name] for setting in SETTINGS}, environ),
    )


def worker_parser(prog: str = "pgjobq worker") -> CommandLine:
    """The parser of `pgjobq worker`; every setting arrives as its text, or None when it was not given."""
    parser = CommandLine(prog, _DESCRIPTION, _EPILOG.format(prog=prog))
    parser.usage = f"{prog} APP [--queues NAMES] [--concurrency N] [flags]"
    parser.add_argument("app", metavar="APP", nargs="?", help="module:queue, for example shop.jobs:queue")
    for title, settings in _grouped(SETTINGS):
        group = parser.add_argument_group(title)
        for setting in settings:
            _add_flag(group, setting)
    database = parser.add_argument_group("database")
    database.add_argument(
        "--dsn",
        metavar="DSN",
        help="postgresql://user@host/name or libpq's key=value [PGJOBQ_DSN, then DATABASE_URL, then PG*]",
    )
    database.add_argument(
        "--schema", metavar="NAME", help="schema of pgjobq's tables (default: the app's) [PGJOBQ_SCHEMA]"
    )
    return parser


def _grouped(settings: Iterable[Setting]) -> list[tuple[str, list[Setting]]]:
    groups: dict[str, list[Setting]] = {}
    for setting in settings:
        groups.setdefault(setting.group, []).append(setting)
    return list(groups.items())


def _add_flag(group: argparse._ArgumentGroup, setting: Setting) -> None:
    shown = setting.kind.show(default_of(setting))
    text = f"{setting.help} (default: {shown}) [{setting.variable}]"
    if not isinstance(setting.kind, Switch):
        group.add_argument(setting.flag, dest=setting.name, metavar=setting.metavar, help=text)
        return
    # `--no-drain` undoes PGJOBQ_DRAIN=1: without it a flag could not win over its variable.
    opposite = setting.flag.replace("--", "--no-", 1)
    group.add_argument(setting.flag, dest=setting.name, action="store_const", const="true", help=text)
    group.add_argument(opposite, dest=setting.name, action="store_const", const="false", help=argparse.SUPPRESS)
