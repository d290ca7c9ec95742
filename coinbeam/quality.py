"""The audit: rules from the contracts run as SQL against staging before the publish, and against the published batch after it."""

import json
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from google.cloud import bigquery

from coinbeam.batch import digest
from coinbeam.contracts import Column, Contract, Rule, Severity
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import PublishBlockedError, TerminalError
from coinbeam.warehouse import Warehouse

SAMPLE_SIZE = 10
"""How many failing keys a result names."""

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class Stage(StrEnum):
    """When a rule runs: on ``STAGING`` before the publish, on the ``PUBLISHED`` batch after it."""

    STAGING = "staging"
    PUBLISHED = "published"


class Status(StrEnum):
    """How a rule ended; ``ERROR`` means that the rule itself could not run."""

    PASSED = "passed"
    FAILED = "failed"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Result:
    """The outcome of one rule.

    Attributes:
        value: the number that the rule found; None when it could not run.
        sample: some failing keys.
    """

    table: str
    rule: Rule
    status: Status
    value: float | None
    message: str
    sample: tuple[str, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether the publish must not happen: an error-level rule that failed, or any rule that could not run."""
        return self.status in {Status.FAILED, Status.ERROR}


@dataclass(frozen=True)
class Audit:
    """What is audited.

    Attributes:
        batch_id: the batch.
        run_id: the run that asks.
        snapshot_at: instant of the batch; its date is the partition of the results.
        stage: staging or published.
    """

    batch_id: str
    run_id: str
    snapshot_at: datetime
    stage: Stage


def rules_of(contract: Contract, columns: Iterable[Column]) -> list[Rule]:
    """Every rule of a table: those that follow from its columns and its key, then those of its ``quality`` section.

    Args:
        contract: the table.
        columns: the columns that the audited table has; staging lacks those filled on publish.
    """
    present = list(columns)
    names = {column.name for column in present}
    rules = [rule for column in present for rule in _column_rules(contract, column)]
    key = [name for name in contract.primary_key if name in names]
    return [*rules, _unique(key), *contract.rules]


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
        _no_row_where(f"{column.name}_{suffix}", where, f"{column.name} {text}.", column.name, key) for suffix, where, text in conditions
    ]


def _no_row_where(name: str, where: str, description: str, column: str, key: str) -> Rule:
    return Rule(
        name=name,
        query=f"SELECT COUNTIF({where}) FROM {{table}}",
        operator="=",
        threshold=0,
        severity=Severity.ERROR,
        description=description,
        column=column,
        sample=f"SELECT CAST({key} AS STRING) FROM {{table}} WHERE {where}",
    )


def _unique(key: Sequence[str]) -> Rule:
    columns = ", ".join(key)
    repeated = f"SELECT {columns} FROM {{table}} GROUP BY {columns} HAVING COUNT(*) > 1"
    return Rule(
        name="unique_key",
        query=f"SELECT COUNT(*) FROM ({repeated})",
        operator="=",
        threshold=0,
        severity=Severity.ERROR,
        description=f"The key ({columns}) is unique.",
        sample=f"SELECT CAST({key[0]} AS STRING) FROM ({repeated})",
    )


def reject_share(contract: Contract, staged_rejects: str, limit: float) -> Rule:
    """The share of refused rows: estimated rows rejected over those rejected or staged. Unpriced assets count on neither side.

    Args:
        contract: the table whose rejects are counted.
        staged_rejects: ``dataset.table`` of the staged rejects.
        limit: the highest share that is published.
    """
    rejected = f"SELECT COALESCE(SUM(estimated_rows), 0) AS n FROM `{staged_rejects}` WHERE table_name = '{contract.name}'"
    return Rule(
        name="reject_share",
        query=(
            f"SELECT COALESCE(SAFE_DIVIDE(r.n, r.n + s.n), 0) FROM ({rejected}) AS r CROSS JOIN (SELECT COUNT(*) AS n FROM {{table}}) AS s"
        ),
        operator="<=",
        threshold=limit,
        severity=Severity.ERROR,
        description="Most of a batch was readable; a batch above the limit is a broken source, not bad rows.",
        sample=f"SELECT DISTINCT reason FROM `{staged_rejects}` WHERE table_name = '{contract.name}'",
    )


def row_count(expected: int) -> Rule:
    """Completeness: the table holds exactly the rows that the Beam job wrote."""
    return Rule(
        name="row_count",
        query="SELECT COUNT(*) FROM {table}",
        operator="=",
        threshold=expected,
        severity=Severity.ERROR,
        description="Every row that the job wrote arrived, once.",
    )


def listed_share(target: str, limit: float) -> Rule:
    """The coin list is whole: a cut list would mark thousands of assets inactive."""
    active = f"SELECT COUNT(*) FROM `{target}` WHERE is_current AND status = 'active'"
    return Rule(
        name="listed_share",
        query=f"SELECT COALESCE(SAFE_DIVIDE((SELECT COUNT(*) FROM {{table}}), ({active})), 1)",
        operator=">=",
        threshold=limit,
        severity=Severity.ERROR,
        description="The list holds at least this share of the assets that were active before it.",
    )


def foreign_key(column: Column, parent: str, current_only: bool = False) -> Rule:
    """Every value of a column is found in the dimension that it refers to."""
    parent_column = (column.references or "").partition(".")[2]
    scope = " WHERE is_current" if current_only else ""
    known = f"SELECT {parent_column} FROM `{parent}`{scope}"
    orphan = f"SELECT DISTINCT {column.name} AS k FROM {{table}} WHERE {column.name} IS NOT NULL AND {column.name} NOT IN ({known})"
    return Rule(
        name=f"{column.name}_foreign_key",
        query=f"SELECT COUNT(*) FROM ({orphan})",
        operator="=",
        threshold=0,
        severity=Severity.ERROR,
        description=f"Every {column.name} is found in {column.references}.",
        column=column.name,
        sample=f"SELECT CAST(k AS STRING) FROM ({orphan})",
    )


class Auditor:
    """Runs rules and appends their results.

    Args:
        warehouse: where the tables are.
        audit: which batch, run and stage.
    """

    def __init__(self, warehouse: Warehouse, audit: Audit) -> None:
        self._warehouse = warehouse
        self._audit = audit

    def check(self, contract: Contract, table: str, rules: Sequence[Rule]) -> list[Result]:
        """Run the rules on one table.

        Args:
            contract: whose rules they are.
            table: what ``{table}`` stands for: a backquoted name or a parenthesised subquery.
            rules: the rules; all numbers come from one query, and only if that fails each runs alone to find the culprit.
        """
        values = self._values(table, rules)
        return [self._result(contract, table, rule, value) for rule, value in zip(rules, values, strict=True)]

    def _values(self, table: str, rules: Sequence[Rule]) -> list[float | TerminalError | None]:
        together = ", ".join(f"CAST(({_on(table, rule.query)}) AS FLOAT64) AS r{i}" for i, rule in enumerate(rules))
        try:
            row = self._warehouse.rows(f"SELECT {together}")[0]
            return [row[f"r{i}"] for i in range(len(rules))]
        except TerminalError:
            return [self._value(table, rule) for rule in rules]

    def _value(self, table: str, rule: Rule) -> float | TerminalError | None:
        try:
            found: float | None = self._warehouse.rows(f"SELECT CAST(({_on(table, rule.query)}) AS FLOAT64) AS r")[0]["r"]
            return found
        except TerminalError as error:
            return error

    def _result(self, contract: Contract, table: str, rule: Rule, value: float | TerminalError | None) -> Result:
        if isinstance(value, TerminalError):
            return Result(contract.name, rule, Status.ERROR, None, f"The rule could not run: {value}"[:1000])
        if value is None or math.isnan(value):
            return Result(contract.name, rule, Status.ERROR, None, "The rule could not run: it found no number.")
        if _COMPARE[rule.operator](value, rule.threshold):
            return Result(contract.name, rule, Status.PASSED, value, rule.description)
        status = Status.FAILED if rule.severity is Severity.ERROR else Status.WARNING
        return Result(contract.name, rule, status, value, rule.description, self._sample(table, rule))

    def _sample(self, table: str, rule: Rule) -> tuple[str, ...]:
        if not rule.sample:
            return ()
        try:
            rows = self._warehouse.rows(f"{_on(table, rule.sample)} LIMIT {SAMPLE_SIZE}")
        except TerminalError as error:
            return (f"the sample could not be read: {error}"[:1000],)  # the finding itself must not be lost
        return tuple(sorted(str(next(iter(row.values()))) for row in rows))

    def record(self, results: Sequence[Result], checked_at: datetime) -> None:
        """Append results to ``quality_result``; the same run finding the same again adds nothing."""
        target = f"{self._warehouse.dataset('crypto_ops')}.quality_result"
        rows = [self._row(result, checked_at) for result in results]
        known = self._known(target)
        fresh = [row for row in rows if row["result_id"] not in known]
        if fresh:
            self._warehouse.append(target, "\n".join(json.dumps(row, ensure_ascii=False) for row in fresh).encode())

    def _known(self, target: str) -> set[str]:
        sql = f"SELECT result_id FROM `{target}` WHERE checked_date = @day AND batch_id = @batch"
        day = bigquery.ScalarQueryParameter("day", "DATE", self._audit.snapshot_at.date())
        batch = bigquery.ScalarQueryParameter("batch", "STRING", self._audit.batch_id)
        return {row["result_id"] for row in self._warehouse.rows(sql, [day, batch])}

    def _row(self, result: Result, checked_at: datetime) -> dict[str, Any]:
        audit, rule = self._audit, result.rule
        identity = (audit.run_id, audit.batch_id, audit.stage, result.table, rule.name, result.status, repr(result.value))
        return {
            "result_id": digest(*identity, length=32),
            "checked_date": f"{audit.snapshot_at:%Y-%m-%d}",
            "checked_at": checked_at.isoformat(),
            "run_id": audit.run_id,
            "batch_id": audit.batch_id,
            "table_name": result.table,
            "stage": audit.stage.value,
            "rule": rule.name,
            "column_name": rule.column,
            "severity": rule.severity.value,
            "status": result.status.value,
            "value": result.value if result.value is None or math.isfinite(result.value) else None,
            "threshold": f"{rule.operator} {rule.threshold:g}",
            "message": result.message,
            "failing_sample": json.dumps(result.sample, ensure_ascii=False) if result.sample else None,
        }


def _on(table: str, sql: str) -> str:
    """The SQL of a rule on a table; any other brace in it is its own."""
    return sql.replace("{table}", table)


def refuse_if_blocked(results: Sequence[Result]) -> None:
    """Stop the publish.

    Raises:
        PublishBlockedError: an error-level rule failed, or a rule could not run; the message names each with its number.
    """
    blocking = [result for result in results if result.blocks]
    if blocking:
        lines = "; ".join(
            f"{r.table}.{r.rule.name} = {r.value}, must be {r.rule.operator} {r.rule.threshold:g} {list(r.sample)}" for r in blocking
        )
        raise PublishBlockedError(
            f"{len(blocking)} rule(s) refuse the batch: {lines}.",
            "Nothing was published. See `coinbeam rejects` and crypto_ops.quality_result; mend the source or the rule, "
            "and run the batch again.",
        )
