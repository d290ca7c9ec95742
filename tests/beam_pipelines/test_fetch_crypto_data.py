"""The fetch job against the real simulator and real captures."""

import csv
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.fetch_crypto_data import run
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.landing.layout import unpack
from coinbeam.settings import ROOT, Environment, Settings
from local.simulator.answers import ApiError, plain_error

AT = "2026-01-02T00:00:00Z"
MARKETS = "/api/v3/coins/markets"
CSV, REJECTS, REPORT = "crypto_2026-01-02.csv", "rejected_2026-01-02.ndjson", "report_fetch_crypto_data.json"
RATES, RATES_REJECTS = "exchange_rates_2026-01-02.csv", "rejected_rates_2026-01-02.ndjson"
FILES = (CSV, REJECTS, RATES, RATES_REJECTS)
RATES_CALL = 1


def fetch(settings: Settings, output: Path, *argv: str, at: str | None = AT, **kwargs: Any) -> dict[str, Any]:
    chosen = [f"--snapshot_at={at}"] if at else []
    return run(["--runner=DirectRunner", f"--output={output}", *chosen, *argv], settings, **kwargs)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def pages(output: Path) -> list[Path]:
    return sorted(output.glob("landing/markets/*/*.json.gz"))


def landed_rates(output: Path) -> list[Path]:
    return sorted(output.glob("landing/exchange_rates/*/*.json.gz"))


def markets_calls(simulator: Any) -> int:
    return sum(count for path, count in simulator.api.traffic.calls.items() if path.endswith("/coins/markets"))


def rates_calls(simulator: Any) -> int:
    return simulator.calls("/exchange_rates")


def test_the_whole_market_is_landed_and_written_once(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    report = fetch(settings, tmp_path)
    written = rows(tmp_path / CSV)
    assert report["rows_read"] == 600
    assert len(written) == report["rows_valid"] == 600 - report["rows_unpriced"]
    assert len({row["asset_id"] for row in written}) == len(written)
    assert len(pages(tmp_path)) == markets_calls(simulator) == 5, "three, an empty one, and its confirmation"
    assert len(landed_rates(tmp_path)) == rates_calls(simulator) == RATES_CALL
    assert report["api_calls"] == report["bodies_landed"] == report["metrics"]["api_calls"] == 5 + RATES_CALL
    assert (report["batch_id"], report["source_id"], report["mode"]) == (
        "20260102T0000Z-usd-all",
        "coingecko_simulator",
        "fetch",
    )
    assert json.loads((tmp_path / REPORT).read_text())["rows_valid"] == report["rows_valid"]
    assert not list(tmp_path.rglob(".*"))


def test_the_landed_bytes_are_the_answer(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    simulator.api.at = datetime(2026, 1, 2, 12, tzinfo=UTC)
    report = fetch(settings, tmp_path)
    bodies = [unpack(page.read_bytes(), str(page), datetime.now(UTC)) for page in pages(tmp_path)]
    rates = [unpack(body.read_bytes(), str(body), datetime.now(UTC)) for body in landed_rates(tmp_path)]
    assert sum(len(landed.body) for landed in bodies + rates) == report["bytes_landed"]
    assert sum(len(json.loads(landed.body)) for landed in bodies) == 600
    assert [rates[0].body] == [simulator.api.exchange_rates()]


def test_a_second_run_spends_no_call_and_changes_no_file(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    fetch(settings, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in FILES} | {
        page.name: page.read_bytes() for page in pages(tmp_path) + landed_rates(tmp_path)
    }
    report = fetch(settings, tmp_path)
    after = {name: (tmp_path / name).read_bytes() for name in FILES} | {
        page.name: page.read_bytes() for page in pages(tmp_path) + landed_rates(tmp_path)
    }
    assert after == before
    assert (report["api_calls"], report["bodies_reused"]) == (0, 4 + RATES_CALL)
    assert (markets_calls(simulator), rates_calls(simulator)) == (5, RATES_CALL)


def test_a_replay_is_byte_identical(settings: Settings, tmp_path: Path) -> None:
    fetch(settings, tmp_path / "first")
    report = fetch(settings, tmp_path / "again", f"--source={tmp_path}/first/landing/markets/*/*", at=None)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    assert (report["mode"], report["source_id"], report["api_calls"]) == ("replay", "coingecko_simulator", 0)
    assert report["rates_valid"] == len(rows(tmp_path / "again" / RATES)) > 50


def test_a_replay_needs_no_source_at_all(
    settings: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    fetch(settings, tmp_path)
    assert (
        fetch(make_settings(), tmp_path / "again", f"--source={tmp_path}/landing/markets/*/*", at=None)["rows_read"]
        == 600
    )


def test_several_landed_batches_are_replayed_each_by_its_manifest(settings: Settings, tmp_path: Path) -> None:
    for at in ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"):
        fetch(settings, tmp_path, at=at)
    report = fetch(settings, tmp_path / "again", f"--source={tmp_path}/landing/markets/*/*", at=None)
    assert report["batches"] == ["20260102T0000Z-usd-all", "20260103T0000Z-usd-all"]
    assert (report["batch_id"], report["rows_read"]) == (None, 1200)
    for name in ("crypto_2026-01-02.csv", "crypto_2026-01-03.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_two_batches_of_one_day_never_overwrite_each_other(settings: Settings, tmp_path: Path) -> None:
    fetch(settings, tmp_path)
    fetch(settings, tmp_path, "--universe=top", "--top_n=10")
    with pytest.raises(SettingsError, match="would all write"):
        fetch(settings, tmp_path / "again", f"--source={tmp_path}/landing/markets/*/*", at=None)


def test_landed_prices_are_never_moved_to_another_instant(settings: Settings, tmp_path: Path) -> None:
    fetch(settings, tmp_path)
    with pytest.raises(SettingsError, match="--snapshot_at"):
        fetch(settings, tmp_path / "again", f"--source={tmp_path}/landing/markets/*/*", at="2026-01-03")


def test_a_replay_may_carry_the_name_of_another_batch(settings: Settings, tmp_path: Path) -> None:
    fetch(settings, tmp_path)
    report = fetch(settings, tmp_path / "again", f"--source={tmp_path}/landing/markets/*/*", "--batch_id=other")
    assert (report["batch_id"], report["source_id"]) == ("other", "coingecko_simulator")
    assert {row["batch_id"] for row in rows(tmp_path / "again" / CSV)} == {"other"}


@pytest.mark.parametrize(("top", "calls"), [(10, 1), (250, 1), (500, 2)])
def test_the_top_n_costs_just_enough_calls(settings: Settings, tmp_path: Path, top: int, calls: int) -> None:
    report = fetch(settings, tmp_path, "--universe=top", f"--top_n={top}")
    assert report["api_calls"] == calls + RATES_CALL
    assert report["rows_read"] == top
    ranks = [int(row["market_cap_rank"]) for row in rows(tmp_path / CSV) if row["market_cap_rank"]]
    assert ranks == sorted(ranks)
    assert ranks[0] == 1


def test_named_ids_are_asked_for_by_the_page(settings: Settings, tmp_path: Path) -> None:
    report = fetch(settings, tmp_path, "--universe=ids", "--ids=bitcoin,ethereum,tether", "--per_page=2")
    assert (report["api_calls"], report["rows_read"]) == (2 + RATES_CALL, 3)
    assert {row["asset_id"] for row in rows(tmp_path / CSV)} == {"bitcoin", "ethereum", "tether"}


def test_an_hourly_snapshot_has_its_hour_in_the_name(settings: Settings, tmp_path: Path) -> None:
    fetch(settings, tmp_path, "--period=hourly", at="2026-01-02T03:00:00Z")
    assert (tmp_path / "crypto_2026-01-02T0300.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2, 5])
def test_any_number_of_shards_gives_the_same_rows(settings: Settings, tmp_path: Path, shards: int) -> None:
    report = fetch(settings, tmp_path, f"--fetch_shards={shards}")
    assert report["rows_read"] == 600
    assert [row["asset_id"] for row in rows(tmp_path / CSV)] == sorted(row["asset_id"] for row in rows(tmp_path / CSV))


def test_a_full_last_page_costs_no_more_than_another(settings: Settings, tmp_path: Path) -> None:
    assert fetch(settings, tmp_path, "--per_page=200")["api_calls"] == 5 + RATES_CALL


@pytest.mark.slow
@pytest.mark.parametrize(
    "profile", ["throttle", "server_error", "unavailable", "html", "truncated", "slow", "error_in_200"]
)
def test_a_passing_fault_leaves_no_trace_but_its_calls(
    settings: Settings, simulator: Any, tmp_path: Path, profile: str
) -> None:
    simulator.order(profile=profile, limit=1, delay_seconds=0.2, retry_after=1)
    impatient = settings.model_copy(update={"coingecko": settings.coingecko.model_copy(update={"max_attempts": 3})})
    report = fetch(impatient, tmp_path)
    assert report["rows_read"] == 600
    assert report["rows_rejected"] == report["pages_rejected"] == 0
    assert report["api_calls"] - RATES_CALL == markets_calls(simulator) == 5 + report["api_retries"]
    assert report["api_throttled"] == (profile in {"throttle", "error_in_200"})
    assert report["api_retries"] == (profile != "slow")


def test_a_page_that_is_empty_once_ends_nothing(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    simulator.order(profile="empty_page", page=2)
    report = fetch(settings, tmp_path)
    assert (report["rows_read"], report["api_calls"]) == (600, 6 + RATES_CALL)


def test_a_short_page_in_the_middle_ends_nothing(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    simulator.order(profile="short_page", page=2)
    assert fetch(settings, tmp_path)["rows_read"] == 600 - 84, "what the page lacks, and nothing behind it"


@pytest.mark.parametrize(
    ("argv", "rows_read"),
    [([], 600), (["--universe=top", "--top_n=250"], 300), (["--universe=category", "--category=layer-1"], None)],
)
def test_a_cap_on_pages_loses_nothing(
    argv: list[str], rows_read: int | None, settings: Settings, simulator: Any, tmp_path: Path
) -> None:
    whole = {row["asset_id"] for row in rows_of_run(settings, tmp_path / "whole", argv)}
    simulator.order(profile="page_cap", cap=100 if rows_read else 5)
    assert {row["asset_id"] for row in rows_of_run(settings, tmp_path / "capped", argv)} == whole


def rows_of_run(settings: Settings, output: Path, argv: list[str]) -> list[dict[str, str]]:
    """The rows of the batch file of a run."""
    fetch(settings, output, *argv)
    return rows(output / CSV)


def test_ids_that_are_not_answered_are_named(settings: Settings, tmp_path: Path) -> None:
    report = fetch(settings, tmp_path, "--universe=ids", "--ids=bitcoin,typo,ethereum")
    assert (report["ids_missing"], report["rows_valid"], report["api_calls"]) == (["typo"], 2, 2 + RATES_CALL)


def test_a_page_that_stays_html_is_landed_and_rejected_alone(
    settings: Settings, simulator: Any, tmp_path: Path
) -> None:
    simulator.order(profile="html_persistent", page=2)
    report = fetch(settings, tmp_path)
    assert (report["pages_rejected"], report["rows_read"]) == (1, 350)
    [record] = [json.loads(line) for line in (tmp_path / REJECTS).read_text().splitlines()]
    assert (record["level"], record["estimated_rows"]) == ("page", 250)

    simulator.order(profile="none")
    mended = fetch(settings, tmp_path)
    assert (mended["pages_rejected"], mended["rows_read"], mended["api_calls"]) == (0, 600, 1)
    assert any(page.name == "page-00002.r2.json.gz" for page in pages(tmp_path))


def test_shifting_pages_never_repeat_an_asset(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    simulator.order(profile="shifting_pages")
    report = fetch(settings, tmp_path)
    assert report["rows_duplicate"] > 0
    ids = [row["asset_id"] for row in rows(tmp_path / CSV)]
    assert len(ids) == len(set(ids)) == report["rows_valid"]


def test_corrupt_rows_cost_only_themselves(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    simulator.order(profile="corrupt_rows")
    report = fetch(settings, tmp_path)
    assert 0 < report["rows_rejected"] == len((tmp_path / REJECTS).read_text().splitlines()) < 10
    assert report["rows_valid"] + report["rows_rejected"] + report["rows_unpriced"] == 600
    assert report["unknown_fields"] == ["moon_phase"]
    assert (
        sum(report["metrics"][f"rejected_{reason}"] for reason in report["rejects_by_reason"])
        == report["rows_rejected"]
    )


def test_an_api_that_is_down_fails_the_job_and_leaves_no_report(
    settings: Settings, simulator: Any, tmp_path: Path
) -> None:
    (tmp_path / REPORT).write_text("{}")
    simulator.order(profile="down")
    with pytest.raises(Exception, match="503"):
        fetch(settings, tmp_path)
    assert not (tmp_path / REPORT).exists()
    assert not (tmp_path / CSV).exists()


def test_an_attempt_after_a_failure_asks_only_for_what_is_missing(settings: Settings, tmp_path: Path) -> None:
    fetch(settings, tmp_path)
    whole = (tmp_path / CSV).read_bytes()
    pages(tmp_path)[1].unlink()
    (pages(tmp_path)[0].parent / ".page-00002.json.gz.abc").write_bytes(b"half")
    (tmp_path / CSV).unlink()
    report = fetch(settings, tmp_path)
    assert (report["api_calls"], report["bodies_reused"]) == (1, 3 + RATES_CALL)
    assert rows(tmp_path / CSV)[0] == next(csv.DictReader(whole.decode().splitlines()))


def test_a_batch_stays_with_its_settings(settings: Settings, tmp_path: Path) -> None:
    fetch(settings, tmp_path)
    with pytest.raises(SettingsError, match="per_page"):
        fetch(settings, tmp_path, "--per_page=100")


def test_a_live_answer_is_never_stamped_on_another_date(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="answers for now only"):
        fetch(make_settings(), tmp_path, "--source=live")
    assert not list(tmp_path.iterdir())


def test_a_live_batch_never_goes_on_after_its_interval(
    simulator: Any, make_settings: Callable[..., Settings], live_plan: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    live = make_settings(**live_plan(f"http://127.0.0.1:{simulator.port}/api/v3"))
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    report = fetch(live, tmp_path, "--source=live", "--call_ledger=off", clock=lambda: noon)
    assert report["source_id"] == "coingecko"
    pages(tmp_path)[0].unlink()
    with pytest.raises(Exception, match="was not landed before the interval"):
        fetch(live, tmp_path, "--source=live", "--call_ledger=off")
    assert markets_calls(simulator) == 5


def test_a_batch_never_mixes_real_and_simulated_prices(
    settings: Settings,
    simulator: Any,
    make_settings: Callable[..., Settings],
    live_plan: Callable[[str], dict[str, Any]],
    tmp_path: Path,
) -> None:
    fetch(settings, tmp_path)
    live = make_settings(simulator.port, **live_plan(f"http://127.0.0.1:{simulator.port}/api/v3"))
    assert fetch(live, tmp_path, "--source=auto")["source_id"] == "coingecko_simulator"
    simulated = pages(tmp_path)
    real = fetch(
        live, tmp_path, "--source=live", "--call_ledger=off", clock=lambda: datetime(2026, 1, 2, 12, tzinfo=UTC)
    )
    assert (real["source_id"], real["bodies_reused"]) == ("coingecko", 0)
    landed = set(pages(tmp_path)) - set(simulated)
    assert len(landed) == len(simulated)
    assert {path.parent.name for path in landed} == {"20260102T0000Z-usd-all"}


def test_simulated_pages_are_not_replayed_into_a_shared_warehouse(
    settings: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    fetch(settings, tmp_path)
    production = make_settings(environment=Environment.PRODUCTION)
    with pytest.raises(SettingsError, match="coingecko_simulator"):
        fetch(production, tmp_path / "again", f"--source={tmp_path}/landing/markets/*/*", at=None)
    [page, *_] = pages(tmp_path)
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "page.json.gz").write_bytes(page.read_bytes())
    with pytest.raises(SettingsError, match="'file'"):
        fetch(production, tmp_path / "again", f"--source={tmp_path}/loose/*")


def test_a_share_above_the_plan_is_refused(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--calls_per_minute"):
        fetch(make_settings(), tmp_path, "--calls_per_minute=1e9")


def test_a_glob_without_files_says_so(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="matches no file"):
        fetch(make_settings(), tmp_path, f"--source={tmp_path}/none/*")


def test_foreign_files_need_an_instant(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "page.json").write_text("[]")
    with pytest.raises(SettingsError, match="--snapshot_at"):
        fetch(make_settings(), tmp_path / "out", f"--source={tmp_path}/page.json", at=None)


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True], ids=["as a bare array", "wrapped in data"])
def test_real_captures_have_no_reject_and_keep_every_double(
    captures: Path, make_settings: Callable[..., Settings], tmp_path: Path, wrapped: bool
) -> None:
    for capture in sorted(captures.glob("markets/*.json")):
        body = json.loads(capture.read_bytes())
        source = tmp_path / "in" / capture.name
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(json.dumps({"data": body}).encode() if wrapped else capture.read_bytes())
        output = tmp_path / capture.stem
        newest = max(row["last_updated"] for row in body)
        day = newest[:10]
        report = fetch(make_settings(), output, f"--source={source}", at=f"{day}T00:00:00Z")
        assert report["source_id"] == "file"
        assert report["rows_rejected"] == report["pages_rejected"] == 0, capture.name
        found = rows(output / f"crypto_{day}.csv")
        assert {row["ingested_at"][:19].replace(" ", "T") for row in found} == {newest[:19]}, (
            "known at its newest stamp"
        )
        prices = {row["asset_id"]: float(row["current_price"]) for row in found}
        assert prices == {row["id"]: float(row["current_price"]) for row in body if row["current_price"]}


@pytest.mark.parametrize(
    ("days", "refused"),
    [
        pytest.param(-200, True, id="of August onto today"),
        pytest.param(200, True, id="onto half a year before"),
        (0, False),
        (1, True),
    ],
)
def test_a_file_is_never_stamped_onto_another_time(
    days: int, refused: bool, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    stamp = datetime.fromisoformat(AT) + timedelta(days=days, hours=1)
    body = [
        {"id": name, "symbol": name[:3], "name": name, "image": "https://x/y.png", "current_price": 1.5}
        for name in "ab"
    ]
    for row in body:
        row["last_updated"] = stamp.isoformat().replace("+00:00", "Z")
    (tmp_path / "page.json").write_text(json.dumps(body))
    os.utime(tmp_path / "page.json", (315_532_800, 315_532_800))  # 1980, as zip and npm leave it
    report = fetch(make_settings(), tmp_path / "out", f"--source={tmp_path}/page.json")
    assert report["rejects_by_reason"] == ({"observed_outside_interval": 2} if refused else {})
    assert report["rows_valid"] == (0 if refused else 2)


@pytest.mark.parametrize(
    ("name", "currency"),
    [
        ("markets_eur.json", "eur"),
        ("Markets EUR (1).json", "eur"),
        ("markets_eth.json", "eth"),
        ("markets?vs_currency=eth&page=1", "eth"),
        ("coins_markets_vs_currency-myr.json.gz", "myr"),
        ("btc_eth_xrp.json", None),
        ("markets_usd_of_eur_coins.json", None),
        ("page-0001.json", None),
    ],
)
def test_a_page_in_another_currency_is_refused_by_its_name(
    name: str, currency: str | None, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    row = {"id": "a", "symbol": "a", "name": "a", "image": "https://x/y.png", "current_price": 1.5}
    body = json.dumps([{**row, "last_updated": AT.replace("+00:00", "Z")}]).encode()
    (tmp_path / name).write_bytes(gzip.compress(body) if name.endswith("gz") else body)
    source = f"--source={tmp_path}/*"
    if currency is None:
        assert fetch(make_settings(), tmp_path / "out", source)["rows_valid"] == 1
        return
    with pytest.raises(SettingsError, match=f"holds prices in {currency}, but --quote_currency is usd"):
        fetch(make_settings(), tmp_path / "out", source)
    told = [f"--source={tmp_path}/{name.replace('?', '[?]')}", f"--quote_currency={currency}"]
    assert fetch(make_settings(), tmp_path / "out", *told)["rows_valid"] == 1


def test_the_rates_of_a_snapshot_are_those_of_its_source(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    simulator.api.at = datetime(2026, 1, 2, 12, tzinfo=UTC)
    report = fetch(settings, tmp_path)
    answered = json.loads(simulator.api.exchange_rates())["rates"]
    written = {row["currency"]: row for row in rows(tmp_path / RATES)}
    assert list(written) == sorted(answered)
    assert report["rates_read"] == report["rates_valid"] == len(answered)
    assert report["rates_asked"] is True
    for currency, row in written.items():
        given = answered[currency]
        told = (given["name"], given["unit"], given["type"], float(given["value"]))
        assert (row["name"], row["unit"], row["type"], float(row["value"])) == told
        assert (row["snapshot_at"], row["batch_id"]) == ("2026-01-02 00:00:00.000000Z", "20260102T0000Z-usd-all")
    [bitcoin] = [row for row in rows(tmp_path / CSV) if row["asset_id"] == "bitcoin"]
    assert float(written["usd"]["value"]) == pytest.approx(float(bitcoin["current_price"]), rel=1e-6)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"<html>", "not_json", id="a page of HTML"),
        pytest.param(b'{"rates": {"btc": {"value": 1}}}', "rates_without_dollar", id="no dollar"),
    ],
)
def test_rates_that_cannot_be_read_are_refused_and_asked_for_again(
    answer: bytes, reason: str, settings: Settings, simulator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(simulator.api, "exchange_rates", lambda: answer)
        report = fetch(settings, tmp_path)
    assert (report["rows_read"], report["rates_valid"], report["pages_rejected"]) == (600, 0, 0)
    [record] = [json.loads(line) for line in (tmp_path / RATES_REJECTS).read_text().splitlines()]
    assert (record["table_name"], record["level"], record["reason"]) == ("exchange_rate_fact", "page", reason)
    assert (tmp_path / REJECTS).read_text() == ""
    mended = fetch(settings, tmp_path)
    assert (mended["api_calls"], mended["rates_valid"] > 50) == (RATES_CALL, True)
    assert (tmp_path / RATES_REJECTS).read_text() == ""


def test_rates_that_are_not_answered_keep_no_price_waiting(
    settings: Settings,
    simulator: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(simulator.api, "exchange_rates", _refuse)
        report = fetch(settings, tmp_path)
    assert (report["rows_read"], report["rates_valid"], report["rates_asked"]) == (600, 0, True)
    assert report["api_calls"] == 5 + settings.coingecko.max_attempts == 5 + rates_calls(simulator)
    assert "20260102T0000Z-usd-all has no exchange rates; its prices do not wait. GET " in caplog.text
    assert rows(tmp_path / RATES) == []


def _refuse() -> bytes:
    raise ApiError(plain_error(503, "rates are down"))


def test_rates_that_are_not_wanted_cost_no_call(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    market = settings.market.model_copy(update={"exchange_rates": False})
    report = fetch(settings.model_copy(update={"market": market}), tmp_path)
    assert (report["api_calls"], report["rates_asked"], rates_calls(simulator)) == (5, False, 0)
    assert rows(tmp_path / RATES) == []
    assert not list(tmp_path.glob("landing/exchange_rates/*"))


def test_a_batch_that_was_landed_without_rates_is_replayed_without(settings: Settings, tmp_path: Path) -> None:
    fetch(settings, tmp_path)
    for body in landed_rates(tmp_path):
        body.unlink()
    report = fetch(settings, tmp_path / "again", f"--source={tmp_path}/landing/markets/*/*", at=None)
    assert (report["rows_read"], report["rates_valid"], "rates_asked" in report) == (600, 0, False)
    assert rows(tmp_path / "again" / RATES) == []


@pytest.mark.slow
def test_the_documented_command_runs_and_reports(simulator: Any, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "beam_pipelines.fetch_crypto_data",
        "--runner=DirectRunner",
        "--source=simulator",
        f"--snapshot_at={AT}",
    ]
    environment = {"PATH": "/usr/bin:/bin", "COINBEAM_LOCAL__PORTS__SIMULATOR": str(simulator.port)}
    done = subprocess.run(
        [*command, f"--output={tmp_path}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rows_valid" in done.stdout
    wrong = subprocess.run(
        [*command, f"--output={tmp_path}", "--per_page=0"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (wrong.returncode, wrong.stderr.strip().splitlines()[-1][:24]) == (2, "SettingsError: --per_pag")
    simulator.order(profile="down")
    failed = subprocess.run(
        [*command, f"--output={tmp_path}/down"],
        cwd=ROOT,
        env=environment | {"COINBEAM_COINGECKO__MAX_ATTEMPTS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1].startswith("ApiTransientError: GET http")
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_a_job_that_is_killed_goes_on_where_it_was(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "beam_pipelines.fetch_crypto_data",
        "--source=simulator",
        f"--snapshot_at={AT}",
        "--per_page=100",
    ]
    environment = {"PATH": "/usr/bin:/bin", "COINBEAM_LOCAL__PORTS__SIMULATOR": str(simulator.port)}
    with subprocess.Popen(
        [*command, f"--output={tmp_path}", "--calls_per_minute=60"], cwd=ROOT, env=environment
    ) as process:
        until = time.monotonic() + 60
        while len(pages(tmp_path)) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        process.kill()
    assert len(pages(tmp_path)) == 2
    assert not (tmp_path / CSV).exists()
    report = fetch(settings, tmp_path, "--per_page=100")
    assert (report["bodies_reused"], report["rows_read"]) == (2, 600)
    assert markets_calls(simulator) == 8
