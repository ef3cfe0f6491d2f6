"""`pgjobq web`: the dashboard, served to this machine."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence

from pgjobq import migrate as migrations
from pgjobq.cli.desk import named_queue
from pgjobq.errors import ConfigError
from pgjobq.settings.arguments import CommandLine

__all__ = ["web"]

_DESCRIPTION = """\
Serve the dashboard: queues, jobs, errors, workers, and the buttons to retry and
cancel. It answers this machine only; from afar, use a tunnel, or mount
pgjobq.web.dashboard(queue, authorize=...) in your application. APP is only
needed for what it declares: which arguments are secret."""

_EPILOG = """\
exit codes:
  0  stopped
  2  wrong usage or configuration, the schema is not installed, or the port is
     taken

examples:
  pgjobq web --dsn postgresql://localhost/shop
  pgjobq web shop.jobs:queue --port 9000 --read-only
  ssh -L 8787:localhost:8787 server       then open http://localhost:8787
"""


def web(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code. Raises ConfigError, SchemaError, psycopg.Error."""
    options = _parser().read(argv)
    port = _port(options.port)
    try:
        import uvicorn

        from pgjobq.web import dashboard
    except ModuleNotFoundError as error:
        if error.name not in ("uvicorn", "starlette", "jinja2", "python_multipart", "multipart"):
            raise
        raise ConfigError(
            f"the dashboard needs the package {error.name}, which is not installed here: install pgjobq with its "
            "extra [web]"
        ) from None
    queue = named_queue(options.app, options.dsn, options.schema)
    with queue.pools.connection() as connection:
        migrations.check(connection, queue.schema)
    queue.close()
    app = dashboard(queue, read_only=options.read_only, title=options.title)
    settings = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_level="warning",
        lifespan="off",
        proxy_headers=False,  # or a header would say who asks, and the guard would believe it
        server_header=False,
        timeout_graceful_shutdown=5,
    )

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"pgjobq: the dashboard is at http://127.0.0.1:{sock.getsockname()[1]} (Ctrl-C ends it)", flush=True)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.desk.closing = True  # the streams of open pages end, so nobody waits for them
            await super().shutdown(sockets)

    sock = _listening(port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn stops in an orderly way, then hands the signal on
    try:
        Announced(settings).run(sockets=[sock])
    except KeyboardInterrupt:
        return 0
    return 0


def _parser() -> CommandLine:
    parser = CommandLine("pgjobq web", _DESCRIPTION, _EPILOG)
    parser.usage = "pgjobq web [APP] [--port N] [--read-only] [--dsn DSN] [--schema NAME]"
    parser.add_argument("app", metavar="APP", nargs="?", help="module:queue, for example shop.jobs:queue")
    parser.add_argument("--port", metavar="N", default="8787", help="0: any free one (default: 8787)")
    parser.add_argument("--read-only", action="store_true", help="no buttons: nobody can change anything")
    parser.add_argument("--title", metavar="TEXT", default="pgjobq", help="what stands over the pages")
    parser.add_argument(
        "--dsn",
        metavar="DSN",
        help="postgresql://user@host/name or libpq's key=value [PGJOBQ_DSN, then DATABASE_URL, then PG*]",
    )
    parser.add_argument(
        "--schema", metavar="NAME", help="schema of pgjobq's tables (default: the app's) [PGJOBQ_SCHEMA]"
    )
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ConfigError(f"--port {text}: wants a number from 0 to 65535")
    return int(text)


def _listening(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError as error:
        sock.close()
        raise ConfigError(f"--port {port}: {error.strerror}; --port 0 takes a free one") from None
    sock.listen(128)
    return sock
