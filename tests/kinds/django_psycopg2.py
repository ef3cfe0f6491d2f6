"""`django_psycopg2.py DSN SCENARIO`: one scenario with Django over psycopg2, in a process of its own."""

from __future__ import annotations

import sys

sys.modules["psycopg"] = None  # type: ignore[assignment]
import django.conf  # noqa: E402

django.conf.settings.configure(DATABASES={"default": {}}, USE_TZ=True)
django.setup()
import django.db.backends.postgresql.base  # noqa: E402 - it chooses the driver as it is imported

del sys.modules["psycopg"]

import psycopg  # noqa: E402

from kinds import on_django, scenarios  # noqa: E402
from kinds.caller import Shop, play  # noqa: E402


async def scene(dsn: str, name: str) -> None:
    """Play the scenario inside atomic()."""
    with psycopg.connect(dsn, autocommit=True) as onlooker:
        shop = Shop(dsn, onlooker)
        async with on_django.KINDS[0].open(dsn, False) as caller:
            await getattr(scenarios, name)(caller, shop)
        shop.queue.close()


play(on_django.KINDS[0], scene(*sys.argv[1:]))
print(f"done on {on_django.DRIVER}")
