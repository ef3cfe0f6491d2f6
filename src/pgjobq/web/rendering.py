"""Pages from templates, and how values read: times, numbers, states, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote, unquote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pgjobq.job import JobState
from pgjobq.web import files
from pgjobq.web.charts import bars, errors, line, spark, waiting
from pgjobq.web.desk import desk_of
from pgjobq.web.filters import as_query
from pgjobq.web.guard import FIELD
from pgjobq.web.visitors import Role

__all__ = ["path_of", "redirect", "render", "stamp"]

SAID = "pgjobq_said"
LONGEST_SAID = 300


def render(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """A page for this visitor."""
    desk, visitor = desk_of(request), request.state.visitor
    said = unquote(request.cookies.get(SAID, ""))[:LONGEST_SAID]
    text = (
        _environment()
        .get_template(template)
        .render(
            root=request.scope.get("root_path", ""),
            here=path_of(request),
            title=desk.title,
            visitor=visitor,
            may_operate=visitor.role.may(Role.OPERATOR),
            may_administer=visitor.role.may(Role.ADMIN),
            token=request.state.token,
            token_field=FIELD,
            said=said,
            now=datetime.now(UTC),
            **values,
        )
    )
    response = HTMLResponse(text, status, headers=dict(headers or {}))
    if said:
        response.delete_cookie(SAID, path=request.scope.get("root_path") or "/")
    return response


def redirect(request: Request, to: str, said: str) -> Response:
    """To a page of ours, which then says this once."""
    root = request.scope.get("root_path", "")
    response = Response(status_code=303, headers={"Location": quote(f"{root}{to}", safe="/?&=%#:+-_.~")})
    response.set_cookie(
        SAID, quote(said[:LONGEST_SAID]), max_age=60, path=root or "/", httponly=True, samesite="strict"
    )
    return response


def path_of(request: Request) -> str:
    """The page's path below the dashboard's root."""
    path, root = request.scope["path"], request.scope.get("root_path", "")
    return (path[len(root) :] if root and path.startswith(root) else path) or "/"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pgjobq.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": ago,
        "clock": clock,
        "stamp": stamp,
        "took": took,
        "number": number,
        "pace": pace,
        "counted": counted,
        "pretty": pretty,
        "brief": brief,
        "first_line": first_line,
        "one_line": one_line,
        "plural": plural,
    }
    environment.globals |= {
        "asset": files.address,
        "as_query": as_query,
        "bars": bars,
        "errors": errors,
        "line": line,
        "spark": spark,
        "waiting": waiting,
        "states": list(JobState),
        "urlencode": quote,
    }
    return environment


# ------------------------------------------------------------------------------------------------ how values read


def ago(moment: datetime | None) -> Markup:
    """A moment as its distance from now, with the exact time behind it."""
    if moment is None:
        return Markup("—")
    seconds = (datetime.now(UTC) - moment).total_seconds()
    words = "now" if abs(seconds) < 1 else f"{took(seconds)} ago" if seconds > 0 else f"in {took(-seconds)}"
    exact = clock(moment)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(), exact, words)


def clock(moment: datetime | None) -> str:
    """A moment as a person writes it, in UTC."""
    return "—" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def stamp(moment: datetime | None) -> str:
    """A moment as a form takes it, in UTC."""
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def took(seconds: float | None) -> str:
    """A length of time in its largest unit that is at least one, two where the first is small."""
    if seconds is None:
        return "—"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {rest} min" if rest and hours < 10 else f"{hours} h"
    days, rest = divmod(hours, 24)
    return f"{days} d {rest} h" if rest and days < 10 else f"{days:,} d"


def number(value: float) -> str:
    """A number with its thousands set apart."""
    return f"{value:,}"


def pace(value: float) -> str:
    """So many in a minute: whole ones, but for a few."""
    return "0" if not value else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def counted(value: int, cap: int) -> str:
    """A count that ends at `cap`."""
    return f"{cap:,}+" if value >= cap else f"{value:,}"


def plural(value: int, word: str, many: str | None = None) -> str:
    """`1 job`, `2 jobs`."""
    return f"{value:,} {word if value == 1 else many or word + 's'}"


def pretty(value: Any) -> str:
    """JSON for reading."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def one_line(value: Any, limit: int = 200) -> str:
    """JSON on one line, cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def brief(value: Any, limit: int = 80) -> str:
    """JSON on one line, cut."""
    text = ", ".join(f"{name}={json.dumps(inner, ensure_ascii=False)}" for name, inner in value.items())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def first_line(text: str | None, limit: int = 140) -> str:
    """A text's first line, cut."""
    line_ = (text or "").strip().partition("\n")[0]
    return line_ if len(line_) <= limit else f"{line_[: limit - 1]}…"
