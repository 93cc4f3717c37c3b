"""The addresses of the live page. All of them read."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from codesign.dashboard.guard import Guard
from codesign.dashboard.source import StudySource
from codesign.errors import CodesignError

TAIL = 60


def make_app(source: StudySource, *, token: str = "") -> Starlette:
    """Return the ASGI application of a study's page.

    Args:
        token: that every request must bring; empty: none, and only this machine's own names are
            served (see `Guard`).
    """

    def page(request: Request) -> Response:
        return _tagged(request, source.page(), "text/html")

    def news(request: Request) -> Response:
        found = source.news(request.query_params.get("since", ""))
        text = json.dumps(found, allow_nan=False, separators=(",", ":"))
        return _tagged(request, text, "application/json")

    def log(request: Request) -> Response:
        tail = request.query_params.get("tail", "")
        lines = int(tail) if tail.isdecimal() else TAIL
        return JSONResponse(source.log(request.path_params["trial"], lines))

    def design(request: Request) -> Response:
        text = source.design(request.path_params["trial"])
        return Response(text, media_type="application/yaml")

    @contextlib.asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        yield
        source.close()

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/study", news),
            Route("/api/trials/{trial:int}/log", log),
            Route("/api/trials/{trial:int}/design.yaml", design),
        ],
        middleware=[Middleware(Guard, token=token), Middleware(GZipMiddleware, minimum_size=500)],
        exception_handlers={CodesignError: _problem},
        lifespan=life,
    )


def _tagged(request: Request, text: str, kind: str) -> Response:
    """Answer in full, or that the asker has it already."""
    body = text.encode()
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:20]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)


def _problem(_: Request, error: Exception) -> Response:
    return JSONResponse({"problem": str(error)}, status_code=404)
