"""Migrations: one file or the numbered steps lead to the same catalog, once, whole or not at all."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from pgjobq import migrate
from pgjobq.errors import ConfigError, SchemaError, SchemaMissing, SchemaOutdated

PACKAGE = Path(migrate.__file__).parent
SCHEMA_SQL = (PACKAGE / "schema.sql").read_text()
NEWEST = max([1, *(int(path.name[:4]) for path in (PACKAGE / "migrations").glob("*.sql"))])
RELEASED = Path(__file__).parent / "released"

# A step of every sort that a real one may have, for a version that does not exist yet.
STEP = """
ALTER TABLE pgjobq.job ADD COLUMN colour text;
CREATE INDEX job_colour ON pgjobq.job (colour) WHERE colour IS NOT NULL;
CREATE TABLE pgjobq.shade (
    job  bigint PRIMARY KEY,
    name text NOT NULL DEFAULT 'pgjobq' CHECK (name <> '')
) WITH (fillfactor = 70);
CREATE FUNCTION pgjobq.shade_of(job bigint) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pgjobq, pg_temp
AS $$ SELECT name FROM pgjobq.shade s WHERE s.job = shade_of.job $$;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA pgjobq FROM PUBLIC;
"""


@pytest.fixture
def conn(empty_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(empty_dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture
def edition(tmp_path: Path) -> Path:
    """A directory like the package's, at its version, to which a test may add steps."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "schema.sql").write_text(SCHEMA_SQL)
    for path in (PACKAGE / "migrations").glob("*.sql"):
        (tmp_path / "migrations" / path.name).write_text(path.read_text())
    return tmp_path


def add_step(edition: Path, text: str, name: str = "made_up") -> int:
    """Append a step to an edition; returns its version."""
    version = 2 + len(list((edition / "migrations").glob("*.sql")))
    (edition / "migrations" / f"{version:04d}_{name}.sql").write_text(text)
    return version


def versions(conn: psycopg.Connection[Any], schema: str = "pgjobq") -> list[int]:
    query = sql.SQL("SELECT version FROM {}.migration ORDER BY 1").format(sql.Identifier(schema))
    return [row[0] for row in conn.execute(query).fetchall()]


# --- the catalog as a value ------------------------------------------------------------------------------

CATALOG = """
WITH relation AS (SELECT c.* FROM pg_class c WHERE c.relnamespace = %(schema)s::regnamespace)
SELECT 'schema', nspname::text, coalesce(nspacl::text, '')
FROM pg_namespace WHERE oid = %(schema)s::regnamespace
UNION ALL
SELECT 'relation ' || relkind::text, relname, concat_ws(' ', relpersistence, reloptions, relacl,
       relrowsecurity, relreplident, obj_description(oid, 'pg_class'))
FROM relation WHERE relkind <> 'i'
UNION ALL
SELECT 'column', r.relname || '.' || a.attname, concat_ws(' ',
       row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod),
       a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attacl, a.attoptions,
       pg_get_expr(d.adbin, d.adrelid))
FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum WHERE r.relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT 'constraint', c.conrelid::regclass::text || '.' || c.conname, pg_get_constraintdef(c.oid)
       || ' ' || c.convalidated
FROM pg_constraint c WHERE c.connamespace = %(schema)s::regnamespace
UNION ALL
SELECT 'index', r.relname, pg_get_indexdef(r.oid) || concat_ws(' ', r.reloptions, i.indisvalid)
FROM relation r JOIN pg_index i ON i.indexrelid = r.oid
UNION ALL
SELECT 'function', p.oid::regprocedure::text, concat_ws(' ', pg_get_functiondef(p.oid), p.proacl)
FROM pg_proc p WHERE p.pronamespace = %(schema)s::regnamespace AND p.prokind IN ('f', 'p')
UNION ALL
SELECT 'view', relname, pg_get_viewdef(oid) FROM relation WHERE relkind IN ('v', 'm')
UNION ALL
SELECT 'sequence', r.relname, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin,
       s.seqmax, s.seqcache, s.seqcycle)
FROM relation r JOIN pg_sequence s ON s.seqrelid = r.oid
UNION ALL
SELECT 'trigger', r.relname || '.' || t.tgname, pg_get_triggerdef(t.oid)
FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'type', t.typname, concat_ws(' ', t.typtype, t.typacl, pg_get_expr(t.typdefaultbin, 0),
       (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM pg_type t WHERE t.typnamespace = %(schema)s::regnamespace
UNION ALL
SELECT 'policy', r.relname || '.' || p.polname, concat_ws(' ', p.polcmd, p.polroles,
       pg_get_expr(p.polqual, r.oid))
FROM relation r JOIN pg_policy p ON p.polrelid = r.oid
UNION ALL
SELECT 'statistics', stxname, pg_get_statisticsobjdef(oid)
FROM pg_statistic_ext WHERE stxnamespace = %(schema)s::regnamespace
"""


def catalog(conn: psycopg.Connection[Any], schema: str = "pgjobq") -> dict[tuple[str, str], str]:
    """Everything the server's catalog says of a schema, object by object, without oids."""
    rows = conn.execute(CATALOG, {"schema": schema}).fetchall()
    return {(kind, name): definition for kind, name, definition in rows}


def test_the_catalog_sees_every_object(conn: psycopg.Connection[Any]) -> None:
    migrate.install(conn)
    kinds = {kind for kind, _ in catalog(conn)}
    assert kinds >= {
        "schema",
        "relation r",
        "relation v",
        "relation S",
        "column",
        "constraint",
        "index",
        "function",
    }


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE pgjobq.job ADD COLUMN extra int",
        "ALTER TABLE pgjobq.job ALTER COLUMN queue SET DEFAULT 'other'",
        "ALTER TABLE pgjobq.job ALTER COLUMN ref SET NOT NULL",
        "ALTER TABLE pgjobq.ready SET (fillfactor = 33)",
        "ALTER TABLE pgjobq.job ADD CONSTRAINT odd CHECK (id > 0) NOT VALID",
        "CREATE INDEX ON pgjobq.job (task)",
        "GRANT SELECT ON pgjobq.job TO PUBLIC",
        "GRANT USAGE ON SCHEMA pgjobq TO PUBLIC",
        "GRANT EXECUTE ON FUNCTION pgjobq.clock TO PUBLIC",
        "ALTER FUNCTION pgjobq.clock SET search_path = public",
        "CREATE VIEW pgjobq.odd AS SELECT 1",
        "CREATE SEQUENCE pgjobq.odd",
        "CREATE TYPE pgjobq.odd AS ENUM ('a')",
    ],
)
def test_the_catalog_tells_two_schemas_apart(conn: psycopg.Connection[Any], change: str) -> None:
    migrate.install(conn)
    before = catalog(conn)
    conn.execute(change.encode())
    assert catalog(conn) != before


# --- both roads meet -------------------------------------------------------------------------------------


def both_roads(dsn: str, old: Path, new: Path) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], str]]:
    """The catalogs of a fresh install of `new`, and of `old` brought up to `new`."""
    found = []
    for install in ([new], [old, new]):
        with psycopg.connect(dsn, autocommit=True) as conn:
            for directory in install:
                migrate.install(conn, directory=directory)
            found.append(catalog(conn))
            conn.execute("DROP SCHEMA pgjobq CASCADE")
    return found[0], found[1]


@pytest.mark.lawless("installs and drops the schema itself")
def test_a_fresh_install_and_the_steps_give_the_same_catalog(empty_dsn: str, edition: Path) -> None:
    add_step(edition, STEP)
    in_place, count = re.subn(
        r"(CREATE TABLE pgjobq\.job \(.*?)\n\)", r"\1,\n    colour text\n)", SCHEMA_SQL, flags=re.S
    )
    assert count == 1
    (edition / "schema.sql").write_text(in_place + STEP.partition(";")[2])
    fresh, stepped = both_roads(empty_dsn, PACKAGE, edition)
    assert fresh == stepped
    assert ("index", "job_colour") in fresh


@pytest.mark.lawless("installs and drops the schema itself")
def test_a_step_that_forgot_something_is_found(empty_dsn: str, edition: Path) -> None:
    (edition / "schema.sql").write_text(SCHEMA_SQL + STEP)
    add_step(edition, STEP.replace(" WITH (fillfactor = 70)", ""))
    fresh, stepped = both_roads(empty_dsn, PACKAGE, edition)
    assert {name for name in fresh if fresh[name] != stepped.get(name)} == {("relation r", "shade")}


@pytest.mark.lawless("installs and drops the schema itself")
def test_every_released_schema_leads_here(empty_dsn: str, tmp_path: Path) -> None:
    """Rule 2 of migrations/README.md: without the older schema.sql the roads could not be compared."""
    kept = sorted(int(path.stem) for path in RELEASED.glob("*.sql"))
    assert kept == list(range(1, NEWEST)), "put the outgoing schema.sql into tests/sql/released/NNNN.sql"
    for version in kept:
        old = tmp_path / str(version)
        (old / "migrations").mkdir(parents=True)
        (old / "schema.sql").write_text((RELEASED / f"{version:04d}.sql").read_text())
        for path in (PACKAGE / "migrations").glob("*.sql"):
            if int(path.name[:4]) <= version:
                (old / "migrations" / path.name).write_text(path.read_text())
        fresh, stepped = both_roads(empty_dsn, old, PACKAGE)
        assert fresh == stepped, f"from version {version}"


# --- install ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocommit", [True, False])
def test_install_once_and_again(empty_dsn: str, autocommit: bool) -> None:
    with psycopg.connect(empty_dsn, autocommit=autocommit, row_factory=dict_row, prepare_threshold=0) as conn:
        assert migrate.install(conn) == list(range(1, NEWEST + 1))
        assert migrate.install(conn) == []
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    with psycopg.connect(empty_dsn) as other:
        assert versions(other) == list(range(1, NEWEST + 1))
        row = other.execute("SELECT name, library, applied_at IS NOT NULL FROM pgjobq.migration").fetchone()
        assert row == ("first_schema", migrate.library_version(), True)
        assert other.execute("SELECT pgjobq.enqueue('greet')").fetchone() == (1,)


@pytest.mark.lawless("rolls the schema back")
def test_inside_the_callers_transaction(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute("SET LOCAL lock_timeout = '77s'")
        conn.execute("SET LOCAL search_path = public")
        assert migrate.install(conn) == list(range(1, NEWEST + 1))
        shown = [conn.execute(f"SHOW {name}".encode()).fetchone() for name in ("lock_timeout", "search_path")]
        assert shown == [("77s",), ("public",)]
        conn.rollback()
        assert migrate.status(conn) == migrate.Status(0, NEWEST)


def test_a_step_is_applied_and_recorded(conn: psycopg.Connection[Any], edition: Path) -> None:
    migrate.install(conn)
    version = add_step(edition, STEP, "paint")
    assert migrate.status(conn, directory=edition) == migrate.Status(NEWEST, version)
    assert migrate.install(conn, directory=edition) == [version]
    assert migrate.install(conn, directory=edition) == []
    row = conn.execute("SELECT name FROM pgjobq.migration WHERE version = %s", [version]).fetchone()
    assert row == ("paint",)
    assert migrate.status(conn, directory=edition).is_current


def test_a_broken_step_leaves_nothing_behind(conn: psycopg.Connection[Any], edition: Path) -> None:
    migrate.install(conn)
    before = catalog(conn)
    add_step(edition, STEP)
    add_step(edition, "CREATE TABLE pgjobq.half (a int); SELECT 1/0;", "broken")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate.install(conn, directory=edition)
    assert catalog(conn) == before
    assert versions(conn) == list(range(1, NEWEST + 1))


@pytest.mark.lawless("nothing is installed")
def test_an_unqualified_name_goes_nowhere(conn: psycopg.Connection[Any], edition: Path) -> None:
    add_step(edition, "")
    (edition / "schema.sql").write_text(SCHEMA_SQL + "\nCREATE TABLE astray (a int);")
    with pytest.raises(SchemaError, match="pg_catalog"):
        migrate.install(conn, directory=edition)
    assert conn.execute("SELECT to_regclass('public.astray'), to_regnamespace('pgjobq')").fetchone() == (
        None,
        None,
    )


@pytest.mark.parametrize("level", list(psycopg.IsolationLevel))
def test_many_at_once_take_turns(empty_dsn: str, level: psycopg.IsolationLevel) -> None:
    many = 4
    together = threading.Barrier(many)

    def run() -> list[int]:
        with psycopg.connect(empty_dsn) as conn:
            conn.isolation_level = level
            together.wait(timeout=30)
            return migrate.install(conn)

    with ThreadPoolExecutor(many) as pool:
        results = [future.result(timeout=60) for future in [pool.submit(run) for _ in range(many)]]
    assert sorted(results) == [[], [], [], list(range(1, NEWEST + 1))]


def test_a_lock_held_elsewhere_ends_in_a_sentence(empty_dsn: str, edition: Path) -> None:
    with psycopg.connect(empty_dsn) as conn, psycopg.connect(empty_dsn) as holder:
        migrate.install(conn)
        add_step(edition, STEP)
        holder.execute("SELECT count(*) FROM pgjobq.job")
        with pytest.raises(SchemaError, match=r"nothing was changed: waited too long for a lock .* pg_stat_activity"):
            migrate.install(conn, directory=edition, lock_seconds=0.1)
        holder.rollback()
        assert migrate.status(conn).is_current
        assert migrate.install(conn, directory=edition) == [NEWEST + 1]


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ["order", "shop_jobs", "_9", "x" * 48])
def test_any_name_works(conn: psycopg.Connection[Any], schema: str) -> None:
    migrate.install(conn)
    migrate.install(conn, schema)
    mine = sql.Identifier(schema)
    conn.execute(sql.SQL("LISTEN {}").format(mine))
    conn.execute(sql.SQL("SELECT setval('{}.idle_until', 99999999999999)").format(mine))
    made = conn.execute(sql.SQL("SELECT {}.enqueue('greet', queue => 'mail')").format(mine)).fetchone()
    assert made == (1,)
    heard = [(note.channel, note.payload) for note in conn.notifies(timeout=10, stop_after=1)]
    assert heard == [(schema, "mail")]
    assert conn.execute(sql.SQL("SELECT task, state FROM {}.jobs").format(mine)).fetchall() == [("greet", "ready")]
    assert conn.execute("SELECT count(*) FROM pgjobq.job").fetchone() == (0,)


def test_the_virtual_clock_has_one_name(conn: psycopg.Connection[Any]) -> None:
    migrate.install(conn, "shop_jobs")
    conn.execute("SET pgjobq.now = '2001-02-03 04:05:06+00'")
    assert conn.execute("SELECT extract(year FROM shop_jobs.clock())::int").fetchone() == (2001,)


@pytest.mark.lawless("nothing is installed")
@pytest.mark.parametrize("schema", ["", "Shop", "9lives", "a-b", 'a"b', "a b", "x" * 49, "pg_jobs", "é", "a\n"])
def test_names_that_cannot_be_used(conn: psycopg.Connection[Any], schema: str) -> None:
    for action in (migrate.install, migrate.status, migrate.check, migrate.script):
        with pytest.raises(ConfigError, match=r"schema name .* cannot be used: .* for example"):
            action(conn, schema)


@pytest.mark.parametrize(
    ("written", "rendered"),
    [
        ("pgjobq.job", '"shop".job'),
        ("SET search_path = pg_catalog, pgjobq, pg_temp", 'SET search_path = pg_catalog, "shop", pg_temp'),
        ("nextval('pgjobq.job_id_seq')", "nextval('\"shop\".job_id_seq')"),
        ("pg_notify('pgjobq', 'pgjobq:due')", "pg_notify('shop', 'shop:due')"),
        ("current_setting('pgjobq.now', true)", "current_setting('pgjobq.now', true)"),
        ("pgjobq_test my_pgjobq xpgjobq", "pgjobq_test my_pgjobq xpgjobq"),
        (
            "  -- pgjobq in a comment\nSELECT pgjobq.clock()",
            '  -- pgjobq in a comment\nSELECT "shop".clock()',
        ),
    ],
)
def test_how_a_name_is_put_in(written: str, rendered: str) -> None:
    assert migrate.render("shop", written) == rendered
    assert migrate.render("pgjobq", written) == written


def test_render_leaves_no_trace_of_the_default_name() -> None:
    lines = [line for line in migrate.render("shop").splitlines() if not line.lstrip().startswith("--")]
    assert [line for line in lines if "pgjobq" in line and "'pgjobq.now'" not in line] == []


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.lawless("nothing is installed")
def test_a_foreign_schema_is_left_alone(conn: psycopg.Connection[Any]) -> None:
    conn.execute("CREATE SCHEMA pgjobq; CREATE TABLE pgjobq.job (mine int); CREATE TABLE pgjobq.migration (id int)")
    before = catalog(conn)
    for action in (migrate.install, migrate.status, migrate.check, migrate.script):
        with pytest.raises(SchemaError, match=r"did not make \(job, migration\).*nothing was touched.*--schema"):
            action(conn)
    assert catalog(conn) == before


def test_a_schema_without_its_version_is_left_alone(conn: psycopg.Connection[Any]) -> None:
    conn.execute(SCHEMA_SQL.encode())
    with pytest.raises(SchemaError, match="without a row"):
        migrate.install(conn)
    conn.execute("INSERT INTO pgjobq.migration (version, name) VALUES (%s, 'by hand')", [NEWEST])
    assert migrate.install(conn) == []


def test_a_newer_schema_is_not_touched_but_accepted(conn: psycopg.Connection[Any]) -> None:
    migrate.install(conn)
    conn.execute("INSERT INTO pgjobq.migration (version, name, library) VALUES (900, 'later', '9.1')")
    with pytest.raises(SchemaOutdated, match=r"version 900, migrated by pgjobq 9\.1.*upgrade this installation"):
        migrate.install(conn)
    assert migrate.check(conn) == migrate.Status(900, NEWEST)
    assert migrate.script(conn) == ""


def test_check_says_what_to_run(conn: psycopg.Connection[Any], edition: Path) -> None:
    with pytest.raises(SchemaMissing, match=r"`pgjobq migrate --schema shop`"):
        migrate.check(conn, "shop")
    migrate.install(conn)
    assert migrate.check(conn).is_current
    add_step(edition, STEP)
    with pytest.raises(
        SchemaOutdated, match=rf"at version {NEWEST}, .* needs version {NEWEST + 1}: run `pgjobq migrate`"
    ):
        migrate.check(conn, directory=edition)


def test_an_old_server_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"PostgreSQL 13\.23 is too old: pgjobq needs PostgreSQL 14"):
        migrate._refuse_old_server(130023)
    migrate._refuse_old_server(140000)


@pytest.mark.lawless("nothing is installed")
def test_a_read_only_server_is_refused(empty_dsn: str) -> None:
    options = "-c default_transaction_read_only=on"
    with (
        psycopg.connect(empty_dsn, options=options) as conn,
        pytest.raises(SchemaError, match=r"read-only .* migrate on the primary"),
    ):
        migrate.install(conn)


@pytest.mark.lawless("nothing is installed")
@pytest.mark.parametrize("name", ["0003_gap.sql", "0002_Upper.sql", "2_short.sql", "0001_again.sql"])
def test_a_step_that_does_not_fit_is_refused(conn: psycopg.Connection[Any], tmp_path: Path, name: str) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "schema.sql").write_text(SCHEMA_SQL)
    (tmp_path / "migrations" / name).write_text("")
    with pytest.raises(SchemaError, match=rf"{name} does not fit: .* 0002_name\.sql"):
        migrate.install(conn, directory=tmp_path)


@pytest.fixture
def role(empty_dsn: str) -> Iterator[str]:
    """A role that may log in and nothing else; its name is the test's database's."""
    with psycopg.connect(empty_dsn, autocommit=True) as admin:
        name = f"{admin.info.dbname}_role"
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        yield name
        admin.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


@pytest.mark.lawless("installed for another role, and gone with it")
def test_a_role_needs_only_the_schema_it_was_given(empty_dsn: str, role: str) -> None:
    theirs = make_conninfo(empty_dsn, user=role, password="x")
    with psycopg.connect(theirs) as conn:
        with pytest.raises(SchemaError, match=rf"role {role} may not do it .* GRANT CREATE ON DATABASE"):
            migrate.install(conn)
        with psycopg.connect(empty_dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE SCHEMA pgjobq AUTHORIZATION {}").format(sql.Identifier(role)))
        assert migrate.install(conn) == list(range(1, NEWEST + 1))


# --- the script ------------------------------------------------------------------------------------------


def test_the_script_does_what_install_does(conn: psycopg.Connection[Any], edition: Path) -> None:
    migrate.install(conn, "north_jobs")
    conn.execute(migrate.script(conn, "south_jobs").encode())
    add_step(edition, STEP)
    conn.execute(migrate.script(conn, "south_jobs", directory=edition).encode())
    migrate.install(conn, "north_jobs", directory=edition)
    assert versions(conn, "south_jobs") == versions(conn, "north_jobs") == list(range(1, NEWEST + 2))
    assert migrate.script(conn, "south_jobs", directory=edition) == ""

    def nameless(schema: str) -> dict[tuple[str, str], str]:
        found = catalog(conn, schema).items()
        return {(kind, name.replace(schema, "*")): text.replace(schema, "*") for (kind, name), text in found}

    assert nameless("north_jobs") == nameless("south_jobs")


def test_the_script_for_a_new_database(conn: psycopg.Connection[Any]) -> None:
    conn.execute(migrate.script(None).encode())
    assert migrate.check(conn).is_current


# --- through a pooler ------------------------------------------------------------------------------------


def test_through_pgbouncer_in_transaction_mode(bouncer_dsn: str) -> None:
    with psycopg.connect(bouncer_dsn, autocommit=True, prepare_threshold=None) as conn:
        assert migrate.check(conn).is_current
        assert migrate.install(conn, "shop_jobs") == list(range(1, NEWEST + 1))
        assert migrate.install(conn, "shop_jobs") == []
        # Nothing was left set for the pooler's next client.
        assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)
        assert conn.execute("SHOW search_path").fetchone() == ('"$user", public',)
