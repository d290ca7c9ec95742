"""How a feed turns landed bodies into a batch file: a builder says what it fills, and gives rows and rejects."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic

import pyarrow as pa

from beam_pipelines.batch_files.rejects import Reject
from beam_pipelines.landing.batch import Body, LandedBatch
from coinbeam.batch.jobs import JobSpec
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import REJECTS
from coinbeam.contracts import Contract
from coinbeam.contracts.arrow import arrow_schema, csv_block, csv_header
from coinbeam.errors import ContractError
from coinbeam.landing.layout import LandedBody

ReadBody = Callable[[str], LandedBody]
Report = dict[str, Any]

_BLOCK_ROWS = 4_096  # bounds the memory of the text form of a batch

_OF_BATCH: Mapping[str, Callable[[BatchManifest], Any]] = {
    "quote_currency": lambda batch: batch.quote_currency,
    "snapshot_at": lambda batch: batch.snapshot_at,
    "snapshot_date": lambda batch: batch.snapshot_at.date(),
    "time_id": lambda batch: batch.snapshot_at.hour * 60 + batch.snapshot_at.minute,
    "source_id": lambda batch: batch.source_id,
    "batch_id": lambda batch: batch.batch_id,
}
"""Columns that the batch itself fills, in any table that has them."""


@dataclass(frozen=True)
class BatchInput(LandedBatch[Body]):
    """One batch to write: its batch file, and the file of its rejects."""

    csv_uri: str
    rejects_uri: str

    @classmethod
    def of(
        cls, landed: LandedBatch[Body], output: str, job: JobSpec, table: str, part: str = "*", prefix: str = ""
    ) -> "BatchInput[Body]":
        """A batch with its files in ``output``: what loads ``table``, and rejects.

        Args:
            part: stamps their names.
            prefix: before the stamp of the rejects, where the job writes those of another table without.
        """
        csv, rejects = f"{output}/{job.file(table, part)}", f"{output}/{job.file(REJECTS, prefix + part)}"
        return cls(landed.batch, landed.bodies, csv, rejects, missing=landed.missing)


class BatchSink:
    """Takes the rows and the rejects of one batch, writes them as they come, and counts them.

    Args:
        contract: of the table.
        csv: takes the batch file: a header and one line for each row.
        rejects: takes the rejects, one line of JSON each.

    Attributes:
        counts: ``rows_valid``, the rows of the batch file; ``rows_rejected`` and ``pages_rejected``, the records and
            bodies refused; ``rows_lost``, the records refused, plus the rows that refused bodies were asked for.
    """

    def __init__(self, contract: Contract, csv: BinaryIO, rejects: BinaryIO) -> None:
        self._csv, self._rejects = csv, rejects
        self.counts, self._reasons = Counter[str](), Counter[str]()
        csv.write(csv_header(contract.file_columns))

    def rows(self, table: pa.Table) -> None:
        """Write rows, which are in the columns and types of the contract."""
        for start in range(0, table.num_rows, _BLOCK_ROWS):
            self._csv.write(csv_block(table.slice(start, _BLOCK_ROWS)))
        self.counts["rows_valid"] += table.num_rows

    def refuse(self, rejects: Iterable[Reject]) -> None:
        """Write rejects."""
        for reject in rejects:
            self._rejects.write(reject.to_line())
            self._reasons[reject.reason] += 1
            self.counts.update({f"{reject.level}s_rejected": 1, "rows_lost": reject.estimated_rows})

    @property
    def rejects_by_reason(self) -> dict[str, int]:
        """Rejected records, rows and bodies, by reason, sorted."""
        return dict(sorted(self._reasons.items()))


class TableBuilder(ABC, Generic[Body]):
    """Makes the rows of one table; it travels to the workers.

    Args:
        contract: of the table.
        fills: names of all columns that the builder fills, from a field of a body or by its own code. Those that the
            batch fills need no mention.

    Raises:
        ContractError: a column of the batch file is filled by nobody and would be null, or one that is filled is none.
    """

    def __init__(self, contract: Contract, fills: Collection[str]) -> None:
        refuse_unfilled(contract, fills)
        self.contract = contract

    @abstractmethod
    def build(self, given: BatchInput[Body], read: ReadBody, sink: BatchSink) -> Report:
        """Write one batch, the same bodies as the same bytes; report its counts, and ``rejects_by_reason``."""


def refuse_unfilled(contract: Contract, fills: Collection[str]) -> None:
    """Compare the columns of a batch file with those that code fills.

    Raises:
        ContractError: a column is filled by nobody, or one that is filled is no column.
    """
    columns = [column.name for column in contract.file_columns]
    unfilled = [name for name in columns if name not in fills and name not in _OF_BATCH]
    if unfilled:
        raise ContractError(
            f"Nothing fills {', '.join(unfilled)} of {contract.name}: every row would be null there.",
            "Fill it in the table module of its feed, or mark it filledOnPublish in the contract.",
        )
    unknown = sorted(set(fills) - set(columns))
    if unknown:
        raise ContractError(
            f"The job fills {', '.join(unknown)}, which batch files of {contract.name} do not have.",
            f"Add it to sql/{contract.dataset}/{contract.name}/contract.yaml, or remove the code that fills it.",
        )


def assemble(contract: Contract, filled: Mapping[str, pa.Array | Sequence[Any]], batch: BatchManifest) -> pa.Table:
    """Columns of one length in the order and types of a batch file; the batch fills those that are not given."""
    schema, height = arrow_schema(contract.file_columns), len(next(iter(filled.values())))
    columns = []
    for field in schema:
        values = filled.get(field.name)
        if values is None:
            values = pa.repeat(pa.scalar(_OF_BATCH[field.name](batch), field.type), height)
        columns.append(values if isinstance(values, pa.Array) else pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)
