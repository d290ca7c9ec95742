"""Each page with data, without, with old ones, and with addresses that name what is not there."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from coinbeam.bundle.manifest import POINTER
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings
from tests.deploy.emulator import running
from tests.serving.dashboard.conftest import opened
from tests.serving.dashboard.made import LAST, NOW, Market, build, settings_of

PAGES = {"": "Market", "coin": "Coin 0 C0", "fear-greed": "Fear & Greed", "movers": "Movers", "trust": "Trust"}


def said(app: AppTest) -> str:
    """Everything that a page tells in words."""
    kinds = (
        app.title,
        app.header,
        app.subheader,
        app.info,
        app.warning,
        app.error,
        app.success,
        app.caption,
        app.markdown,
    )
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def figures(app: AppTest) -> dict[str, str]:
    """The large figures of a page."""
    return {metric.label: str(metric.value) for metric in app.metric}


@pytest.mark.parametrize(("path", "title"), PAGES.items())
def test_every_page_shows_its_numbers_and_where_they_come_from(market: Settings, path: str, title: str) -> None:
    app = opened(market, path)
    assert [element.value for element in app.title] == [title]
    text = said(app)
    assert "Simulated data, not market prices · Crypto Fear & Greed Index by alternative.me" in text
    assert f"LOCAL · batch {LAST:%Y%m%d}T0000Z-usd-all · refreshed 2026-01-31 01:00 UTC" in text
    assert "**Simulated prices.**" in text
    assert "Newest price 6 hours ago" in text
    assert "Stale" not in text


def test_the_market_has_its_size_its_breadth_and_its_coins(market: Settings) -> None:
    app = opened(market)
    assert figures(app) == {
        "Market cap": "$3.10T",
        "Volume, 24 h": "$120B",
        "Bitcoin": "56.78%",
        "Ethereum": "–",
        "Advancers ▲": "7",
        "Decliners ▼": "5",
    }
    assert app.metric[0].delta == "+0.32%"
    rows = app.dataframe[0].value
    assert list(rows["Name"][:2]) == ["Coin 0 C0", "Coin 1 C1"]
    assert len(rows["Last 7 days"][0]) == 28
    assert "12 of 12 coins" in said(app)


def test_coins_are_found_by_a_part_of_their_name(market: Settings) -> None:
    app = opened(market)
    app.text_input(key="find").set_value("coin 3").run()
    assert list(app.dataframe[0].value["Name"]) == ["Coin 3 C3"]
    app.text_input(key="find").set_value("no such").run()
    assert "No coin is called 'no such'." in said(app)


def test_choosing_a_coin_of_the_market_opens_its_page(market: Settings) -> None:
    app = opened(market)
    app.selectbox[0].select("coin-00003").run()
    assert not app.exception
    assert [element.value for element in app.title] == ["Coin 3 C3"]
    assert app.query_params["id"] == "coin-00003"


def test_a_coin_has_its_figures_with_the_digits_that_matter(market: Settings) -> None:
    app = opened(market, "coin", id="coin-00003")
    assert figures(app)["Price"].startswith("$0.00001")
    assert figures(app)["Market cap, rank 4"].endswith("B")
    assert "average of 7 days" in said(app)


@pytest.mark.parametrize(("days", "rows"), [("7", 7), ("30", 30), ("max", 50)])
def test_a_range_has_so_many_days(market: Settings, days: str, rows: int) -> None:
    app = opened(market, "coin", id="coin-00001")
    app.segmented_control(key="days").set_value(days).run()
    assert len(app.dataframe[0].value) == rows


def test_an_unknown_coin_in_the_address_is_named_and_the_way_out_told(market: Settings) -> None:
    app = opened(market, "coin", id="<b>nope</b>")
    assert [element.value for element in app.title] == ["Unknown coin"]
    assert "No coin has the id `<b>nope</b>`" in said(app)
    app.selectbox[0].select("coin-00002").run()
    assert [element.value for element in app.title] == ["Coin 2 C2"]


def test_the_index_is_compared_with_its_past(market: Settings) -> None:
    assert figures(opened(market, "fear-greed")) == {
        "Now": "20",
        "A week before": "27",
        "A month before": "50",
        "A year before": "–",
    }


def test_movers_of_other_days_are_chosen(market: Settings) -> None:
    app = opened(market, "movers")
    assert list(app.dataframe[0].value["Change"]) == [5.0, 4.0, 3.0]
    app.segmented_control(key="over").set_value("7").run()
    assert list(app.dataframe[1].value["Change"]) == [-35.0, -28.0, -21.0]
    app.segmented_control(key="over").set_value("30").run()
    assert "Nothing moved" in said(app)


def test_trust_names_what_needs_a_look(market: Settings) -> None:
    app = opened(market, "trust")
    assert "Needs a look: open incidents: 1; failed quality rules: 1." in said(app)
    tables = {tuple(frame.value.columns)[:2]: frame.value for frame in app.dataframe}
    assert list(tables["Table", "Newest"]["Age hours"]) == ["6"], "as of now, not as of when the version was made"
    assert list(tables["Checked", "Status"]["Sample"]) == ["coin-00003", "coin-00001, coin-00002"]
    assert tables["Asset id", "First date"].values.tolist() == [["coin-00011", "2026-01-25", "2026-01-27", 3]]
    assert "There is nothing in: unresolved batches." in said(app)


def test_old_prices_are_called_stale_with_since_when(market: Settings) -> None:
    app = opened(market, "trust", now=NOW + timedelta(days=4))
    assert "**Stale prices.** The newest is of 2026-01-31 00:10 UTC, 4 days ago" in said(app)
    assert "latest_prices is too old" in said(app)


def test_all_is_well_when_it_is(settings: Settings) -> None:
    source = Market(source_id="coingecko")
    source.quiet = True
    build(settings, source)
    text = said(opened(settings, "trust"))
    assert "Every table is fresh, no batch is unresolved, no rule failed." in text
    assert "Data provided by CoinGecko" in text
    assert "Simulated prices" not in text


@pytest.mark.parametrize("path", ["", "trust"])
def test_without_a_bundle_every_page_says_what_to_do(settings: Settings, path: str) -> None:
    app = opened(settings, path)
    assert [element.value for element in app.title] == ["Nothing to show yet"]
    assert "There is no serving bundle yet. `coinbeam run` makes one" in said(app)


def test_a_bundle_without_prices_is_explained_on_every_page(settings: Settings) -> None:
    source = Market(assets=1, days=1)
    for name in ("latest_prices", "market_overview", "movers", "new_in_top", "fear_greed_fact", "quality_result"):
        setattr(source, f"_{name}", list)
    build(settings, source)
    told = {path: said(opened(settings, path)) for path in PAGES}
    assert all("This version holds no prices." in text for text in told.values())
    assert "There is no coin yet" in told[""]
    assert "There is no coin yet" in told["coin"]
    assert "There is no index yet" in told["fear-greed"]
    assert "Nothing moved" in told["movers"]
    assert "No rule ran" in told["trust"]


def test_a_newer_version_is_shown_at_the_next_click_and_a_broken_one_is_not(
    settings: Settings,
) -> None:
    source = Market()
    build(settings, source)
    app = opened(settings)
    source.last += timedelta(days=1)
    source.refreshed_at += timedelta(days=1)
    build(settings, source, NOW + timedelta(days=1))
    wait(app, settings)
    assert "refreshed 2026-02-01 01:00 UTC" in said(app)
    Bucket(settings).write_text(POINTER, "{}")
    wait(app, settings)
    assert "The newest version cannot be read, so this one may be old." in said(app)
    assert "refreshed 2026-02-01 01:00 UTC" in said(app)


def wait(app: AppTest, settings: Settings) -> None:
    """Look again after the answer of the last look has expired."""
    time.sleep(settings.serving.poll_seconds + 0.05)
    app.run()
    assert not app.exception


def test_the_environment_is_chosen_where_there_are_two(
    market: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as cloud:
        cloud.create_bucket("acme-coinbeam")
        there = settings_of(cloud, tmp_path).model_copy(
            update={"storage": market.storage.model_copy(update={"bucket": "acme-coinbeam"})}
        )
        build(there, Market(source_id="coingecko", last=LAST - timedelta(days=1)))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{cloud.port}")
        serving = market.serving.model_copy(update={"cloud_bucket": "acme-coinbeam"})
        app = opened(market.model_copy(update={"serving": serving}), "trust")
        assert "LOCAL · batch 20260131T0000Z-usd-all" in said(app)
        app.segmented_control(key="environment").set_value("CLOUD").run()
        assert not app.exception
        assert "CLOUD · batch 20260130T0000Z-usd-all" in said(app)
        assert "Data provided by CoinGecko" in said(app)
        assert "Simulated prices" not in said(app)


def test_there_is_nothing_to_choose_where_there_is_one_environment(market: Settings) -> None:
    assert [one.key for one in opened(market).segmented_control] == []


def test_nothing_is_asked_again_for_a_click(market: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = market.serving.model_copy(update={"poll_seconds": 600.0})
    app = opened(market.model_copy(update={"serving": serving}), "coin", id="coin-00001")

    def refuse(*_: object) -> bytes:
        raise AssertionError("the bucket was asked")

    monkeypatch.setattr(Bucket, "read_bytes", refuse)
    app.segmented_control(key="days").set_value("365").run()
    assert not app.exception
    assert [element.value for element in app.title] == ["Coin 1 C1"]
