"""The application: routes, errors, files of the page."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from promptcodec import __version__
from promptcodec.errors import PromptcodecError
from promptcodec.serve import page_routes, public
from promptcodec.serve.gate import Gate, problem_response
from promptcodec.serve.problems import ServiceError, problem_of, sentence
from promptcodec.serve.service import Service
from promptcodec.serve.settings import Settings

PAGE = Path(__file__).parent / "page"
MOST_REQUESTS = 256  # at once, beside those that wait for a worker
_DESCRIPTION = """
Pictures to .ptc files and back. Bodies are files as they are: `curl --data-binary @photo.jpg`. Errors are
`application/problem+json`; where too much waits, 503 says in `Retry-After` when to try again.
"""


def make_app(settings: Settings) -> ASGIApp:
    """Return the application of a service, which begins and ends with it."""
    service = Service(settings)
    return Gate(make_routes(service), settings.hosts, service.telemetry, MOST_REQUESTS + settings.max_queue)


def make_routes(service: Service) -> FastAPI:
    """Routes and errors of a service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.close()

    app = FastAPI(
        title="promptcodec", version=__version__, description=_DESCRIPTION, docs_url=None, redoc_url=None,
        lifespan=lifespan,
    )  # fmt: skip
    app.state.service = service
    app.include_router(public.router)
    app.include_router(page_routes.router)
    _add_operations(app, service)
    _add_problem_schema(app)
    _add_errors(app)
    if PAGE.is_dir():
        for suffix, media_type in ((".js", "text/javascript"), (".css", "text/css"), (".svg", "image/svg+xml")):
            mimetypes.add_type(media_type, suffix)  # some systems know others
        app.mount("/", _PageFiles(directory=PAGE, html=True))
    return app


class _PageFiles(StaticFiles):
    """The page's files, which browsers ask for anew."""

    def file_response(self, *args: Any, **extra: Any) -> Response:
        response = super().file_response(*args, **extra)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the service runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether a worker is ready", responses=public.problems(503))
    async def readyz() -> dict[str, int]:
        if not service.coding.alive:
            raise ServiceError("busy", "no worker is ready yet", 2)
        return {"workers": service.coding.alive, "waiting": service.coding.waiting}

    @app.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.telemetry.text(), media_type=CONTENT_TYPE_LATEST)


def _add_problem_schema(app: FastAPI) -> None:
    """What error answers refer to; FastAPI itself would have them as plain JSON, and its own 422."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    schemas["Problem"] = public.Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ServiceError)
    async def problem(request: Request, error: ServiceError) -> JSONResponse:
        return problem_response(error)

    @app.exception_handler(PromptcodecError)
    async def ours(request: Request, error: PromptcodecError) -> JSONResponse:
        return problem_response(problem_of(type(error).__name__, str(error)))

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(ServiceError("options", "; ".join(sentence(fault, 1) for fault in error.errors())))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        kinds = {404: "not-found", 405: "method-not-allowed"}
        kind = kinds.get(error.status_code, "malformed")
        if kind == "not-found" and any(route.matches(request.scope)[0] == Match.PARTIAL for route in app.routes):
            kind = "method-not-allowed"  # the page's files, which match everything, have answered
        texts = {
            "not-found": "there is nothing at this address",
            "method-not-allowed": "this address takes another method",
        }
        return problem_response(ServiceError(kind, texts.get(kind, str(error.detail))))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return problem_response(problem_of(type(error).__name__, ""))
