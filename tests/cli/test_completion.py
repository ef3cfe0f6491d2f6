"""Tab in real shells, and what the words may become."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from cli.support.typist import Typist
from pgjobq import Queue, cli
from pgjobq.cli.commands import COMMANDS
from pgjobq.cli.completion import complete
from pgjobq.job import JobState
from sql.support.hand import Hand

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(pgjobq completion bash)"),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(pgjobq completion zsh)"),
    "fish": (["fish", "--no-config", "-i"], "pgjobq completion fish | source"),
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """A shell that is installed; `.ci/run` installs them all, so that nothing is left out there."""
    if shutil.which(request.param) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{request.param} is not installed, and .ci/run should have seen to it")
        pytest.skip(
            f"{request.param} is not installed, so its completion is not tested (apt-get install {request.param})"
        )
    return str(request.param)


def test_tab_completes_commands_flags_and_names(shell: str, queue: Queue, dsn: str, hand: Hand, tmp_path: Path) -> None:
    """Typed with a Tab in each place; the command that comes of it is run, and does it."""
    hand.enqueue(queue="mail-slow")
    hand.enqueue(queue="eu:slow")
    argv, source = SHELLS[shell]
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "xterm",
        "PGJOBQ_DSN": dsn, "LANG": "C.UTF-8",
    }  # fmt: skip
    with Typist(argv, env, columns=200) as typist:
        typist.type(f"{source}; echo REA''DY\r")
        typist.wait_for("READY")
        typist.type("pgjobq pau\t--que\tmai\t\r")
        typist.wait_for(lambda: [one.name for one in queue.paused()] == ["mail-slow"])
        typist.type("pgjobq pause --queue eu:s\t\r")
        typist.wait_for(lambda: sorted(one.name for one in queue.paused()) == ["eu:slow", "mail-slow"])
        typist.type("pgjobq jobs can\t--state rea\t--ye\t\r")
        typist.wait_for(lambda: queue.count(state="cancelled") == 2)
        typist.type("exit\r")


def test_words(queue: Queue, dsn: str, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGJOBQ_DSN", dsn)
    monkeypatch.delenv("PGJOBQ_SCHEMA", raising=False)
    hand.enqueue(queue="mail")
    hand.sql("UPDATE pgjobq.worker SET tasks = '{send,send_all}', queues = '{mail,reports}'")
    queue.set_gate("merchant:7", concurrency=1)
    assert complete([]) == complete([""]) == list(COMMANDS)
    assert complete(["work"]) == [name for name in COMMANDS if name.startswith("work")]
    assert complete(["worker"]) == ["worker", "workers"]
    assert complete(["jobs", ""])[:2] == ["list", "show"]
    assert set(complete(["jobs", "list", "--state", ""])) == set(JobState)
    assert complete(["purge", "--state", "s"]) == ["succeeded"]
    assert complete(["jobs", "list", "--state=fa"]) == ["--state=failed"]
    assert complete(["jobs", "list", "--queue", ""]) == ["mail", "reports"]
    assert complete(["worker", "shop.jobs:queue", "--queues", "m"]) == ["mail"]
    assert complete(["enqueue", "se"]) == complete(["enqueue", "a:q", "se"]) == ["send", "send_all"]
    assert complete(["gates", "set", "m"]) == ["merchant:7"]
    assert "--dsn" not in complete(["jobs", "list", "--dsn", dsn, "--"])
    assert "--args" in complete(["jobs", "list", "--args", "a=1", "--a"])
    assert complete(["devdb", "--t"]) == ["--tcp"]
    assert complete(["nonsense", ""]) == []
    assert complete(["completion", "z"]) == ["zsh"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_flags(command: str) -> None:
    assert "--help" in complete([command, "--h"])


@pytest.mark.parametrize("dsn", ["", "host=127.0.0.1 port=1", "mysql://x"])
def test_no_database_is_no_word_and_no_error(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DATABASE_URL", "PGHOST", "PGSERVICE", "PGDATABASE", "PGSERVICEFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGJOBQ_DSN", dsn)
    assert cli.main(["completion", "--words", "pause", "--queue", ""]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_schema_that_is_not_there_is_no_error(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGJOBQ_DSN", empty_dsn)
    assert complete(["pause", "--queue", ""]) == []
