"""The bounded form: landed lines in, files out, the same rows as those of the stream."""

import gzip
import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.trade_windows import run
from coinbeam.errors import SettingsError, TerminalError
from tests.beam_pipelines.trades.made import MINUTE, NOW, START, Trade, figures, lines

TRADES = [Trade(n, 7_000_000_000_000 + n * 37, 10_000_000 + n, n * 900, 1, n % 2 == 0) for n in range(200)]
ETHER = [Trade(n, 300_000_000_000 + n, 5_000_000, n * 700, symbol="ETHUSDT") for n in range(50)]
OWN = {"pane_index", "timing", "run_id", "source_id", "written_at"}


def batch(folder: Path, *options: str) -> dict[str, Any]:
    """Run the job over the files of a folder, into another one."""
    argv = ["--runner=DirectRunner", f"--source={folder}/*", f"--output={folder}-out", *options]
    return run(argv, clock=lambda: NOW)


def written(folder: Path, symbol: str) -> list[dict[str, Any]]:
    """Figures of a symbol as the batch wrote them."""
    text = Path(f"{folder}-out", f"trade_windows_{symbol}.ndjson").read_text()
    return [{n: v for n, v in json.loads(line).items() if n not in OWN} for line in text.splitlines()]


def by_window(trades: list[Trade]) -> list[dict[str, Any]]:
    """The figures of each minute."""
    minutes = sorted({trade.at // MINUTE for trade in trades})
    return [figures(trade for trade in trades if trade.at // MINUTE == minute) for minute in minutes]


def test_landed_files_of_any_cut_give_the_windows(tmp_path: Path) -> None:
    landed = tmp_path / "trades"
    landed.mkdir()
    (landed / "a.ndjson").write_bytes(lines(TRADES[:120]) + lines(ETHER))
    (landed / "b.ndjson.gz").write_bytes(gzip.compress(lines(TRADES[80:])))  # the first ones again
    (landed / "c.ndjson").write_bytes(b"no json\n" + TRADES[0].line())  # without its last newline
    report = batch(landed)
    assert written(landed, "BTCUSDT") == by_window(TRADES)
    assert written(landed, "ETHUSDT") == by_window(ETHER)
    assert (report["windows"], report["trades"]) == (len(by_window(TRADES)) + len(by_window(ETHER)), 250)
    assert report["rejects_by_reason"] == {"not_json": 1}
    [refused] = Path(f"{landed}-out", "rejected_trades.ndjson").read_text().splitlines()
    assert json.loads(refused)["page_uri"].startswith(f"{landed}/c.ndjson")


def test_a_day_has_its_own_windows_that_had_ended(tmp_path: Path) -> None:
    landed = tmp_path / "trades"
    landed.mkdir()
    day = 24 * 60 * MINUTE
    midnight = (day - START % day) - day
    found = [Trade(n, 10**8, 10**8, midnight + at * MINUTE) for n, at in enumerate((-1, 0, 5, 30))]
    (landed / "a.ndjson").write_bytes(lines(found))
    (landed / "b.ndjson").write_bytes(lines([Trade(9, 10**8, 10**8, midnight + 6 * MINUTE, symbol="a/b")]))
    report = batch(landed, "--day=2025-11-24", "--until=2025-11-24T00:06:00Z")
    assert written(landed, "BTCUSDT") == [figures([trade]) for trade in found[1:3]]
    assert (report["windows"], report["rejects_by_reason"]) == (2, {"unknown_symbol": 1})
    assert not Path(f"{landed}-out", "trade_windows_none.ndjson").exists()
    assert batch(landed, "--day=2025-11-20")["windows"] == 0
    assert Path(f"{landed}-out", "trade_windows_none.ndjson").read_bytes() == b""
    with pytest.raises(SettingsError, match="a stream has all windows"):
        run(["--subscription=projects/a/subscriptions/b", f"--output={tmp_path}", "--day=2025-11-24"])


def test_no_trades_are_no_windows_and_an_honest_report(tmp_path: Path) -> None:
    landed = tmp_path / "trades"
    landed.mkdir()
    (landed / "a.ndjson").write_bytes(b"")
    assert batch(landed)["windows"] == 0


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is nothing to read"):
        run([f"--output={tmp_path}", "--source=simulator"], clock=lambda: NOW)
    with pytest.raises(TerminalError, match="matches no file"):
        run([f"--output={tmp_path}", f"--source={tmp_path}/none/*"], clock=lambda: NOW)


def test_real_trades_have_the_figures_of_a_calculation_by_hand(tmp_path: Path, captures: Path) -> None:
    """The windows hold what was captured; the stream of that day was cut, so that ids are missing."""
    messages = [json.loads(line)["_msg"] for line in (captures / "binance/aggtrade_kline.jsonl").open()]
    real = [message["data"] for message in messages if message["data"]["e"] == "aggTrade"]
    landed = tmp_path / "trades"
    landed.mkdir()
    (landed / "real.ndjson").write_text("".join(json.dumps(trade) + "\n" for trade in real))
    report = batch(landed, "--venue=live")
    assert report["rejects"] == 0
    assert report["trades"] == len({(trade["s"], trade["a"]) for trade in real})
    for symbol in {trade["s"] for trade in real}:
        for row in written(landed, symbol):
            start = row["window_start"]
            of_window = {
                trade["a"]: trade for trade in real if trade["s"] == symbol and by_window_start(trade["T"]) == start
            }
            first, last = of_window[min(of_window)], of_window[max(of_window)]
            assert (row["open_price"], row["close_price"]) == (float(first["p"]), float(last["p"]))
            assert row["high_price"] == max(float(trade["p"]) for trade in of_window.values())
            assert row["base_volume"] == float(sum(Decimal(trade["q"]) for trade in of_window.values()))
            value = sum(Fraction(trade["p"]) * Fraction(trade["q"]) for trade in of_window.values())
            assert row["volume_weighted_average_price"] == float(
                value / sum(Fraction(t["q"]) for t in of_window.values())
            )
            assert row["agg_trade_count"] == len(of_window)
            assert row["is_complete"] is (row["missing_trade_count"] == 0)


def by_window_start(milliseconds: int) -> str:
    """Begin of the window of an instant, as the rows say it."""
    return figures([Trade(0, 1, 1, milliseconds - 1_764_000_000_000)])["window_start"]
