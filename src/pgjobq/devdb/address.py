"""How a running server is reached, as a value that can be written down for other processes."""

from __future__ import annotations

import dataclasses
import json
import socket
from dataclasses import dataclass
from urllib.parse import quote

from pgjobq.errors import PgjobqError

USER = "postgres"


class StartFailed(PgjobqError):
    """The server (or `initdb`) did not start; the message ends with what it wrote."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one server listens: a socket directory or an IP address, and who may come in."""

    host: str
    port: int
    password: str
    pid: int

    def dsn(self, dbname: str) -> str:
        """A libpq URL for this database; asyncpg and SQLAlchemy read the same form."""
        name = quote(dbname, safe="")
        if self.host.startswith("/"):
            return f"postgresql://{USER}@/{name}?host={quote(self.host, safe='/')}&port={self.port}"
        return f"postgresql://{USER}:{quote(self.password, safe='')}@{self.host}:{self.port}/{name}"

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def of_json(cls, text: str) -> Address:
        return cls(**json.loads(text))


def find_free_port() -> int:
    """A TCP port that was free a moment ago; whoever binds it must be ready to try another."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
