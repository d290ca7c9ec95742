"""The history job against the real simulator: landed once and for all, replayed byte for byte, honest about what is
missing.
"""

import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.fetch_market_history import run
from beam_pipelines.history.walk import HistoryWalk
from beam_pipelines.landing.folder import FetchStats
from coinbeam.batch.manifest import BatchManifest
from coinbeam.errors import SettingsError, TerminalError, TransientError
from coinbeam.feeds.history.pieces import HistoryPiece, pieces_json
from coinbeam.settings import ROOT, Environment, PlanLimits, Settings
from coinbeam.sources.http.client import ApiAnswer
from coinbeam.sources.http.errors import ApiTerminalError

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
ASSETS = "--assets=bitcoin,ethereum"
FROM = "--from_date=2025-11-01"
REPORT, REJECTS = "report_fetch_market_history.json", "rejected_history.ndjson"


@pytest.fixture(autouse=True)
def market_of_march(simulator: Any) -> None:
    """The simulator's clock stands where the job's does."""
    simulator.api.at = NOW


def history(settings: Settings, output: Path, *argv: str, now: datetime = NOW) -> dict[str, Any]:
    return run(["--runner=DirectRunner", f"--output={output}", *argv], settings, lambda: now)


def rows(output: Path) -> list[dict[str, str]]:
    [path] = output.glob("history_*.csv")
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def landed(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("landing/**/*.json.gz"))}


def calls(simulator: Any) -> int:
    return int(simulator.api.traffic.calls.total())


def test_history_is_landed_by_the_piece_and_written_by_the_day(
    settings: Settings, simulator: Any, tmp_path: Path
) -> None:
    report = history(settings, tmp_path, ASSETS, FROM)
    written = rows(tmp_path)
    assert [row["date"] for row in written if row["asset_id"] == "bitcoin"][:1] == ["2025-11-01"]
    assert len(written) == report["rows_valid"] == 2 * (date(2026, 3, 10) - date(2025, 11, 1)).days + 2
    assert list(landed(tmp_path)) == [
        f"landing/market_chart/usd-coingecko_simulator/{asset}/{name}.json.gz"
        for asset in ("bitcoin", "ethereum")
        for name in ("2025-11-01_2025-12-31", "2026-01-01_2026-03-10")
    ]
    assert report["api_calls"] == report["bodies_landed"] == calls(simulator) == 4
    assert (report["source_id"], report["days_missing"], report["first_date"]) == (
        "coingecko_simulator",
        0,
        "2025-11-01",
    )
    assert [piece["calls"] for piece in report["pieces"]] == [1, 1, 1, 1]
    assert json.loads((tmp_path / REPORT).read_text())["rows_valid"] == report["metrics"]["rows_valid"] == len(written)
    assert not list(tmp_path.rglob(".*"))


def test_what_is_landed_is_never_asked_for_again_by_anybody(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    history(settings, tmp_path, "--assets=bitcoin", FROM)
    before = landed(tmp_path)
    report = history(settings, tmp_path / "other", ASSETS, FROM, f"--landing={tmp_path}", "--batch_id=other")
    assert (report["api_calls"], report["bodies_reused"], calls(simulator)) == (2, 2, 4)
    assert [(piece["reused"], piece["calls"]) for piece in report["pieces"]] == [
        (True, 0),
        (True, 0),
        (False, 1),
        (False, 1),
    ]
    assert before.items() <= landed(tmp_path).items()
    assert (tmp_path / "other" / "history_other.csv").is_file()


def test_a_second_run_and_a_replay_write_the_same_bytes(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    first = history(settings, tmp_path, ASSETS, FROM)
    again = history(settings, tmp_path, ASSETS, FROM, f"--output={tmp_path}/second", f"--landing={tmp_path}")
    replay = history(
        settings,
        tmp_path / "replay",
        f"--source={tmp_path}/landing/market_chart/*/*/*",
        now=datetime(2026, 8, 1, tzinfo=UTC),
    )
    assert first["batch_id"] == again["batch_id"] == replay["batch_id"]
    assert (again["api_calls"], replay["api_calls"], replay["mode"]) == (0, 0, "replay")
    assert len({(tmp_path / where / first["file"]).read_bytes() for where in (".", "second", "replay")}) == 1
    assert calls(simulator) == 4


def test_a_damaged_piece_is_asked_for_again_as_a_new_revision(settings: Settings, tmp_path: Path) -> None:
    history(settings, tmp_path, ASSETS, FROM)
    [uri] = tmp_path.rglob("bitcoin/2026-01-01_*.json.gz")
    uri.write_bytes(uri.read_bytes()[:200])
    report = history(settings, tmp_path, ASSETS, FROM)
    assert (report["api_calls"], report["bodies_reused"], report["days_missing"]) == (1, 3, 0)
    assert uri.with_name(uri.name.replace(".json.gz", ".r2.json.gz")).is_file()
    assert history(settings, tmp_path, ASSETS, FROM)["api_calls"] == 0


def test_an_asset_that_nobody_knows_costs_one_call_and_no_other_asset(
    settings: Settings, simulator: Any, tmp_path: Path
) -> None:
    report = history(settings, tmp_path, "--assets=bitcoin,not-a-coin", FROM)
    missing = [piece for piece in report["pieces"] if piece["error"]]
    assert {piece["asset_id"] for piece in missing} == {"not-a-coin"}
    assert "404" in missing[0]["error"]
    assert ([piece["calls"] for piece in missing], report["pieces_missing"], calls(simulator)) == ([1, 0], 2, 3)
    assert {row["asset_id"] for row in rows(tmp_path)} == {"bitcoin"}


def test_an_asset_without_prices_has_gaps_and_no_rows(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    snapshot = simulator.api.market.snapshot(NOW)
    unpriced = next(name for name, slot in snapshot.slot_of.items() if snapshot.catalogue.flag("unpriced")[slot])
    report = history(settings, tmp_path, f"--assets={unpriced}", "--from_date=2026-03-01")
    assert (report["points_read"], report["days_missing"], report["rows_valid"]) == (0, 10, 0)


def test_a_file_of_pieces_is_asked_for_as_it_is(settings: Settings, tmp_path: Path) -> None:
    wanted = [
        HistoryPiece("bitcoin", "eur", date(2026, 2, 1), date(2026, 2, 3)),
        HistoryPiece("ethereum", "eur", *[date(2026, 3, 1)] * 2),
    ]
    (tmp_path / "pieces.json").write_text(pieces_json(wanted))
    report = history(settings, tmp_path, f"--pieces={tmp_path}/pieces.json")
    assert [(row["asset_id"], row["date"], row["quote_currency"]) for row in rows(tmp_path)] == [
        ("bitcoin", "2026-02-01", "eur"),
        ("bitcoin", "2026-02-02", "eur"),
        ("bitcoin", "2026-02-03", "eur"),
        ("ethereum", "2026-03-01", "eur"),
    ]
    assert (report["quote_currency"], report["snapshot_at"]) == ("eur", "2026-03-01T00:00:00Z")


def test_days_beyond_the_plan_are_refused_before_any_call(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'basic', which reaches there"):
        history(settings, tmp_path, ASSETS, "--from_date=2024-12-01")
    assert calls(simulator) == 0


def test_days_beyond_the_plan_that_were_landed_in_time_are_read(settings: Settings, tmp_path: Path) -> None:
    argv = ("--assets=bitcoin", "--from_date=2025-12-01", "--to_date=2026-01-05")
    first = history(settings, tmp_path, *argv)
    later = history(settings, tmp_path, *argv, now=datetime(2027, 6, 1, tzinfo=UTC))
    assert (later["api_calls"], later["rows_valid"]) == (0, first["rows_valid"])


def test_the_api_knows_the_plan_better_than_the_settings(
    make_settings: Callable[..., Settings], simulator: Any, tmp_path: Path
) -> None:
    wrong = PlanLimits(
        base_url="http://127.0.0.1:1/api/v3", calls_per_minute=600, calls_per_month=9_999, history_days=3_000
    )
    right = PlanLimits(
        base_url="http://127.0.0.1:1/api/v3", calls_per_minute=600, calls_per_month=9_999, history_days=4_000
    )
    settings = make_settings(simulator.port, plans={"keyless": wrong, "larger": right})
    with pytest.raises(Exception, match=r"(?s)10012.*HTTP 401|HTTP 401.*10012") as refused:
        history(settings, tmp_path, "--assets=bitcoin", "--from_date=2020-01-01", "--to_date=2020-01-02")
    assert ApiTerminalError.__name__ in f"{type(refused.value).__name__} {refused.value}"
    assert "'keyless', which reaches there" in str(refused.value)


def test_an_open_day_is_refused_since_its_piece_would_stay_short(
    settings: Settings, simulator: Any, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="not a closed day"):
        history(settings, tmp_path, ASSETS, FROM, "--to_date=2026-03-11")
    early = datetime(2026, 3, 10, 0, 20, tzinfo=UTC)
    simulator.api.at = early
    report = history(settings, tmp_path, "--assets=bitcoin", "--from_date=2026-03-01", now=early)
    assert report["last_date"] == "2026-03-09"


@pytest.mark.slow
def test_a_refusal_that_passes_costs_a_retry(settings: Settings, simulator: Any, tmp_path: Path) -> None:
    simulator.order(profile="server_error")
    patient = settings.model_copy(update={"coingecko": settings.coingecko.model_copy(update={"max_attempts": 4})})
    assets = ",".join(list(simulator.api.market.snapshot(NOW).slot_of)[:30])
    report = history(patient, tmp_path, f"--assets={assets}", "--from_date=2026-01-01")
    assert report["api_retries"] == simulator.api.stats()["statuses"]["500"] > 0
    assert (report["api_calls"], report["pieces_missing"]) == (30 + report["api_retries"], 0)


class NonsenseClient:
    """Answers a text that is no chart, the same to everybody."""

    def market_chart_range(self, *asked: Any) -> ApiAnswer:  # noqa: ARG002 - the signature of the client
        return ApiAnswer(b"<html>busy</html>", "http://x", NOW, problem="not JSON")

    def close(self) -> None:
        pass


def test_an_api_that_answers_nonsense_is_given_up(settings: Settings, tmp_path: Path) -> None:
    shard = tuple(HistoryPiece(f"asset-{number}", "usd", date(2026, 1, 1), date(2026, 1, 2)) for number in range(9))
    batch = BatchManifest("b", "market_chart", "coingecko", NOW, "usd", 1, "history")
    walk = HistoryWalk(batch, shard, str(tmp_path), settings.coingecko, 1)
    with pytest.raises(TransientError, match="3 answers in a row are no charts"):
        list(walk.land(shard, NonsenseClient(), lambda: NOW, FetchStats()))
    assert len(landed(tmp_path)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("shards", [2, 5])
def test_any_number_of_shards_gives_the_same_bytes(settings: Settings, tmp_path: Path, shards: int) -> None:
    name = history(settings, tmp_path / "one", ASSETS, FROM)["file"]
    history(settings, tmp_path / "many", ASSETS, FROM, f"--fetch_shards={shards}", f"--landing={tmp_path}/one")
    assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


EXPORT = "snapped_at,price,market_cap,total_volume\n2013-04-28 00:05:18 UTC,135.3,1500517590,0\n2013-04-30 00:00:00 UTC,139.0,,0\n"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A CSV export of the website."""
    path = tmp_path / "files" / "btc-usd-max.csv"
    path.parent.mkdir()
    path.write_text(EXPORT)
    return path


@pytest.mark.parametrize("named", ["--asset_of=btc-usd-max.csv=bitcoin", "--assets=bitcoin"])
def test_an_export_brings_years_without_a_call(
    make_settings: Callable[..., Settings], export: Path, tmp_path: Path, named: str
) -> None:
    report = history(make_settings(), tmp_path, f"--source={export.parent}/*", named)
    assert [(row["asset_id"], row["date"], row["source_id"]) for row in rows(tmp_path)] == [
        ("bitcoin", "2013-04-28", "coingecko_export"),
        ("bitcoin", "2013-04-30", "coingecko_export"),
    ]
    assert (report["pieces"][0]["missing_days"], report["api_calls"]) == (["2013-04-29"], 0)


def test_an_export_may_enter_production(make_settings: Callable[..., Settings], export: Path, tmp_path: Path) -> None:
    history(make_settings(environment=Environment.PRODUCTION), tmp_path, f"--source={export}", "--assets=bitcoin")
    assert len(rows(tmp_path)) == 2


def test_simulated_history_may_not(settings: Settings, make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    history(settings, tmp_path, ASSETS, FROM)
    with pytest.raises(SettingsError, match="simulated values"):
        history(
            make_settings(environment=Environment.PRODUCTION),
            tmp_path / "x",
            f"--source={tmp_path}/landing/market_chart/*/*/*",
        )


def test_a_file_of_the_api_tells_its_asset_by_its_name(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    chart = {"prices": [[1767225600000, 1.0], [1767312000000, 2.0]], "market_caps": [], "total_volumes": []}
    (tmp_path / "usd-coin_30d.json.gz").write_bytes(gzip.compress(json.dumps(chart).encode()))
    report = history(make_settings(), tmp_path / "out", f"--source={tmp_path}/*.json.gz", "--to_date=2026-01-01")
    assert [(row["asset_id"], row["source_id"]) for row in rows(tmp_path / "out")] == [("usd-coin", "file")]
    assert report["points_outside"] == 1


@pytest.mark.parametrize(
    "name",
    [
        "btc-eur-max.csv",
        "btc-eur-max (1).csv",
        "btc-eur-max(2) copy.csv",
        "BTC-EUR-max.csv",
        "Btc-Eur-Max - Copy.CSV",
        "btc-eur-max.csv.gz",
        "btc-eth-max.csv",
        "bitcoin_EUR_2020.csv",
        "prices in gbp.csv",
    ],
)
def test_prices_of_another_currency_are_refused_whatever_the_copy_is_called(
    name: str, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(EXPORT.encode()) if name.endswith("gz") else EXPORT.encode())
    with pytest.raises(SettingsError, match=r"holds prices in (eur|eth|gbp), but --quote_currency is usd"):
        history(make_settings(), tmp_path / "out", f"--source={tmp_path}/*", "--assets=bitcoin")
    currency = "eth" if "eth" in name else "gbp" if "gbp" in name else "eur"
    report = history(
        make_settings(),
        tmp_path / "out",
        f"--source={tmp_path}/{name}",
        "--assets=bitcoin",
        f"--quote_currency={currency}",
    )
    assert report["rows_valid"] == 2


def two_charts(tmp_path: Path) -> None:
    """Two answers that are called after their endpoint."""
    for number, asset in enumerate(("bitcoin", "ethereum"), 1):
        chart = {"prices": [[1767225600000, float(number)]], "market_caps": [], "total_volumes": []}
        (tmp_path / asset).mkdir()
        (tmp_path / asset / "market_chart.json").write_text(json.dumps(chart))


def test_two_files_never_become_one_asset(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    two_charts(tmp_path)
    source = f"--source={tmp_path}/*/market_chart.json"
    with pytest.raises(SettingsError, match=r"which asset bitcoin/market_chart.json holds"):
        history(make_settings(), tmp_path / "out", source)
    with pytest.raises(SettingsError, match="2 files are called so"):
        history(make_settings(), tmp_path / "out", source, "--asset_of=market_chart.json=bitcoin")
    with pytest.raises(SettingsError, match=r"names nobody.csv"):
        history(make_settings(), tmp_path / "out", source, "--asset_of=nobody.csv=bitcoin")
    told = ",".join(f"{asset}/market_chart.json={asset}" for asset in ("bitcoin", "ethereum"))
    history(make_settings(), tmp_path / "out", source, f"--asset_of={told}")
    assert [(row["asset_id"], float(row["price"])) for row in rows(tmp_path / "out")] == [
        ("bitcoin", 1.0),
        ("ethereum", 2.0),
    ]


def test_a_folder_in_brackets_is_that_folder(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    (tmp_path / "exports [2024]").mkdir()
    (tmp_path / "exports [2024]" / "btc-usd-max.csv").write_text(EXPORT)
    report = history(make_settings(), tmp_path / "out", f"--source={tmp_path}/exports [2024]/*.csv", "--assets=bitcoin")
    assert report["rows_valid"] == 2


def test_a_relative_glob_and_one_of_the_home_folder_are_found(
    make_settings: Callable[..., Settings], export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(export.parent)
    monkeypatch.setenv("HOME", str(export.parent))
    for source in ("*.csv", "~/*.csv"):
        assert history(make_settings(), tmp_path / "out", f"--source={source}", "--assets=bitcoin")["rows_valid"] == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param([], "--asset-of btc-usd-max.csv=ID", id="a symbol is no id"),
        pytest.param(["--assets=bitcoin,ethereum"], "--asset-of btc-usd-max.csv=ID", id="two assets for one file"),
        pytest.param(["--asset_of=bitcoin"], "NAME=ID", id="a mapping without a name"),
        pytest.param(["--assets=bitcoin", "--quote_currency=eur"], "--quote_currency=usd", id="another currency"),
        pytest.param(["--assets=bitcoin", "--pieces=x.json"], "no meaning with --pieces", id="pieces in a replay"),
        pytest.param(
            ["--assets=bitcoin", "--from_date=2014-01-01", "--to_date=2013-01-01"],
            "after the last day",
            id="dates exchanged",
        ),
    ],
)
def test_a_wrong_replay_is_refused(
    make_settings: Callable[..., Settings], export: Path, tmp_path: Path, argv: list[str], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        history(make_settings(), tmp_path, f"--source={export}", *argv)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param([], "--assets and --from_date, or --pieces", id="nothing asked for"),
        pytest.param([ASSETS], "--assets and --from_date", id="no first day"),
        pytest.param(["--pieces=/nowhere/pieces.json"], "does not exist", id="no file of pieces"),
        pytest.param(["--pieces=x.json", ASSETS], "--assets has no meaning", id="pieces and assets"),
        pytest.param(
            [ASSETS, FROM, "--universe=all"], "Unknown option '--universe=all'", id="an option of another job"
        ),
        pytest.param([ASSETS, "--from_date=1999-13-01"], "--from_date", id="a date that is none"),
    ],
)
def test_a_wrong_request_is_refused(
    settings: Settings, simulator: Any, tmp_path: Path, argv: list[str], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        history(settings, tmp_path, *argv)
    assert calls(simulator) == 0


def test_a_folder_in_place_of_files_is_named_and_one_beside_them_left_out(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "in" / "older").mkdir(parents=True)
    (tmp_path / "in" / "btc-usd-max.csv").write_text(EXPORT)
    with pytest.raises(TerminalError, match=r"in is a folder\. Say which of its files, for example '.*/in/\*'"):
        history(make_settings(), tmp_path / "out", f"--source={tmp_path}/in", "--assets=bitcoin")
    assert history(make_settings(), tmp_path / "out", f"--source={tmp_path}/in/*", "--assets=bitcoin")["rows_valid"]


def test_a_glob_that_matches_nothing_says_so(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="matches no file"):
        history(make_settings(), tmp_path, f"--source={tmp_path}/nothing/*")


@pytest.mark.slow
def test_the_command_line_tells_how_it_ended(simulator: Any, tmp_path: Path) -> None:
    simulator.api.at = None
    environment = {"PATH": "/usr/bin:/bin", "COINBEAM_LOCAL__PORTS__SIMULATOR": str(simulator.port)}
    command = [
        sys.executable,
        "-m",
        "beam_pipelines.fetch_market_history",
        "--source=simulator",
        f"--output={tmp_path}",
        "--assets=bitcoin",
    ]
    done = subprocess.run(
        [*command, "--from_date=1999-01-01"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "beyond plan 'keyless'" in (tmp_path / "failure_fetch_market_history.txt").read_text()
