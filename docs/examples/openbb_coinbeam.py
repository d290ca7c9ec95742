"""A provider of OpenBB that reads daily prices from the API.

Its package names it in the group of entry points ``openbb_provider_extension``, as
``coinbeam = "openbb_coinbeam:provider"``.
"""

import os
from typing import Any

import requests
from openbb_core.provider.abstract.fetcher import Fetcher
from openbb_core.provider.abstract.provider import Provider
from openbb_core.provider.standard_models.crypto_historical import CryptoHistoricalData, CryptoHistoricalQueryParams

API = os.environ.get("COINBEAM_API", "http://127.0.0.1:8000")
MOST = 10_000  # rows of a page: more days than there are


class Prices(Fetcher[CryptoHistoricalQueryParams, list[CryptoHistoricalData]]):
    """Daily prices of one asset, named by its id: symbols are not unique."""

    @staticmethod
    def transform_query(params: dict[str, Any]) -> CryptoHistoricalQueryParams:
        """The query as OpenBB knows it."""
        return CryptoHistoricalQueryParams(**params)

    @staticmethod
    def extract_data(
        query: CryptoHistoricalQueryParams, credentials: dict[str, str] | None, **_: Any
    ) -> list[dict[str, Any]]:
        """The days as the API has them."""
        asked = {"asset_id": query.symbol.lower(), "from": query.start_date, "to": query.end_date, "limit": MOST}
        key = (credentials or {}).get("coinbeam_api_key")
        headers = {"x-cg-demo-api-key": key} if key else {}
        answer = requests.get(f"{API}/v1/market_daily", params=asked, headers=headers, timeout=30)
        answer.raise_for_status()
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows

    @staticmethod
    def transform_data(data: list[dict[str, Any]], **_: Any) -> list[CryptoHistoricalData]:
        """The days as OpenBB knows them; there is one price a day and no candle."""
        return [CryptoHistoricalData(date=row["date"], close=row["price"], volume=row["total_volume"]) for row in data]


provider = Provider(
    name="coinbeam",
    description="Prices from a Coinbeam warehouse",
    credentials=["api_key"],
    fetcher_dict={"CryptoHistorical": Prices},
)
