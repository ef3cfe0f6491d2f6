"""The dashboard on a furnished queue, served in a thread, and a real browser to look at it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from pgjobq import Queue
from pgjobq.web import dashboard
from web.scene import furnish


@contextlib.contextmanager
def served(app: Any, **settings: Any) -> Iterator[str]:
    """Serve an application in a thread; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", proxy_headers=False, timeout_graceful_shutdown=1, **settings
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def letter(dsn: str) -> int:
    """The furnished queue's failed letter of order:1339."""
    return furnish(dsn)


@pytest.fixture
def open_dashboard(dsn: str) -> Iterator[Callable[..., str]]:
    """Serves a dashboard with these options; gives its address."""
    with contextlib.ExitStack() as stack:

        def serve(queue: Queue | None = None, **options: Any) -> str:
            if queue is None:
                queue = Queue(dsn)
                stack.callback(queue.close)
            return stack.enter_context(served(dashboard(queue, **options)))

        yield serve


@pytest.fixture
def site(open_dashboard: Callable[..., str]) -> str:
    """The address of a dashboard for this machine."""
    return open_dashboard()


@pytest.fixture
def client(site: str) -> Iterator[httpx.Client]:
    """A visitor without a browser, with a cookie jar."""
    with httpx.Client(base_url=site, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser: the machine's own chromium.

    Playwright keeps an event loop running in this thread, so it goes before another module's tests want their own.
    """
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, open_dashboard: Callable[..., str]) -> Iterator[Callable[..., Any]]:
    """Opens a page in a context of its own; whatever the console complains about fails the test.

    They close before the dashboard does, whose streams they read.
    """
    contexts, complaints = [], []

    def open_page(url: str, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
