"""Every kind of connection that `conn=` takes, as an application that uses it. Imported as `kinds`."""

from __future__ import annotations

import pytest

from kinds import on_asyncpg, on_django, on_psycopg, on_psycopg2, on_sqlalchemy
from kinds.caller import Caller, Kind, Shop, play

__all__ = ["KINDS", "Caller", "Kind", "Shop", "play"]

pytest.register_assert_rewrite("kinds.scenarios")

KINDS = [
    *on_psycopg.KINDS,
    *on_psycopg2.KINDS,
    *on_sqlalchemy.KINDS,
    *on_django.KINDS,
    *on_asyncpg.KINDS,
]
