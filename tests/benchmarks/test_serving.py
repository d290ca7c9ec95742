"""The benchmark of the API reads what `wrk` prints, and counts no figure of answers that differ."""

from pathlib import Path

import duckdb
import pytest

from benchmarks.serving import Load, parse, same_prices
from benchmarks.serving_contenders import DAILY, MARKETS, write_files
from coinbeam.errors import TerminalError
from tests.serving.made import MadeSource
from tests.serving.served import LAST

PRINTED = """Running 5s test @ http://127.0.0.1:40000
  1 threads and 16 connections
  Latency Distribution
     50%    1.40ms
     99%   {p99}
  53000 requests in 5.00s, 40.00MB read
{errors}Requests/sec:  10691.28
"""


@pytest.mark.parametrize(("p99", "milliseconds"), [("3.10ms", 3.1), ("980.00us", 0.98), ("1.20s", 1_200.0)])
def test_the_units_of_latencies_are_read(p99: str, milliseconds: float) -> None:
    assert parse("price", PRINTED.format(p99=p99, errors="")) == Load(
        "price", 10_691.28, pytest.approx(milliseconds), 0
    )


def test_every_call_without_a_good_answer_is_counted() -> None:
    errors = "  Non-2xx or 3xx responses: 7\n  Socket errors: connect 0, read 2, write 0, timeout 1\n"
    assert parse("price", PRINTED.format(p99="1.00ms", errors=errors)).failed == 10


def test_what_is_no_report_is_told() -> None:
    with pytest.raises(TerminalError, match="no figures: 'unable to connect'"):
        parse("price", "unable to connect")


def test_contenders_must_have_the_same_prices() -> None:
    ours = [float(n) for n in range(300)]
    assert same_prices(ours, ours[:295])
    assert not same_prices(ours, [value + 1e-9 for value in ours])


def test_the_files_of_the_contender_hold_the_same_market(tmp_path: Path) -> None:
    source = MadeSource(7, 40, LAST)
    write_files(source, tmp_path)
    [[rows, days]] = duckdb.sql(f"SELECT COUNT(*), COUNT(DISTINCT date) FROM '{tmp_path}/{DAILY}/*.parquet'").fetchall()
    assert (rows, days) == (280, 40)
    [[price]] = duckdb.sql(
        f"SELECT current_price FROM '{tmp_path}/{MARKETS}.parquet' WHERE asset_id = 'coin-00003'"
    ).fetchall()
    assert price == float(source.price(LAST)[3])
