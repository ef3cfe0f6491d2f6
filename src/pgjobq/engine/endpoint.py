"""Where Prometheus asks: one small HTTP server in a thread, which knows one page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pgjobq.errors import ConfigError
from pgjobq.metrics import CONTENT_TYPE

__all__ = ["Endpoint"]

PATH = "/metrics"
PATIENCE = 10.0
"""Seconds that somebody who asks may take over it: a connection that says nothing must not hold a thread for ever."""


class Endpoint:
    """Answers with what `text` gives.

    Args:
        host, port: where; port 0: any free one.
        text: called for each request, in a thread; what it raises is answered with 503 and its sentence.

    Raises ConfigError when nobody may listen there.
    """

    def __init__(self, host: str, port: int, text: Callable[[], str]) -> None:
        try:
            self._server = _Server((host, port), _handler(text))
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"metrics cannot be served at {host}:{port}: {why}; choose another port (0: any free one) or host"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.5,), name="pgjobq-metrics", daemon=True
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else host
        return f"http://{f'[{name}]' if ':' in name else name}:{port}{PATH}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(5)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            import socket

            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """As the socket's server does, without asking a name server who we are."""
        import socketserver

        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone: nobody's concern."""


def _handler(text: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version = "pgjobq"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._answer(404, f"the metrics are at {PATH}\n")
                return
            try:
                told = text()
            except Exception as error:
                self._answer(503, f"{type(error).__name__}: {error}\n")
            else:
                self._answer(200, told)

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, status: int, body: str) -> None:
            data = body.encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE if status == 200 else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing: who asks every fifteen seconds needs no line each time."""

    return Handler
