"""The asset job against the real simulator and real captures."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.populate_crypto_asset_dim import run
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.settings import Environment, Settings

AT = "2026-01-02T00:00:00Z"
FILES = ("asset_dim.csv", "rejected_assets.ndjson")


def populate(settings: Settings, output: Path, *argv: str, at: str | None = AT) -> dict[str, Any]:
    chosen = [f"--snapshot_at={at}"] if at else []
    return run(["--runner=DirectRunner", f"--output={output}", *chosen, *argv], settings)


def rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "asset_dim.csv").open(newline="") as lines:
        return {row["asset_id"]: row for row in csv.DictReader(lines)}


def details(output: Path) -> list[Path]:
    return sorted(output.glob("landing/coins/*/*.json.gz"))


def calls(simulator: Any) -> int:
    return sum(simulator.api.traffic.calls.values())


def test_every_listed_asset_is_a_row_and_details_keep_to_the_budget(
    settings: Settings, simulator: Any, tmp_path: Path
) -> None:
    report = populate(settings, tmp_path, "--max_details=5")
    written = rows(tmp_path)
    assert len(written) == report["assets_listed"] >= 600
    assert list(next(iter(written.values()))) == [
        column.name for column in load_contract("crypto_asset_dim").file_columns
    ]
    assert {row["status"] for row in written.values()} == {"active"}
    assert (
        sum(bool(row["details_at"]) for row in written.values())
        == report["details_fetched"]
        == len(details(tmp_path))
        == 5
    )
    assert report["details_waiting"] == report["assets_listed"] - 5
    assert report["api_calls"] == calls(simulator) == 6
    assert report["metrics"]["details_fetched"] == 5


def test_a_second_run_spends_no_call_and_changes_no_file(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    populate(settings, tmp_path, "--max_details=3")
    before = [(tmp_path / name).read_bytes() for name in FILES]
    report = populate(settings, tmp_path, "--max_details=3")
    assert [(tmp_path / name).read_bytes() for name in FILES] == before
    assert (report["api_calls"], report["bodies_reused"], calls(simulator)) == (0, 4, 4)


def test_a_second_run_after_the_publish_stays_the_same(settings: Settings, tmp_path: Path) -> None:
    """After the publish the warehouse knows the details, so that other assets need theirs most: but the budget of this
    batch is spent.
    """
    populate(settings, tmp_path, "--max_details=3")
    before = (tmp_path / "asset_dim.csv").read_bytes()
    known = tmp_path / "known.csv"
    known.write_text(
        "asset_id,details_at\n" + "".join(f"{r['asset_id']},{AT}\n" for r in rows(tmp_path).values() if r["details_at"])
    )
    report = populate(settings, tmp_path, "--max_details=3", f"--known_assets={known}")
    assert (tmp_path / "asset_dim.csv").read_bytes() == before
    assert (report["api_calls"], report["details_waiting"]) == (0, report["assets_listed"] - 3)


def test_an_interrupted_run_goes_on_within_the_same_budget(settings: Settings, tmp_path: Path) -> None:
    populate(settings, tmp_path, "--max_details=4")
    whole = set(details(tmp_path))
    for path in sorted(whole)[:2]:
        path.unlink()
    report = populate(settings, tmp_path, "--max_details=4")
    assert (report["api_calls"], set(details(tmp_path))) == (2, whole)


def test_the_assets_without_details_come_first_then_the_oldest(settings: Settings, tmp_path: Path) -> None:
    populate(settings, tmp_path / "list", "--max_details=0")
    listed = sorted(rows(tmp_path / "list"))
    known = tmp_path / "known.csv"
    dates = {listed[7]: "2020-01-01T00:00:00Z", listed[9]: "2019-01-01T00:00:00Z", listed[11]: ""}
    known.write_text(
        "asset_id,details_at\n" + "".join(f"{asset},{dates.get(asset, '2025-01-01T00:00:00Z')}\n" for asset in listed)
    )
    populate(settings, tmp_path, "--max_details=3", f"--known_assets={known}")
    assert {asset for asset, row in rows(tmp_path).items() if row["details_at"]} == {listed[7], listed[9], listed[11]}


def test_a_replay_is_byte_identical(settings: Settings, tmp_path: Path) -> None:
    populate(settings, tmp_path / "first", "--max_details=3")
    report = populate(settings, tmp_path / "again", f"--source={tmp_path}/first/landing/coins*/*/*", at=None)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    assert (report["source_id"], report["details_fetched"]) == ("coingecko_simulator", 3)


def test_a_coin_that_does_not_exist_keeps_waiting(
    settings: Settings, simulator: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from local.simulator.answers import ApiError, plain_error

    populate(settings, tmp_path / "list", "--max_details=0")
    gone = sorted(rows(tmp_path / "list"))[5]
    known = tmp_path / "known.csv"
    known.write_text(f"asset_id,details_at\n{gone},\n")
    answer = simulator.api.coin

    def coin(asset_id: str, *args: Any, **kwargs: Any) -> Any:
        if asset_id == gone:
            raise ApiError(plain_error(404, "coin not found"))
        return answer(asset_id, *args, **kwargs)

    monkeypatch.setattr(simulator.api, "coin", coin)
    report = populate(settings, tmp_path, "--max_details=3", f"--known_assets={known}")
    assert (report["details_fetched"], report["details_failed"], report["api_calls"]) == (2, 1, 4)
    assert rows(tmp_path)[gone]["details_at"] == ""


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["throttle", "server_error", "html", "truncated"])
def test_a_passing_fault_changes_nothing(settings: Settings, simulator: Any, tmp_path: Path, profile: str) -> None:
    simulator.order(profile=profile, retry_after=1, seed=3)
    report = populate(settings, tmp_path, "--max_details=10")
    assert (report["details_fetched"], report["details_failed"], report["rows_rejected"]) == (10, 0, 0)
    assert report["api_calls"] == calls(simulator) == 11 + report["api_retries"]


@pytest.mark.parametrize("name", ["coins_list_2023-07_10763.json.gz", "coins_list_2024-02-24_12868.json.gz"])
def test_a_real_list_with_real_details_has_no_reject(
    captures: Path, make_settings: Callable[..., Settings], tmp_path: Path, name: str
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for capture in [captures / "list" / name, *captures.glob("detail/*.json")]:
        (source / capture.name).write_bytes(capture.read_bytes())
    report = populate(make_settings(), tmp_path, f"--source={source}/*")
    listed = json.loads(gzip.decompress((captures / "list" / name).read_bytes()))
    written = rows(tmp_path)
    assert report["rows_rejected"] == report["pages_rejected"] == 0
    assert set(written) == {element["id"] for element in listed}
    assert written["bitcoin"]["genesis_date"] == "2009-01-03"
    assert json.loads(written["bitcoin"]["categories"]) == ["Cryptocurrency", "FTX Holdings", "Layer 1 (L1)"]
    assert (written["usd-coin"]["country_origin"], written["usd-coin"]["homepage"]) == (
        "US",
        "https://www.circle.com/en/usdc",
    )
    names = {element["id"]: element["name"] for element in listed}
    assert {asset: row["name"] for asset, row in written.items()} == names


def test_a_file_that_is_no_known_assets_is_refused_before_the_first_call(
    settings: Settings, simulator: Any, tmp_path: Path
) -> None:
    (tmp_path / "known.csv").write_text("id\nbitcoin\n")
    with pytest.raises(SettingsError, match="--known_assets"):
        populate(settings, tmp_path, f"--known_assets={tmp_path}/known.csv")
    assert calls(simulator) == 0


def test_simulated_assets_are_not_replayed_into_a_shared_warehouse(
    settings: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    populate(settings, tmp_path, "--max_details=0")
    with pytest.raises(SettingsError, match="coingecko_simulator"):
        populate(
            make_settings(environment=Environment.PRODUCTION),
            tmp_path / "x",
            f"--source={tmp_path}/landing/coins*/*/*",
            at=None,
        )
