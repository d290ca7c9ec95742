"""What a job may spend: the ledger on the emulator, the calls counted by the simulator itself."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines import fetch_market_history, populate_crypto_asset_dim
from beam_pipelines.fetch_crypto_data import run
from beam_pipelines.job.clients import ShardClients, without_key
from beam_pipelines.job.command import DONE, FAILED, REFUSED, execute
from beam_pipelines.job.launch import Launch, prepare
from beam_pipelines.job.reservation import CallOrder, reserved, run_label
from beam_pipelines.snapshot.walk import MarketWalk
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, FETCH_FEAR_GREED
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import page_stem
from coinbeam.ops.call_ledger import LEDGER, CallLedger
from coinbeam.settings import Settings, Universe
from coinbeam.sources.choose import RuntimeSource
from coinbeam.sources.rate import CallsSpentError
from coinbeam.sources.registry import COINGECKO_SIMULATOR
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from tests.temporary import LocalCloud

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
MANIFEST = BatchManifest("b", "markets", "coingecko", NOW, "usd", 250, "all")


def plan(universe: UniverseSpec, shards: int, per_page: int = 250) -> MarketWalk:
    """A plan that is only counted, never asked."""
    manifest = BatchManifest("b", "markets", "coingecko", NOW, "usd", per_page, universe.label)
    return MarketWalk(manifest, "landing", universe, shards, None)


def stems(*numbers: int) -> frozenset[str]:
    """Names of landed pages."""
    return frozenset(map(page_stem, numbers))


@pytest.mark.parametrize(
    ("universe", "shards", "landed", "calls"),
    [
        pytest.param(UniverseSpec(), 1, stems(), 74, id="the whole market and its confirmed end"),
        pytest.param(UniverseSpec(), 4, stems(), 80, id="each of four shards confirms its end"),
        pytest.param(UniverseSpec(), 1, stems(*range(1, 71)), 16, id="a market that may be longer than expected"),
        pytest.param(UniverseSpec(Universe.TOP, top_n=500), 1, stems(), 2, id="two pages"),
        pytest.param(UniverseSpec(Universe.TOP, top_n=500), 1, stems(1), 1, id="one of them landed"),
        pytest.param(UniverseSpec(Universe.TOP, top_n=500), 1, stems(1, 2), 0, id="both landed"),
        pytest.param(
            UniverseSpec(Universe.TOP, top_n=1000),
            2,
            stems(1, 3),
            4,
            id="all that is left is of one shard, and shares are even",
        ),
        pytest.param(
            UniverseSpec(Universe.IDS, ids=("a", "b")),
            1,
            stems(),
            2,
            id="two ids, and those that are not answered once more",
        ),
    ],
)
def test_the_calls_of_a_walk_are_known_before_it(
    universe: UniverseSpec, shards: int, landed: frozenset[str], calls: int
) -> None:
    assert plan(universe, shards).calls_needed(landed, 18_000) == calls


@pytest.mark.parametrize(
    ("universe", "landed", "calls"),
    [
        pytest.param(UniverseSpec(), stems(1), 361, id="the whole market in pages of fifty, and its confirmed end"),
        pytest.param(UniverseSpec(Universe.TOP, top_n=500), stems(1, 2), 8, id="a top N in pages of fifty"),
        pytest.param(UniverseSpec(Universe.IDS, ids=("a", "b")), stems(1), 1, id="ids are asked for as planned"),
    ],
)
def test_a_source_that_gives_fewer_rows_a_page_needs_more_calls(
    universe: UniverseSpec, landed: frozenset[str], calls: int
) -> None:
    assert plan(universe, 1).calls_needed(landed, 18_000, size=50) == calls


@given(
    top_n=st.integers(1, 5_000),
    per_page=st.integers(1, 250),
    shards=st.integers(1, 16),
    missing=st.sets(st.integers(1, 5_000)),
)
def test_no_shard_needs_more_than_its_share(top_n: int, per_page: int, shards: int, missing: set[int]) -> None:
    walk = plan(UniverseSpec(Universe.TOP, top_n=top_n), shards, per_page)
    last = walk.last_page(per_page) or 0
    landed = stems(*(number for number in range(1, last + 1) if number not in missing))
    calls = walk.calls_needed(landed, 18_000)
    assert calls % shards == 0
    for shard in range(shards):
        asked = [number for number in range(shard + 1, last + 1, shards) if page_stem(number) not in landed]
        assert len(asked) <= calls // shards


@pytest.mark.parametrize(
    ("variables", "label"),
    [
        ({}, None),
        ({"AIRFLOW_CTX_DAG_RUN_ID": "manual__1", "AIRFLOW_CTX_TRY_NUMBER": "2"}, "manual__1, attempt 2"),
        ({"AIRFLOW_CTX_DAG_RUN_ID": "manual__1"}, "manual__1, attempt 1"),
    ],
)
def test_the_ledger_names_run_and_attempt(variables: dict[str, str], label: str | None) -> None:
    assert run_label(variables) == label


class Market:
    """A market of 600 coins, in pages of 100, and a ledger of its own."""

    def __init__(self, cloud: LocalCloud, simulator: Any, output: Path) -> None:
        self.cloud, self.simulator, self.output = cloud, simulator, output
        self.warehouse = Warehouse(cloud.settings)

    def settings(self, calls_per_month: int) -> Settings:
        """Settings whose simulator grants so many calls a month, and an impatient client."""
        given = self.cloud.settings
        ports = given.local.ports.model_copy(update={"simulator": self.simulator.port})
        market = given.local.simulator.model_copy(update={"calls_per_month": calls_per_month, "coins": 600})
        local = given.local.model_copy(update={"ports": ports, "simulator": market})
        patience = {"max_attempts": 3, "max_wait_seconds": 5.0}
        return given.model_copy(update={"local": local, "coingecko": given.coingecko.model_copy(update=patience)})

    def run(self, calls_per_month: int, *argv: str, job: Callable[..., Any] = run) -> int:
        """One attempt of a job; its exit code."""
        given = self.settings(calls_per_month)
        options = [
            "--snapshot_at=2026-01-02T00:00:00Z",
            f"--output={self.output}",
            "--source=simulator",
            "--call_ledger=on",
            *argv,
        ]
        return execute(lambda line: job(line, given, lambda: NOW), FETCH_CRYPTO_DATA, options)

    @property
    def calls(self) -> int:
        """Calls by the simulator's own count."""
        return sum(self.simulator.api.traffic.calls.values())

    def entries(self) -> list[tuple[int, int | None]]:
        """Reserved and spent calls of each attempt, in order."""
        rows = self.warehouse.rows(
            f"SELECT calls_reserved, calls_spent FROM `{self.warehouse.table(load_contract(LEDGER))}` "
            "WHERE budget_month = '2026-01-01' AND job != 'lock' ORDER BY settled_at, reserved_at, calls_reserved DESC"
        )
        return [(row["calls_reserved"], row["calls_spent"]) for row in rows]

    def used(self) -> int:
        """Calls that count against the month."""
        return CallLedger(self.warehouse, self.settings(1), lambda: NOW).usage(COINGECKO_SIMULATOR.id).used


PAGES = "--per_page=100"
NEEDED = 9  # six full pages, the empty one, and its confirmation, which end the walk; and the exchange rates


@pytest.fixture
def market(fresh_cloud: LocalCloud, simulator: Any, tmp_path: Path) -> Market:
    """A market whose ledger exists and is empty."""
    made = Market(fresh_cloud, simulator, tmp_path)
    ensure_schema(made.warehouse)
    return made


@pytest.mark.cloud
@pytest.mark.parametrize("shards", [1, 4])
def test_a_job_settles_what_it_spent(market: Market, shards: int) -> None:
    assert market.run(1_000, PAGES, f"--fetch_shards={shards}") == DONE
    ((held, spent),) = market.entries()
    assert spent == market.calls == market.used()
    assert held % shards == 0
    assert held > spent


@pytest.mark.cloud
def test_a_job_that_the_month_cannot_pay_asks_nobody(market: Market, capsys: pytest.CaptureFixture[str]) -> None:
    assert market.run(NEEDED - 1, PAGES) == REFUSED
    assert "BudgetExceededError: fetch_crypto_data needs 9 calls" in capsys.readouterr().err
    assert market.calls == 0
    assert market.entries() == []


@pytest.mark.cloud
def test_the_last_calls_of_a_month_are_enough_for_a_walk_without_retries(market: Market) -> None:
    assert market.run(NEEDED, PAGES) == DONE
    assert market.entries() == [(NEEDED, market.calls)] == [(NEEDED, NEEDED)]


@pytest.mark.cloud
def test_the_last_call_of_a_month_goes_to_prices_and_the_rates_are_missing(
    market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    market.simulator.order(profile="server_error", limit=1)
    assert market.run(NEEDED, PAGES) == DONE
    assert market.entries() == [(NEEDED, market.calls)] == [(NEEDED, NEEDED)]
    assert "has no exchange rates; its prices do not wait. All 9 calls" in caplog.text


@pytest.mark.cloud
def test_retries_stop_at_the_bound_and_the_next_month_goes_on(
    market: Market, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two answers are refused, so that the pages alone need ten calls, and the month has nine: the tenth is never
    made.
    """
    market.simulator.order(profile="server_error", seed=2, limit=2)  # pages 1 and 4
    assert market.run(NEEDED, PAGES) == FAILED
    assert "All 9 calls that were reserved" in capsys.readouterr().err
    assert market.calls == NEEDED == market.used()
    assert market.entries() == [(NEEDED, NEEDED)]
    assert market.run(NEEDED + 6, PAGES) == DONE
    assert market.calls <= NEEDED + 6


@pytest.mark.cloud
def test_a_failed_attempt_on_one_machine_counts_what_it_spent(market: Market) -> None:
    market.simulator.order(profile="down")
    assert market.run(1_000, PAGES) == FAILED
    ((held, spent),) = market.entries()
    assert spent == market.calls == 3 < held
    market.simulator.order()
    assert market.run(1_000, PAGES) == DONE
    assert market.used() == market.calls == 3 + NEEDED


@pytest.mark.cloud
def test_the_assets_job_reserves_too(market: Market) -> None:
    assert market.run(1_000, "--max_details=4", job=populate_crypto_asset_dim.run) == DONE
    ((held, spent),) = market.entries()
    assert (held, spent, market.calls) == (5 + 1 + 3, 5, 5)


@pytest.mark.cloud
def test_a_simulated_run_by_hand_and_a_replay_leave_the_ledger_alone(market: Market) -> None:
    assert market.run(1, PAGES, "--call_ledger=auto") == DONE
    assert (
        market.run(1, PAGES, f"--source={market.output}/landing/markets/*/*", f"--output={market.output}/again") == DONE
    )
    assert market.entries() == []


def order(settings: Settings, output: Path, runner: str = "") -> tuple[CallOrder, Launch]:
    """Ten calls of a job."""
    argv = [f"--output={output}", "--call_ledger=on", *([f"--runner={runner}"] if runner else [])]
    source = RuntimeSource("simulator", "http://127.0.0.1:1/api/v3")
    clients = ShardClients(without_key(settings.coingecko), source, 60, 2)
    return CallOrder("b", 10, clients), prepare(FETCH_FEAR_GREED, argv, settings, lambda: NOW)


def reported(launch: Launch, calls: int) -> None:
    """The report of a pipeline that ended."""
    Path(launch.report_uri).parent.mkdir(parents=True, exist_ok=True)
    Path(launch.report_uri).write_text(json.dumps({"api_calls": calls}))


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("runner", "error", "spent"),
    [
        pytest.param("", RuntimeError("x"), 2, id="failed in this process: the calls are known"),
        pytest.param("DataflowRunner", RuntimeError("x"), None, id="failed elsewhere: nobody knows"),
        pytest.param("", KeyboardInterrupt(), None, id="interrupted: calls may still be made"),
    ],
)
def test_calls_that_nobody_counted_count_in_full(
    market: Market, runner: str, error: BaseException, spent: int | None
) -> None:
    settings = market.settings(1_000)
    asked, launch = order(settings, market.output, runner)

    def attempt() -> None:
        with reserved(asked, launch) as clients:
            for client in (clients(), clients()):
                client._cap.take()  # type: ignore[union-attr]
            raise error

    with pytest.raises(type(error)):
        attempt()
    assert market.entries() == [(16, spent)]
    assert market.used() == (16 if spent is None else spent)


@pytest.mark.cloud
def test_the_shards_divide_what_was_reserved(market: Market) -> None:
    settings = market.settings(1_000)
    asked, launch = order(settings, market.output)
    with reserved(asked, launch) as clients:
        for client in (clients(), clients()):
            for _ in range(8):
                client._cap.take()  # type: ignore[union-attr]
            with pytest.raises(CallsSpentError):
                client.ping()
        reported(launch, 16)
    assert market.entries() == [(16, 16)]


@pytest.mark.cloud
def test_a_ledger_that_is_lost_at_the_end_fails_no_job(market: Market, caplog: pytest.LogCaptureFixture) -> None:
    settings = market.settings(1_000)
    asked, launch = order(settings, market.output)
    with reserved(asked, launch):
        market.warehouse.client.delete_table(f"local.{market.warehouse.table(load_contract(LEDGER))}")
        reported(launch, 3)
    assert "16 calls stay reserved for b and count in full" in caplog.text


@pytest.mark.cloud
def test_history_reserves_only_the_pieces_that_were_not_landed(market: Market) -> None:
    days = ["--from_date=2025-12-01", "--to_date=2025-12-10"]
    assert market.run(1_000, "--assets=bitcoin", *days, job=fetch_market_history.run) == DONE
    assert market.entries() == [(1 + 1 + 3, 1)]
    assert (
        market.run(3, "--assets=bitcoin,ethereum,tether", *days, "--fetch_shards=1", job=fetch_market_history.run)
        == DONE
    )
    assert market.used() == market.calls == 3
