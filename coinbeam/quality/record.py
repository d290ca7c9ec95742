"""The record of the rules: what ``quality_result`` says of each of them, newest first."""

from dataclasses import dataclass
from typing import Any

from coinbeam.contracts import load_contract
from coinbeam.quality.audit import Status
from coinbeam.warehouse.client import Warehouse

TREND_RUNS = 8
"""How many values the trend of a rule shows."""

COLUMNS = (
    "table_name",
    "rule",
    "stage",
    "severity",
    "last_status",
    "last_value",
    "threshold",
    "trend",
    "passed",
    "warning",
    "failed",
    "error",
    "last_checked",
    "last_run",
    "last_failure",
    "failure_message",
    "failure_sample",
)
"""What is known of a rule, in order."""


@dataclass(frozen=True)
class Selection:
    """Which rules are shown; None is any.

    Attributes:
        batch: only results of this batch.
        status: only rules that ended so at last.
        limit: at most so many rules.
    """

    table: str | None = None
    rule: str | None = None
    batch: str | None = None
    status: Status | None = None
    limit: int = 100


def rule_histories(warehouse: Warehouse, chosen: Selection) -> list[dict[str, Any]]:
    """One row for each rule of each table and stage, by ``COLUMNS``: the one checked last comes first.

    ``trend`` holds the last values, newest first, ``-`` where a rule could not run; ``last_failure`` and what follows
    it tell of the last result that did not pass.
    """
    results = warehouse.table(load_contract("quality_result"))
    sql = _HISTORY.format(results=results, runs=TREND_RUNS, limit=chosen.limit)
    return warehouse.rows(sql, table=chosen.table, rule=chosen.rule, batch=chosen.batch, status=chosen.status)


_HISTORY = """
WITH numbered AS (
  SELECT *,
    ROW_NUMBER() OVER (PARTITION BY table_name, rule, stage ORDER BY checked_at DESC, result_id) AS age,
    ROW_NUMBER() OVER (
      PARTITION BY table_name, rule, stage, status = 'passed' ORDER BY checked_at DESC, result_id
    ) AS age_of_kind
  FROM `{results}`
  WHERE checked_date >= '2010-01-01' AND (@table IS NULL OR table_name = @table) AND (@rule IS NULL OR rule = @rule)
    AND (@batch IS NULL OR batch_id = @batch)
),
histories AS (
  SELECT table_name, rule, stage,
    MAX(IF(age = 1, severity, NULL)) AS severity,
    MAX(IF(age = 1, status, NULL)) AS last_status,
    MAX(IF(age = 1, value, NULL)) AS last_value,
    MAX(IF(age = 1, threshold, NULL)) AS threshold,
    STRING_AGG(IF(age <= {runs}, COALESCE(CAST(value AS STRING), '-'), NULL), ' ' ORDER BY age) AS trend,
    COUNTIF(status = 'passed') AS passed,
    COUNTIF(status = 'warning') AS warning,
    COUNTIF(status = 'failed') AS failed,
    COUNTIF(status = 'error') AS error,
    MAX(checked_at) AS last_checked,
    MAX(IF(age = 1, run_id, NULL)) AS last_run,
    MAX(IF(status != 'passed', checked_at, NULL)) AS last_failure,
    MAX(IF(status != 'passed' AND age_of_kind = 1, message, NULL)) AS failure_message,
    MAX(IF(status != 'passed' AND age_of_kind = 1, failing_sample, NULL)) AS failure_sample
  FROM numbered
  GROUP BY table_name, rule, stage
)
SELECT * FROM histories
WHERE @status IS NULL OR last_status = @status
ORDER BY last_checked DESC, last_status = 'passed', table_name, rule, stage
LIMIT {limit}
"""
