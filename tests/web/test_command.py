"""`pgjobq web` as a person starts it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import httpx
import pytest

from pgjobq import cli


def test_it_serves_this_machine_until_it_is_told_to_stop(dsn: str) -> None:
    command = [sys.executable, "-m", "pgjobq", "web", "--dsn", dsn, "--port", "0", "--title", "The <shop>"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        address = process.stdout.readline().split(" is at ")[1].split()[0]
        page = httpx.get(address, timeout=30)
        assert page.status_code == 200
        assert "The &lt;shop&gt;" in page.text
        with httpx.stream(
            "GET", f"{address}/live", timeout=30
        ) as stream:  # an open page does not keep it from stopping
            assert stream.status_code == 200
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    finally:
        process.kill()
        errors = process.communicate()[1]
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_what_it_refuses(dsn: str, empty_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["web", "--dsn", dsn, "--port", str(port)]) == 2
        assert f"--port {port}: Address already in use" in capsys.readouterr().err
    assert cli.main(["web", "--dsn", dsn, "--port", "65536"]) == 2
    assert "wants a number from 0 to 65535" in capsys.readouterr().err
    assert cli.main(["web", "--dsn", empty_dsn]) == 2
    assert "is not installed in database" in capsys.readouterr().err
