"""The HTTP face of the simulator: paths and parameters only; what they answer is in :mod:`local.simulator.service`."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict

from coinbeam.clock import parse_instant
from coinbeam.errors import SettingsError
from local.simulator.answers import KEY_MISSING, Answer, ApiError, plain_error
from local.simulator.details import DetailFlags
from local.simulator.faults import FaultOrder
from local.simulator.gate import BASE_PATH, TICKERS_PATH, Gate, respond
from local.simulator.history import Step
from local.simulator.markets import MarketsQuery, Precision
from local.simulator.rendering import to_json
from local.simulator.sentiment import index_answer
from local.simulator.service import SimulatedApi
from local.simulator.tickers import ticker_rows

ProKey = Annotated[str | None, Header(alias="x-cg-pro-api-key")]
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
    app.include_router(_coins(api), prefix=BASE_PATH)
    app.include_router(_others(api))
    app.include_router(_control(api))
    app.add_middleware(Gate, api=api)
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(RequestValidationError, _explain)
    return app


def _body(content: bytes) -> Response:
    return respond(Answer(200, content))


def _coins(api: SimulatedApi) -> APIRouter:
    router = APIRouter()

    @router.get("/coins/list")
    async def coins_list(include_platform: bool = False, status: Literal["active", "inactive"] = "active") -> Response:
        return _body(api.coin_list(include_platform, status))

    @router.get("/coins/markets")
    async def markets(query: Annotated[MarketsQuery, Query()]) -> Response:
        return _body(api.markets(query))

    @router.get("/coins/{coin}")
    async def coin(coin: str, flags: Annotated[DetailFlags, Query()]) -> Response:
        return _body(api.coin(coin, flags))

    @router.get("/coins/{coin}/market_chart")
    async def market_chart(
        coin: str,
        vs_currency: str,
        days: str,
        interval: _Interval = None,
        precision: Precision = None,
        key: ProKey = None,
    ) -> Response:
        step: Step | None = "5-minutely" if interval == "5m" else interval
        return _body(api.chart_of_days(coin, vs_currency, days, step, key is not None, precision))

    @router.get("/coins/{coin}/market_chart/range")
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

    return router


_Interval = Literal["5m", "hourly", "daily"] | None


def _others(api: SimulatedApi) -> APIRouter:
    router = APIRouter()

    @router.get(f"{BASE_PATH}/ping")
    async def ping() -> Response:
        return _body(to_json({"gecko_says": "(V3) To the Moon!"}))

    @router.get(f"{BASE_PATH}/key")
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

    @router.get("/fng/")
    @router.get("/fng", include_in_schema=False)
    async def fear_and_greed(limit: Annotated[int, Query(ge=0)] = 1) -> Response:
        return _body(to_json(index_answer(api.market.catalogue.seed, api.now(), limit)))

    @router.get(TICKERS_PATH)
    async def tickers(quotes: str = "USD") -> Response:
        if quotes != "USD":
            raise ApiError(plain_error(400, "invalid quotes"))
        return _body(to_json(ticker_rows(api.market.snapshot(api.now()))))

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    return router


def _control(api: SimulatedApi) -> APIRouter:
    router = APIRouter(prefix="/_control")

    @router.get("/stats")
    async def stats() -> dict[str, Any]:
        return api.stats()

    @router.get("/faults")
    async def faults() -> dict[str, Any]:
        return api.fault_report()

    @router.post("/faults")
    async def order_faults(order: FaultOrder) -> dict[str, Any]:
        api.order_faults(order)
        return api.fault_report()

    @router.post("/clock")
    async def set_clock(order: ClockOrder) -> dict[str, str]:
        api.at = order.at
        return {"now": api.now().isoformat()}

    @router.post("/reset")
    async def reset() -> dict[str, Any]:
        api.reset()
        return api.stats()

    return router


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
