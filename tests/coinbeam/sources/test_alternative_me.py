"""The bands of the index, and where it is asked for."""

import pytest

from coinbeam.settings import load_settings
from coinbeam.sources.alternative_me import bands, classification
from coinbeam.sources.choose import RuntimeSource


@pytest.mark.parametrize(
    ("value", "band"),
    [
        (0, "Extreme Fear"),
        (25, "Extreme Fear"),
        (26, "Fear"),
        (46, "Fear"),
        (47, "Neutral"),
        (54, "Neutral"),
        (55, "Greed"),
        (75, "Greed"),
        (76, "Extreme Greed"),
        (100, "Extreme Greed"),
    ],
)
def test_every_value_has_its_band(value: int, band: str) -> None:
    assert classification(value) == band
    assert value <= next(one.up_to for one in bands() if one.name == band)


@pytest.mark.parametrize("value", [-1, 101])
def test_other_values_have_none(value: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        classification(value)


def test_the_address_is_that_of_the_source() -> None:
    settings = load_settings()
    live = RuntimeSource("live", "https://api.coingecko.com/api/v3")
    assert live.beside("/fng/", settings.history.fear_greed_url) == "https://api.alternative.me/fng/"
    simulated, port = RuntimeSource("simulator", settings.simulator_url), settings.local.ports.simulator
    assert simulated.beside("/fng/", settings.history.fear_greed_url) == f"http://127.0.0.1:{port}/fng/"
