"""The answer of ``/exchange_rates``: what a bitcoin is worth in each currency, asked for once a batch.

A bad rate costs only itself. An answer without the dollar, or in which a bitcoin is not worth one bitcoin, is no table
of rates and is refused as a whole: prices do not wait for it, and no rule of the warehouse need stop them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beam_pipelines.batch_files.builder import BatchInput, BatchSink, ReadBody, Report, TableBuilder, assemble
from beam_pipelines.batch_files.json_bodies import BodyFault, answer, read_json
from beam_pipelines.batch_files.rejects import Refused, RejectMaker
from coinbeam.batch.tables import RATES_FACT
from coinbeam.contracts import Contract, load_contract
from coinbeam.contracts.values import Fault, Value, convert

CURRENCY_COLUMN, VALUE_COLUMN, INGESTED_COLUMN = "currency", "value", "ingested_at"


@dataclass
class Rates:
    """The rates in a body.

    Attributes:
        rows: accepted rates by column, in the order of the body.
        refused: number, record and reason of the others.
    """

    rows: list[dict[str, Value]] = field(default_factory=list)
    refused: list[tuple[int, Any, Refused]] = field(default_factory=list)


def read_rates(body: bytes, contract: Contract) -> Rates | BodyFault:
    """The rates in a body, or why it has none; never raises for what is in it."""
    document = read_json(body)
    if isinstance(document, BodyFault):
        return document
    found = answer(document.value, (dict,), "not_rates", "rates")
    if isinstance(found, BodyFault):
        return found
    if not isinstance(found["rates"], Mapping):
        return BodyFault("not_rates")
    rates = Rates()
    for number, (currency, given) in enumerate(found["rates"].items()):
        rate = read_rate(currency, given, contract)
        if isinstance(rate, Refused):
            rates.refused.append((number, {currency: given}, rate))
        else:
            rates.rows.append(rate)
    values = {row[CURRENCY_COLUMN]: row[VALUE_COLUMN] for row in rates.rows}
    if "usd" not in values:
        return BodyFault("rates_without_dollar")
    return rates if values.get("btc") == 1 else BodyFault("bitcoin_is_not_one")


def read_rate(currency: str, given: Any, contract: Contract) -> dict[str, Value] | Refused:
    """One rate by column, or the first fault in the order of the contract."""
    if not isinstance(given, Mapping):
        return Refused("wrong_type", None, given)
    values: dict[str, Value] = {}
    for column in contract.file_columns:
        if column.name != CURRENCY_COLUMN and not column.source:
            continue
        value = currency if column.name == CURRENCY_COLUMN else given.get(column.source)
        try:
            values[column.name] = convert(value, column)
        except Fault as fault:
            return Refused(str(fault), column.name, value)
    return values


def is_rates(body: bytes) -> bool:
    """Whether a body is a table of rates; a landed one that is not is asked for again."""
    return isinstance(read_rates(body, load_contract(RATES_FACT)), Rates)


class RatesTable(TableBuilder[str]):
    """Builds the batch file of the rates of a snapshot, one row for each currency, sorted; without a body an empty one.

    Its counts have names of their own, since the report of the job has those of the market too.
    """

    def __init__(self, contract: Contract) -> None:
        self._filled = (CURRENCY_COLUMN, *(column.name for column in contract.source_columns), INGESTED_COLUMN)
        super().__init__(contract, self._filled)

    def build(self, given: BatchInput[str], read: ReadBody, sink: BatchSink) -> Report:
        """Write the rates of one batch: rates read are valid or rejected."""
        rejects, rows = RejectMaker(given.batch, self.contract), dict[Value, dict[str, Any]]()
        for landed in map(read, given.bodies):
            rates = read_rates(landed.body, self.contract)
            if isinstance(rates, BodyFault):
                sink.refuse([rejects.body(landed, rates.reason)])
                continue
            sink.refuse([rejects.row(landed, number, record, refused) for number, record, refused in rates.refused])
            rows |= {row[CURRENCY_COLUMN]: row | {INGESTED_COLUMN: landed.landed_at} for row in rates.rows}
        ordered = [rows[currency] for currency in sorted(rows, key=str)]
        filled = {name: [row[name] for row in ordered] for name in self._filled}
        sink.rows(assemble(self.contract, filled, given.batch))
        return {
            "rates_read": sink.counts["rows_rejected"] + len(ordered),
            "rates_valid": len(ordered),
            "rates_rejected": sink.counts["rows_rejected"],
            "rejects_by_reason": sink.rejects_by_reason,
        }
