"""`pgjobq metrics`: what stands in the queue, for Prometheus."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Sequence

from pgjobq.cli.desk import desk, parser
from pgjobq.engine.endpoint import Endpoint
from pgjobq.errors import ConfigError
from pgjobq.exporter import export
from pgjobq.settings.kinds import Host, Port

__all__ = ["metrics"]

_DESCRIPTION = """\
Print what stands in the queue as Prometheus reads it: depth and oldest age by
queue, live workers, failed jobs. With --port, answer there (/metrics) until
stopped. What workers count, they tell themselves: pgjobq worker
--metrics-port."""

_EPILOG = """\
exit codes:
  0  done, or stopped
  2  wrong usage or configuration, no answer from the database, or the port is
     taken

examples:
  pgjobq metrics
  pgjobq metrics --port 9465 --host 0.0.0.0
"""


def metrics(argv: Sequence[str]) -> int:
    """Run the subcommand; returns the exit code."""
    made = parser("pgjobq metrics", "pgjobq metrics [--port N] [--host ADDRESS]", _DESCRIPTION, _EPILOG, json=False)
    made.add_argument("--port", metavar="N", help="answer at this port; 0: any free one")
    made.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="and address (default: 127.0.0.1)")
    options = made.read(argv)
    port = None if options.port is None else _checked_port(options.port)
    _check_host(options.host)
    with desk(options) as queue:
        first = export(queue)  # what is wrong is said now, not to Prometheus
        if port is None:
            sys.stdout.write(first)
            return 0
        endpoint = Endpoint(options.host, port, lambda: export(queue))
        endpoint.start()
        print(f"pgjobq: metrics at {endpoint.url} (Ctrl-C ends it)", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
        endpoint.stop()
    return 0


def _checked_port(text: str) -> int:
    try:
        port = Port().parse(text)
        Port().check(port)
    except ValueError as error:
        raise ConfigError(f"--port {text!r} {error}; it takes {Port().range}") from None
    return port


def _check_host(host: str) -> None:
    try:
        Host().check(host)
    except ValueError as error:
        raise ConfigError(f"--host {host!r} {error}; it takes {Host().range}, such as 0.0.0.0") from None
