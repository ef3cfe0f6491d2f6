"""The database is migrated while workers and producers of the version before run, and on they run.

They are that version's code, kept in tests/sql/released; new workers join them, then the old ones go.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from chaos import app
from chaos.checker import Finding
from chaos.released import RELEASED, Release
from chaos.site import Site
from chaos.workers import SHORT, ChaosWorker
from pgjobq import Queue, migrate
from pgjobq.errors import SchemaError, SchemaOutdated
from support.waiting import eventually

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.lawless("the schema of an older version comes first"),
    pytest.mark.timeout(300),
]

PREVIOUS = max(int(path.stem) for path in RELEASED.glob("*.sql"))
PACKAGE = Path(migrate.__file__).parent


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(PREVIOUS, tmp_path)


@pytest.fixture
def old_site(empty_dsn: str, release: Release, tmp_path: Path) -> Iterator[Site]:
    """A site on the schema of the version before."""
    release.install(empty_dsn)
    site = Site(empty_dsn, tmp_path)
    yield site
    site.destroy()


@contextmanager
def producing(release: Release, site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody enqueues with the old library; ends in order."""
    stop = site.directory / "stop"
    producer = release.producer(site, stop)
    try:
        yield producer
        stop.touch()
        assert producer.wait(60) == 0, stop.with_suffix(".log").read_text()
    finally:
        producer.kill()
        producer.wait()


def more_starts(site: Site, worker: ChaosWorker, producer: subprocess.Popen[bytes]) -> None:
    """Until this worker has started twenty jobs more; RuntimeError once nobody enqueues any."""
    wanted = len(site.starts(worker=worker.name)) + 20

    def there() -> bool:
        if producer.poll() is not None:
            raise RuntimeError((site.directory / "stop.log").read_text())
        return len(site.starts(worker=worker.name)) >= wanted

    eventually(there, 40)


def upgrade(release: Release, site: Site, directory: Path = PACKAGE) -> list[Finding]:
    """The order of a deployment: migrate, then replace the workers. What was promised and not kept."""
    old = [release.worker(site, *SHORT).ready(), release.worker(site, *SHORT, "--processes", "2").ready()]
    with producing(release, site) as producer:
        more_starts(site, old[0], producer)
        with psycopg.connect(site.dsn) as conn:
            assert migrate.install(conn, directory=directory) == [PREVIOUS + 1]
        for worker in old:
            more_starts(site, worker, producer)
        new = site.worker(*SHORT).ready()
        for worker in (*old, new):
            more_starts(site, worker, producer)
        for pid in old[0].children():  # what it held goes to whoever is left, of either version
            old[0].kill_process(pid)
        assert old[0].stop() == 0
        more_starts(site, new, producer)
        for pid in new.children():
            new.kill_process(pid)
        more_starts(site, old[1], producer)
    assert site.settle_down(60), site.logs()
    assert [worker.stop() for worker in (old[1], new)] == [0, 0], site.logs()
    for worker in (*old, new):
        for trouble in ("connection_lost", "lease_lost", "chore_failed"):
            assert worker.events(trouble) == [], site.logs()
    return site.check()


def test_workers_of_the_version_before_go_on(old_site: Site, release: Release) -> None:
    findings = upgrade(release, old_site)
    assert not findings, "\n".join(map(str, findings[:20])) + old_site.logs()
    jobs = old_site.query("SELECT count(*) FROM pgjobq.job")[0][0]
    print(f"{jobs} jobs, {len(old_site.starts())} starts, migrated from version {PREVIOUS} on the way")
    ran = old_site.query("SELECT count(*) FROM pgjobq.attempt_error WHERE traceback LIKE %s", f"%{release.library}%")
    assert ran[0][0] > 0, "it was the old library that ran"


def test_a_step_that_is_not_safe_is_noticed(old_site: Site, release: Release, tmp_path: Path) -> None:
    """Renaming what the old workers call: here a function, in the same step."""
    doctored = tmp_path / "doctored"
    (doctored / "migrations").mkdir(parents=True)
    (doctored / "schema.sql").write_text((PACKAGE / "schema.sql").read_text())
    for step in (PACKAGE / "migrations").glob("*.sql"):
        (doctored / "migrations" / step.name).write_text(
            step.read_text() + "\nALTER FUNCTION pgjobq.wake_at(timestamptz) RENAME TO wake_then;\n"
        )
    with pytest.raises(RuntimeError, match="wake_at"):
        upgrade(release, old_site, doctored)


def test_a_new_worker_on_the_old_schema_says_what_to_run(old_site: Site) -> None:
    worker = old_site.worker(*SHORT)
    assert worker.popen.wait(60) == 2
    assert f"at version {PREVIOUS}" in worker.text
    assert "run `pgjobq migrate`" in worker.text
    with psycopg.connect(old_site.dsn) as conn, pytest.raises(SchemaOutdated, match="run `pgjobq migrate`"):
        migrate.check(conn)


def test_an_old_worker_that_restarts_on_the_new_schema_says_so_and_works(old_site: Site, release: Release) -> None:
    """Half-way through a deployment a process manager may start the old version once more."""
    with psycopg.connect(old_site.dsn) as conn:
        migrate.install(conn)
    worker = release.worker(old_site, *SHORT).ready()
    (warned,) = worker.events("schema_newer")
    assert (warned["current"], warned["wanted"]) == (PREVIOUS + 1, PREVIOUS)
    with producing(release, old_site) as producer:
        more_starts(old_site, worker, producer)
    assert old_site.settle_down(60), old_site.logs()
    assert worker.stop() == 0
    old_site.demand_kept_promises()


def test_a_new_producer_on_the_old_schema_works_or_says_what_to_run(old_site: Site) -> None:
    """The wrong order of a deployment: nothing is half enqueued, and no error leaves one guessing."""
    queue = Queue(old_site.dsn)
    task = queue.task(name="quick")(app.quick.function)
    deeds: list[Callable[[], object]] = [
        lambda: task.enqueue(key="one"),
        lambda: task.using(delay=0.1, ref="order:1", tags=["a"]).enqueue(key="two"),
        lambda: queue.enqueue_many([task.call(key="three"), task.call(key="four")]),
        lambda: queue.jobs(),
        lambda: queue.get(1),
        lambda: queue.errors(1),
        lambda: queue.cancel(1),
        lambda: queue.retry(1),
    ]
    try:
        for deed in deeds:
            try:
                deed()
            except SchemaError as error:
                assert "pgjobq migrate" in str(error)
    finally:
        queue.close()
    with psycopg.connect(old_site.dsn) as conn:
        migrate.install(conn)
        assert conn.execute("SELECT * FROM pgjobq.misplaced").fetchall() == []
