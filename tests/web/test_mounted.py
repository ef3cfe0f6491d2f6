"""The dashboard as a part of somebody's application: below a path, with that application's own people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from pgjobq import Queue
from pgjobq.web import Role, Visitor, dashboard
from web.conftest import served


@pytest.fixture(scope="module")
def django_app() -> Iterator[Any]:
    """A project of one page."""
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    urls = ModuleType("mounted_urls")
    urls.urlpatterns = [path("hello", lambda request: HttpResponse("hello from the project"))]  # type: ignore[attr-defined]
    sys.modules["mounted_urls"] = urls
    if not settings.configured:
        settings.configure(DEBUG=False, SECRET_KEY="x", DATABASES={})
        django.setup()
    from django.core.asgi import get_asgi_application
    from django.test.utils import override_settings

    with override_settings(ROOT_URLCONF="mounted_urls", ALLOWED_HOSTS=["*"], MIDDLEWARE=[]):
        yield get_asgi_application()
    del sys.modules["mounted_urls"]


def test_beside_a_django_project(django_app: Any, dsn: str, letter: int) -> None:
    def who(request: HTTPConnection) -> Visitor | None:
        name = request.headers.get("x-user")
        return None if name is None else Visitor(name, Role.OPERATOR)

    queue = Queue(dsn)
    app = Starlette(routes=[Mount("/admin/jobs", dashboard(queue, authorize=who)), Mount("/", django_app)])
    with served(app) as site, httpx.Client(base_url=site, timeout=30) as client:
        assert client.get("/hello").text == "hello from the project"
        assert client.get("/admin/jobs/").status_code == 403
        client.headers.update({"X-User": "ada", "Sec-Fetch-Site": "same-origin"})
        page = client.get(f"/admin/jobs/jobs/{letter}").text
        token = page.partition('name="token" value="')[2].partition('"')[0]
        form = {"verb": "retry", "job": str(letter), "back": f"/jobs/{letter}", "token": token}
        answer = client.post("/admin/jobs/act", data=form)
        assert answer.headers["location"] == f"/admin/jobs/jobs/{letter}"
        assert "1 job retried." in client.get(answer.headers["location"]).text
        assert client.get("/hello").text == "hello from the project"
    assert [entry.who for entry in queue.audit()] == ["ada"]
    queue.close()
