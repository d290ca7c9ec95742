"""Ids that a person writes are held against the dimension once a coin list has filled it."""

import pytest

from coinbeam.batch.tables import ASSETS
from coinbeam.errors import SettingsError
from coinbeam.feeds.known_assets import refuse_unknown
from tests.coinbeam.conftest import Stage, asset_row

pytestmark = pytest.mark.cloud

SIMULATOR = "coingecko_simulator"


def test_before_the_first_list_anything_may_be_an_asset(stage: Stage) -> None:
    refuse_unknown(stage.warehouse, ["btc"], "", SIMULATOR)
    stage.publish("prices", **{ASSETS: [asset_row("some", "prices", status="inferred")]})
    refuse_unknown(stage.warehouse, ["btc"], "", SIMULATOR)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param("btc", r"'btc' \(did you mean bitcoin", id="a symbol"),
        pytest.param("Ethereum Classic", r"did you mean ethereum-classic", id="a name"),
        pytest.param("bitcoiin", r"did you mean bitcoin", id="a typing error"),
        pytest.param("zzzz", r"'zzzz'\.", id="nothing near"),
    ],
)
def test_an_unknown_id_is_refused_with_the_nearest(given: str, said: str, stage: Stage) -> None:
    rows = [asset_row("bitcoin", symbol="BTC"), asset_row("ethereum-classic", name="Ethereum Classic", symbol="etc")]
    stage.publish("batch", **{ASSETS: rows})
    refuse_unknown(stage.warehouse, ["bitcoin", "ethereum-classic"], "Mend it.", SIMULATOR)
    with pytest.raises(SettingsError, match=said) as refused:
        refuse_unknown(stage.warehouse, ["bitcoin", given], "Mend it.", SIMULATOR)
    assert str(refused.value).endswith("Mend it.")


def test_a_simulated_list_refuses_no_real_coin(stage: Stage) -> None:
    stage.publish("batch", **{ASSETS: [asset_row("bitcoin")]})
    refuse_unknown(stage.warehouse, ["a-new-coin"], "", "coingecko")
    with pytest.raises(SettingsError, match="a-new-coin"):
        refuse_unknown(stage.warehouse, ["a-new-coin"], "", SIMULATOR)
