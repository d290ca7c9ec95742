"""The growth benchmark measures what it says: both contenders compute the same days, and one that does not is found
out.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks import growth
from benchmarks.growth import Cost, Size, main, measured
from benchmarks.hours import asset_ids, instant, months, prices, snapshots
from coinbeam.contracts import load_contract


@pytest.mark.cloud
@pytest.mark.xdist_group("benchmark")
def test_both_contenders_agree_and_every_figure_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda text: printed.append(text))
    assert (
        main(["--hours", "790", "--assets", "3", "--repeats", "1", "--json", "--plot", str(tmp_path / "growth.svg")])
        == 0
    )
    report: dict[str, Any] = json.loads(printed[0])
    assert report["disagreements"] == []
    [size] = report["sizes"]
    assert (size["hours"], size["rows"]) == (790, 790 * 3)
    assert set(size["rebuilding"]) == {"files", "table"}
    assert all(size[kind]["cpu_seconds"] > 0 for kind in ("within_day", "new_day"))
    # So little is rebuilt here that it may vanish beside the start of the interpreter, which is taken off.
    assert all(isinstance(cost["cpu_seconds"], float) for cost in size["rebuilding"].values())
    assert 50 < size["peak_mib"] < 4_096
    assert report["growth"] == {"within_day": 1.0, "new_day": 1.0}
    assert "<svg" in (tmp_path / "growth.svg").read_text()


def test_other_figures_are_a_disagreement() -> None:
    agree = growth._agree
    assert agree(1.0, 1.0 + 1e-12)
    assert agree(None, float("nan"))
    assert agree(None, None)
    assert not agree(1.0, 1.001)
    assert not agree(None, 1.0)
    assert not agree(1.0, float("nan"))


def test_growth_is_the_largest_size_over_the_smallest() -> None:
    def size(hours: int, cpu: float) -> Size:
        return Size(hours, hours, Cost(cpu, 9.0), Cost(cpu * cpu, 9.0), 1.0)

    assert growth.growth([size(1, 2.0), size(5, 1.0), size(9, 3.0)]) == {"within_day": 1.5, "new_day": 2.25}


def test_a_stretch_of_hours_is_the_same_in_pieces() -> None:
    whole = prices(5, 100, 4)
    assert np.array_equal(whole, np.concatenate([prices(5, 40, 4), prices(40, 41, 4), prices(41, 100, 4)]))
    assert whole.shape == (95, 4)
    assert (whole > 0).all()
    assert [end - start for start, end in months(0, 1_500)] == [720, 720, 60]


def test_rows_have_the_form_of_the_fact() -> None:
    table = snapshots(23, 25, 3, "b")
    assert table.column_names == [column.name for column in load_contract("crypto_market_snapshot_fact").columns]
    rows = table.to_pylist()
    assert [row["asset_id"] for row in rows] == asset_ids(3) * 2
    assert [row["snapshot_at"] for row in rows[::3]] == [instant(23), instant(24)]
    assert all(
        row["snapshot_date"] == row["snapshot_at"].date() and row["time_id"] == row["snapshot_at"].hour * 60
        for row in rows
    )


def test_cost_counts_work_and_not_waiting() -> None:
    with measured(psutil.Process()) as costs:
        sum(number * number for number in range(300_000))
    assert costs[0].cpu_seconds > 0
    assert costs[0].wall_seconds > 0
