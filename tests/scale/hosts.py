"""Several hosts on one machine: network namespaces on a bridge, each with a host name of its own, and a relay to the
server. Needs root and `ip`; everything made here is named after our process and removed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict

from support.dsn import as_url

__all__ = ["Hosts", "why_not"]

PREFIX = "pgjobq"


def why_not() -> str:
    """Why hosts cannot be made here; empty when they can."""
    if missing := [tool for tool in ("ip", "unshare", "hostname") if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)} (apt-get install iproute2 util-linux hostname)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"{PREFIX}-{os.getpid()}-try"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {(error.stderr or '').strip()}"
    return ""


class Hosts:
    """A bridge with the server's relay on it, and hosts plugged into it, for as long as the `with` block lasts."""

    def __init__(self, names: Sequence[str], dsn: str) -> None:
        self.names, self._server = list(names), dsn
        self._tag = os.getpid()
        # 198.18.0.0/15 is for tests of networks (RFC 2544); two sessions at once differ in the third number
        self._net = f"198.18.{self._tag % 250 + 1}"
        self._bridge = f"pqbr{self._tag}"
        self._relay = Relay(dsn)

    def __enter__(self) -> Hosts:
        _remove_leftovers()
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("address", "add", f"{self._net}.1/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for number, name in enumerate(self.names):
                self._make(number, name)
            self._relay.listen(f"{self._net}.1")
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._relay.close()
        self._remove()

    def dsn(self) -> str:
        """How the hosts reach the server."""
        return as_url(self._server, host=f"{self._net}.1", port=str(self._relay.port))

    def on(self, name: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` on that host; its process id is that of `command`."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]
        return ["ip", "netns", "exec", self._space(name), *named, *command]

    def cut_off(self, name: str) -> None:
        """Pull that host's cable at the switch: no packet passes and nobody is told."""
        _ip("link", "set", self._cable(name), "nomaster")

    def plug_in(self, name: str) -> None:
        """Connect it again."""
        _ip("link", "set", self._cable(name), "master", self._bridge)

    def _make(self, number: int, name: str) -> None:
        space, cable = self._space(name), self._cable(name)
        _ip("netns", "add", space)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", cable, "master", self._bridge, "up")
        _ip("-netns", space, "address", "add", f"{self._net}.{number + 2}/24", "dev", "eth0")
        _ip("-netns", space, "link", "set", "eth0", "up")
        _ip("-netns", space, "link", "set", "lo", "up")

    def _space(self, name: str) -> str:
        return f"{PREFIX}-{self._tag}-{name}"

    def _cable(self, name: str) -> str:
        return f"pq{self._tag}v{self.names.index(name)}"

    def _remove(self) -> None:
        for name in self.names:
            _remove_space(self._space(name))
            _try_ip("link", "delete", self._cable(name))  # goes with its namespace, unless it never got there
        _try_ip("link", "delete", self._bridge)


class Relay:
    """Passes TCP connections on to the server, which may listen on a socket file or on 127.0.0.1 alone."""

    def __init__(self, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        self._host, self._port = str(parts.get("host") or "127.0.0.1"), int(parts.get("port") or 5432)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    def listen(self, address: str) -> None:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, address, 0), self._loop)
        self._server = started.result(20)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        async def end() -> None:
            if self._server is not None:
                self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0.05)  # the transports close their sockets in the loop's next turns

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            if self._host.startswith("/"):
                far = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
            else:
                far = await asyncio.open_connection(self._host, self._port)
            await asyncio.gather(_pass_on(reader, far[1]), _pass_on(far[0], writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for side in (writer, far[1] if far else None):
                if side is not None:
                    side.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return done.stdout


def _try_ip(*words: str) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):
        _ip(*words)


def _remove_space(space: str) -> None:
    """End whoever still runs there, then remove it: a namespace lives as long as somebody is in it."""
    with contextlib.suppress(subprocess.CalledProcessError):
        for pid in _ip("netns", "pids", space).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
    _try_ip("netns", "delete", space)


def _remove_leftovers() -> None:
    """What sessions have left that were killed."""
    for space in re.findall(rf"^{PREFIX}-\d+-[\w-]+", _ip("netns", "list"), re.MULTILINE):
        if not Path("/proc", space.split("-")[1]).exists():
            _remove_space(space)
    for bridge, pid in re.findall(r": (pqbr(\d+)):", _ip("-oneline", "link", "show", "type", "bridge")):
        if not Path("/proc", pid).exists():
            _try_ip("link", "delete", bridge)
