"""The option ``--source``: a market source goes to the environment, anything else is a glob of files."""

from pathlib import Path

import pytest

from coinbeam.settings import MarketSource, load_settings
from console.dags import Source


@pytest.mark.parametrize("market", list(MarketSource))
def test_a_market_source_is_a_variable_of_the_run(market: MarketSource) -> None:
    assert Source(market.value).variables == {"COINBEAM_MARKET__SOURCE": market.value}
    assert Source(market.value).files is None


@pytest.mark.parametrize(
    ("text", "files"),
    [
        pytest.param("exports/*.csv", "{here}/exports/*.csv", id="a relative glob starts in the present folder"),
        pytest.param("/data/*.json", "/data/*.json", id="an absolute glob"),
        pytest.param("gs://bucket/landing/*", "gs://bucket/landing/*", id="a glob of a bucket"),
    ],
)
def test_a_glob_is_absolute_and_leaves_the_market_source_alone(text: str, files: str) -> None:
    assert Source(text).files == files.format(here=Path.cwd())
    assert Source(text).variables == {}


@pytest.mark.parametrize("text", [None, ""])
def test_without_the_option_the_setting_decides(text: str | None) -> None:
    assert (Source(text).variables, Source(text).files) == ({}, None)


def test_the_settings_of_a_market_source_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_MARKET__SOURCE", "live")
    assert Source("simulator").settings().market.source is MarketSource.SIMULATOR
    load_settings.cache_clear()
