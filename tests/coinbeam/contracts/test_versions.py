"""A contract that changed has another version: ``sql/versions.json`` knows what each one promised."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coinbeam.contracts import Contract, load_all
from coinbeam.contracts.model import SQL_ROOT, read_contract
from coinbeam.contracts.versions import VERSIONS, digest, extended, locked, text, version_faults
from coinbeam.errors import ContractError

NAME = "crypto_market_snapshot_fact"
FULL = f"crypto_data.{NAME}"
FACT = load_all()[NAME]


def test_every_contract_is_what_its_version_promised() -> None:
    assert list(version_faults(locked(), load_all())) == [], "raise the version, then run `coinbeam contracts lock`"


def test_the_file_is_what_its_command_writes() -> None:
    assert VERSIONS.read_text(encoding="utf-8") == text(extended(locked(), load_all())), "run `coinbeam contracts lock`"


def changed(folder: Path, old: str, new: str) -> Contract:
    """The contract of a copy of the tree with one text changed in its file; its rules name other tables."""
    file = Path(shutil.copytree(SQL_ROOT, folder / "sql")) / "crypto_data" / NAME / "contract.yaml"
    right = file.read_text(encoding="utf-8")
    assert old in right, old
    file.write_text(right.replace(old, new, 1), encoding="utf-8")
    return read_contract(file)


CHANGES = {
    "another type": ("physicalType: FLOAT64", "physicalType: INT64"),
    "a column that may be null": ("        required: true\n        logicalTypeOptions", "        logicalTypeOptions"),
    "another name": ("name: current_price", "name: last_price"),
    "another unit": ("value: quote currency per coin", "value: dollars"),
    "another bound": ("minimum: 1.0e-100", "minimum: 1.0e-90"),
    "another partition": ("partitioned: true", "partitioned: false"),
    "another cluster": ("value: [asset_id]", "value: [symbol]"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_without_a_version_is_refused_and_one_with_a_version_is_kept_beside_the_old_one(
    change: tuple[str, str], tmp_path: Path
) -> None:
    contract = changed(tmp_path, *change)
    assert list(version_faults(locked(), {NAME: contract})) == [
        f"{FULL} is not what its version {FACT.version} promised"
    ]
    with pytest.raises(ContractError, match="Raise the version"):
        extended(locked(), {NAME: contract})
    raised = replace(contract, version="99.0.0")
    assert extended(locked(), {NAME: raised})[FULL] == locked()[FULL] | {"99.0.0": digest(raised)}


SAME: dict[str, Callable[[Contract], Contract]] = {
    "another description": lambda contract: replace(contract, description="What a market was worth."),
    "no rules": lambda contract: replace(contract, rules=()),
    "another promise of freshness": lambda contract: replace(contract, freshness_hours=3.0),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_nobody_relies_on_may_change_within_a_version(change: Callable[[Contract], Contract]) -> None:
    assert digest(change(FACT)) == digest(FACT)


def test_an_unknown_version_and_one_that_goes_back_are_told() -> None:
    newer = replace(FACT, version="99.0.0")
    assert list(version_faults(locked(), {NAME: newer})) == [f"{FULL} 99.0.0 is not in sql/versions.json"]
    known = extended(locked(), {NAME: newer})
    assert list(version_faults(known, {NAME: FACT})) == [f"{FULL} has version {FACT.version}, after 99.0.0"]
    with pytest.raises(ContractError, match=r"after 99\.0\.0"):
        extended(known, {NAME: FACT})


def test_columns_in_another_order_are_another_file() -> None:
    assert digest(replace(FACT, columns=FACT.columns[::-1])) != digest(FACT)


def test_a_table_that_is_gone_keeps_what_it_promised() -> None:
    kept = extended(locked(), {name: one for name, one in load_all().items() if name != NAME})
    assert kept[FULL] == locked()[FULL]
