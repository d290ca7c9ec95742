"""The sentiment job against the real simulator: one call, landed once, replayed byte for byte."""

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.fetch_fear_greed import run
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.settings import Environment, Settings

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
FILES = ("fear_greed.csv", "rejected_fear_greed.ndjson")


@pytest.fixture(autouse=True)
def market_of_march(simulator: Any) -> None:
    """The simulator's clock stands where the job's does."""
    simulator.api.at = NOW


def index(settings: Settings, output: Path, *argv: str) -> dict[str, Any]:
    return run(["--runner=DirectRunner", f"--output={output}", *argv], settings, lambda: NOW)


def test_the_whole_index_is_one_call(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    report = index(settings, tmp_path)
    with (tmp_path / "fear_greed.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [rows[0]["date"], rows[-1]["date"]] == ["2018-02-01", "2026-03-10"]
    assert len(rows) == report["rows_valid"] == report["metrics"]["rows_valid"]
    assert (report["days_missing"], report["days_never_published"], report["rows_rejected"]) == (0, 4, 0)
    assert (report["api_calls"], simulator.calls("/fng")) == (1, 1)
    assert (report["source_id"], report["batch_id"]) == ("alternative_me_simulator", "20260310T0000Z-fear-greed")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("index*")] == [
        "landing/fear_greed/20260310T0000Z-fear-greed-alternative_me_simulator/index.json.gz"
    ]
    assert json.loads((tmp_path / "report_fetch_fear_greed.json").read_text())["rows_valid"] == len(rows)


def test_a_second_run_and_a_replay_write_the_same_bytes(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    index(settings, tmp_path)
    first = [(tmp_path / name).read_bytes() for name in FILES]
    again = index(settings, tmp_path)
    replay = index(settings, tmp_path / "replay", f"--source={tmp_path}/landing/fear_greed/*/*")
    assert (
        [(tmp_path / name).read_bytes() for name in FILES]
        == first
        == [(tmp_path / "replay" / name).read_bytes() for name in FILES]
    )
    assert (again["bodies_reused"], replay["api_calls"], simulator.calls("/fng")) == (1, 0, 1)


def test_a_csv_of_a_user_is_a_source_of_its_own(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "fng.csv").write_text("date,fng\n2018-02-01,30\n2018-02-02,15\n")
    report = index(
        make_settings(environment=Environment.PRODUCTION),
        tmp_path / "out",
        f"--source={tmp_path}/fng.csv",
        "--batch_id=mine",
    )
    assert (report["rows_valid"], report["source_id"], report["batch_id"]) == (2, "file", "mine")


def test_simulated_values_stay_out_of_production(
    settings: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    index(settings, tmp_path)
    with pytest.raises(SettingsError, match="simulated values"):
        index(
            make_settings(environment=Environment.PRODUCTION),
            tmp_path / "x",
            f"--source={tmp_path}/landing/fear_greed/*/*",
        )


def test_several_batches_or_none_are_refused(settings: Settings, tmp_path: Path) -> None:
    for name in ("one", "two"):
        index(settings, tmp_path, f"--batch_id={name}")
    with pytest.raises(SettingsError, match=r"would all write fear_greed\.csv"):
        index(settings, tmp_path / "x", f"--source={tmp_path}/landing/fear_greed/*/*")
    with pytest.raises(TerminalError, match="matches no file"):
        index(settings, tmp_path / "x", f"--source={tmp_path}/nothing/*")
