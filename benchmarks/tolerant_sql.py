"""The market kernel's work in DuckDB, written so that a bad row costs only itself: rows as JSON, TRY_CAST for each
value, a reject file.
"""

from pathlib import Path

from beam_pipelines.snapshot.rules import PRICE_COLUMN, MarketRules
from benchmarks.pages import Snapshot, landed_at
from benchmarks.strict_sql import SQL_TYPES, connect, fate, write_outputs
from coinbeam.contracts import Column

_JSON_TYPES = {
    "STRING": "'VARCHAR'",
    "FLOAT64": "'DOUBLE', 'BIGINT', 'UBIGINT', 'HUGEINT'",
    "INT64": "'BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE'",
    "TIMESTAMP": "'VARCHAR'",
}


def run_tolerant(snapshots: list[Snapshot], rules: MarketRules, output: Path) -> None:
    """Write a CSV of the valid rows, a file of counts, and the rejects with reason and payload for each snapshot."""
    connection = connect()
    for day, snapshot in enumerate(snapshots):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE judged AS {_judged(snapshot, day, rules)}")
        write_outputs(connection, snapshot, day, rules, output)
        columns = (
            f"'{snapshot.batch.batch_id}' AS batch_id, asset_id, fate AS reason, payload, "
            f"'{rules.contract.version}' AS contract_version, '{landed_at(day):%Y-%m-%d %H:%M:%SZ}' AS rejected_at"
        )
        rejects = f"SELECT {columns} FROM judged WHERE fate NOT IN ('accepted', 'unpriced')"
        connection.execute(f"COPY ({rejects}) TO '{output}/rejected_{day:03d}.ndjson' (FORMAT json)")


def _judged(snapshot: Snapshot, day: int, rules: MarketRules) -> str:
    """Each row's values, tried, and its fate.

    All paths are extracted in one pass over the text, which is the fastest way that DuckDB has.
    """
    columns = rules.contract.source_columns
    paths = [f"$.{column.source}" for column in columns] + ["$.sparkline_in_7d.price"]
    options = "format = 'array', records = false, columns = {json: 'JSON'}, maximum_object_size = 33554432"
    source = f"read_json({list(snapshot.files)}, {options})"
    found = f"SELECT json, json_extract(json, {paths}) AS found FROM {source}"
    values = ", ".join(f"{_value(column, index)} AS {column.name}" for index, column in enumerate(columns, 1))
    kept = ", ".join(f"found[{index}] AS raw_{column.name}" for index, column in enumerate(columns, 1))
    tried = f"SELECT {values}, {kept}, TRY_CAST(found[{len(columns) + 1}] AS DOUBLE[]) AS prices, json FROM ({found})"
    chosen = ", ".join(column.name for column in columns)
    judged = fate(day, rules, "".join(map(_type_fault, columns)))
    payload = "CASE WHEN fate NOT IN ('accepted', 'unpriced') THEN json END AS payload"
    return f"SELECT {chosen}, prices, fate, {payload} FROM (SELECT *, {judged} AS fate FROM ({tried}))"


def _value(column: Column, index: int) -> str:
    text = f"(found[{index}] ->> '$')"
    return f"nullif({text}, '')" if column.type == "STRING" else f"TRY_CAST({text} AS {SQL_TYPES[column.type]})"


def _type_fault(column: Column) -> str:
    """A WHEN clause: the value has another JSON type, does not convert, or its field is absent."""
    raw = f"raw_{column.name}"
    absent = (
        f" WHEN {raw} IS NULL THEN 'missing_field'"
        if column.required or column.name in {"symbol", "name", PRICE_COLUMN}
        else ""
    )
    wrong = f" WHEN json_type({raw}) NOT IN ('NULL', {_JSON_TYPES[column.type]}) THEN 'wrong_type'"
    failed = (
        ""
        if column.type == "STRING"
        else f" WHEN {column.name} IS NULL AND json_type({raw}) <> 'NULL' THEN 'wrong_type'"
    )
    return absent + wrong + failed
