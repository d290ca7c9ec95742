"""The bound on calls per minute holds for history on any number of parallel shards, by the simulator's own count."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coinbeam.sources.rate
import local.simulator.traffic
from beam_pipelines.fetch_market_history import run
from coinbeam.settings import LocalSettings, PortSettings, Settings, SimulatorSettings
from local.simulator.service import SimulatedApi, SimulatorOptions
from tests.beam_pipelines.conftest import Simulator, served

pytestmark = pytest.mark.slow

WINDOW_SECONDS = 1.2
"""Stands for the minute of the plan, so that a test sees several windows."""

CALLS_PER_WINDOW = 16


@pytest.fixture(scope="module")
def strict() -> Iterator[Simulator]:
    """A simulator that refuses the seventeenth call of any window; it and the limiter of the job count in short
    windows.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coinbeam.sources.rate, "WINDOW_SECONDS", WINDOW_SECONDS)
        patch.setattr(local.simulator.traffic, "WINDOW_SECONDS", WINDOW_SECONDS)
        api = SimulatedApi(SimulatorOptions(seed=7, coins=60, calls_per_minute=CALLS_PER_WINDOW))
        with served(api) as port:
            yield Simulator(api, port)


@pytest.fixture
def bound(make_settings: Callable[..., Settings], strict: Simulator) -> Settings:
    """Settings whose plan is what the simulator allows."""
    strict.api.reset()
    local_settings = LocalSettings(
        ports=PortSettings(simulator=strict.port), simulator=SimulatorSettings(calls_per_minute=CALLS_PER_WINDOW)
    )
    return make_settings(strict.port).model_copy(update={"local": local_settings})


@pytest.mark.parametrize("shards", [1, 4, 16])
def test_the_quota_holds_with_parallel_shards(bound: Settings, strict: Simulator, tmp_path: Path, shards: int) -> None:
    assets = ",".join(strict.api.market.snapshot(strict.api.now()).identity[0][:40])
    workers = [f"--direct_num_workers={shards}", "--direct_running_mode=multi_threading"] if shards > 1 else []
    report: dict[str, Any] = run(
        [
            f"--output={tmp_path}",
            f"--assets={assets}",
            f"--fetch_shards={shards}",
            "--from_date=2026-01-01",
            "--to_date=2026-06-30",
            *workers,
        ],
        bound,
    )
    stats = strict.api.stats()
    assert stats["too_many_requests"] == 0
    assert stats["total_calls"] == report["api_calls"] == 40 > 2 * CALLS_PER_WINDOW
    assert report["pieces_missing"] == 0
