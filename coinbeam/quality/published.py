"""What readers see: each published table exists as its contract says, and its rows keep the rules of that stage."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from coinbeam.contracts import Contract, Rule, Stage, load_contract
from coinbeam.quality.audit import Audit, Auditor, Result, Status
from coinbeam.quality.rules import foreign_keys, freshness, rules_of
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import columns_for

_EPOCH = date(2010, 1, 1)
"""Older than any row; a filter that partitioned tables ask for."""


def check_published(
    warehouse: Warehouse, contracts: Iterable[Contract], audit: Audit, newest: Mapping[str, date | None] | None = None
) -> list[Result]:
    """Run the rules of published tables as :func:`judge_published` does, and append the results, by one load job."""
    results = judge_published(warehouse, contracts, audit, newest)
    Auditor(warehouse, audit).record(results, audit.now)
    return results


def judge_published(
    warehouse: Warehouse, contracts: Iterable[Contract], audit: Audit, newest: Mapping[str, date | None] | None = None
) -> list[Result]:
    """Run the rules of published tables.

    Args:
        audit: who asks; its dates limit the rows that are read. Tables without a partition are read whole.
        newest: of each table, the last date of which it got rows; that of the audit when left out.
    """
    auditor, results = Auditor(warehouse, audit), list[Result]()
    checked = list(contracts)
    began = first_batch_at(warehouse) if any(one.freshness_hours is not None for one in checked) else None
    for contract in checked:
        own = audit if newest is None else replace(audit, newest=newest[contract.name])
        rows, rules = rows_of_dates(warehouse, contract, audit), published_rules(contract, own)
        if contract.freshness_hours is not None and is_new(warehouse, contract, began, audit.now):
            promised = {rule.name for rule in freshness(contract, enforced=True)}
            rules = [rule for rule in rules if rule.name not in promised]
        results += check_table(warehouse, auditor, contract, rows, rules)
    return results


def guards(
    warehouse: Warehouse, contracts: Iterable[Contract], audit: Audit, *, of_references: bool = True
) -> list[str]:
    """Statements that fail where a published table breaks a rule of severity error.

    They come last in the transaction that changes the tables, so that readers never see such rows. The age of a table
    is no matter of the rows that change.

    Args:
        audit: its dates limit the rows that are read, as for `check_published`.
        of_references: whether keys must be found in their dimensions; a mart has none that its facts do not have.
    """
    auditor, found = Auditor(warehouse, audit), []
    for contract in contracts:
        rules = rules_of(contract, contract.columns, Stage.PUBLISHED) + (
            foreign_keys(contract) if of_references else []
        )
        found.append(auditor.guard(contract, rows_of_dates(warehouse, contract, audit), rules))
    return found


def check_table(
    warehouse: Warehouse, auditor: Auditor, contract: Contract, rows: str, rules: Iterable[Rule]
) -> list[Result]:
    """The results of one published table, by the rows in question, a parenthesised subquery.

    Without the table, or without a column, rules over rows would only repeat that.
    """
    shape = shape_of(warehouse, contract)
    if any(result.blocks for result in shape):
        return shape
    return shape + auditor.check(contract, rows, list(rules))


def published_rules(contract: Contract, audit: Audit) -> list[Rule]:
    """Every rule of a published table: of its columns and key, its ``quality`` section, references and freshness.

    Only rows of the present can make a table fresh; older ones are not blocked by its age.
    """
    return [
        *rules_of(contract, contract.columns, Stage.PUBLISHED),
        *foreign_keys(contract),
        *freshness(contract, enforced=is_present(contract, audit)),
    ]


def first_batch_at(warehouse: Warehouse) -> datetime | None:
    """When the first batch of a warehouse began; None when none did, and long ago where nobody keeps a record."""
    record = warehouse.table(load_contract("ingestion_batch"))
    if not warehouse.exists(record):
        return datetime.min.replace(tzinfo=UTC)
    sql = f"SELECT MIN(started_at) AS first FROM `{record}` WHERE snapshot_date >= DATE '{_EPOCH}'"
    first: datetime | None = warehouse.rows(sql)[0]["first"]
    return first


def is_new(warehouse: Warehouse, contract: Contract, began: datetime | None, now: datetime) -> bool:
    """Whether a table is empty in a warehouse that is younger than the freshness it promises: it is not late yet.

    Args:
        began: when the first batch of the warehouse began; None before there is one.
    """
    hours = contract.freshness_limit_hours or contract.freshness_hours or 0
    is_old = began is not None and began <= now - timedelta(hours=hours)
    if is_old or not warehouse.exists(warehouse.table(contract)):
        return False
    bound = f" WHERE {contract.partition_column} >= DATE '{_EPOCH}'" if contract.partition_column else ""
    return not warehouse.rows(f"SELECT 1 AS one FROM `{warehouse.table(contract)}`{bound} LIMIT 1")


def is_present(contract: Contract, audit: Audit) -> bool:
    """Whether the rows in question could make the table fresh: they are news, of young enough dates. A file of an old
    answer is no stale source.
    """
    limit = contract.freshness_limit_hours
    return (
        limit is not None and audit.newest is not None and audit.newest >= (audit.now - timedelta(hours=limit)).date()
    )


def rows_of_dates(warehouse: Warehouse, contract: Contract, audit: Audit) -> str:
    """The rows of a table on the dates of an audit, as a subquery that prunes to their partitions."""
    column = contract.partition_column
    dates = f" WHERE {column} BETWEEN DATE '{audit.first_date}' AND DATE '{audit.last_date}'" if column else ""
    return f"(SELECT * FROM `{warehouse.table(contract)}`{dates})"


def shape_of(warehouse: Warehouse, contract: Contract) -> list[Result]:
    """Whether the table is there, and has the columns, types and modes of its contract.

    Modes of a view are not judged: BigQuery knows none.
    """
    present = columns_for(warehouse, contract)
    absent = [contract.name] if present is None else []
    exists = _shape_result(contract, "table_exists", absent, "The table is there.")
    if present is None:
        return [exists]
    wanted = {column.name: (column.type, column.required) for column in contract.columns}
    differences = sorted(
        f"{name}: {_described(present.get(name), contract)}, not {_described(wanted.get(name), contract)}"
        for name in {*present, *wanted}
        if _described(present.get(name), contract) != _described(wanted.get(name), contract)
    )
    said = "Names, types and modes are those of the contract."
    return [exists, _shape_result(contract, "schema_matches", differences, said)]


def _described(column: tuple[str, bool] | None, contract: Contract) -> str:
    if column is None:
        return "missing"
    return column[0] if contract.is_view else f"{column[0]} {'REQUIRED' if column[1] else 'NULLABLE'}"


def _shape_result(contract: Contract, name: str, differences: list[str], description: str) -> Result:
    rule = Rule(name, "", description=description, stage=Stage.PUBLISHED)
    status = Status.FAILED if differences else Status.PASSED
    return Result(contract.name, rule, status, float(len(differences)), description, tuple(differences))


def newest_dates(warehouse: Warehouse, contract: Contract, days: int, today: date) -> tuple[date, date]:
    """The newest ``days`` dates of a table, up to the last one that has rows; up to today when it has none."""
    column = contract.partition_column
    if column is None or not warehouse.exists(warehouse.table(contract)):
        return today - timedelta(days=days - 1), today
    found = warehouse.rows(
        f"SELECT MAX({column}) AS newest FROM `{warehouse.table(contract)}` WHERE {column} >= DATE '{_EPOCH}'"
    )
    newest: date = found[0]["newest"] or today
    return newest - timedelta(days=days - 1), max(newest, today)
