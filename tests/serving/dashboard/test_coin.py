"""What is read of a version for the page of a coin, and the chart that is made of it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from coinbeam.bundle.reader import Bundle, open_files
from coinbeam.settings import Settings
from serving.dashboard import coin, figures
from serving.dashboard.palette import DARK, LIGHT
from tests.serving.dashboard.made import NOW


@pytest.fixture
def bundle(market: Settings) -> Bundle:
    """The made market."""
    files = open_files(market)
    return Bundle(files.manifest(), files)


def test_a_range_begins_so_many_days_before_this_hour() -> None:
    now = datetime(2026, 1, 31, 6, 59, 59, tzinfo=UTC)
    assert coin.since(7, now) == datetime(2026, 1, 24, 6, tzinfo=UTC)
    assert coin.since(None, now).year == 1970


def test_days_have_their_indicators_and_a_gap_stays_one(bundle: Bundle) -> None:
    days = coin.days(bundle, "usd", "coin-00011", coin.since(10, NOW))
    assert days["price"].isna().sum() == 3
    assert days["signal"].isna().sum() == 3
    assert set(days["combined_signal"].dropna()) <= {"POTENTIAL_BUY", "HOLD", "POTENTIAL_SELL"}
    assert days["rsi_14d"].dropna().unique().tolist() == [55.0]


def test_prices_of_snapshots_take_the_place_of_the_day_they_share(bundle: Bundle) -> None:
    days = coin.days(bundle, "usd", "coin-00001", coin.since(7, NOW))["price"]
    found = coin.prices(bundle, "usd", "coin-00001", coin.since(7, NOW))
    assert found.index.is_monotonic_increasing
    assert found.index.is_unique
    assert len(found) == len(days), "the only snapshot is of the midnight of a day"


@pytest.mark.parametrize(
    ("signals", "turned"),
    [
        (["BUY", "BUY", "SELL", "SELL", "BUY"], [2, 4]),
        (["BUY"], []),
        ([], []),
        (["WAIT", None, "WAIT", "BUY"], [2, 3]),
    ],
)
def test_a_signal_is_marked_where_it_turns(signals: list[str | None], turned: list[int]) -> None:
    days = pd.DataFrame({"signal": pd.Series(signals, dtype=object)})
    assert coin.turns(days, "signal").index.tolist() == turned


def test_facts_of_a_coin_of_which_nothing_is_known_are_dashes() -> None:
    assert {text for known in coin.facts("usd", {}, {}, {}).values() for text in known.values()} == {"–"}


def test_the_chart_leaves_out_panels_that_would_be_empty(bundle: Bundle) -> None:
    days = coin.days(bundle, "usd", "coin-00001", coin.since(None, NOW))
    full = figures.coin_chart(days, days["price"], "usd", LIGHT)
    assert len({trace.yaxis for trace in full.data}) == 5
    bare = figures.coin_chart(days.assign(rsi_14d=np.nan), days["price"], "usd", LIGHT)
    assert len({trace.yaxis for trace in bare.data}) == 4
    assert bare.layout.height < full.layout.height
    none = figures.coin_chart(days.iloc[:0], days["price"], "usd", LIGHT)
    assert [trace.name for trace in none.data] == ["Price"]


def test_no_line_and_no_mark_of_a_chart_is_told_apart_by_colour_alone(bundle: Bundle) -> None:
    days = coin.days(bundle, "usd", "coin-00001", coin.since(None, NOW))
    drawn = [trace for trace in figures.coin_chart(days, days["price"], "usd", DARK).data if trace.yaxis == "y"]
    looks = [trace.marker.symbol if trace.mode == "markers" else trace.line.dash for trace in drawn]
    assert len(looks) == len(set(looks)) == 7


def test_bars_of_movers_say_their_direction() -> None:
    [bars] = figures.movers_chart(["A", "B"], [5.0, -3.0], LIGHT).data
    assert list(bars.text) == ["▲ +5.00%", "▼ -3.00%"]


def contrast(one: str, other: str) -> float:
    """Of two colours. Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("colours", "page"), [(LIGHT, "#FFFFFF"), (DARK, "#171614")], ids=["light", "dark"])
def test_text_and_lines_are_legible_on_the_page(colours: object, page: str) -> None:
    assert min(contrast(getattr(colours, name), page) for name in ("up", "down")) >= 4.5
    assert min(contrast(getattr(colours, name), page) for name in ("line", "rise", "fall", "quiet")) >= 3


def test_a_longer_range_holds_a_shorter_one(bundle: Bundle) -> None:
    long, short = (coin.days(bundle, "usd", "coin-00002", coin.since(span, NOW)) for span in (30, 7))
    pd.testing.assert_frame_equal(long.loc[short.index[0] :], short)
    assert short.index[0] >= NOW - timedelta(days=7)
