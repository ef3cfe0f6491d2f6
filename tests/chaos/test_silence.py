"""Servers that are there and do not answer: at a worker's start, at its return, and in the middle of its work."""

from __future__ import annotations

import random
import socket
import threading
import time

import pytest

from chaos import faults
from chaos.site import Site
from support.waiting import eventually

pytestmark = pytest.mark.chaos

START = 30.0
"""Seconds after which a start that met only silence must have ended."""


def test_a_start_that_meets_a_server_without_a_word(site: Site) -> None:
    """Something accepts the connection and never speaks (a wedged pooler, a firewall): exit code 2, soon."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        heard: list[socket.socket] = []
        threading.Thread(target=lambda: heard.append(mute.accept()[0]), daemon=True).start()
        site.dsn, right = f"postgresql://x:x@127.0.0.1:{mute.getsockname()[1]}/x", site.dsn
        worker = site.worker()
        site.dsn = right
        assert worker.popen.wait(START) == 2, worker.text
        assert "timeout" in worker.text
        for each in heard:
            each.close()


def test_a_start_that_is_greeted_and_then_left_alone(proxied_site: Site) -> None:
    """The server lets the worker in, and its first question is never answered."""
    site = proxied_site
    assert site.proxy is not None
    site.proxy.set("hush")
    worker = site.worker(way="proxied")
    assert worker.popen.wait(START) == 2, worker.text


def test_a_return_that_is_greeted_and_then_left_alone(proxied_site: Site) -> None:
    """The same to a worker that comes back after an outage: it tries again and again, and is back when it can be."""
    site = proxied_site
    assert site.proxy is not None
    worker = site.worker(way="proxied").ready()
    site.enqueue("work", 2, seconds=2)
    site.wait_starts(2)
    with site.fault("network: hush", workers=[worker], isolated=worker.children()):
        site.proxy.set("hush")
        site.enqueue("quick", 5)
        time.sleep(5)
        site.proxy.set("pass")
    healed = time.monotonic()
    key = site.enqueue("quick")[0]
    came = site.wait_starts(1, key, timeout=30)[0].at - healed
    print(f"hush: {came:.1f} s to the next start")
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    site.demand_kept_promises()


@pytest.mark.parametrize(
    ("word", "kind", "processes"),
    [(b'LISTEN "pgjobq"', "quick", 1), (b'LISTEN "pgjobq"', "quick", 2), (b'LISTEN "pgjobq:due"', "nap_first", 1)],
)
def test_a_listen_that_is_never_answered(proxied_site: Site, word: bytes, kind: str, processes: int) -> None:
    """A worker comes back, is greeted and answered, and its LISTEN is not: it does not wait for ever. Of several
    processes none says it; their switchboard does."""
    site = proxied_site
    assert site.proxy is not None
    worker = site.worker("--processes", str(processes), way="proxied").ready()
    site.enqueue("nap_first")
    assert site.settle_down(), site.logs()
    with site.fault("LISTEN never answered", workers=[worker], isolated=worker.children()):
        site.proxy.swallow_answer(word)
        faults.terminate_backends(site)
    back = time.monotonic()
    key = site.enqueue(kind)[0]
    last = site.wait_starts(2 if kind == "nap_first" else 1, key, timeout=30)[-1]
    print(f"LISTEN unanswered, {kind}: {last.at - back:.1f} s to the last start")
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    site.demand_kept_promises()


@pytest.mark.parametrize(("kind", "processes"), [("quick", 1), ("nap_first", 1), ("quick", 2)])
def test_a_listen_that_is_stuck(own_site: Site, kind: str, processes: int) -> None:
    """The server's processes behind a worker's connections hang: TCP is well, LISTEN hears nothing, polls are not
    answered. The worker gives them up and takes new ones."""
    site = own_site
    worker = site.worker("--processes", str(processes)).ready()
    site.enqueue("quick", 3)
    assert site.settle_down(), site.logs()
    eventually(lambda: len(faults.backends_of(site, worker)) >= (3 if processes == 1 else 3 + processes))
    with faults.stop_backends(site, random.Random(1)):
        stuck = time.monotonic()
        key = site.enqueue(kind)[0]
        last = site.wait_starts(2 if kind == "nap_first" else 1, key, timeout=30)[-1]
        print(f"stuck listen, {kind}: {last.at - stuck:.1f} s to the last start")
        assert worker.events("connection_lost")
    assert site.settle_down(), site.logs()
    assert worker.stop() == 0
    site.demand_kept_promises()
