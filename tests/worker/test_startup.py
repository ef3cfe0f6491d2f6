"""What a user sees when a worker cannot start: an exit code, and a sentence that says what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from worker.stage import Running, Stage, clean_environment, wait_until


def start(stage: Stage, *arguments: str, **env: str) -> Running:
    """`python -m pgjobq.worker` with nothing in the environment but what is said."""
    environ = clean_environment(**stage.environ(), **env)
    running = stage.run([sys.executable, "-m", "pgjobq.worker", *arguments], environ)
    running.wait()
    return running


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["apps.basic:queue", "--concurency", "3"], ["--concurency", "--concurrency"]),
        (["apps.basic:queue", "--concurrency", "many"], ["--concurrency", "many"]),
        (["apps.basic:queue", "--lease", "1", "--heartbeat", "5"], ["--heartbeat", "--lease"]),
        (["apps.basic:queue", "--max-jobs", "3"], ["--max-jobs", "--drain"]),
        ([], ["module", "PGJOBQ_APP"]),
        (["apps.basic:queue", "extra"], ["extra"]),
        (["apps.basic"], ["module:queue"]),
    ],
)
def test_wrong_usage_exits_2(stage: Stage, arguments: list[str], words: list[str]) -> None:
    """A flag that is unknown or cannot be used is named, and told what it takes."""
    running = start(stage, *arguments, PGJOBQ_DSN=stage.dsn)
    assert running.popen.returncode == 2
    assert running.text.startswith("pgjobq: ")
    assert "Traceback" not in running.text
    assert all(word in running.text for word in words), running.text


def test_no_dsn_exits_2_and_says_what_to_set(stage: Stage) -> None:
    """No database is named anywhere: it starts none by itself."""
    running = start(stage, "apps.basic:queue")
    assert running.popen.returncode == 2
    assert "PGJOBQ_DSN" in running.text
    assert "Traceback" not in running.text


@pytest.mark.lawless("the schema is not installed")
def test_a_missing_schema_exits_2_and_names_the_command(empty_dsn: str, stage: Stage) -> None:
    """The database was never migrated."""
    running = start(stage, "apps.basic:queue", PGJOBQ_DSN=empty_dsn)
    assert running.popen.returncode == 2
    assert "pgjobq migrate" in running.text
    assert "Traceback" not in running.text


def test_another_schema_is_missing_too(stage: Stage) -> None:
    """--schema names one that is not there."""
    running = start(stage, "apps.basic:queue", "--schema", "elsewhere", PGJOBQ_DSN=stage.dsn)
    assert running.popen.returncode == 2
    assert "elsewhere" in running.text
    assert "pgjobq migrate" in running.text


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("apps.nowhere:queue", ["apps.nowhere"]),
        ("nowhere.apps:queue", ["nowhere"]),
        ("apps.basic:queeu", ["queeu", "queue"]),
        ("apps.basic:note", ["note", "Queue"]),
    ],
)
def test_an_app_that_is_not_found_exits_2(stage: Stage, app: str, words: list[str]) -> None:
    """The module or the attribute is named, with what is there instead."""
    running = start(stage, app, PGJOBQ_DSN=stage.dsn)
    assert running.popen.returncode == 2, running.text
    assert all(word in running.text for word in words), running.text
    assert "Traceback" not in running.text


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("apps.broken:queue", ["Traceback", "RuntimeError: the app's own trouble", "broken.py"]),
        ("apps.needy:queue", ["Traceback", "no_such_library", "needy.py"]),
    ],
)
def test_an_app_that_raises_exits_1_with_its_traceback(stage: Stage, app: str, words: list[str]) -> None:
    """The app's own error is shown as Python would show it."""
    running = start(stage, app, PGJOBQ_DSN=stage.dsn)
    assert running.popen.returncode == 1, running.text
    assert all(word in running.text for word in words), running.text


def test_an_app_that_leaves_is_told_about(stage: Stage) -> None:
    """sys.exit() while the app is imported: said in a sentence, and not for ever tried again."""
    running = start(stage, "apps.leaving:queue", PGJOBQ_DSN=stage.dsn)
    assert running.popen.returncode == 1, running.text
    assert "pgjobq: " in running.text
    assert "5" in running.text


@pytest.mark.parametrize("dsn", ["host=127.0.0.1 port=1 dbname=x connect_timeout=3", "postgresql://127.0.0.1:1/x"])
def test_a_database_that_is_down_exits_2(stage: Stage, dsn: str) -> None:
    """A new user sees which server was tried and why that failed, in a sentence and without a traceback."""
    running = start(stage, "apps.basic:queue", PGJOBQ_DSN=dsn)
    assert running.popen.returncode == 2
    assert running.text.startswith("pgjobq: ")
    assert "127.0.0.1" in running.text
    assert "Connection refused" in running.text
    assert "Traceback" not in running.text


def test_a_wrong_password_is_not_shown(stage: Stage) -> None:
    """What cannot be reached is told without the password in its DSN."""
    running = start(stage, "apps.basic:queue", PGJOBQ_DSN="postgresql://me:s3cr3t@127.0.0.1:1/x")
    assert running.popen.returncode == 2
    assert "s3cr3t" not in running.text


def test_flags_win_over_the_environment(stage: Stage) -> None:
    """--dsn and --concurrency win over PGJOBQ_DSN and PGJOBQ_CONCURRENCY; these over the defaults."""
    arguments = ["apps.basic:queue", "--drain", "--log-format", "json", "--dsn", stage.dsn, "--concurrency", "3"]
    env = {"PGJOBQ_DSN": "host=127.0.0.1 port=1", "PGJOBQ_CONCURRENCY": "7", "PGJOBQ_LEASE": "44s"}
    running = start(stage, *arguments, **env)
    assert running.popen.returncode == 0, running.text
    (started,) = running.events("worker_started")
    assert (started["concurrency"], started["lease"], started["grace"]) == (3, 44, 30)


def test_the_banner_names_what_matters(stage: Stage) -> None:
    """The text log opens with app, tasks, queues, database and server version, and without a password."""
    running = start(stage, "apps.other:queue", "--drain", PGJOBQ_DSN=stage.dsn)
    assert running.popen.returncode == 0
    for word in ("apps.other:queue", "rare", "PostgreSQL", "pgjobq_test_", "30 s"):
        assert word in running.text


def test_the_supervisor_runs_nobodys_code(stage: Stage) -> None:
    """Only its processes import the app: nothing in it can stop, crash or slow the one who holds the leases."""
    worker = stage.worker("--processes", "2", app="apps.imported:queue").ready()
    children = worker.children()
    imports = Path(f"{stage.trace}.imports")
    wait_until(lambda: len(imports.read_text().split()) == 2)
    assert {int(pid) for pid in imports.read_text().split()} == set(children)
    assert worker.pid not in children
    assert worker.stop() == 0
