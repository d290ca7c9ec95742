"""Contracts: every one is complete, and a broken one is refused with the file and the fault."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from coinbeam.contracts import Contract, Severity, Stage, load_all, load_contract
from coinbeam.contracts import model as module
from coinbeam.contracts.model import COLUMN_TYPES, SQL_ROOT, read_contract
from coinbeam.errors import ContractError

CONTRACTS = list(load_all().values())
every_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)

Change = Callable[[dict[str, Any]], None]


def test_the_tables_of_the_star_schema_are_described() -> None:
    assert {f"{c.dataset}.{c.name}" for c in CONTRACTS} >= {
        "crypto_data.crypto_market_snapshot_fact",
        "crypto_data.crypto_asset_dim",
        "crypto_data.date_dim",
        "crypto_data.time_dim",
        "crypto_data.source_dim",
        "crypto_ops.ingestion_batch",
        "crypto_ops.rejected_record",
        "crypto_ops.quality_result",
    }


@every_contract
def test_no_column_lacks_a_description_or_a_unit(contract: Contract) -> None:
    for column in contract.columns:
        assert len(column.description) >= 4, column.name
        assert column.unit, column.name


@every_contract
def test_key_partition_and_clustering_are_columns_that_are_never_null(contract: Contract) -> None:
    assert contract.primary_key
    for name in (*contract.primary_key, *([contract.partition_column] if contract.partition_column else [])):
        assert contract.by_name[name].required, name
    assert set(contract.clustering) <= set(contract.by_name)
    assert len(contract.clustering) <= 4, "BigQuery clusters by at most four columns"


@every_contract
def test_a_partition_is_a_date(contract: Contract) -> None:
    assert contract.partition_column is None or contract.by_name[contract.partition_column].type == "DATE"


@every_contract
def test_every_reference_leads_to_the_key_of_a_table(contract: Contract) -> None:
    for column in contract.columns:
        if column.references:
            table, _, name = column.references.partition(".")
            parent = load_contract(table)
            assert name == parent.primary_key[0], column.name
            assert parent.by_name[name].type == column.type, column.name


@every_contract
def test_names_of_columns_and_rules_are_unique_and_plain(contract: Contract) -> None:
    assert all(c.name.replace("_", "").isalnum() and c.name == c.name.lower() for c in contract.columns)
    assert len({rule.name for rule in contract.rules}) == len(contract.rules)


@every_contract
def test_every_rule_reads_the_table_under_audit_and_says_what_it_protects(contract: Contract) -> None:
    for rule in contract.rules:
        assert "{table}" in rule.query, rule.name
        assert not rule.sample or "{table}" in rule.sample, rule.name
        assert len(rule.description) > 20, rule.name


@every_contract
def test_the_same_name_means_the_same_type_everywhere(contract: Contract) -> None:
    # A "value" is the number of a rule in one table and the text of a reject in another; neither is ever joined.
    for column in (c for c in contract.columns if c.name != "value"):
        for other in CONTRACTS:
            known = other.by_name.get(column.name)
            assert known is None or known.type == column.type, f"{column.name} in {other.name}"


def test_the_facts_prices_are_doubles() -> None:
    fact = load_contract("crypto_market_snapshot_fact")
    assert {
        fact.by_name[name].type for name in ("current_price", "ath", "atl", "atl_change_percentage", "volatility_7d")
    } == {"FLOAT64"}


def test_only_the_columns_that_publishing_fills_are_missing_from_files() -> None:
    assets = load_contract("crypto_asset_dim")
    assert {c.name for c in assets.columns} - {c.name for c in assets.file_columns} == {
        "valid_from",
        "valid_to",
        "is_current",
    }


def test_an_unknown_table_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ContractError, match=r"no contract for 'nothing'.*date_dim"):
        load_contract("nothing")


VALID: dict[str, Any] = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "id": "x",
    "name": "coin",
    "version": "1.0.0",
    "status": "active",
    "team": {"name": "someone"},
    "schema": [
        {
            "name": "coin",
            "logicalType": "object",
            "description": "Coins.",
            "customProperties": [{"property": "clustering", "value": ["id"]}],
            "properties": [
                {
                    "name": "id",
                    "logicalType": "string",
                    "physicalType": "STRING",
                    "description": "The key",
                    "required": True,
                    "primaryKey": True,
                    "primaryKeyPosition": 1,
                    "customProperties": [{"property": "unit", "value": "identifier"}],
                },
                {
                    "name": "price",
                    "logicalType": "number",
                    "physicalType": "FLOAT64",
                    "description": "The price",
                    "logicalTypeOptions": {"exclusiveMinimum": 0},
                    "customProperties": [{"property": "unit", "value": "usd"}],
                },
            ],
            "quality": [
                {
                    "name": "some",
                    "type": "sql",
                    "description": "There is a coin.",
                    "query": "SELECT COUNT(*) FROM {table}",
                    "mustBeGreaterThan": 0,
                    "severity": "warning",
                }
            ],
        }
    ],
}


def written(root: Path, change: Change = copy.deepcopy, folder: str = "coin") -> Path:
    """A contract file that differs from a valid one by a change."""
    document = copy.deepcopy(VALID)
    change(document)
    path = root / "crypto_data" / folder / "contract.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def column(document: dict[str, Any], position: int = 1) -> dict[str, Any]:
    """One column of a document."""
    found: dict[str, Any] = document["schema"][0]["properties"][position]
    return found


def rule(document: dict[str, Any]) -> dict[str, Any]:
    """The rule of a document."""
    found: dict[str, Any] = document["schema"][0]["quality"][0]
    return found


def staged(document: dict[str, Any], stage: str) -> None:
    """Give the rule a stage."""
    rule(document)["customProperties"] = [{"property": "stage", "value": stage}]


def promised(document: dict[str, Any], hours: float = 26, limit: float | None = None, element: str = "coin") -> None:
    """Promise freshness."""
    document["slaProperties"] = [
        {"property": "freshness", "value": hours, "valueExt": limit, "unit": "h", "element": element}
    ]
    if element == "coin":
        column(document).update(physicalType="DATE", partitioned=True)


def test_a_rule_names_tables_literals_and_its_stage(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        staged(document, "both")
        rule(document)["query"] = (
            "SELECT COUNTIF(REGEXP_CONTAINS(id, r'a{2}') AND seen > {now}) FROM {table}, {coin} WHERE d >= {first_date}"
        )

    (found,) = read_contract(written(tmp_path, change)).rules
    assert found.placeholders == {"now", "table", "coin", "first_date"}
    assert (found.runs_on(Stage.STAGING), found.runs_on(Stage.PUBLISHED)) == (True, True)
    filled = module.fill(found.query, {"table": "`t`", "coin": "`{now}`", "now": "1"})
    assert (
        filled == "SELECT COUNTIF(REGEXP_CONTAINS(id, r'a{2}') AND seen > 1) FROM `t`, `{now}` WHERE d >= {first_date}"
    )


def test_freshness_has_two_bounds_and_a_column(tmp_path: Path) -> None:
    contract = read_contract(written(tmp_path, lambda document: promised(document, 26, 74)))
    assert (contract.freshness_hours, contract.freshness_limit_hours, contract.freshness_column) == (26, 74, "price")
    silent = read_contract(written(tmp_path / "silent"))
    assert (silent.freshness_hours, silent.freshness_limit_hours, silent.freshness_column) == (None, None, None)


def test_a_valid_contract_is_read_as_it_is_written(tmp_path: Path) -> None:
    contract = read_contract(written(tmp_path))
    assert (contract.dataset, contract.name, contract.version, contract.owner) == (
        "crypto_data",
        "coin",
        "1.0.0",
        "someone",
    )
    assert contract.primary_key == ("id",)
    assert contract.by_name["price"].exclusive_minimum == 0
    assert contract.rules[0].operator == ">"
    assert contract.rules[0].severity is Severity.WARNING


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(
            lambda d: column(d).pop("description"), "column price has no description", id="a column without description"
        ),
        pytest.param(
            lambda d: column(d).pop("customProperties"), "column price has no unit", id="a column without unit"
        ),
        pytest.param(
            lambda d: column(d).update(physicalType="NUMERIC"),
            "column price has type 'NUMERIC'",
            id="a type we do not use",
        ),
        pytest.param(lambda d: column(d).pop("physicalType"), "column price has type ''", id="no type"),
        pytest.param(lambda d: column(d).update(name="id"), "column id is described twice", id="a column twice"),
        pytest.param(
            lambda d: column(d).update(name="Current Price"), "'Current Price'", id="a name that SQL needs quoted"
        ),
        pytest.param(lambda d: column(d, 0).pop("primaryKey"), "there is no primary_key", id="no key"),
        pytest.param(
            lambda d: column(d, 0).update(required=False), "key column id is not required", id="a key that may be null"
        ),
        pytest.param(
            lambda d: column(d).update(partitioned=True),
            "partition column price is FLOAT64",
            id="a partition that is no date",
        ),
        pytest.param(lambda d: d.pop("team"), "there is no owner", id="no owner"),
        pytest.param(
            lambda d: d["schema"][0].pop("description"), "there is no description", id="a table without description"
        ),
        pytest.param(
            lambda d: d["schema"][0].update(name="other"), "named 'other', its folder 'coin'", id="another folder"
        ),
        pytest.param(lambda d: d["schema"].append(d["schema"][0]), "describes 2 tables", id="two tables in one file"),
        pytest.param(lambda d: d.pop("schema"), "describes 0 tables", id="no table"),
        pytest.param(lambda d: d.update(schema="coin"), "not a valid ODCS v3 contract", id="a text for the schema"),
        pytest.param(
            lambda d: d["schema"][0]["customProperties"][0].update(value=["rank"]),
            "clustering column rank does not exist",
            id="clustering by a column that is not there",
        ),
        pytest.param(
            lambda d: column(d)["logicalTypeOptions"].update(multipleOf=2),
            "unsupported options .'multipleOf'",
            id="an option nobody checks",
        ),
        pytest.param(
            lambda d: rule(d).pop("mustBeGreaterThan"), "rule 'some' is incomplete", id="a rule that compares nothing"
        ),
        pytest.param(lambda d: rule(d).update(mustBe=1), "rule 'some' is incomplete", id="a rule with two comparisons"),
        pytest.param(lambda d: rule(d).pop("severity"), "rule 'some' is incomplete", id="a rule without severity"),
        pytest.param(lambda d: rule(d).update(severity="fatal"), "rule 'some' is incomplete", id="an unknown severity"),
        pytest.param(lambda d: rule(d).update(type="text"), "rule 'some' is incomplete", id="a rule in prose"),
        pytest.param(lambda d: rule(d).pop("query"), "rule 'some' is incomplete", id="a rule without a query"),
        pytest.param(
            lambda d: rule(d).update(query="SELECT 1"),
            "rule some does not read {table}",
            id="a rule that reads something else",
        ),
        pytest.param(
            lambda d: rule(d).update(query="SELECT COUNT(*) FROM {table}, {coins}"),
            "rule some names {coins}, which is neither a table nor a placeholder",
            id="a rule that names a table that is not there",
        ),
        pytest.param(lambda d: staged(d, "later"), "rule 'some' has stage 'later'", id="an unknown stage"),
        pytest.param(
            lambda d: [staged(d, "both"), rule(d).update(query="SELECT COUNTIF(id = {batch_id}) FROM {table}")],
            "rule some names {batch_id}, but published tables are also checked without a batch",
            id="a published rule that needs a batch",
        ),
        pytest.param(
            lambda d: promised(d, 26, 25),
            "freshness warns after 26 hours and fails after 25",
            id="an error before its warning",
        ),
        pytest.param(
            lambda d: promised(d, element="coin.price"), "freshness is judged by 'price'", id="freshness by a price"
        ),
        pytest.param(
            lambda d: promised(d, element="coin.seen_at"), "freshness is judged by 'seen_at'", id="freshness by nothing"
        ),
        pytest.param(
            lambda d: d["schema"][0]["quality"].append(rule(d)),
            "rule some is described twice",
            id="two rules of one name",
        ),
        pytest.param(
            lambda d: column(d).update(relationships=[{"type": "foreignKey", "to": "nowhere"}]),
            "column price refers to 'nowhere'",
            id="a reference without a column",
        ),
    ],
)
def test_a_broken_contract_is_refused_with_file_and_fault(change: Change, named: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        read_contract(written(tmp_path, change))
    text = str(caught.value)
    assert named.replace(".'", "['") in text
    assert "crypto_data/coin/contract.yaml" in text


@pytest.mark.parametrize(
    ("text", "named"),
    [("a: [1", "not a valid ODCS"), ("", "not a valid ODCS"), ("- 1", "not a valid ODCS")],
    ids=["cut", "empty", "a list"],
)
def test_a_file_that_is_no_contract_is_refused(text: str, named: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(text)
    with pytest.raises(ContractError, match=named):
        read_contract(path)


def test_all_faults_of_a_contract_are_told_at_once(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        column(document).pop("description")
        document.pop("team")

    with pytest.raises(ContractError) as caught:
        read_contract(written(tmp_path, change))
    assert "no description" in str(caught.value)
    assert "no owner" in str(caught.value)


def test_two_tables_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    other = written(tmp_path / "more")
    (tmp_path / "crypto_ops" / "coin").mkdir(parents=True)
    other.rename(tmp_path / "crypto_ops" / "coin" / "contract.yaml")
    monkeypatch.setattr(module, "SQL_ROOT", tmp_path)
    load_all.cache_clear()
    try:
        with pytest.raises(ContractError, match="Two contracts describe a table coin"):
            load_all()
    finally:
        load_all.cache_clear()


def test_the_types_in_use_are_those_that_every_format_can_carry() -> None:
    assert {c.type for contract in CONTRACTS for c in contract.columns} <= COLUMN_TYPES


def test_a_field_that_is_stored_is_not_ignored(tmp_path: Path) -> None:
    text = (SQL_ROOT / "crypto_data" / "crypto_market_snapshot_fact" / "contract.yaml").read_text(encoding="utf-8")
    place = tmp_path / "crypto_data" / "crypto_market_snapshot_fact" / "contract.yaml"
    place.parent.mkdir(parents=True)
    place.write_text(
        text.replace("value: [sparkline_in_7d,", "value: [sparkline_in_7d, ath, atl, roi,"), encoding="utf-8"
    )
    with pytest.raises(
        ContractError,
        match=r"source field ath is both stored and ignored; source field atl is both .*; source field roi is both",
    ):
        read_contract(place)
