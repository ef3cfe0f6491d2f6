"""A mail server that delivers nothing: it keeps each message as a file, for tests and people to read.

python -m examples.ecommerce.mailbox --folder letters --port 2525
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import email
import email.policy
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from .ports import announce, bind


class Sink:
    """Writes each message to `NNNNNN.eml`, complete or not at all, before it says that it took it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._numbers = count(1 + max((int(file.stem) for file in folder.glob("*.eml")), default=0))

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        letter = self.folder / f"{next(self._numbers):06}.eml"
        unfinished = letter.with_suffix(".part")
        content = envelope.original_content or b""
        unfinished.write_bytes(b"X-Envelope-To: " + ", ".join(envelope.rcpt_tos).encode() + b"\r\n" + content)
        unfinished.rename(letter)
        return f"250 kept as {letter.name}"


def read_letters(folder: Path) -> list[EmailMessage]:
    """Everything received so far, in order."""
    parser = email.policy.default
    return [
        _letter(email.message_from_bytes(file.read_bytes(), policy=parser)) for file in sorted(folder.glob("*.eml"))
    ]


def _letter(message: Any) -> EmailMessage:
    assert isinstance(message, EmailMessage)
    return message


@contextlib.asynccontextmanager
async def open_mailbox(folder: Path, port: int = 0) -> AsyncIterator[socket.socket]:
    """Serve SMTP on 127.0.0.1 during the block; gives the listening socket."""
    loop = asyncio.get_running_loop()
    sink, sock = Sink(folder), bind(port)
    server = await loop.create_server(lambda: _protocol(sink), sock=sock)
    async with server:
        yield sock


def _protocol(sink: Sink) -> SMTP:
    return SMTP(sink, hostname="mailbox.example", enable_SMTPUTF8=True, loop=asyncio.get_running_loop())


async def receive(folder: Path, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    done = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, done.set)
    async with open_mailbox(folder, port) as sock:
        announce(sock, "smtp")
        await done.wait()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the sink by itself."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.ecommerce.mailbox", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the messages are kept")
    parser.add_argument("--port", type=int, default=2525, help="0: any free one (default: 2525, or the next free one)")
    arguments = parser.parse_args(argv)
    asyncio.run(receive(arguments.folder, arguments.port))


if __name__ == "__main__":
    main()
