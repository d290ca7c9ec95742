"""The rules are those of the contract, and travel to workers."""

import dataclasses
import pickle

import pytest

from beam_pipelines.snapshot.rules import MarketRules
from coinbeam.contracts import load_contract
from coinbeam.errors import ContractError


def test_rules_survive_the_journey_to_a_worker(rules: MarketRules) -> None:
    assert rules.number_bounds[0].shape == (len(rules.number_columns), 1)
    assert pickle.loads(pickle.dumps(rules)) == rules


def test_fields_that_no_row_may_lack_are_the_required_ones_and_the_names(rules: MarketRules) -> None:
    assert rules.never_absent == {"id", "symbol", "name", "current_price", "last_updated"}


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ("ath", True),
        ("image", True),
        ("roi", True),
        ("sparkline_in_7d", True),
        ("price_change_percentage_14d_in_currency", True),
        ("market_cap_usd", False),
    ],
)
def test_a_field_is_known_when_stored_ignored_or_a_price_change(field: str, known: bool, rules: MarketRules) -> None:
    assert rules.is_known(field) is known


@pytest.mark.parametrize(
    "change", [{"type": "BOOL"}, {"accepted": ("usd",)}], ids=["a type without converter", "a list of values"]
)
def test_a_contract_that_the_kernel_cannot_keep_is_refused_at_launch(change: dict[str, object]) -> None:
    contract = load_contract("crypto_market_snapshot_fact")
    columns = tuple(
        dataclasses.replace(column, **change) if column.name == "ath" else column for column in contract.columns
    )  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="cannot fill ath"):
        MarketRules(dataclasses.replace(contract, columns=columns), 300)
