"""`django_psycopg2.py DSN`: the scenarios with Django over psycopg2, in a process of its own."""

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


async def scene(dsn: str) -> None:
    """Play every scenario inside atomic()."""
    with psycopg.connect(dsn, autocommit=True) as onlooker:
        shop = Shop(dsn, onlooker)
        for scenario in scenarios.IN_TRANSACTION:
            async with on_django.KINDS[0].open(dsn, False) as caller:
                await scenario(caller, shop)
            shop.clear()
            print(f"{scenario.__name__} on {on_django.DRIVER}")
        shop.queue.close()


play(on_django.KINDS[0], scene(sys.argv[1]))
