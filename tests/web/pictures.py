"""The documentation's pictures of the dashboard, made anew: `make pictures`.

`--walk DIR` takes every page in light and dark, at desk and phone width, to be looked at after a change of the style.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from PIL import Image

from pgjobq import Queue
from pgjobq.migrate import install
from pgjobq.web import dashboard
from support.databases import open_database
from support.servers import NoServer, plan_server, run_server
from web.conftest import served
from web.scene import furnish, furnish_fulfilment, furnish_gates, furnish_operators

ROOT = Path(__file__).resolve().parents[2]
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
COLOURS = 128
"""So a picture takes a third of the bytes, and nobody sees it: the pages have few colours."""


def main(argv: list[str] | None = None) -> int:
    """Make them."""
    parser = argparse.ArgumentParser(prog="python -m web.pictures", description="Pictures of the dashboard.")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "pictures", help="where the pictures are kept")
    parser.add_argument("--walk", type=Path, metavar="DIR", help="every page, light and dark, desk and phone, into DIR")
    parser.add_argument("--only", default="", help="pages whose name contains this")
    wanted = parser.parse_args(argv)
    try:
        with _site() as (address, found), _browser() as browser:
            if wanted.walk:
                _walk(browser, address, found, wanted.walk, wanted.only)
            else:
                _keep(browser, address, found, wanted.into, wanted.only)
    except NoServer as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 2
    return 0


def pages(letter: int, flow: int) -> dict[str, str]:
    """Every page by the name of its picture."""
    return {
        "overview": "/",
        "overview-day": "/?span=24h",
        "jobs": "/jobs",
        "jobs-failed": "/jobs?state=failed",
        "job": f"/jobs/{letter}",
        "ref": "/ref?ref=order:1339",
        "workflows": "/workflows",
        "workflow": f"/workflows/{flow}",
        "failed": "/failed",
        "queues": "/queues",
        "workers": "/workers",
        "gates": "/gates",
        "schedules": "/schedules",
        "audit": "/audit",
    }


KEPT = ("overview", "overview-dark", "job", "queues", "workflow", "gates")


@contextlib.contextmanager
def _site() -> Iterator[tuple[str, dict[str, str]]]:
    with run_server(plan_server()) as (server, _), open_database(server) as dsn:
        with psycopg.connect(dsn) as conn:
            install(conn)
        letter = furnish(dsn)
        with contextlib.closing(Queue(dsn)) as queue:
            furnish_operators(queue)
            flow = furnish_fulfilment(queue, dsn)
            furnish_gates(queue, dsn)
            with served(dashboard(queue, title="Corner shop")) as address:
                yield address, pages(letter, flow)


@contextlib.contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("pictures: no chromium on this machine (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def _keep(browser: Any, address: str, found: dict[str, str], into: Path, only: str) -> None:
    for name in KEPT:
        if only in name:
            plain, _, scheme = name.partition("-")
            page = browser.new_page(viewport=DESK, color_scheme=scheme or "light")
            _take(page, f"{address}{found[plain]}", into / f"{name}.png")
            page.close()


def _walk(browser: Any, address: str, found: dict[str, str], into: Path, only: str) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for width, size in (("desk", DESK), ("phone", PHONE)):
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=size, color_scheme=scheme)
            for name, path in found.items():
                if only in name:
                    _take(page, f"{address}{path}", into / f"{name}-{width}-{scheme}.png", whole=True)
            page.close()


def _take(page: Any, address: str, file: Path, *, whole: bool = False) -> None:
    page.goto(address)
    page.wait_for_selector("#live:not([hidden])", state="attached")
    page.screenshot(path=file, full_page=whole)
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
