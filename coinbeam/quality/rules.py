"""The rules that no contract writes: those that follow from columns and key, from a report or from a setting."""

import math
from collections.abc import Iterable, Mapping, Sequence

from coinbeam.contracts import Column, Contract, Rule, Severity, Stage, load_contract
from coinbeam.contracts.bigquery import literal

LOSSES = (
    "rows_unpriced",
    "rows_duplicate",
    "rows_surplus",
    "rows_superseded",
    "rows_rejected",
    "points_now",
    "points_outside",
)
"""What may become of a row that a job read, other than being written, by the name of its count in the job's report."""

FRESHNESS_REACH_DAYS = 31
"""Days beyond its bounds in which the newest row of a partitioned table is sought; without one it is that old."""


def rules_of(contract: Contract, columns: Iterable[Column], stage: Stage = Stage.STAGING) -> list[Rule]:
    """Every rule of a table at a stage: of the columns that it has there and its key, then of its ``quality`` section.

    Staging lacks the columns that are filled on publish.
    """
    present = list(columns)
    names = {column.name for column in present}
    rules = [rule for column in present for rule in _column_rules(contract, column)]
    key = [name for name in contract.primary_key if name in names]
    return [*rules, _unique(contract, key, stage), *(rule for rule in contract.rules if rule.runs_on(stage))]


def _column_rules(contract: Contract, column: Column) -> list[Rule]:
    key = contract.primary_key[0]
    conditions = [("not_null", f"{column.name} IS NULL", "is never null")] if column.required else []
    bounds = [(column.minimum, "<"), (column.exclusive_minimum, "<="), (column.maximum, ">")]
    broken = " OR ".join(f"{column.name} {sign} {bound!r}" for bound, sign in bounds if bound is not None)
    if broken:
        conditions.append(("in_range", broken, "stays within the bounds of its contract"))
    if column.accepted:
        listed = ", ".join(literal(value) for value in column.accepted)
        conditions.append(("accepted", f"{column.name} NOT IN ({listed})", f"is one of {', '.join(column.accepted)}"))
    return [
        Rule(
            name=f"{column.name}_{suffix}",
            query=f"SELECT COUNTIF({where}) FROM {{table}}",
            description=f"{column.name} {text}.",
            column=column.name,
            sample=f"SELECT CAST({key} AS STRING) FROM {{table}} WHERE {where}",
        )
        for suffix, where, text in conditions
    ]


def _unique(contract: Contract, key: Sequence[str], stage: Stage) -> Rule:
    """The key is unique; among published rows also against the rows that other batches left on the same dates."""
    columns = ", ".join(key)
    partition = contract.partition_column
    dates = f" WHERE {partition} BETWEEN {{first_date}} AND {{last_date}}" if partition else ""
    rows = "{table}" if stage is Stage.STAGING else f"{{{contract.name}}}{dates}"
    repeated = f"SELECT {columns} FROM {rows} GROUP BY {columns} HAVING COUNT(*) > 1"
    return Rule(
        name="unique_key",
        query=f"SELECT COUNT(*) FROM ({repeated})",
        description=f"The key ({columns}) is unique.",
        sample=f"SELECT CAST({key[0]} AS STRING) FROM ({repeated})",
        stage=stage,
    )


def reject_share(contract: Contract, staged_rejects: str, limit: float) -> Rule:
    """The share of refused rows, up to a limit: estimated rows rejected over those rejected or staged.

    Unpriced assets count on neither side. ``staged_rejects`` is the ``dataset.table`` of the staged rejects.
    """
    rejected = (
        f"SELECT COALESCE(SUM(estimated_rows), 0) AS n FROM `{staged_rejects}` WHERE table_name = '{contract.name}'"
    )
    return Rule(
        name="reject_share",
        query=(
            f"SELECT COALESCE(SAFE_DIVIDE(r.n, r.n + s.n), 0) FROM ({rejected}) AS r CROSS JOIN (SELECT COUNT(*) AS n "
            f"FROM {{table}}) AS s"
        ),
        operator="<=",
        threshold=limit,
        description="Most of a batch was readable; a batch above the limit is a broken source, not bad rows.",
        sample=f"SELECT DISTINCT reason FROM `{staged_rejects}` WHERE table_name = '{contract.name}'",
    )


def row_count(expected: int) -> Rule:
    """The table holds exactly the rows that the Beam job wrote."""
    return Rule(
        name="row_count",
        query="SELECT COUNT(*) FROM {table}",
        threshold=expected,
        description="Every row that the job wrote arrived, once.",
    )


def batch_complete(report: Mapping[str, object]) -> Rule:
    """What arrived and what was left out, with its reason, is everything that the job read.

    Args:
        report: of the Beam job; counts that it does not have are 0.
    """
    read, *losses = (int(str(report.get(name) or 0)) for name in ("rows_read", *LOSSES))
    left_out = ", ".join(
        f"{count} {name.partition('_')[2]}" for name, count in zip(LOSSES, losses, strict=True) if count
    )
    return Rule(
        name="batch_complete",
        query="SELECT COUNT(*) FROM {table}",
        threshold=read - sum(losses),
        description=f"Of {read} rows read, all arrived but those that were left out: {left_out or 'none'}.",
    )


IDS_ANSWERED = "ids_answered"


def ids_answered(missing: Sequence[str]) -> Rule:
    """Every id that was asked for by name was answered; a renamed or misspelt one is named and not lost without a word.

    Args:
        missing: ids that no answer held, asked for twice.
    """
    named = f"UNNEST([{', '.join(map(literal, missing))}])" if missing else "UNNEST(CAST([] AS ARRAY<STRING>))"
    return Rule(
        name=IDS_ANSWERED,
        query=f"SELECT COUNT(*) FROM {named}",
        severity=Severity.WARNING,
        description=f"Every id that was asked for was answered; missing: {', '.join(missing) or 'none'}.",
        sample=f"SELECT id FROM {named} AS id",
    )


def rates_answered(batch_id: str) -> Rule:
    """The exchange rates that were asked for were answered and could be read; prices do not wait for them.

    Args:
        batch_id: the batch that lacks them.
    """
    return Rule(
        name="rates_answered",
        query=f"SELECT COUNT(*) FROM UNNEST([{literal(batch_id)}])",
        severity=Severity.WARNING,
        description=f"The exchange rates of {batch_id} were answered and could be read.",
    )


def top_filled(expected: int, severity: Severity) -> Rule:
    """A top N has N assets, but those without a price and those that were refused: a source that gives fewer rows than
    it was asked for gives another market.

    Args:
        expected: N, less the rows that were left out for a reason.
        severity: of a batch that has fewer.
    """
    return Rule(
        name="top_filled",
        query="SELECT COUNT(*) FROM {table}",
        operator=">=",
        threshold=expected,
        severity=severity,
        description=f"The batch has at least the {expected} assets of its top N that are priced and readable.",
    )


def listed_share(target: str, limit: float) -> Rule:
    """The coin list is whole: a cut list would mark thousands of assets inactive."""
    active = f"SELECT COUNT(*) FROM `{target}` WHERE is_current AND status = 'active'"
    return Rule(
        name="listed_share",
        query=f"SELECT COALESCE(SAFE_DIVIDE((SELECT COUNT(*) FROM {{table}}), ({active})), 1)",
        operator=">=",
        threshold=limit,
        description="The list holds at least this share of the assets that were active before it.",
    )


def foreign_keys(contract: Contract) -> list[Rule]:
    """One rule for each column that refers to another table."""
    return [foreign_key(column) for column in contract.columns if column.references]


def foreign_key(column: Column) -> Rule:
    """Each value of a column is in the dimension it refers to; where that keeps versions, among the current ones."""
    parent, _, parent_column = (column.references or "").partition(".")
    scope = " WHERE is_current" if "is_current" in load_contract(parent).by_name else ""
    known = f"SELECT {parent_column} FROM {{{parent}}}{scope}"
    orphan = (
        f"SELECT DISTINCT {column.name} AS k FROM {{table}} WHERE {column.name} IS NOT NULL AND {column.name} NOT IN "
        f"({known})"
    )
    return Rule(
        name=f"{column.name}_foreign_key",
        query=f"SELECT COUNT(*) FROM ({orphan})",
        description=f"Every {column.name} is found in {column.references}.",
        column=column.name,
        sample=f"SELECT CAST(k AS STRING) FROM ({orphan})",
        stage=Stage.PUBLISHED,
    )


def freshness(contract: Contract, *, enforced: bool) -> list[Rule]:
    """The newest row is young enough: a warning above the first bound of the contract, an error above the second.

    Args:
        contract: the table; one that promises nothing has no rule.
        enforced: False when the rows in question could not have made the table fresh: a replay of an old batch is not
            to blame for it.
    """
    bounds = [
        ("freshness", contract.freshness_hours, Severity.WARNING),
        ("freshness_limit", contract.freshness_limit_hours, Severity.ERROR if enforced else Severity.WARNING),
    ]
    if contract.freshness_column is None:
        return []
    return [_young(contract, name, hours, severity) for name, hours, severity in bounds if hours is not None]


def _young(contract: Contract, name: str, hours: float, severity: Severity) -> Rule:
    column = contract.freshness_column or ""
    instant = f"TIMESTAMP(MAX({column}))" if contract.by_name[column].type == "DATE" else f"MAX({column})"
    partition = contract.partition_column
    reach = FRESHNESS_REACH_DAYS + math.ceil(
        max(contract.freshness_hours or 0, contract.freshness_limit_hours or 0) / 24
    )
    recent = f" WHERE {partition} >= DATE_SUB(DATE({{now}}), INTERVAL {reach} DAY)" if partition else ""
    age = f"TIMESTAMP_DIFF({{now}}, {instant}, SECOND) / 3600"
    return Rule(
        name=name,
        query=f"SELECT COALESCE({age}, {reach * 24}) FROM {{{contract.name}}}{recent}",
        operator="<=",
        threshold=hours,
        severity=severity,
        description=f"The newest {column} is at most {hours:g} hours old.",
        column=column,
        stage=Stage.PUBLISHED,
    )
