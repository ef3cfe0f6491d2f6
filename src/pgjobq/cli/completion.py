"""`pgjobq completion SHELL`: words completed by bash, zsh or fish, the names in your database among them.

The script that a shell reads asks `pgjobq completion --words …` at each Tab: so it knows whatever this version knows.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pgjobq.cli.commands import COMMANDS
from pgjobq.errors import ConfigError
from pgjobq.job import JobState
from pgjobq.settings.arguments import ASKED, CommandLine, CommandLineAsked
from pgjobq.wording import did_you_mean

if TYPE_CHECKING:
    from pgjobq.queue import Queue

__all__ = ["complete", "completion"]

_DESCRIPTION = """\
Print the script that completes commands, flags and their values in your shell;
names of queues, tasks, schedules and gates come from the database, where one is
named and answers within a second."""
_EPILOG = """\
exit codes:
  0  done
  2  wrong usage

examples:
  source <(pgjobq completion bash)                in ~/.bashrc
  source <(pgjobq completion zsh)                 in ~/.zshrc, after compinit
  pgjobq completion fish > ~/.config/fish/completions/pgjobq.fish
"""
_SCRIPTS = {
    # bash itself breaks words at `:` and `=`, and puts in what comes behind the last of these.
    "bash": r"""_pgjobq() {
    local line=${COMP_LINE:0:COMP_POINT} words word head= found
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[${#words[@]}-1]}
    case $word in
        *=*:*|*:*) [[ $COMP_WORDBREAKS == *:* ]] && head=${word%"${word##*:}"} ;;
        *=*) [[ $COMP_WORDBREAKS == *=* ]] && head=${word%"${word##*=}"} ;;
    esac
    COMPREPLY=()
    while IFS= read -r found; do
        COMPREPLY+=("$(printf %q "${found#"$head"}")")
    done < <("${words[0]}" completion --words "${words[@]:1}" 2>/dev/null)
}
complete -o default -F _pgjobq pgjobq
""",
    "zsh": r"""#compdef pgjobq
_pgjobq() {
    local -a found
    found=("${(@f)$("$words[1]" completion --words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n $found[1] ]]; then compadd -a found; else _files; fi
}
if [[ $funcstack[1] == _pgjobq ]]; then _pgjobq "$@"; else compdef _pgjobq pgjobq; fi
""",
    "fish": r"""function __pgjobq
    set -l words (commandline -opc)
    $words[1] completion --words $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c pgjobq -f -a '(__pgjobq)'
complete -c pgjobq -n '__fish_seen_subcommand_from worker devdb web' -F
""",
}
SECONDS = 1
"""What a database has to answer within: who presses Tab waits for it."""


def completion(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    if argv[:1] == ["--words"]:
        sys.stdout.writelines(f"{word}\n" for word in complete(list(argv[1:])))
        return 0
    made = CommandLine("pgjobq completion", _DESCRIPTION, _EPILOG)
    made.usage = "pgjobq completion SHELL"
    made.add_argument("shell", metavar="SHELL", help=", ".join(_SCRIPTS))
    options = made.read(argv)
    if options.shell not in _SCRIPTS:
        hint = did_you_mean(options.shell, _SCRIPTS)
        raise ConfigError(f"shell {options.shell!r}: wants one of {', '.join(_SCRIPTS)}.{hint}")
    sys.stdout.write(_SCRIPTS[options.shell])
    return 0


def complete(words: list[str]) -> list[str]:
    """What the last of these words (those after `pgjobq`) may become."""
    begun = words[-1] if words else ""
    return [word for word in _candidates(words[:-1], begun) if word.startswith(begun)]


def _candidates(before: list[str], begun: str) -> Iterable[str]:
    if not before:
        return [*COMMANDS, *(("--help", "--version") if begun.startswith("-") else ())]
    command, *given = before
    line = _line(command)
    if line is None:
        return []
    flags = {flag: action for action in line._actions for flag in action.option_strings}
    last = given[-1] if given else None
    if last in flags and flags[last].nargs != 0:
        return _values(command, last, given, _action(line, given))
    if begun.startswith("--") and "=" in begun:
        flag = begun.partition("=")[0]
        return [f"{flag}={value}" for value in _values(command, flag, given, _action(line, given))]
    if begun.startswith("-"):
        taken = {word for word in given if word in flags and not isinstance(flags[word], argparse._AppendAction)}
        return [flag for flag in flags if flag.startswith("--") and flag not in taken]
    place = _place(flags, given)
    if place == 0 and isinstance(line, CommandLine) and line.actions:
        return line.actions
    return _values(command, place, given, _action(line, given))


def _line(command: str) -> argparse.ArgumentParser | None:
    """The command line of a command."""
    if command == "devdb":
        from pgjobq.devdb.__main__ import build_parser

        return build_parser()
    if command not in COMMANDS:
        return None
    try:
        COMMANDS[command].run(ASKED)
    except CommandLineAsked as asked:
        return asked.line
    raise AssertionError(f"pgjobq {command} does not read its arguments with CommandLine.read()")


def _place(flags: dict[str, argparse.Action], given: list[str]) -> int:
    """How many words stand there that are neither flags nor their values."""
    count, skip = 0, False
    for word in given:
        if skip:
            skip = False
        elif word.startswith("-"):
            action = flags.get(word)
            skip = action is not None and action.nargs != 0
        else:
            count += 1
    return count


def _action(line: argparse.ArgumentParser, given: list[str]) -> str | None:
    actions = line.actions if isinstance(line, CommandLine) else ()
    return next((word for word in given if word in actions), None)


# --- values ------------------------------------------------------------------------------------------------


def _queues(queue: Queue, conn: object) -> Iterable[str]:
    from pgjobq.cli.selection import known_queues

    return known_queues(queue, conn)


def _tasks(queue: Queue, conn: object) -> Iterable[str]:
    from pgjobq.cli.selection import known_tasks

    return known_tasks(queue, conn)


def _schedules(queue: Queue, conn: object) -> Iterable[str]:
    return [one.name for one in queue.schedules(conn=conn)]


def _gates(queue: Queue, conn: object) -> Iterable[str]:
    from pgjobq.survey import Survey

    survey = Survey(queue)
    return {one.key for one in survey.gates(conn=conn)} | {one.key for one in survey.gate_limits(conn=conn)}


def _workers(queue: Queue, conn: object) -> Iterable[str]:
    return [one.id for one in queue.workers(conn=conn)]


Live = Callable[["Queue", object], Iterable[str]]
_FIXED: dict[str | tuple[str, str | int], tuple[str, ...]] = {
    "--state": tuple(JobState),
    "--when-full": ("raise", "drop_oldest"),
    "--missed": ("latest", "all", "skip"),
    "--overlap": ("allow", "skip"),
    "--priority": tuple(map(str, range(-9, 10))),
    ("completion", 0): tuple(_SCRIPTS),
    ("purge", "--state"): ("succeeded", "failed", "cancelled"),
    ("top", "--sort"): ("ready", "running", "pace", "oldest", "name"),
    ("worker", "--log-format"): ("text", "json"),
}
_LIVE: dict[str | tuple[str, str | int], Live] = {
    "--queue": _queues,
    "--queues": _queues,
    "--to": _queues,
    "--task": _tasks,
    "--worker": _workers,
    ("schedules", 1): _schedules,
    ("gates", 1): _gates,
    ("queues", 1): _queues,
    ("enqueue", 0): _tasks,
    ("enqueue", 1): _tasks,
}
"""Values by the flag, by command and flag, or by command and the place of a word without a flag."""


def _values(command: str, what: str | int, given: list[str], action: str | None) -> Iterable[str]:
    for key in ((command, what), what):
        if isinstance(key, int):
            continue
        if key in _FIXED:
            return _FIXED[key]
        if key in _LIVE and not (command == "schedules" and action == "set" and what == 1):
            return sorted(_asked(_LIVE[key], given))
    return []


def _asked(live: Live, given: list[str]) -> Iterable[str]:
    """What the database says, if one is named and answers at once; whatever goes wrong, nobody wants to read it now."""
    import psycopg

    from pgjobq.errors import PgjobqError
    from pgjobq.queue import Queue
    from pgjobq.run.dsn import completed, find_dsn

    def named(flag: str) -> str | None:
        return given[given.index(flag) + 1] if flag in given[:-1] else None

    try:
        dsn = completed(
            find_dsn(named("--dsn"), os.environ),
            os.environ,
            connect_timeout=str(2 * SECONDS),  # libpq waits for 2 s at the least
        )
        queue = Queue(dsn, schema=named("--schema") or os.environ.get("PGJOBQ_SCHEMA", "").strip() or "pgjobq")
        with psycopg.connect(dsn, autocommit=True) as conn, conn.transaction():
            conn.execute(f"SET LOCAL statement_timeout = {1000 * SECONDS}")
            return list(live(queue, conn))
    except (PgjobqError, psycopg.Error, OSError, ValueError):
        return []
