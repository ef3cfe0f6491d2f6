"""The journal: what an event looks like as a line, as JSON, and how many of them there are."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import timeit
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgjobq import events as e
from pgjobq.logs import Journal, span
from pgjobq.logs.formats import TextFormatter, formatter_for

JOB = {
    "job": 42,
    "task": "send_confirmation",
    "queue": "mail",
    "attempt": 1,
    "max_attempts": 8,
    "ref": "order:7",
}
TRACEBACK = 'Traceback (most recent call last):\n  File "shop/mail.py", line 12, in send\nValueError: no such order\n'
STARTED = e.WorkerStarted(
    worker="0f3c2f1e-33cb-4f0a-9a55-6a1f1b1e7a10",
    pid=4711,
    version="0.1.0",
    app="shop.jobs:queue",
    queues=("mail", "default"),
    tasks=("sync_bookkeeping", "send_confirmation_email", "start_processing"),
    concurrency=10,
    processes=2,
    database="postgresql://shop@127.0.0.1:6500/shop",
    server_version="18.6",
    schema="pgjobq",
    lease=30,
    heartbeat=5,
    poll_interval=1,
    grace=30,
)


class Terminal(io.TextIOWrapper):
    """A stream in memory that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("NO_COLOR", "1")
    return Terminal()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """No test leaves a handler behind."""
    logger = logging.getLogger("pgjobq")
    before = (list(logger.handlers), logger.level, logger.propagate, list(logging.getLogger().handlers))
    yield
    assert (
        list(logger.handlers),
        logger.level,
        logger.propagate,
        list(logging.getLogger().handlers),
    ) == before


@contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """The root logger as a program finds it: without the handlers that pytest has there during a test."""
    root = logging.getLogger()
    kept, root.handlers = root.handlers, []
    try:
        yield root
    finally:
        root.handlers = kept


def succeeded(**changes: object) -> e.JobSucceeded:
    return e.JobSucceeded(**{**JOB, "ran": 0.012, **changes})  # type: ignore[arg-type]


def failed(**changes: object) -> e.JobFailed:
    values = {
        **JOB,
        "ran": 1.25,
        "error": "ValueError",
        "error_message": "no such order",
        "traceback": TRACEBACK,
    }
    return e.JobFailed(**{**values, **changes})  # type: ignore[arg-type]


# --- text ------------------------------------------------------------------------------------------------


def test_the_line_of_a_success(out: Terminal) -> None:
    with Journal("text", "info", out) as journal:
        journal.emit(succeeded())
    line = r"\d\d:\d\d:\d\d\.\d{3} INFO  ✓ send_confirmation #42 order:7 in 12 ms \(attempt 1\)\n"
    assert re.fullmatch(line, out.text)


def test_a_retry_is_a_warning_and_a_failure_an_error_with_its_traceback(out: Terminal) -> None:
    with Journal("text", "info", out) as journal:
        journal.emit(
            e.JobRetried(**JOB, ran=0.25, delay=61, error="HTTPError", error_message="503", traceback=TRACEBACK)  # type: ignore[arg-type]
        )
        journal.emit(failed())
    retried, gave_up, *indented = [line[13:] for line in out.text.splitlines()]
    assert retried == (
        "WARN  ↻ send_confirmation #42 order:7 failed after 250 ms (attempt 1 of 8), again in 1 min 1 s: HTTPError: 503"
    )
    assert gave_up == (
        "ERROR ✗ send_confirmation #42 order:7 failed for good after 1.2 s (attempt 1 of 8): ValueError: no such order"
    )
    assert out.text.splitlines()[2:] == ["    " + line for line in TRACEBACK.splitlines()]
    assert len(indented) == 3


def test_nobody_can_forge_a_line_or_steer_the_terminal(out: Terminal) -> None:
    evil = "x\n21:04:05.123 INFO  ✓ pay #1\x1b[2J\u2028\x00\r"
    with bare_root(), Journal("text", "info", out) as journal:
        journal.emit(failed(ref=evil, error_message=evil, task=evil, traceback=evil))
        journal.emit(e.JobDiscarded(**JOB | {"ref": evil}, ran=0.1, reason=evil))  # type: ignore[arg-type]
        assert journal.adopt_root()
        logging.getLogger("shop").warning("%s", evil)
    lines = out.text.split("\n")
    assert [line for line in lines if line.startswith("21:04")] == []
    assert "".join(lines).isprintable()


def test_a_long_error_stays_one_bounded_line(out: Terminal) -> None:
    with Journal("text", "info", out) as journal:
        journal.emit(failed(error_message="y" * 1_000_000, traceback=""))
    assert out.text.count("\n") == 1
    assert len(out.text) < 600
    assert out.text.endswith("…\n")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["begins", "in 12 ms", "snoozed", "discarded", "for good"]),
        ("info", ["in 12 ms", "snoozed", "discarded", "for good"]),
        ("warning", ["discarded", "for good"]),
        ("error", ["for good"]),
    ],
)
def test_levels(out: Terminal, level: str, shown: list[str]) -> None:
    with Journal("text", level, out) as journal:
        journal.emit(e.JobStarted(**JOB, waited=0.003))  # type: ignore[arg-type]
        journal.emit(succeeded())
        journal.emit(e.JobSnoozed(**JOB, ran=0.1, delay=30))  # type: ignore[arg-type]
        journal.emit(e.JobDiscarded(**JOB, ran=0.1, reason="gone"))  # type: ignore[arg-type]
        journal.emit(failed(traceback=""))
    lines = out.text.splitlines()
    assert len(lines) == len(shown)
    assert all(word in line for word, line in zip(shown, lines, strict=True))


def test_a_file_gets_the_date_and_a_terminal_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for terminal, start in ((True, r"\d\d:\d\d:"), (False, r"\d{4}-\d\d-\d\d \d\d:\d\d:")):
        out = Terminal(terminal=terminal)
        with Journal("text", "info", out) as journal:
            journal.emit(succeeded())
        assert re.match(start, out.text)


@pytest.mark.parametrize(
    ("environ", "terminal", "coloured"),
    [
        ({}, True, True),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({}, False, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(environ: dict[str, str], terminal: bool, coloured: bool) -> None:
    formatter = formatter_for("text", Terminal(terminal=terminal), environ)
    record = logging.LogRecord("pgjobq", logging.ERROR, "", 0, "hello", None, None)
    record.event = failed()
    assert ("\x1b[" in formatter.format(record)) is coloured


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_without_the_signs_gets_ascii(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal(encoding)
    with Journal("text", "info", out) as journal:
        journal.emit(STARTED)
        journal.emit(succeeded(ref="größe:7"))
        journal.emit(failed())
    assert out.text.isascii()
    assert "INFO  + send_confirmation #42 gr\\xf6\\xdfe:7 in 12 ms" in out.text
    assert "10 at once x 2 processes" in out.text


# --- the banner ------------------------------------------------------------------------------------------


def test_the_banner_tells_everything_and_no_password(out: Terminal) -> None:
    with Journal("text", "info", out) as journal:
        journal.emit(STARTED)
    for piece in (
        "pgjobq 0.1.0 · shop.jobs:queue",
        "mail, default",
        "send_confirmation_email, start_processing, sync_bookkeeping",
        "10 at once × 2 processes",
        "postgresql://shop@127.0.0.1:6500/shop",
        "PostgreSQL 18.6, schema pgjobq",
        "30 s, renewed every 5 s",
        "listening",
        "pid 4711",
        "Ctrl-C",
    ):
        assert piece in out.text
    assert max(map(len, out.text.splitlines())) <= 80


def test_the_banner_stays_within_80_columns(out: Terminal) -> None:
    from msgspec.structs import replace

    many = tuple(f"task_with_quite_a_long_name_{number}" for number in range(400))
    with Journal("text", "info", out) as journal:
        journal.emit(
            replace(
                STARTED,
                worker="",
                tasks=many,
                queues=("q" * 200,),
                app="m" * 200,
                database="d" * 300,
                mode="polling",
                drain=True,
            )
        )
        journal.emit(replace(STARTED, tasks=(), queues=()))
    lines = out.text.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 60
    assert "polling every 1 s" in out.text
    assert "Ends when nothing is left to run." in out.text
    assert "none registered" in out.text


# --- JSON ------------------------------------------------------------------------------------------------


def test_json_is_one_object_a_line(out: Terminal) -> None:
    with bare_root() as root, Journal("json", "debug", out) as journal:
        journal.emit(STARTED)
        journal.emit(succeeded(waited=0.5))
        journal.emit(failed(error_message="two\nlines \ud800 é"))
        assert journal.adopt_root()
        assert root.level == logging.INFO
        try:
            raise KeyError("colour")
        except KeyError:
            logging.getLogger("shop.mail").exception("no %s", "luck")
    assert root.level == logging.WARNING
    banner, success, failure, log = [json.loads(line) for line in out.text.splitlines()]
    assert banner["event"] == "worker_started"
    assert banner["queues"] == ["mail", "default"]
    assert list(success) == [
        *("event", "time", "level", "message"),
        *("job", "task", "queue", "attempt", "max_attempts", "ref", "ran", "waited"),
    ]
    assert success["level"] == "info"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", success["time"])
    assert failure["traceback"] == TRACEBACK
    assert failure["error_message"] == "two\nlines \ud800 é"
    assert (log["event"], log["logger"], log["message"]) == ("log", "shop.mail", "no luck")
    assert "KeyError" in log["traceback"]
    assert out.text.isascii()


# --- how many --------------------------------------------------------------------------------------------


def test_a_crowd_of_successes_is_folded(out: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("pgjobq.logs.monotonic", lambda: clock[0])
    with Journal("text", "info", out) as journal:
        shown = sum(journal.note_success() for _ in range(1254))
        journal.tick()
        assert (shown, out.text) == (20, "")
        clock[0] += 1.0
        journal.tick()
        assert out.text.endswith("INFO  … and 1,234 more succeeded in the last second\n")
        journal.tick()
        assert out.text.count("\n") == 1
        assert sum(journal.note_success() for _ in range(30)) == 20
        clock[0] += 1.0
        assert journal.note_success()
        assert out.text.endswith("and 10 more succeeded in the last second\n")
        assert sum(journal.note_success() for _ in range(24)) == 19
    assert out.text.endswith("and 5 more succeeded in the last second\n")


def test_counting_costs_next_to_nothing(out: Terminal) -> None:
    for level in ("warning", "info"):
        with Journal("text", level, out) as journal:
            best = min(timeit.repeat(journal.note_success, number=20_000, repeat=5)) / 20_000
        assert best < 2e-6, f"{best * 1e6:.2f} µs at {level}"  # 0.05 and 0.15 µs on an idle machine


def test_below_info_no_success_is_counted_or_shown(out: Terminal) -> None:
    with Journal("text", "warning", out) as journal:
        assert not any(journal.note_success() for _ in range(100))
        journal.tick()
    assert out.text == ""


# --- within an application -------------------------------------------------------------------------------


def test_without_a_stream_the_application_decides(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pgjobq"):
        journal = Journal()
        assert journal.note_success()
        journal.emit(succeeded())
        journal.emit(STARTED)
        journal.close()
    first, second = caplog.records
    assert first.getMessage() == "send_confirmation #42 order:7 in 12 ms (attempt 1)"
    assert first.__dict__["event"] == succeeded()
    assert second.getMessage().startswith("worker of shop.jobs:queue started (pid 4711) on ")


def test_a_level_changed_later_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pgjobq")
    with caplog.at_level(logging.WARNING, "pgjobq"):
        journal = Journal()
        assert not journal.note_success()
        logger.setLevel(logging.INFO)
        journal.tick()
        assert journal.note_success()
        journal.close()


def test_the_applications_own_logging_is_left_alone(out: Terminal, caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    assert caplog.handler in root.handlers
    with Journal("text", "info", out) as journal:
        assert not journal.adopt_root()
        logging.getLogger("shop").error("mine")
    assert out.text == ""


def test_the_applications_records_look_the_same() -> None:
    code = (
        "import logging, sys\n"
        "from pgjobq.logs import Journal\n"
        "journal = Journal('text', 'info', sys.stdout)\n"
        "assert journal.adopt_root()\n"
        "logging.getLogger('shop.mail').info('hello %s', 'you')\n"
        "journal.close()\n"
        "assert not logging.getLogger().handlers\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert re.fullmatch(r"[-\d]+ [\d:.]+ INFO  shop\.mail: hello you\n", found.stdout)


def test_a_reader_that_left_does_not_stop_the_worker() -> None:
    code = (
        "import os, sys\n"
        "from pgjobq.events import JobsReturned\n"
        "from pgjobq.logs import Journal\n"
        "read, write = os.pipe(); os.close(read)\n"
        "with open(write, 'w', buffering=1) as gone:\n"
        "    journal = Journal('text', 'info', gone)\n"
        "    for _ in range(3): journal.emit(JobsReturned(jobs=1))\n"
        "    os._exit(0)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 ms"),
        (0.0004, "0.4 ms"),
        (0.012, "12 ms"),
        (0.9996, "1 s"),
        (1.25, "1.2 s"),
        (30, "30 s"),
        (59.97, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (-1, "0.0 ms"),
    ],
)
def test_spans_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_record_of_somebody_elses_keeps_its_exception() -> None:
    formatter = TextFormatter()
    try:
        raise ValueError("x")
    except ValueError:
        record = logging.getLogger("shop").makeRecord("shop", logging.ERROR, "", 0, "oops", (), sys.exc_info())
    assert formatter.format(record).splitlines()[-1] == "    ValueError: x"
