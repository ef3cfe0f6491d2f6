"""The web application: `uvicorn --factory examples.ecommerce.shop.app:create_app`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ..ports import serve
from .db import page_pool
from .guards import SameOrigin
from .jobs import queue
from .pages import apologies, orders, storefront, support
from .rendering import HERE
from .settings import ShopSettings


def create_app(settings: ShopSettings | None = None) -> Starlette:
    """The shop over the database that `settings` (by default the environment) names."""
    chosen = settings or ShopSettings.from_environ()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with page_pool(chosen.dsn) as pool:
            app.state.pool, app.state.queue = pool, queue
            yield

    return Starlette(
        routes=[
            Route("/", storefront.show_products),
            Route("/basket", storefront.show_basket, methods=["GET"]),
            Route("/basket", storefront.change_basket, methods=["POST"]),
            Route("/checkout", storefront.show_checkout, methods=["GET"]),
            Route("/checkout", storefront.place, methods=["POST"]),
            Route("/orders/{order:int}", orders.show_order),
            Route("/orders/{order:int}/jobs/{job:int}/retry", orders.retry_job, methods=["POST"]),
            Route("/support", support.show_trouble),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[Middleware(SameOrigin)],
        exception_handlers=apologies.HANDLERS,
        lifespan=lifespan,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the shop by itself, on `--port` or a free one."""
    parser = argparse.ArgumentParser(prog="python -m examples.ecommerce.shop.app", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="0: any free one (default: 8000, or the next free one)")
    serve(create_app(), parser.parse_args(argv).port)


if __name__ == "__main__":
    main()
