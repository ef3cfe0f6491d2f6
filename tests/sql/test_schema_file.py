"""schema.sql as it stands: psql takes it, its head tells of each table, and the churning tables have their settings."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from pgjobq import SchemaError, migrate
from pgjobq.devdb.binaries import find_bindir
from sql.support.hand import Hand

FILE = Path(migrate.__file__).parent / "schema.sql"
NEWEST = migrate._steps(FILE.parent)[-1].version
CHURNING = ["blocked", "gate_look", "gate_meter", "gate_pass", "gate_share", "ready", "running", "scheduled"]


def _psql(dsn: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("psql") or find_bindir() / "psql"  # the wheel brings one, too
    return subprocess.run(
        [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", FILE],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_psql_installs_it_as_it_stands(empty_dsn: str) -> None:
    done = _psql(empty_dsn)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with Hand(empty_dsn) as hand:
        job = hand.enqueue()
        assert hand.complete(hand.claim_one()) == [job]


def test_what_psql_installed_can_be_worked_with(empty_dsn: str) -> None:
    """The library cannot tell which version somebody's file was: it says which row to add, and then goes on."""
    assert _psql(empty_dsn).returncode == 0
    with psycopg.connect(empty_dsn) as conn:
        with pytest.raises(SchemaError, match=f"add the row: version {NEWEST} "):
            migrate.install(conn)
        conn.execute("INSERT INTO pgjobq.migration (version, name) VALUES (%s, 'by hand')", [NEWEST])
        conn.commit()
        assert migrate.status(conn).current >= 1
        migrate.install(conn)
        assert migrate.check(conn).is_current


def test_the_head_tells_of_every_table(hand: Hand) -> None:
    head = FILE.read_text().partition("CREATE ")[0]
    assert all(line.startswith("--") or not line for line in head.splitlines())
    tables = {name for (name,) in hand.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'pgjobq'")}
    told = {name for name in tables if re.search(rf"^--   {name} +\S", head, re.MULTILINE)}
    assert tables - told == {"migration"}, "only the list of migrations goes without saying"


def test_settings_of_the_churning_tables(hand: Hand) -> None:
    rows = hand.sql(
        "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'pgjobq'::regnamespace AND relkind = 'r'"
        " AND reloptions IS NOT NULL"
    )
    options = {name: dict(option.split("=") for option in given) for name, given in rows}
    for name in CHURNING:
        assert options[name]["autovacuum_vacuum_scale_factor"] == "0"
        assert int(options[name]["autovacuum_vacuum_threshold"]) <= 10_000
        assert options[name]["autovacuum_vacuum_cost_delay"] == "0"
        assert options[name]["vacuum_truncate"] in ("off", "false")
    assert int(options["worker"]["fillfactor"]) <= 70, "a heartbeat is an UPDATE: it wants to stay on its page"


def test_a_heartbeat_stays_on_its_page(hand: Hand) -> None:
    """HOT updates: no column of a heartbeat is indexed, and the page has room."""
    hand.conn.execute("SELECT 1")
    for _ in range(50):
        hand.beat()
    hot = (
        "SELECT pg_stat_force_next_flush(), n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'worker'"
    )
    if hand.conn.info.server_version < 150_000:
        pytest.skip("statistics cannot be flushed on demand before PostgreSQL 15")
    hand.sql("SELECT pg_stat_force_next_flush()")
    _, updates, hot_updates = hand.sql(hot)[0]
    assert updates == 50
    assert hot_updates >= 45


def test_no_row_of_state_is_ever_updated_by_what_we_say() -> None:
    """Facts are append-only, rows of state are moved; a heartbeat, a key's holder, a schedule, a step that is not over
    and an edit by hand are neither, nor is what gates count."""
    texts = [FILE.read_text(), *(path.read_text() for path in sorted((FILE.parent / "statements").glob("*.sql")))]
    code = "\n".join(re.sub(r"--[^\n]*", "", text) for text in texts)
    assert sorted(re.findall(r"\bUPDATE\s+(?!SKIP|OF\b|ON\b|\()(\S+)", code)) == [
        "SET",  # put_schedule()
        "SET",  # declare_schedules()
        "SET",  # see_starts()
        "SET",  # join_round()
        "SET",  # take_turns()
        "SET",  # pass_together()
        "SET",  # pass_alone()
        "SET",  # set_gate()
        "SET",  # limit_queue()
        "SET",  # set_ageing()
        "SET",  # count_history(), what is put together
        "SET",  # write_history()
        "SET",  # sleep_step(): which attempt has met it last
        "SET",  # wait_step(): likewise
        "SET",  # wait_step(): an event whose time was over
        "SET",  # deliver(): likewise
        "SET",  # keep_checkpoint()
        "SET",  # report_progress()
        "pgjobq.gate_pass",  # see_starts(): the token is back
        "pgjobq.gate_share",  # take_turns()
        "pgjobq.job",  # edit()
        "pgjobq.job",  # move()
        "pgjobq.job",  # retry(): what had expired does so no more
        "pgjobq.job",  # set_expiry()
        "pgjobq.lane",  # follow_limits()
        "pgjobq.queue_limit",  # unlimit_queue()
        "pgjobq.schedule",  # tick()
        "pgjobq.schedule",  # declare_schedules()
        "pgjobq.schedule",  # and pause, resume, run, reset
        "pgjobq.schedule",
        "pgjobq.schedule",
        "pgjobq.schedule",
        "pgjobq.step",  # sleep_step(): it is over
        "pgjobq.step",  # wait_step()
        "pgjobq.unique_key",
        "pgjobq.unique_key",
        "pgjobq.unique_key",
        "pgjobq.worker",
        "pgjobq.workflow",  # sweep_workflow()
        "pgjobq.workflow",  # go_on()
        "pgjobq.workflow",  # fail_fast()
        "pgjobq.workflow",  # close_workflow(), and cancel, retry
        "pgjobq.workflow",
        "pgjobq.workflow",
    ]
