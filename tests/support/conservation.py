"""The conservation law: at every commit each job stands in exactly one of the tables of state.

Every schema of pgjobq brings the view `misplaced`, which lists the jobs for which that is untrue.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

VIEWS = """
SELECT n.nspname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = 'misplaced' AND c.relkind = 'v'
ORDER BY 1
"""


class LawBroken(AssertionError):
    """Jobs stand in no table or in more than one, or nothing is there that could tell."""


def check_conservation(dsn: str, *, schema_expected: bool = True, patience: float = 20) -> int:
    """Ask the view `misplaced` of every schema in the database; returns how many schemas were asked.

    Raises LawBroken when a row comes back and, with schema_expected, when there is no such view: a check that
    found nothing to look at has not passed. A lock that a test left behind is waited for `patience` seconds.
    """
    with psycopg.connect(dsn, autocommit=True, options=f"-c lock_timeout={patience}s", connect_timeout=20) as conn:
        schemas = [name for (name,) in conn.execute(VIEWS)]
        if schema_expected and not schemas:
            raise LawBroken(
                "the conservation law cannot be checked: no schema here has the view `misplaced`. If this "
                "test removes it on purpose, mark it @pytest.mark.lawless('why')"
            )
        for schema in schemas:
            query = sql.SQL("SELECT * FROM {} LIMIT 11").format(sql.Identifier(schema, "misplaced"))
            if rows := conn.execute(query).fetchall():
                shown = "\n".join(f"  {row}" for row in rows[:10])
                more = "\n  …" if len(rows) > 10 else ""
                raise LawBroken(f"the conservation law is broken in schema {schema!r}; misplaced:\n{shown}{more}")
    return len(schemas)
