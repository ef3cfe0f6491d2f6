"""Everything that runs around a shop's customers: mail sink, merchants, web application and workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .processes import Process

QUEUE = "examples.ecommerce.shop.jobs:queue"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen if that is free; 0: anywhere."""

    shop: int = 0
    merchants: int = 0
    mail: int = 0


@dataclass(slots=True)
class Stand:
    """What runs, and where it is reached."""

    dsn: str
    shop_url: str
    merchants_url: str
    mail_url: str
    letters: Path
    logs: Path
    workers: list[Process]
    others: list[Process]

    def check(self) -> None:
        """Raises processes.NotStarted when something has ended by itself."""
        for process in [*self.others, *self.workers]:
            process.check()


@contextlib.contextmanager
def open_stand(
    dsn: str,
    folder: Path,
    *,
    ports: Ports,
    workers: int = 2,
    worker_flags: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Stand]:
    """Start it all, each in a process of its own, and stop it all at the end, workers first.

    Raises processes.NotStarted with the end of the program's output when one of them does not come up.
    """
    letters = folder / "letters"
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str, **more: str) -> Process:
            process = Process(name, arguments, {"PGJOBQ_DSN": dsn, **(environ or {}), **more}, folder)
            stack.callback(process.stop)
            return process

        package = "examples.ecommerce"
        mail = start("mailbox", f"{package}.mailbox", f"--folder={letters}", f"--port={ports.mail}")
        merchants = start("merchants", f"{package}.merchants", f"--port={ports.merchants}")
        shop = start("shop", f"{package}.shop.app", f"--port={ports.shop}")
        mail_url, merchants_url, shop_url = mail.address(), merchants.address(), shop.address()
        where = {
            "SHOP_SMTP_HOST": str(urlsplit(mail_url).hostname),
            "SHOP_SMTP_PORT": str(urlsplit(mail_url).port),
            "SHOP_MERCHANTS_URL": merchants_url,
            "SHOP_PUBLIC_URL": shop_url,
        }
        crew = [
            start(f"worker {number}", "pgjobq.worker", QUEUE, *worker_flags, **where)
            for number in range(1, workers + 1)
        ]
        stand = Stand(dsn, shop_url, merchants_url, mail_url, letters, folder, crew, [mail, merchants, shop])
        stand.check()
        try:
            yield stand
        finally:
            for process in [*crew, shop, merchants, mail]:
                process.ask_to_stop()
