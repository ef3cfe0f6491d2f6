"""The files of a server and the command lines that make and run them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pgjobq.devdb.address import USER
from pgjobq.devdb.binaries import EXE

# For data that is thrown away: only a crash of the whole machine could lose it. A crash of the server alone
# loses nothing that was committed (synchronous_commit stays on for that reason), so fault tests hold on it
# too.
THROW_AWAY: dict[str, object] = {"fsync": "off", "full_page_writes": "off"}


def plan_initdb(bindir: Path, data: Path, password_file: Path, *, throw_away: bool) -> list[str | Path]:
    """The command that makes a cluster: UTF-8, the same on every machine, a password for TCP.

    The unix socket needs none: it lies in a directory which only its user can enter.
    """
    return [
        bindir / f"initdb{EXE}",
        "-D",
        data,
        f"--username={USER}",
        "--encoding=UTF8",
        "--no-locale",
        "--no-instructions",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        f"--pwfile={password_file}",
        *(["--no-sync"] if throw_away else []),
    ]


def plan_postgres(
    bindir: Path, data: Path, socket_directory: Path, port: int, *, tcp: bool, settings: Mapping[str, object]
) -> list[str | Path]:
    """The command that runs a cluster in the foreground, logging to its standard error."""
    quoted = '"' + str(socket_directory).replace('"', '""') + '"'
    options: dict[str, object] = {
        "listen_addresses": "127.0.0.1" if tcp else "",
        "unix_socket_directories": "" if os.name == "nt" else quoted,
        "unix_socket_permissions": "0700",
        "logging_collector": "off",
        **settings,
    }
    command: list[str | Path] = [bindir / f"postgres{EXE}", "-D", data, "-p", str(port)]
    for name, value in options.items():
        command += ["-c", f"{name}={_render(value)}"]
    return command


def clean_environment() -> dict[str, str]:
    """Our environment without PostgreSQL's variables; messages in English, because we read them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def is_ready(data: Path, pid: int) -> bool:
    """Whether the postmaster of that process id takes connections: line 8 of its pid file says so."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _render(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
