"""The benchmark compares like with like: the contenders agree, and a contender that does other work is found out."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import trades
from benchmarks.columnar import Measurement, run_measured
from benchmarks.trade_contenders import FIGURES, absent
from benchmarks.trade_lines import FIRST_MS, SYMBOLS, landed
from benchmarks.trade_merges import Merge
from benchmarks.trades import disagreements, judge, main, read_windows

FIGURES_OF_A_WINDOW = (100.0, 102.0, 99.0, 101.0, 7, 9, 12.5, 1_260.0)
WINDOWS = {("BTCUSDT", FIRST_MS): FIGURES_OF_A_WINDOW}


@pytest.mark.cloud
@pytest.mark.xdist_group("benchmark")
@pytest.mark.timeout(120)
def test_all_contenders_do_the_same_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text: printed.append(text))
    cores = os.sched_getaffinity(0)
    names = ["beam", "rows", "duckdb", "polars"]
    few = ["--trades", "9000", "--repeat", "1", "--merge-rows", "50", "100", "--minutes", "1"]
    assert main([*few, "--contenders", *names, "--folder", str(tmp_path), "--json"]) == 0
    report: dict[str, Any] = json.loads(printed[0])
    assert report["disagreements"] == []
    assert [(run["name"], run["rows"]) for run in report["contenders"]] == [(name, 9_000) for name in names]
    assert [run["rows"] for run in report["startup"]] == [100] * 4
    assert all(run["cpu_seconds"] > 0.01 and run["peak_mib"] > 30 for run in report["contenders"])
    assert [merge["rows"] for merge in report["merges"]] == [50, 100]
    assert all(merge["wall_ms"] > 1 for merge in report["merges"])
    assert len(report["targets"]) == 4
    assert os.sched_getaffinity(0) == cores


@pytest.mark.clients
@pytest.mark.skipif(absent("spark") is not None, reason=str(absent("spark")))
def test_spark_does_the_same_work(tmp_path: Path) -> None:
    file = landed(tmp_path, 2_000)
    names = ("spark", "spark_exact", "duckdb")
    for name in names:
        (tmp_path / name).mkdir()
        run_measured(name, 1, 2_000, trades.command(name, file, str(tmp_path / name)))
    assert disagreements({name: read_windows(tmp_path / name) for name in names}) == []


def test_what_is_not_there_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trades, "absent", lambda _: "there is no Java")
    options = ["--trades", "10", "--merge-rows", "--folder", str(tmp_path), "--contenders", "spark"]
    assert main([*options, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["left_out"] == {"spark": "there is no Java"}
    assert "Left out: Spark" in said.err


@pytest.mark.parametrize(
    ("number", "value", "agrees"),
    [
        pytest.param(0, 100.0, True, id="the same"),
        pytest.param(0, 100.0 + 1e-12, False, id="an open price that differs in its last bits"),
        pytest.param(5, 8, False, id="a trade less"),
        pytest.param(6, 12.5 * (1 + 1e-12), True, id="a volume added in another order"),
        pytest.param(7, 1_260.01, False, id="another volume"),
    ],
)
def test_other_work_is_found_out(number: int, value: float, agrees: bool) -> None:
    other = tuple(value if place == number else figure for place, figure in enumerate(FIGURES_OF_A_WINDOW))
    assert len(other) == len(FIGURES)
    assert (disagreements({"beam": WINDOWS, "duckdb": {("BTCUSDT", FIRST_MS): other}}) == []) is agrees


def test_a_window_that_is_missing_or_too_many_is_found_out() -> None:
    assert disagreements({"beam": WINDOWS, "duckdb": {}}) != []
    assert disagreements({"beam": {}, "duckdb": WINDOWS}) != []


def test_a_window_that_is_written_twice_is_refused(tmp_path: Path) -> None:
    row = {"symbol": "BTCUSDT", "window_start": FIRST_MS} | dict.fromkeys(FIGURES, 1)
    iso = row | {"window_start": "2026-01-01T00:00:00Z"}
    (tmp_path / "windows.ndjson").write_text(json.dumps(row) + "\n" + json.dumps(iso) + "\n")
    with pytest.raises(RuntimeError, match="again"):
        read_windows(tmp_path)


@pytest.mark.parametrize(("cpu", "peak", "met"), [(3.9, 429.0, [True] * 5), (4.1, 430.0, [False] * 5)])
def test_targets_are_those_of_the_issue(cpu: float, peak: float, met: list[bool]) -> None:
    seconds = {"beam": cpu, "rows": 22.5, "spark": 40.0}
    measured = {name: Measurement(name, 1, 1_000_000, used, used, peak) for name, used in seconds.items()}
    startup = {name: Measurement(name, 1, 0, 1.4, 1.4, peak) for name in seconds}
    merges = [Merge(100, 40.0, 40.0, 50.0), Merge(500_000, 40.0 * cpu / 3.1, 40.0, 50.0)]
    assert [target.met for target in judge(measured, startup, merges)] == met


def test_lines_are_made_once_and_are_always_the_same(tmp_path: Path) -> None:
    one, two = landed(tmp_path / "one", 500), landed(tmp_path / "two", 500)
    assert one.read_bytes() == two.read_bytes()
    rows = [json.loads(line) for line in one.read_text().splitlines()]
    assert len(rows) == 500
    for symbol in SYMBOLS:
        ids = [row["a"] for row in rows if row["s"] == symbol]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
    one.write_bytes(b"kept")
    assert landed(tmp_path / "one", 500).read_bytes() == b"kept"
