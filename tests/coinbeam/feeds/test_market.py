"""Real and simulated values never mix unnoticed."""

import pytest
from pydantic import HttpUrl

from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.feeds.market import choose_market, counting_for
from coinbeam.settings import CoinGeckoSettings, MarketSettings, MarketSource, PlanLimits, Settings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.staging import merge_rows
from tests.coinbeam.conftest import DAY, Stage
from tests.temporary import free_ports

pytestmark = pytest.mark.cloud


def record_batches(warehouse: Warehouse, *sources: str) -> None:
    """Record a published batch of each source."""
    rows = [
        {
            "batch_id": f"batch-{source}",
            "run_id": "run",
            "snapshot_at": DAY.isoformat(),
            "snapshot_date": str(DAY.date()),
            "status": "published",
            "mode": "fetch",
            "environment": "local",
            "source_id": source,
            "universe": "all",
            "quote_currency": "usd",
            "runner": "local",
            "started_at": DAY.isoformat(),
            "finished_at": DAY.isoformat(),
            "coinbeam_version": "0",
        }
        for source in sources
    ]
    contract = load_contract("ingestion_batch")
    required = {column.name: 0 for column in contract.columns if column.required}
    merge_rows(warehouse, contract, [{**required, **row} for row in rows])


def holding(stage: Stage, *sources: str, wanted: MarketSource) -> tuple[Settings, Warehouse]:
    """A warehouse whose record names published batches of sources, with a live API that nobody serves."""
    record_batches(stage.warehouse, *sources)
    [port] = free_ports(1)
    limits = PlanLimits(
        base_url=HttpUrl(f"http://127.0.0.1:{port}/api/v3"),
        calls_per_minute=30,
        calls_per_month=10_000,
        history_days=365,
    )
    settings = stage.warehouse.settings.model_copy(
        update={
            "market": MarketSettings(source=wanted),
            "coingecko": CoinGeckoSettings(plan="test", plans={"test": limits}),
        }
    )
    return settings, stage.warehouse


def test_auto_falls_back_where_nothing_real_is_held(stage: Stage) -> None:
    chosen = choose_market(*holding(stage, "coingecko_simulator", wanted=MarketSource.AUTO))
    assert chosen.kind == "simulator"
    assert "SIMULATED PRICES: nothing in this run" in str(chosen.banner)


def test_auto_never_falls_back_into_a_warehouse_of_real_values(stage: Stage) -> None:
    with pytest.raises(SettingsError, match="holds real values") as refused:
        choose_market(*holding(stage, "coingecko", wanted=MarketSource.AUTO))
    assert "no answer from 127.0.0.1" in str(refused.value)


@pytest.mark.parametrize(
    ("wanted", "held", "said"),
    [
        pytest.param(MarketSource.LIVE, "coingecko_simulator", "coinbeam local live", id="real into simulated"),
        pytest.param(MarketSource.SIMULATOR, "coingecko", "STATE_DIR", id="simulated into real"),
        pytest.param(MarketSource.LIVE, "coingecko", None, id="real into real"),
        pytest.param(MarketSource.SIMULATOR, "coingecko_simulator", None, id="simulated into simulated"),
        pytest.param(MarketSource.LIVE, "alternative_me_simulator", "SIMULATED rows", id="by the index too"),
    ],
)
def test_a_mixture_that_is_ordered_is_told(wanted: MarketSource, held: str, said: str | None, stage: Stage) -> None:
    chosen = choose_market(*holding(stage, held, wanted=wanted))
    assert chosen.kind == wanted
    assert (said in str(chosen.banner)) if said else chosen.banner is None


def test_simulated_rows_say_nothing_of_a_real_source(stage: Stage) -> None:
    def counted(source_id: str) -> int:
        rows = "UNNEST(['coingecko', 'coingecko_simulator', 'file']) AS source_id"
        return int(stage.warehouse.rows(f"SELECT COUNT(*) AS n FROM {rows} WHERE {counting_for(source_id)}")[0]["n"])

    assert [counted(one) for one in ("coingecko", "coingecko_simulator", "file")] == [2, 3, 3]
