"""A grid holds every bit that was written into it, and grows without losing any."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.bundle.grid import Grid, blank, decode, encode, extended, fill, open_grid
from coinbeam.bundle.layout import CHART, INDICATORS, columns_of
from coinbeam.errors import TerminalError

COLUMNS = columns_of(("price", "observed_at", "signal"))
INSTANTS = (1_000, 2_000, 3_000)

doubles = st.floats(allow_nan=False)


def rows(prices: list[float]) -> pa.Table:
    """As many rows as prices."""
    at = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
    return pa.table(
        {
            "price": prices,
            "observed_at": pa.array([at] * len(prices), pa.timestamp("us", tz="UTC")),
            "signal": pa.array(["SELL"] * len(prices), pa.string()),
        }
    )


@given(st.lists(doubles, min_size=1, max_size=9))
def test_what_was_written_comes_back_bit_by_bit(prices: list[float]) -> None:
    grid = extended(None, COLUMNS, INSTANTS, len(prices))
    fill(grid, COLUMNS, np.arange(len(prices)), np.full(len(prices), 2_000), rows(prices))
    read = open_grid(bytes(grid.to_ipc()))
    assert read.instants == INSTANTS
    assert read.columns == ("price", "observed_at", "signal")
    assert np.array_equal(read.column("price")[:, 1].view(np.int64), np.array(prices).view(np.int64))
    assert read.column("observed_at")[0, 1] == 1_767_323_045_678
    assert decode(COLUMNS[2], read.values[0, :, 2]) == [None, "SELL", None]
    assert np.isnan(read.values[:, [0, 2]]).all()


def test_a_file_is_mapped_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    path.write_bytes(extended(None, COLUMNS, INSTANTS, 2).to_ipc())
    read = open_grid(path)
    assert not read.values.flags.owndata
    assert not read.values.flags.writeable


def test_a_grid_grows_by_assets_and_instants_and_keeps_its_values() -> None:
    small = extended(None, COLUMNS, INSTANTS, 2)
    fill(small, COLUMNS, np.array([0, 1]), np.array([1_000, 3_000]), rows([5.0, 6.0]))
    large = extended(small, COLUMNS, (1_000, 3_000, 4_000), 3)
    assert large.values.shape == (3, 3, 3)
    assert large.column("price")[0, 0] == 5.0
    assert large.column("price")[1, 1] == 6.0
    assert np.isnan(large.column("price")[2]).all()


def test_dropping_a_range_leaves_the_rest() -> None:
    grid = extended(None, COLUMNS, INSTANTS, 1)
    fill(grid, COLUMNS, np.zeros(3, int), np.array(INSTANTS), rows([1.0, 2.0, 3.0]))
    blank(grid, 2_000, 2_999)
    assert grid.column("price")[0, [0, 2]].tolist() == [1.0, 3.0]
    assert np.isnan(grid.values[0, 1]).all()


def test_a_column_that_an_older_grid_lacks_is_missing() -> None:
    older = Grid(INSTANTS, ("price",), np.ones((1, 3, 1)))
    grown = extended(older, COLUMNS, INSTANTS, 1)
    assert grown.column("price").tolist() == [[1.0, 1.0, 1.0]]
    assert np.isnan(grown.column("signal")).all()


@pytest.mark.parametrize("column", columns_of((*CHART, *INDICATORS)), ids=lambda column: column.name)
def test_a_missing_value_of_every_column_is_missing(column) -> None:  # type: ignore[no-untyped-def]
    kind = {"STRING": pa.string(), "INT64": pa.int64(), "FLOAT64": pa.float64()}
    nothing = pa.chunked_array([pa.nulls(1, kind.get(column.type, pa.timestamp("us", tz="UTC")))])
    assert np.isnan(encode(column, nothing)).all()


@pytest.mark.parametrize("damage", [b"", b"ARROW1", b"x" * 100])
def test_a_damaged_file_is_told(damage: bytes) -> None:
    with pytest.raises(TerminalError, match="no grid"):
        open_grid(damage)


def test_a_cut_file_is_told() -> None:
    whole = bytes(extended(None, COLUMNS, INSTANTS, 2).to_ipc())
    with pytest.raises(TerminalError, match="no grid"):
        open_grid(whole[: len(whole) // 2])
