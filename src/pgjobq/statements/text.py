"""SQL kept as SQL: the `.sql` files of this package, one named statement after another, for any schema name."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from pgjobq.settings.schema_name import DEFAULT_SCHEMA, put_schema_name

__all__ = ["statement_text"]

_NAME_LINE = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statement_text(name: str, schema: str = DEFAULT_SCHEMA) -> str:
    """The SQL of one named statement, for this schema."""
    return put_schema_name(_statements()[name], schema)


@cache
def _statements() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in resources.files(__package__).iterdir():
        if not file.name.endswith(".sql"):
            continue
        parts = _NAME_LINE.split(file.read_text("utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise AssertionError(f"two statements are named {name}")
            found[name] = _without_head(text)
    return found


def _without_head(text: str) -> str:
    """The statement without its leading comment: what the server gets, and shows in pg_stat_activity."""
    lines = text.strip().splitlines()
    while lines and lines[0].startswith("--"):
        lines.pop(0)
    return "\n".join(lines)
