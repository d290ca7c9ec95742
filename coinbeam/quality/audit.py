"""The audit: the rules of one table, run as one SQL query; their results are appended to ``quality_result``."""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from itertools import accumulate
from typing import Any, cast

from coinbeam.batch.digest import digest
from coinbeam.batch.kinds import Batch
from coinbeam.contracts import Contract, Rule, Severity, Stage
from coinbeam.contracts.bigquery import literal
from coinbeam.contracts.model import fill
from coinbeam.errors import PublishBlockedError, TerminalError
from coinbeam.warehouse.client import REFUSES, Warehouse

SAMPLE_SIZE = 10
"""How many failing keys a result names."""

_ONE_SCAN = re.compile(r"SELECT\s+((?:(?!\bSELECT\b|\{table\}).)+?)\s+FROM\s+\{table\}", re.IGNORECASE | re.DOTALL)
"""A rule that looks once at the table and nowhere else: all such rules of a table are answered by one scan."""

_COUNTIF = re.compile(r"COUNTIF\((.+)\)", re.IGNORECASE | re.DOTALL)

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


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
    def threshold(self) -> str:
        """What the number had to be, as a person reads it."""
        return f"{self.rule.operator} {self.rule.threshold:.15g}"

    @property
    def blocks(self) -> bool:
        """Whether the publish must not happen: an error-level rule that failed, or any rule that could not run."""
        return self.status in {Status.FAILED, Status.ERROR}


@dataclass(frozen=True)
class Audit:
    """What is audited: the rows of some dates, first and last included.

    Attributes:
        batch_id: the batch; where there is none, the run.
        run_id: the run that asks.
        snapshot_at: instant of the batch, aware; its date is the partition of the results.
        now: instant of the check, aware.
        newest: last date of rows that come from a source now, and so make a table fresh or not; None without any.
    """

    batch_id: str
    run_id: str
    snapshot_at: datetime
    stage: Stage
    first_date: date
    last_date: date
    now: datetime
    newest: date | None = None

    @classmethod
    def of_batch(cls, batch: Batch, stage: Stage, now: datetime) -> "Audit":
        """The audit of a batch at a stage."""
        dates = (batch.first_date, batch.last_date)
        newest = batch.last_date if batch.holds_all else None
        return cls(batch.batch_id, batch.run_id, batch.instant, stage, *dates, now, newest)

    @classmethod
    def of_dates(cls, run_id: str, first_date: date, last_date: date, now: datetime) -> "Audit":
        """The audit of what readers see of some dates, whichever batches brought it."""
        return cls(run_id, run_id, now, Stage.PUBLISHED, first_date, last_date, now, last_date)

    @property
    def literals(self) -> dict[str, str]:
        """The values of the placeholders that are not tables."""
        return {
            "batch_id": literal(self.batch_id),
            "batch_date": literal(self.snapshot_at.date()),
            "first_date": literal(self.first_date),
            "last_date": literal(self.last_date),
            "now": literal(self.now),
        }


class Auditor:
    """Runs rules and appends their results.

    Args:
        names: quoted names of tables by contract; those of the warehouse when left out.
    """

    def __init__(self, warehouse: Warehouse, audit: Audit, names: Mapping[str, str] | None = None) -> None:
        self._warehouse = warehouse
        self._audit = audit
        self._values_of_placeholders = {**(warehouse.names() if names is None else names), **audit.literals}

    def check(self, contract: Contract, table: str, rules: Sequence[Rule]) -> list[Result]:
        """Run the rules on one table.

        Args:
            table: what ``{table}`` stands for: a backquoted name or a parenthesised subquery.
            rules: all numbers come from one query, and only if that fails each runs alone to find the culprit.
        """
        values = self._values(table, rules)
        return [self._result(contract, table, rule, value) for rule, value in zip(rules, values, strict=True)]

    def guard(self, contract: Contract, table: str, rules: Sequence[Rule]) -> str:
        """A statement that fails when a rule of severity error is broken: in a transaction, before its commit.

        Args:
            table: as for `check`; the transaction's own view of it.
        """
        binding = [rule for rule in rules if rule.severity is Severity.ERROR]
        of_rows = {rule.name: found for rule in binding if (found := _row_condition(rule))}
        scans, verdicts = [], []
        if of_rows:  # without their number: counting by rule would be most of the statement, and of its cost
            cases = " ".join(f"WHEN {condition} THEN {literal(name)}" for name, condition in of_rows.items())
            scans.append(self._on(table, f"(SELECT MAX(CASE {cases} END) AS name FROM {{table}}) AS broken"))
            said = f"{literal(f'{REFUSES} {contract.name}.')}, broken.name, ' is broken, and nothing was published.'"
            verdicts.append(f"IF(broken.name IS NULL, TRUE, ERROR(CONCAT({said}))) AS rows_are_sound")
        counted = [rule for rule in binding if rule.name not in of_rows]
        queries = list(dict.fromkeys(rule.query for rule in counted))
        if queries:
            scans.append(f"({self._on(table, _together(queries))}) AS found")
        for rule in counted:
            number, named = f"r{queries.index(rule.query)}", literal(f"{REFUSES} {contract.name}.{rule.name} = ")
            bound = literal(f", must be {rule.operator} {rule.threshold:.15g}, and nothing was published.")
            refused = f"ERROR(CONCAT({named}, CAST({number} AS STRING), {bound}))"
            verdicts.append(f"IF({number} {rule.operator} {rule.threshold!r}, TRUE, {refused}) AS {rule.name}")
        return f"SELECT {', '.join(verdicts)} FROM {' CROSS JOIN '.join(scans)};"

    def _values(self, table: str, rules: Sequence[Rule]) -> list[float | TerminalError | None]:
        queries = list(dict.fromkeys(rule.query for rule in rules))  # one for rules that differ only in their bound
        try:
            found = self._warehouse.rows(self._on(table, _together(queries)))
        except TerminalError:
            found = []
        # Several rows mean that a rule is no aggregate; alone it will say so.
        if len(found) != 1:
            return [self._value(table, rule) for rule in rules]
        return [found[0][f"r{queries.index(rule.query)}"] for rule in rules]

    def _value(self, table: str, rule: Rule) -> float | TerminalError | None:
        try:
            rows = self._warehouse.rows(self._on(table, f"SELECT CAST(({rule.query}) AS FLOAT64) AS r"))
            return cast("float | None", rows[0]["r"])
        except TerminalError as error:
            return error

    def _on(self, table: str, sql: str) -> str:
        """The SQL of a rule on a table."""
        return fill(sql, {**self._values_of_placeholders, "table": table})

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
            rows = self._warehouse.rows(self._on(table, f"{rule.sample} LIMIT {SAMPLE_SIZE}"))
        except TerminalError as error:
            return (f"the sample could not be read: {error}"[:1000],)  # the finding itself must not be lost
        return tuple(sorted(str(next(iter(row.values()))) for row in rows))

    def record(self, results: Sequence[Result], checked_at: datetime) -> None:
        """Append results to ``quality_result``; the same run finding the same again adds nothing."""
        target = f"{self._warehouse.dataset('crypto_ops')}.quality_result"
        rows = [self._row(result, checked_at) for result in results]
        sql = f"SELECT result_id FROM `{target}` WHERE checked_date = @day AND batch_id = @batch"
        recorded = self._warehouse.rows(sql, day=self._audit.snapshot_at.date(), batch=self._audit.batch_id)
        known = {row["result_id"] for row in recorded}
        fresh = [row for row in rows if row["result_id"] not in known]
        if fresh:
            self._warehouse.append(target, "\n".join(json.dumps(row, ensure_ascii=False) for row in fresh).encode())

    def _row(self, result: Result, checked_at: datetime) -> dict[str, Any]:
        audit, rule = self._audit, result.rule
        # An age grows with the clock: of the same run it is news only when its status is.
        found = "" if "now" in rule.placeholders else repr(result.value)
        identity = (audit.run_id, audit.batch_id, audit.stage, result.table, rule.name, result.status, found)
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
            "threshold": result.threshold,
            "message": result.message,
            "failing_sample": json.dumps(result.sample, ensure_ascii=False) if result.sample else None,
        }


def _row_condition(rule: Rule) -> str | None:
    """What no row may be, of a rule that counts such rows and allows none; None for any other rule."""
    scan = _ONE_SCAN.fullmatch(rule.query) if (rule.operator, rule.threshold) == ("=", 0) else None
    counted = _COUNTIF.fullmatch(scan[1]) if scan else None
    if counted is None:
        return None
    open_parentheses = accumulate((char == "(") - (char == ")") for char in counted[1])
    return counted[1] if min(open_parentheses) >= 0 else None  # below: two terms, COUNTIF(a) + COUNTIF(b)


def _together(queries: Sequence[str]) -> str:
    """One query for all numbers, ``r0``, ``r1`` and so on."""
    plain = {i: found[1] for i, query in enumerate(queries) if (found := _ONE_SCAN.fullmatch(query))}
    alone = [f"CAST(({query}) AS FLOAT64) AS r{i}" for i, query in enumerate(queries) if i not in plain]
    if not plain:
        return f"SELECT {', '.join(alone)}"
    scan = ", ".join(f"CAST({expression} AS FLOAT64) AS r{i}" for i, expression in plain.items())
    return f"SELECT {', '.join(['scan.*', *alone])} FROM (SELECT {scan} FROM {{table}}) AS scan"


def refuse_if_blocked(results: Sequence[Result], stage: Stage = Stage.STAGING) -> None:
    """Stop the publish, or what would build on the published rows.

    Raises:
        PublishBlockedError: an error-level rule failed, or a rule could not run; the message names each with its
            number.
    """
    blocking = [result for result in results if result.blocks]
    if blocking:
        lines = "; ".join(
            f"{r.table}.{r.rule.name} = {r.value}, must be {r.threshold} {list(r.sample)}" for r in blocking
        )
        reasons = {sample for result in blocking for sample in result.sample}
        remedies = [_REMEDY[stage], *(remedy for reason, remedy in _REMEDY_OF_REASON.items() if reason in reasons)]
        raise PublishBlockedError(f"{len(blocking)} rule(s) refuse {_REFUSED[stage]}: {lines}.", " ".join(remedies))


_REFUSED = {Stage.STAGING: "the batch", Stage.PUBLISHED: "what was published"}
_REMEDY = {
    Stage.STAGING: (
        "Nothing was published. See `coinbeam rejects` and `coinbeam quality`. When the source is healed, --refetch "
        "asks it again (of `coinbeam run`, `backfill` or `fear-greed`; in the form: Fetch again); after a mended rule "
        "`coinbeam rejects replay` reads what was landed."
    ),
    Stage.PUBLISHED: (
        "Readers see these rows. See `coinbeam quality`; mend the cause, and publish the batches of those dates again."
    ),
}
_REMEDY_OF_REASON = {
    "stamp_without_zone": "`--time-zone` says in which zone the stamps of the files are (field time_zone).",
    "observed_outside_interval": "`--snapshot-at` says when the files were taken (field snapshot_at).",
    "other_currency": "`--quote-currency` says the currency of the files (field quote_currency).",
    "closing_prices": "The close of a day is the price of 00:00 of the next: bring it as `price` with that date.",
    "damaged_gzip": "The file is cut or damaged: --refetch asks for a landed one again, others are brought again.",
    "csv_table": "A snapshot is read from the JSON of /coins/markets; `coinbeam backfill` reads CSV.",
    "json_lines": "Put the lines into one array, or one answer into each file.",
    "zip_archive": "Unpack the files.",
    "unknown_header": "The first line has to name a column of stamps and one of values.",
    "ambiguous_date": "Write the dates as YYYY-MM-DD.",
}
"""What else to do, by the reason of rejects."""
