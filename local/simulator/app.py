"""The HTTP face of the simulator: paths and parameters only; what they answer is in :mod:`local.simulator.service`."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict

from coinbeam.clock import parse_instant
from coinbeam.errors import SettingsError
from local.simulator.answers import KEY_MISSING, Answer, ApiError, plain_error
from local.simulator.binance.rest import serve_control, serve_rest
from local.simulator.binance.stream import PING_SECONDS, PONG_SECONDS, serve_stream
from local.simulator.details import DetailFlags
from local.simulator.faults import FaultOrder
from local.simulator.gate import BASE_PATH, Gate, respond
from local.simulator.history import Step
from local.simulator.markets import MarketsQuery, Precision
from local.simulator.rendering import to_json
from local.simulator.sentiment import index_answer
from local.simulator.service import SimulatedApi
from local.simulator.tickers import ticker_rows

ProKey = Annotated[str | None, Header(alias="x-cg-pro-api-key")]
Interval = Literal["5m", "hourly", "daily"] | None
Seconds = Annotated[int, Query(ge=0, le=4_102_444_800)]

_MONTHLY_CREDIT = 500_000


def _instant(text: str | None) -> datetime | None:
    try:
        return parse_instant(text) if text else None
    except SettingsError as error:
        raise ValueError(str(error)) from error


class ClockOrder(BaseModel):
    """What ``POST /_control/clock`` takes: the instant at which the clock stands still; null lets it run."""

    model_config = ConfigDict(extra="forbid")

    at: Annotated[datetime | None, BeforeValidator(_instant)] = None


def create_app(api: SimulatedApi) -> FastAPI:
    """The application of one simulator."""
    app = FastAPI(title="CoinGecko simulator", docs_url=None, redoc_url=None, openapi_url=None)
    _serve_coins(app, api)
    _serve_others(app, api)
    _serve_control(app, api)
    serve_rest(app, api.venue, respond)
    serve_stream(app, api.venue)
    serve_control(app, api.venue)
    app.add_middleware(Gate, api=api)
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(RequestValidationError, _explain)
    return app


def server_config(app: FastAPI, ping: float = PING_SECONDS, pong: float = PONG_SECONDS) -> uvicorn.Config:
    """How the application is served: quietly, and with Binance's pings on its websockets.

    Args:
        app: what is served.
        ping: seconds between two pings of a websocket.
        pong: seconds that its client has to answer.
    """
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_ping_interval=ping,
        ws_ping_timeout=pong,
        ws_per_message_deflate=False,  # frames leave as they are: on one machine compression costs and wins nothing
    )


def _body(content: bytes) -> Response:
    return respond(Answer(200, content))


def _serve_coins(app: FastAPI, api: SimulatedApi) -> None:
    @app.get(f"{BASE_PATH}/coins/list")
    async def coins_list(include_platform: bool = False, status: Literal["active", "inactive"] = "active") -> Response:
        return _body(api.coin_list(include_platform, status))

    @app.get(f"{BASE_PATH}/coins/markets")
    async def markets(query: Annotated[MarketsQuery, Query()]) -> Response:
        return _body(api.markets(query))

    @app.get(f"{BASE_PATH}/coins/{{coin}}")
    async def coin(coin: str, flags: Annotated[DetailFlags, Query()]) -> Response:
        return _body(api.coin(coin, flags))

    @app.get(f"{BASE_PATH}/coins/{{coin}}/market_chart")
    async def market_chart(
        coin: str,
        vs_currency: str,
        days: str,
        interval: Interval = None,
        precision: Precision = None,
        key: ProKey = None,
    ) -> Response:
        step: Step | None = "5-minutely" if interval == "5m" else interval
        return _body(api.chart_of_days(coin, vs_currency, days, step, key is not None, precision))

    @app.get(f"{BASE_PATH}/coins/{{coin}}/market_chart/range")
    async def market_chart_range(
        coin: str,
        vs_currency: str,
        start: Annotated[Seconds, Query(alias="from")],
        end: Annotated[Seconds, Query(alias="to")],
        precision: Precision = None,
        key: ProKey = None,
    ) -> Response:
        span = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
        return _body(api.chart_of_range(coin, vs_currency, *span, key is not None, precision))


def _serve_others(app: FastAPI, api: SimulatedApi) -> None:
    @app.get(f"{BASE_PATH}/ping")
    async def ping() -> Response:
        return _body(to_json({"gecko_says": "(V3) To the Moon!"}))

    @app.get(f"{BASE_PATH}/exchange_rates")
    async def exchange_rates() -> Response:
        return _body(api.exchange_rates())

    @app.get(f"{BASE_PATH}/key")
    async def key(key: ProKey = None) -> Response:
        if key is None or not key.startswith("CG-"):
            raise ApiError(KEY_MISSING)
        used = api.traffic.calls.total()
        usage = {
            "plan": "Analyst",
            "rate_limit_request_per_minute": int(api.options.calls_per_minute),
            "monthly_call_credit": _MONTHLY_CREDIT,
            "current_total_monthly_calls": used,
            "current_remaining_monthly_calls": max(0, _MONTHLY_CREDIT - used),
        }
        return _body(to_json(usage))

    @app.get("/fng/")
    @app.get("/fng", include_in_schema=False)
    async def fear_and_greed(limit: Annotated[int, Query(ge=0)] = 1) -> Response:
        return _body(to_json(index_answer(api.market.catalogue.seed, api.now(), limit)))

    @app.get("/v1/tickers")
    async def tickers(quotes: str = "USD") -> Response:
        if quotes != "USD":
            raise ApiError(plain_error(400, "invalid quotes"))
        return _body(to_json(ticker_rows(api.market.snapshot(api.now()))))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}


def _serve_control(app: FastAPI, api: SimulatedApi) -> None:
    @app.get("/_control/stats")
    async def stats() -> dict[str, Any]:
        return api.stats()

    @app.get("/_control/faults")
    async def faults() -> dict[str, Any]:
        return api.fault_report()

    @app.post("/_control/faults")
    async def order_faults(order: FaultOrder) -> dict[str, Any]:
        api.order_faults(order)
        return api.fault_report()

    @app.post("/_control/clock")
    async def set_clock(order: ClockOrder) -> dict[str, str]:
        api.at = order.at
        return {"now": api.now().isoformat()}

    @app.post("/_control/reset")
    async def reset() -> dict[str, Any]:
        api.reset()
        return api.stats()


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return respond(error.answer)


async def _explain(request: Request, error: Exception) -> Response:
    """The API's own shape for a missing or malformed parameter; control paths keep the framework's detail."""
    assert isinstance(error, RequestValidationError)
    if request.url.path.startswith("/_control"):
        return respond(Answer(422, to_json({"detail": [f"{e['loc']}: {e['msg']}" for e in error.errors()]})))
    first = error.errors()[0]
    problem = "Missing" if first["type"] == "missing" else "Invalid"
    return respond(plain_error(422, f"{problem} parameter {first['loc'][-1]}"))
