"""The shop for a person to try: `python -m examples.ecommerce.serve`, Ctrl-C to stop."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from pgjobq.devdb import NoPostgres

from .backstage.board import WIDTH
from .backstage.database import NoDatabase, furnish, open_database
from .backstage.processes import NotStarted
from .backstage.stand import Ports, Stand, open_stand


def main(argv: Sequence[str] | None = None) -> int:
    """Start everything, print where it is, and keep it running until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.ecommerce.serve", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="the shop's port; the next free one if it is taken")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.port <= 65535:
        parser.error(f"--port {arguments.port}: wants a number from 0 to 65535")
    console = Console(width=WIDTH, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(arguments.port, console)
    except KeyboardInterrupt:
        console.print("\nThe shop is closed; everything it had started is gone.")
        return 0
    except (NoDatabase, NoPostgres, NotStarted) as reason:
        print(f"shop: {reason}", file=sys.stderr)
        return 2
    return 0


def run(port: int, console: Console) -> None:
    """Keep the shop open. Raises processes.NotStarted when part of it ends by itself."""
    console.print("Opening the shop …")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corner-shop-")))
        dsn = stack.enter_context(open_database())
        furnish(dsn)
        ports = Ports(shop=port, merchants=8100, mail=2525)
        stand = stack.enter_context(open_stand(dsn, folder, ports=ports, worker_flags=["--lease=10", "--heartbeat=2"]))
        console.print(
            Panel(addresses(stand), title="The shop is open", width=WIDTH, padding=(1, 2), border_style="green")
        )
        console.print("Make a merchant fail, order something of theirs, watch the order's page. Ctrl-C ends it.")
        while True:
            stand.check()
            time.sleep(0.5)


def addresses(stand: Stand) -> Table:
    """Where everything is."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("shop", stand.shop_url)
    table.add_row("support", f"{stand.shop_url}/support")
    table.add_row("merchants", f"{stand.merchants_url}  (buttons: slow, failing, down)")
    table.add_row("emails", f"{stand.letters}  (one .eml file each)")
    table.add_row("logs", f"{stand.logs}  (*.log)")
    table.add_row("database", stand.dsn)
    return table


if __name__ == "__main__":
    sys.exit(main())
