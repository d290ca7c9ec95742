"""The application: CoinGecko's routes, our own, health, and what they share."""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pyarrow as pa
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from coinbeam import __version__
from coinbeam.bundle.reader import Follower, open_files
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.errors import CoinbeamError
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings
from serving.api import coingecko, v1
from serving.api.answers import COINGECKO, JSON, Refusal, unavailable
from serving.api.description import AS_OF, Described, coingecko_responses
from serving.api.gate import App, Gate
from serving.api.keys import KeyRing, Keys
from serving.api.parameters import STRING, read_all
from serving.api.view import View

logger = logging.getLogger("coinbeam.api")

_DESCRIPTION = """The market as the warehouse knows it. Below `/api/v3` CoinGecko's own clients work; below `/v1` are
the marts, signals, quality and batches. `as_of=` asks any route for the state at an instant of the past. HEAD answers
like GET, without a body.

The data belong to their sources, whose terms limit redistribution: keep this service private unless a person has read
them."""


def create_app(settings: Settings, *, needs_key: bool, bucket: Bucket | None = None, clock: Clock = utc_now) -> App:
    """The application of one server.

    Args:
        needs_key: whether a call without a key is refused.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # the pooled ones keep what a version needed only while it was opened
    bucket = bucket or Bucket(settings)
    ring = KeyRing(Keys(bucket, clock))
    follower = Follower(
        open_files(settings, bucket), lambda bundle: View(bundle, clock), settings.serving.poll_seconds, (ring.look,)
    )
    app = Described(
        title="Coinbeam",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=_following(follower),
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.needs_key = needs_key
    _serve_coingecko(app, settings, clock)
    v1.serve(app)
    _serve_health(app, follower, clock, settings)
    _shape_errors(app)
    gate: App = Gate(app, settings.serving, follower, ring, clock, needs_key=needs_key)
    if settings.serving.cors_origins:
        gate = CORSMiddleware(
            gate, allow_origins=settings.serving.cors_origins, allow_methods=["GET"], allow_headers=["*"]
        )
    return gate


def _following(follower: Follower[View]) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        follower.start()
        yield
        follower.stop()

    return lifespan


def _serve_coingecko(app: FastAPI, settings: Settings, clock: Clock) -> None:
    for route in coingecko.ROUTES:
        app.add_api_route(
            COINGECKO + route.path,
            _endpoint(route, settings, clock),
            methods=["GET"],
            name=route.answer.__name__ if route.answer.__name__ != "refuse" else route.path.rpartition("/")[2],
            summary=route.summary,
            tags=["CoinGecko"],
            response_class=Response,
            status_code=404 if route.shape is None else 200,
            responses=coingecko_responses(route.shape),
            openapi_extra={"parameters": _described(route)},
        )


def _described(route: coingecko.Route) -> list[dict[str, Any]]:
    """The parameters of a route as OpenAPI has them."""
    of_path = (
        [{"name": "id", "in": "path", "required": True, "schema": dict(STRING), "example": "bitcoin"}]
        if "{id}" in route.path
        else []
    )
    of_query = [
        parameter.described() | ({} if parameter.required else {"allowEmptyValue": True})
        for parameter in route.parameters.values()
    ]
    return [*of_path, *of_query, AS_OF]


def _endpoint(
    route: coingecko.Route, settings: Settings, clock: Clock
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """What answers a route."""

    async def endpoint(request: Request) -> Response:
        state = request.scope["state"]
        ask = coingecko.Ask(
            state["view"],
            read_all(route.parameters, state["query"]),
            state["as_of"],
            request.scope["path_params"].get("id", ""),
            state["key"],
            clock(),
            settings.serving,
            state["calls"],
        )
        body, market = route.answer(ask)
        headers = {}
        if market is not None:
            headers["x-coinbeam-as-of"] = format_instant(market.as_of)
            if market.derived_from:
                headers["x-coinbeam-derived"] = f"{market.quote_currency} from {market.derived_from}"
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        return Response(content, headers=headers, media_type=JSON)

    return endpoint


_FAULT = "The newest version cannot be read; the log says why."
"""Its own words may name the bucket and accounts, and whoever reaches the server may ask for its health."""


def _serve_health(app: FastAPI, follower: Follower[View], clock: Clock, settings: Settings) -> None:
    @app.get("/health", tags=["Health"], summary="The process answers")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", tags=["Health"], summary="It has a version to answer from", responses={503: {}})
    async def ready() -> Response:
        view, limit = follower.view, settings.serving.stale_after_minutes
        age = (clock() - view.newest).total_seconds() / 60 if view and view.newest else None
        body = {
            "ready": view is not None,
            "stale": limit is not None and (age is None or age > limit),
            "version": view.version if view else None,
            "age_minutes": None if age is None else round(age, 1),
            "fault": _FAULT if follower.fault else None,
        }
        return Response(orjson.dumps(body), 200 if body["ready"] else 503, media_type=JSON)


def _shape_errors(app: FastAPI) -> None:
    """Every error in the shape of its path, and none with the text of an exception."""

    async def refuse(request: Request, refusal: Refusal) -> Response:
        answer = refusal.answer(request.scope["path"])
        return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)

    async def on_refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return await refuse(request, error)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            what = f"{request.scope['path']} is not a route of this service; /docs lists them."
            return await refuse(request, Refusal(404, what))
        if error.status_code == 405:
            return await refuse(request, Refusal(405, "Every route is read, by GET or HEAD.", Allow="GET, HEAD"))
        return await refuse(request, Refusal(error.status_code, str(error.detail)))

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        return await refuse(request, Refusal(422, faults))

    async def on_unreadable(request: Request, error: Exception) -> Response:
        logger.warning("A call of %r found no data: %s", request.scope["path"], error)
        return await refuse(request, unavailable("A part of this version cannot be read now; the log says why."))

    async def on_fault(request: Request, error: Exception) -> Response:
        logger.error("A call of %r failed", request.scope["path"], exc_info=error)
        return await refuse(request, Refusal(500, "The server failed; its log says why.", 500))

    app.add_exception_handler(Refusal, on_refusal)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(CoinbeamError, on_unreadable)
    app.add_exception_handler(Exception, on_fault)
