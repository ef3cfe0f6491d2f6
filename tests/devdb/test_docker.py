"""A Docker daemon that hangs, is none, or is not there must not hold up the tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import docker


@contextmanager
def listen(answer: bytes | None) -> Iterator[str]:
    """A daemon on TCP which answers so, or (None) takes the connection and keeps silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as client:
                if answer is not None:
                    client.recv(1000)
                    client.sendall(answer)
                else:
                    client.settimeout(30)
                    while client.recv(1000):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        thread.join(30)


def test_silent_daemon_is_given_up_within_three_seconds() -> None:
    with listen(None) as host:
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            docker.ping(host)
        assert time.monotonic() - before < 3


def test_silent_unix_socket_is_given_up_within_three_seconds(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()  # the kernel takes the connection, nobody ever answers
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            docker.ping(f"unix://{tmp_path / 's'}")
        assert time.monotonic() - before < 3


def test_daemon_that_answers_is_taken() -> None:
    with listen(b"HTTP/1.0 200 OK\r\nServer: Docker\r\n\r\nOK") as host:
        docker.ping(host)


def test_something_else_that_answers_is_not() -> None:
    with listen(b"SSH-2.0-OpenSSH_9.2\r\n") as host, pytest.raises(OSError, match="is no Docker daemon"):
        docker.ping(host)


def test_no_daemon_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        docker.ping(f"unix://{tmp_path / 'nothing'}")
    with pytest.raises(ConnectionRefusedError):
        docker.ping("tcp://127.0.0.1:1")
