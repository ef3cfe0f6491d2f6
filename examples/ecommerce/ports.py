"""Addresses on this machine, without a race: a server binds its port itself and says which it got."""

from __future__ import annotations

import errno
import socket

import uvicorn
from starlette.types import ASGIApp

TRIES = 20
ANNOUNCEMENT = "listening on "


def bind(port: int) -> socket.socket:
    """A bound socket on 127.0.0.1: this port, else one of the next TRIES, else any. 0: any free one."""
    for candidate in [*range(port, min(port + TRIES, 65536)), 0] if port else [0]:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", candidate))
        except OSError as error:
            sock.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            return sock
    raise OSError(errno.EADDRINUSE, "no free port on 127.0.0.1")


def announce(sock: socket.socket, scheme: str) -> None:
    """Print the address on a line of its own, which is what whoever started us reads."""
    host, port = sock.getsockname()[:2]
    print(f"{ANNOUNCEMENT}{scheme}://{host}:{port}", flush=True)


def serve(app: ASGIApp, port: int) -> None:
    """Run a web application until SIGTERM or Ctrl-C."""
    with bind(port) as sock:
        sock.listen(128)  # from here on a caller is kept waiting, not refused
        announce(sock, "http")
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
        uvicorn.Server(config).run(sockets=[sock])
