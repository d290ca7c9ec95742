"""The audit on the emulator: every rule is broken on purpose once, and must say so with the right number and the right
keys.
"""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from coinbeam.batch.tables import ASSETS, DATES, REJECTS
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.contracts import Column, Contract, Rule, Severity, load_all, load_contract
from coinbeam.contracts import Stage as AuditStage
from coinbeam.errors import PublishBlockedError, TransientError
from coinbeam.quality import Audit, Auditor, Result, Status, refuse_if_blocked
from coinbeam.quality.audit import SAMPLE_SIZE
from coinbeam.quality.rules import listed_share, reject_share, row_count, rules_of
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from tests.coinbeam.conftest import DAY, Stage, asset_row, date_row, fact_row, reject_row
from tests.temporary import LocalCloud, fresh_resources, temporary_settings

CONTRACTS = list(load_all().values())


@pytest.fixture(scope="module")
def stage(local_cloud: LocalCloud) -> Stage:
    """One warehouse for all rules; each test loads tables of its own names."""
    made = Stage(Warehouse(fresh_resources(local_cloud).settings, clock=lambda: DAY))
    ensure_schema(made.warehouse)
    return made


def auditor(stage: Stage, run: str = "run", batch: str = "batch", kind: AuditStage = AuditStage.STAGING) -> Auditor:
    """An auditor of one run."""
    return Auditor(stage.warehouse, Audit(batch, run, DAY, kind, DAY.date(), DAY.date(), DAY))


def loaded(stage: Stage, contract: str, name: str, rows: list[dict[str, Any]]) -> str:
    """A table of rows, backquoted."""
    table = f"{stage.warehouse.settings.warehouse.staging_dataset}.{contract}_{name}"
    stage.load(table, contract, rows)
    return f"`{table}`"


def checked(stage: Stage, contract: str, name: str, rows: list[dict[str, Any]]) -> dict[str, Result]:
    """The results of all rules of a contract on some rows, by rule."""
    known = load_contract(contract)
    rules = rules_of(known, known.file_columns)
    return {r.rule.name: r for r in auditor(stage).check(known, loaded(stage, contract, name, rows), rules)}


def value_of(column: Column, number: int) -> Any:
    """A value that the contract accepts, different for every number where it is a key."""
    if column.accepted:
        return column.accepted[0]
    moment = DAY + timedelta(days=number)
    low = column.minimum if column.minimum is not None else 1
    return {
        "STRING": f"row-{number:03d}",
        "INT64": int(low) + (number if column.name == "time_id" else 0),
        "FLOAT64": min(1.5, column.maximum if column.maximum is not None else 1.5),
        "BOOL": True,
        "TIMESTAMP": moment.isoformat(),
        "DATE": f"{moment:%Y-%m-%d}",
    }[column.type]


def breaks(column: Column) -> dict[str, list[Any]]:
    """Values that break each derived rule of a column."""
    found: dict[str, list[Any]] = {"not_null": [None]} if column.required else {}
    is_integer = column.type == "INT64"
    bounds = [
        (column.minimum, -math.inf),
        (column.maximum, math.inf),
    ]
    outside: list[float] = [
        int(bound + math.copysign(1, far)) if is_integer else math.nextafter(bound, far)
        for bound, far in bounds
        if bound is not None
    ]
    outside += [column.exclusive_minimum] if column.exclusive_minimum is not None else []
    return (
        found
        | ({"in_range": outside} if outside else {})
        | ({"accepted": ["nonsense", "it's"]} if column.accepted else {})
    )


@pytest.mark.cloud
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_every_derived_rule_finds_exactly_the_rows_that_break_it(contract: Contract, stage: Stage) -> None:
    key = contract.primary_key[0]
    rows, expected = [], {}
    for column in contract.file_columns:
        for kind, values in breaks(column).items():
            keys = []
            for value in values:
                row = {c.name: value_of(c, len(rows)) for c in contract.file_columns} | {column.name: value}
                keys.append(str(row[key]))
                rows.append(row)
            expected[f"{column.name}_{kind}"] = (float(len(values)), tuple(sorted(keys)))
    results = checked(stage, contract.name, "derived", rows)
    explicit = {rule.name for rule in contract.rules} | {"unique_key"}
    found = {name: (r.value, r.sample) for name, r in results.items() if name not in explicit}
    assert found == expected
    assert {r.status for name, r in results.items() if name in expected} == {Status.FAILED}


@pytest.mark.cloud
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_a_key_that_is_repeated_is_found_and_named(contract: Contract, stage: Stage) -> None:
    rows = [{c.name: value_of(c, number) for c in contract.file_columns} for number in (0, 1, 1, 2, 2, 2)]
    result = checked(stage, contract.name, "repeated", rows)["unique_key"]
    key = contract.primary_key[0]
    assert (result.status, result.value) == (Status.FAILED, 2.0)
    assert result.sample == tuple(sorted(str(rows[index][key]) for index in (1, 3)))


VALID: dict[str, list[dict[str, Any]]] = {
    FACT: [fact_row("a"), fact_row("b", market_cap=None, low_24h=None, symbol=None, volatility_7d=0.0)],
    ASSETS: [asset_row("a"), asset_row("b", status="inactive")],
    DATES: [date_row(DAY), date_row(DAY + timedelta(days=1))],
}


@pytest.mark.cloud
@pytest.mark.parametrize("contract", VALID)
def test_valid_rows_pass_every_rule(contract: str, stage: Stage) -> None:
    results = checked(stage, contract, "valid", VALID[contract])
    assert {name: r.message for name, r in results.items() if r.status is not Status.PASSED} == {}
    refuse_if_blocked(list(results.values()))


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("rows", "rejects", "share", "status"),
    [
        pytest.param(95, [1] * 5, 0.05, Status.PASSED, id="five of a hundred are just enough"),
        pytest.param(94, [1] * 6, 0.06, Status.FAILED, id="six of a hundred are too many"),
        pytest.param(250, [250], 0.5, Status.FAILED, id="a refused page weighs as many rows as it was asked for"),
        pytest.param(3, [], 0.0, Status.PASSED, id="no reject is a share of none"),
        pytest.param(0, [1], 1.0, Status.FAILED, id="nothing but rejects is all"),
    ],
)
def test_the_share_of_rejects(rows: int, rejects: list[int], share: float, status: Status, stage: Stage) -> None:
    fact = load_contract(FACT)
    others = [reject_row(900 + n, table_name=ASSETS, estimated_rows=1_000) for n in range(2)]
    refused = [reject_row(n, estimated_rows=size) for n, size in enumerate(rejects)]
    staged = loaded(stage, REJECTS, f"share_{rows}_{len(rejects)}", [*others, *refused]).strip("`")
    table = f"(SELECT * FROM UNNEST(GENERATE_ARRAY(1, {rows})) AS n)"
    (result,) = auditor(stage).check(fact, table, [reject_share(fact, staged, 0.05)])
    assert (result.status, result.value) == (status, share)
    assert result.sample == (("negative",) if status is Status.FAILED else ())


@pytest.mark.cloud
@pytest.mark.parametrize(("expected", "status"), [(2, Status.PASSED), (1, Status.FAILED), (3, Status.FAILED)])
def test_every_row_of_the_job_arrives_once(expected: int, status: Status, stage: Stage) -> None:
    (result,) = auditor(stage).check(
        load_contract(FACT), loaded(stage, FACT, f"count_{expected}", VALID[FACT]), [row_count(expected)]
    )
    assert (result.status, result.value) == (status, 2)


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("listed", "status", "share"),
    [
        pytest.param(8, Status.PASSED, 0.8, id="most of the list is there"),
        pytest.param(7, Status.FAILED, 0.7, id="the list was cut"),
        pytest.param(12, Status.PASSED, 1.2, id="the list has grown"),
    ],
)
def test_a_cut_coin_list_is_refused(listed: int, status: Status, share: float, stage: Stage) -> None:
    dataset = stage.warehouse.settings.warehouse.staging_dataset
    target = f"{dataset}.known_{listed}"
    stage.warehouse.query(
        f"CREATE TABLE `{target}` AS SELECT n <= 12 AS is_current, IF(n <= 10, 'active', 'inactive') AS status "
        "FROM UNNEST(GENERATE_ARRAY(1, 15)) AS n"
    )
    table = f"(SELECT * FROM UNNEST(GENERATE_ARRAY(1, {listed})) AS n)"
    (result,) = auditor(stage).check(load_contract(ASSETS), table, [listed_share(target, 0.8)])
    assert (result.status, result.value) == (status, share)


@pytest.mark.cloud
def test_the_first_coin_list_has_nothing_to_be_compared_with(stage: Stage) -> None:
    target = stage.warehouse.table(load_contract(ASSETS))
    (result,) = auditor(stage).check(load_contract(ASSETS), "(SELECT 1 AS one)", [listed_share(target, 0.8)])
    assert (result.status, result.value) == (Status.PASSED, 1)


def own_rule(query: str, sample: str = "", severity: Severity = Severity.WARNING) -> Rule:
    """A rule that must find 0."""
    return Rule("own", query, "=", 0, severity, "A rule of this test.", sample=sample)


@pytest.mark.cloud
@pytest.mark.parametrize(
    "query",
    [
        pytest.param("SELECT COUNTIF(nothing > 1) FROM {table}", id="it names a column that is not there"),
        pytest.param("SELEC COUNT(*) FROM {table}", id="it is no SQL"),
        pytest.param("SELECT MAX(x) FROM {table} WHERE FALSE", id="it finds no number"),
        pytest.param(
            "SELECT IF(COUNT(*) > 0, CAST('NaN' AS FLOAT64), 0) FROM {table}", id="it finds what is not a number"
        ),
        pytest.param("SELECT x FROM {table}", id="it finds two numbers"),
        pytest.param("SELECT 'many' FROM {table} LIMIT 1", id="it finds a text"),
        pytest.param("SELECT COUNT(*) FROM {tabel}", id="it misspells its placeholder"),
    ],
)
def test_a_rule_that_cannot_run_blocks_whatever_its_severity_and_spares_the_others(query: str, stage: Stage) -> None:
    table = "(SELECT 1 AS x UNION ALL SELECT 2)"
    broken, sound = auditor(stage).check(load_contract(FACT), table, [own_rule(query), row_count(2)])
    assert (broken.status, broken.value) == (Status.ERROR, None)
    assert "could not run" in broken.message
    assert broken.blocks
    assert sound.status is Status.PASSED


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("query", "refused"),
    [
        pytest.param("SELECT COUNTIF(x > 2) FROM {table}", None, id="no row is so"),
        pytest.param("SELECT COUNTIF(x > NULL) FROM {table}", None, id="of no row it is known"),
        pytest.param("SELECT COUNTIF((x > 1) AND (x < 3)) FROM {table}", "own is broken", id="a row is so"),
        pytest.param("SELECT COUNTIF(x > 5) + COUNTIF(x > 1) FROM {table}", "own = 1", id="two counts"),
        pytest.param("SELECT COUNTIF(x IN (SELECT 2)) FROM {table}", "own = 1", id="a look elsewhere"),
        pytest.param("SELECT COUNT(*) - 2 FROM {table}", None, id="another number, that is right"),
        pytest.param("SELECT COUNT(*) FROM {table}", "own = 2", id="another number"),
    ],
)
def test_a_guard_ends_the_transaction_where_a_rule_is_broken(query: str, refused: str | None, stage: Stage) -> None:
    rules = [own_rule(query, severity=Severity.ERROR), own_rule("SELECT COUNT(*) FROM {table}"), row_count(2)]
    guard = auditor(stage).guard(load_contract(FACT), "(SELECT 1 AS x UNION ALL SELECT 2)", rules)
    if refused is None:
        stage.warehouse.query(guard)
        return
    with pytest.raises(PublishBlockedError, match=f"{FACT}.{refused}.*and nothing was published"):
        stage.warehouse.query(guard)


@pytest.mark.cloud
def test_braces_of_a_rule_are_its_own(stage: Stage) -> None:
    odd = "NOT REGEXP_CONTAINS(x, r'^a{2}$')"
    rule = own_rule(f"SELECT COUNTIF({odd}) FROM {{table}}", f"SELECT x FROM {{table}} WHERE {odd}")
    (result,) = auditor(stage).check(load_contract(FACT), "(SELECT 'aa' AS x UNION ALL SELECT 'a')", [rule])
    assert (result.status, result.value, result.sample) == (Status.WARNING, 1, ("a",))


@pytest.mark.cloud
def test_a_sample_that_cannot_be_read_does_not_hide_the_finding(stage: Stage) -> None:
    rule = own_rule("SELECT COUNT(*) FROM {table}", "SELECT nothing FROM {table}")
    (result,) = auditor(stage).check(load_contract(FACT), "(SELECT 1 AS x)", [rule])
    assert (result.status, result.value) == (Status.WARNING, 1)
    assert "could not be read" in result.sample[0]


@pytest.mark.cloud
def test_a_sample_is_bounded(stage: Stage) -> None:
    rule = own_rule("SELECT COUNT(*) FROM {table}", "SELECT CAST(n AS STRING) FROM {table}")
    (result,) = auditor(stage).check(load_contract(FACT), "(SELECT * FROM UNNEST(GENERATE_ARRAY(1, 99)) AS n)", [rule])
    assert result.value == 99
    assert len(result.sample) == SAMPLE_SIZE


def test_a_warehouse_that_is_down_is_no_finding_of_a_rule(stage_down: Warehouse) -> None:
    with pytest.raises(TransientError):
        Auditor(stage_down, Audit("b", "r", DAY, AuditStage.STAGING, DAY.date(), DAY.date(), DAY)).check(
            load_contract(FACT), "`a.b`", [row_count(1)]
        )


@pytest.fixture
def stage_down(tmp_path: Path) -> Warehouse:
    """A warehouse that nobody started."""
    return Warehouse(temporary_settings(tmp_path))


def results_of(stage: Stage, batch: str) -> list[dict[str, Any]]:
    """What is recorded of a batch."""
    return stage.warehouse.rows(
        f"SELECT * FROM `{stage.warehouse.table(load_contract('quality_result'))}` WHERE batch_id = '{batch}' ORDER "
        "BY run_id, rule, value"
    )


def result(status: Status, value: float | None, name: str = "own", sample: tuple[str, ...] = ()) -> Result:
    """A made-up result."""
    return Result(
        FACT, Rule(name, "q", "<=", 0.05, Severity.ERROR, "Protects.", "current_price"), status, value, "Words.", sample
    )


@pytest.mark.cloud
def test_results_are_appended_and_the_same_finding_only_once(stage: Stage) -> None:
    one = [result(Status.PASSED, 0.0), result(Status.FAILED, 0.1 + 0.2, "other", ("it's", 'a "b"', "é"))]
    auditor(stage, batch="append").record(one, DAY)
    auditor(stage, batch="append").record(one, DAY + timedelta(hours=1))
    first = results_of(stage, "append")
    assert len(first) == 2, "the same run finding the same again adds nothing"
    auditor(stage, batch="append").record([result(Status.FAILED, 7.0)], DAY)
    auditor(stage, run="second", batch="append").record(one, DAY)
    auditor(stage, batch="append", kind=AuditStage.PUBLISHED).record(one, DAY)
    after = results_of(stage, "append")
    assert len(after) == 2 + 1 + 2 + 2
    assert all(row in after for row in first), "nothing is ever replaced"
    assert len({row["result_id"] for row in after}) == len(after)


@pytest.mark.cloud
def test_an_age_that_grew_meanwhile_is_no_news_until_its_status_changes(stage: Stage) -> None:
    def aged(status: Status, hours: float) -> Result:
        rule = Rule(
            "age",
            "SELECT TIMESTAMP_DIFF({now}, MAX(snapshot_at), HOUR) FROM {table}",
            "<=",
            26,
            Severity.ERROR,
            "Protects.",
        )
        return Result(FACT, rule, status, hours, "Words.")

    for found in (aged(Status.PASSED, 1.5), aged(Status.PASSED, 2.5), aged(Status.FAILED, 27.0)):
        auditor(stage, batch="aged").record([found], DAY)
    assert [row["value"] for row in results_of(stage, "aged")] == [1.5, 27.0]


@pytest.mark.cloud
def test_a_result_is_recorded_as_it_was_found(stage: Stage) -> None:
    auditor(stage, batch="exact").record([result(Status.FAILED, 0.1 + 0.2, sample=("it's", 'a "b"', "é"))], DAY)
    (row,) = results_of(stage, "exact")
    assert row["value"] == 0.1 + 0.2
    assert row["failing_sample"] == '["it\'s", "a \\"b\\"", "é"]'
    assert (row["table_name"], row["stage"], row["column_name"], row["severity"], row["status"], row["threshold"]) == (
        FACT,
        "staging",
        "current_price",
        "error",
        "failed",
        "<= 0.05",
    )
    assert row["checked_date"] == DAY.date()
    assert row["checked_at"] == DAY


@pytest.mark.cloud
@pytest.mark.parametrize("value", [None, float("inf")], ids=["no number", "infinity"])
def test_what_json_cannot_carry_is_recorded_as_null(value: float | None, stage: Stage) -> None:
    batch = f"null-{value}"
    auditor(stage, batch=batch).record([result(Status.ERROR, value)], DAY)
    assert [row["value"] for row in results_of(stage, batch)] == [None]


def test_a_refusal_names_every_blocking_rule_with_its_number_and_keys() -> None:
    results = [
        result(Status.PASSED, 0.0, "fine"),
        result(Status.WARNING, 3.0, "odd"),
        result(Status.FAILED, 0.5, "share", ("bitcoin",)),
        result(Status.ERROR, None, "broken"),
    ]
    with pytest.raises(PublishBlockedError) as caught:
        refuse_if_blocked(results)
    text = str(caught.value)
    assert text.startswith("2 rule(s) refuse the batch")
    assert "crypto_market_snapshot_fact.share = 0.5, must be <= 0.05 ['bitcoin']" in text
    assert "crypto_market_snapshot_fact.broken = None" in text
    assert "Nothing was published" in text
    assert "odd" not in text
    assert "fine" not in text


def test_warnings_let_a_batch_through() -> None:
    refuse_if_blocked([result(Status.WARNING, 3.0), result(Status.PASSED, 0.0)])


def test_rules_follow_the_columns_that_the_audited_table_has() -> None:
    assets = load_contract(ASSETS)
    staged = {rule.name for rule in rules_of(assets, assets.file_columns)}
    assert "valid_from_not_null" not in staged
    assert "valid_from_not_null" in {rule.name for rule in rules_of(assets, assets.columns)}
