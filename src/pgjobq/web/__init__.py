"""The dashboard: what happens in a queue, why, and the buttons to put it right, as an ASGI application.

    app = dashboard(queue)                                   # answers on this machine only
    app = dashboard(queue, authorize=who_is_it)              # behind your own login

app         the routes, put together
guard       who may: authorize, roles, forged requests, headers
visitors    who visits, and what each role may
filters     a listing's filter, from a query string and back
pages       what each address answers
acts        retry and cancel: dry run, confirmation, and the word about it
controls    pause, resume, run now, change a waiting job
veil        what is kept from being shown
rendering   templates, and how values read
charts      pictures, drawn here as SVG
live        tells open pages that something has changed
metrics     what stands in the queue, for Prometheus

Needs the extra `web`. Works without JavaScript; nothing is loaded from elsewhere.
"""

from __future__ import annotations

from pgjobq.web.app import dashboard
from pgjobq.web.visitors import Authorize, Role, Visitor

__all__ = ["Authorize", "Role", "Visitor", "dashboard"]
