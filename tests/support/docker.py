"""A PostgreSQL in Docker through testcontainers."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"
# Throw-away data: nothing needs to survive a crash of the machine.
COMMAND = "postgres -c fsync=off -c full_page_writes=off -c max_connections=200"


def image() -> str:
    """The image to run: PGJOBQ_TEST_IMAGE, default postgres:18-alpine."""
    return os.environ.get("PGJOBQ_TEST_IMAGE") or "postgres:18-alpine"


def find_daemon() -> str:
    """Where the Docker daemon should be: DOCKER_HOST, the current context, the default socket."""
    from testcontainers.core.docker_client import get_docker_host

    return get_docker_host() or "unix:///var/run/docker.sock"


def ping(host: str, timeout: float = 2) -> None:
    """Raise OSError unless a daemon answers there within `timeout` seconds in all.

    A plain socket, because docker-py waits 60 s for a daemon that hangs and, when there is none, leaks its
    socket: a ResourceWarning, which fails a run under -W error. Daemons behind TLS, SSH or a named pipe are
    left to docker-py.
    """
    where = urlsplit(host)
    if where.scheme in ("npipe", "ssh") or os.environ.get("DOCKER_TLS_VERIFY"):
        return
    with socket.socket(socket.AF_UNIX if where.scheme == "unix" else socket.AF_INET) as daemon:
        daemon.settimeout(timeout)
        daemon.connect(where.path if where.scheme == "unix" else (where.hostname, where.port or 2375))
        daemon.sendall(PING)
        if b" 200 " not in daemon.recv(64):
            raise OSError(f"what listens at {host} is no Docker daemon")


@contextlib.contextmanager
def run_postgres() -> Iterator[str]:
    """Run the image and give its DSN; whatever hinders it is raised: no daemon, no image, no network."""
    ping(find_daemon())
    from testcontainers.community.postgres import PostgresContainer

    container = PostgresContainer(image(), username="postgres", password="postgres", dbname="postgres", driver=None)
    with container.with_command(COMMAND) as running:
        yield running.get_connection_url()
