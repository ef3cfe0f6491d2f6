"""`pgjobq top`: the picture, drawn from made-up figures, and the live screen in a pseudo-terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from cli.support.typist import CODES, Typist
from pgjobq import Queue
from pgjobq.cli.cells import cells, fit, sparkline
from pgjobq.cli.glance import Glance
from pgjobq.cli.screen import SORTS, View, draw
from pgjobq.job import Job
from pgjobq.overview import Pause
from pgjobq.statements.history import BOUNDS, Minute
from pgjobq.survey import Counts, QueueFigures, RunningJob, WorkerFigures
from sql.support.hand import Hand

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LEAVE = "\033[?1049l"


def queue_of(name: str, **more: Any) -> QueueFigures:
    made = {
        "queue": name,
        "ready": 0,
        "running": 0,
        "scheduled": 0,
        "blocked": 0,
        "workers": 1,
        "oldest": None,
        "cap": 10_000,
    }
    return msgspec.convert(made | more, QueueFigures)


def minute(number: int, **more: Any) -> Minute:
    made = {
        "minute": NOW,
        "started": 0,
        "succeeded": number,
        "failed": 0,
        "cancelled": 0,
        "errors": 0,
        "run_seconds": 1.0,
        "run": [number] + [0] * len(BOUNDS),
        "ready": 0,
        "oldest": 0.0,
    }
    return msgspec.convert(made | more, Minute)


def failed_job(number: int, reason: str) -> Job:
    return Job(
        number, "send", "mail", "failed", {}, "order:7", (), {}, 0, 3, 3, NOW, None, NOW, NOW, None, reason, None
    )  # type: ignore[arg-type]


@pytest.fixture
def seen() -> Glance:
    running = [
        RunningJob(
            job=100 + n,
            task="日本の仕事\x1b[31m",
            queue="mail",
            ref="zoë",
            attempt=1,
            started_at=NOW - timedelta(seconds=n),
        )
        for n in range(40)
    ]
    worker = WorkerFigures(
        id="1" * 36,
        host="web",
        pid=1,
        app="shop:queue",
        version="1",
        concurrency=50,
        queues=(),
        tasks=("send",),
        started_at=NOW - timedelta(hours=3),
        beat_at=NOW,
        alive=True,
        busy=40,
        running=tuple(running),
    )
    return Glance(
        at=NOW,
        database="shop on db:5432",
        counts=Counts(
            ready=10_000, running=40, scheduled=3, blocked=0, succeeded=0, failed=2, cancelled=0, ended=0, cap=10_000
        ),
        queues=[
            queue_of("mail", ready=10_000, oldest=NOW - timedelta(minutes=5), running=40),
            queue_of("bulk", ready=7, workers=0),
            *(queue_of(f"q{n:02}") for n in range(30)),
            queue_of("vip", ready=1),
        ],
        workers=[worker, replace_struct(worker, id="2" * 36, alive=False, running=(), busy=0)],
        failed=[failed_job(n, f"shop.mail.Refused: {'no ' * 100}\nmore") for n in range(5)],
        minutes=[minute(n) for n in range(60)],
        pace={"mail": 120.0, "vip": 900.0},
        pauses=[Pause("queue", "vip", NOW, None, None, "ann")],
    )


def replace_struct(value: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(value, **changes)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (132, 50), (200, 100), (20, 5), (20, 1)])
@pytest.mark.parametrize("colours", [True, False])
def test_it_fits_any_terminal(seen: Glance, width: int, height: int, colours: bool) -> None:
    for view in (
        View(colours=colours, picked="q29"),
        View(colours=colours, message="?"),
        View(trouble="x" * 500, sort="name"),
    ):
        lines = draw(seen, replace(view, colours=colours), width, height)
        assert len(lines) <= height
        bare = [re.sub(r"\033\[\d+m", "", line) for line in lines]
        assert max(map(cells, bare)) <= width
        assert all(line.isprintable() for line in bare)
        assert colours or bare == lines


def test_what_it_says_at_80_by_24(seen: Glance) -> None:
    lines = draw(seen, View(colours=False, picked="mail"), 80, 24)
    text = "\n".join(lines)
    assert lines[0].startswith(" pgjobq top  shop on db:5432")
    assert "10,000+ ready  40 running  3 scheduled  0 blocked  2 failed  1 worker 40/50" in lines[1]
    assert "58/min, median" in lines[2]
    assert ">mail" in text
    assert "unserved" in text
    assert "Refused: no no" in text
    assert "dead" in text
    assert re.search(r"RUNNING .*\n +139 +39 s  日本の仕事", text), "the longest first"
    assert lines[-1].startswith(" q quit")


@pytest.mark.parametrize(
    ("sort", "first"), [("ready", "mail"), ("running", "mail"), ("pace", "vip"), ("oldest", "mail"), ("name", "bulk")]
)
def test_sorting(seen: Glance, sort: str, first: str) -> None:
    lines = draw(seen, View(colours=False, sort=sort), 100, 50)
    place = next(number for number, line in enumerate(lines) if line.startswith(f"QUEUE by {sort}"))
    assert lines[place + 1].split()[0] == first
    assert sort in SORTS


def test_the_picked_queue_is_always_in_sight(seen: Glance) -> None:
    for one in seen.queues:
        assert any(
            line.startswith(f">{one.queue} ") for line in draw(seen, View(colours=False, picked=one.queue), 80, 24)
        )


def test_only_one_queue(seen: Glance) -> None:
    text = "\n".join(draw(seen, View(colours=False, only="bulk"), 80, 24))
    assert "only queue bulk" in text
    assert "nothing runs" in text
    assert "vip" not in text


def test_an_old_picture_says_so(seen: Glance) -> None:
    lines = draw(seen, View(colours=False, trouble="the database does not answer"), 80, 24, NOW + timedelta(seconds=90))
    assert "90 s ago" in lines[0]
    assert lines[-1].startswith(" the database does not answer")


def test_cells() -> None:
    assert [cells(text) for text in ("abc", "日本", "zoe\u0308", "")] == [3, 4, 3, 0]
    assert fit("日本語", 4) == "日… "
    assert fit("ab", 4, right=True) == "  ab"
    assert fit("abcdef", 3) == "ab…"
    assert sparkline([0, 1, 4, 8], 6) == "   ▁▄█"
    assert sparkline([], 3) == "   "


# --- live ------------------------------------------------------------------------------------------------


def top(dsn: str, *flags: str, **environ: str) -> Typist:
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "PGJOBQ_SCHEMA")}
    env |= {"TERM": "xterm-256color", "PGJOBQ_DSN": dsn, "PYTHONIOENCODING": "utf-8"} | environ
    return Typist([sys.executable, "-m", "pgjobq", "top", "--every", "0.3s", *flags], env)


def test_live_keys_resize_and_quit(dsn: str, hand: Hand, queue: Queue) -> None:
    hand.enqueue(queue="mail")
    hand.enqueue(queue="bulk")
    with top(dsn) as typist:
        typist.wait_for("q quit")
        typist.wait_for(">bulk")
        typist.type("\033[B\033[B")
        typist.wait_for(">mail")
        typist.type("p")
        typist.wait_for("pause the queue mail")
        typist.type("n")
        typist.wait_for("nothing was changed")
        assert queue.paused() == []
        typist.type("py")
        typist.wait_for("the queue mail is paused")
        assert [one.name for one in queue.paused()] == ["mail"]
        typist.type("s")
        typist.wait_for("QUEUE by running")
        typist.type("\r")
        typist.wait_for("only queue mail")
        typist.resize(120, 40)
        typist.wait_for(lambda: widest(typist.shown) == 120)
        hand.enqueue(queue="mail")
        typist.wait_for("3 ready")  # by itself, without a key
        typist.type(" ")
        typist.wait_for("frozen")
        typist.type("q")
        assert typist.end() == 0
        assert typist.shown.endswith(LEAVE)
        assert typist.is_restored


def widest(shown: str) -> int:
    """Of the newest whole frame."""
    frame = shown.rpartition("\033[J")[0].rpartition("\033[H")[2]
    return max(cells(CODES.sub("", line).strip("\r")) for line in frame.split("\n"))


@pytest.mark.parametrize(("how", "code"), [("ctrl-c", 130), ("term", 143), ("hup", 129)])
def test_however_it_ends_the_terminal_is_given_back(dsn: str, how: str, code: int) -> None:
    with top(dsn) as typist:
        typist.wait_for("q quit")
        if how == "ctrl-c":
            typist.type("\x03")
        else:
            typist.process.send_signal(signal.SIGTERM if how == "term" else signal.SIGHUP)
        assert typist.end() == code
        assert LEAVE in typist.shown
        assert typist.is_restored
        assert "Traceback" not in typist.shown


BROKEN = """
import importlib, sys
from pgjobq.cli import main
def fail(self): raise RuntimeError("ours")
importlib.import_module("pgjobq.cli.top").Top._draw = fail
sys.exit(main(["top"]))
"""


def test_a_defect_gives_the_terminal_back_before_its_traceback(dsn: str) -> None:
    env = dict(os.environ) | {"TERM": "xterm", "PGJOBQ_DSN": dsn}
    with Typist([sys.executable, "-c", BROKEN], env) as typist:
        assert typist.end() == 1
        assert typist.shown.index(LEAVE) < typist.shown.index("RuntimeError")
        assert typist.is_restored


def test_a_database_that_goes_away_and_comes_back(dsn: str, hand: Hand) -> None:
    """Keys are answered meanwhile, the picture stays and says how old it is, and goes on by itself."""
    with top(dsn) as typist:
        typist.wait_for("q quit")
        hand.sql("ALTER SCHEMA pgjobq RENAME TO away")
        typist.wait_for("does not answer")
        typist.type("s")
        typist.wait_for("QUEUE by running")
        hand.sql("ALTER SCHEMA away RENAME TO pgjobq")
        typist.wait_for("q quit")
        typist.type("q")
        assert typist.end() == 0


def test_no_colours_when_nobody_wants_them(dsn: str) -> None:
    with top(dsn, NO_COLOR="1") as typist:
        typist.wait_for("q quit")
        typist.type("q")
        typist.end()
        assert not re.search(r"\033\[\d+m", typist.shown)


def plainly(dsn: str, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ) | {"PGJOBQ_DSN": dsn, "COLUMNS": "80"} | environ
    return subprocess.run(
        [sys.executable, "-m", "pgjobq", *argv], env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("flags", [[], ["--once"]])
def test_without_a_terminal_it_is_printed_once(dsn: str, hand: Hand, flags: list[str]) -> None:
    hand.enqueue(queue="mail")
    found = plainly(dsn, "top", *flags)
    assert (found.returncode, found.stderr) == (0, "")
    assert "\x1b" not in found.stdout
    assert " mail" in found.stdout
    assert "q quit" not in found.stdout
    assert max(map(cells, found.stdout.splitlines())) <= 80


def test_a_terminal_of_few_letters(dsn: str) -> None:
    assert plainly(dsn, "top", "--once", PYTHONIOENCODING="ascii").returncode == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--sort", "speed"], "wants one of ready, running"),
        (["--every", "0"], "wants 0.2s or more"),
        (["--dsn", "host=127.0.0.1 port=1"], "cannot connect"),
    ],
)
def test_what_is_wrong_is_said_before_the_screen_is_taken(dsn: str, flags: list[str], said: str) -> None:
    with top(dsn, *flags) as typist:
        assert typist.end() == 2
        assert said in typist.shown
        assert "\033[?1049h" not in typist.shown
