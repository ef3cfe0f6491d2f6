"""The schema's name, which is a parameter: which names can be used, and how one is put into SQL.

In the .sql files of this package the word `pgjobq` stands for the schema, whatever it will be called:

    pgjobq.job       the identifier: "shop_jobs".job; so in text that names a thing: 'pgjobq.job_id_seq'
    'pgjobq'         its name as text: 'shop_jobs'; also before a colon (a channel): 'pgjobq:due'
    'pgjobq.now'     the custom setting (GUC) of the virtual clock: stays as it is for every schema, so that
                     a test may set it without knowing what the schema is called
    pgjobq_xyz       another word: stays as it is
    -- pgjobq        a line of comment: stays as it is
"""

from __future__ import annotations

import re

from pgjobq.errors import ConfigError

__all__ = ["DEFAULT_SCHEMA", "check_schema_name", "put_schema_name"]

DEFAULT_SCHEMA = "pgjobq"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_MEANT = re.compile(r"^[ \t]*--[^\n]*|'pgjobq\.now'|(?P<text>(?<=')pgjobq(?=[':]))|(?P<name>\bpgjobq\b)", re.M)


def check_schema_name(name: str) -> str:
    """Give the schema's name back when it can be used; raises ConfigError otherwise.

    48 characters leave room for what is derived from it (channels, locks) within PostgreSQL's 63; the plain
    lower-case rule means the name is the same whether somebody quotes it or not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"schema name {name!r} cannot be used: it takes 1 to 48 lower-case letters, digits and "
            "underscores, not beginning with a digit, for example pgjobq or shop_jobs"
        )
    if name.startswith("pg_"):
        raise ConfigError(
            f"schema name {name!r} cannot be used: PostgreSQL keeps names that begin with pg_ to itself; "
            f"use for example {name.removeprefix('pg_') + '_jobs'!r}"
        )
    return name


def put_schema_name(sql: str, schema: str) -> str:
    """Put the schema's name into SQL written for `pgjobq`, by the rule at the top of this module.

    Any name but `pgjobq` is quoted, since it may be a word of SQL (`user`, `order`).
    Raises ConfigError when the name cannot be used.
    """
    if check_schema_name(schema) == DEFAULT_SCHEMA:
        return sql

    def name(found: re.Match[str]) -> str:
        if found["name"]:
            return f'"{schema}"'
        return schema if found["text"] else found[0]

    return _MEANT.sub(name, sql)
