"""The warehouse: one BigQuery client, real names of tables, and additive migrations from the contracts."""

import io
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError, ServerError, TooManyRequests
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY, DEFAULT_RETRY

from coinbeam.batch.digest import digest
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import Column, Contract, load_all
from coinbeam.contracts.bigquery import (
    add_column_ddl,
    described,
    labels,
    schema,
    staging_schema,
    standard_type,
    table,
    view_ddl,
)
from coinbeam.errors import ContractError, TerminalError, TransientError, WriteConflictError
from coinbeam.settings import Settings
from coinbeam.sql_template import render

DATASETS = ("crypto_data", "crypto_marts", "crypto_ops", "crypto_staging")
"""The logical datasets."""

_CONFLICT = re.compile("could not serialize access|due to concurrent update|transaction conflict", re.IGNORECASE)
"""How BigQuery, and DuckDB below the emulator, say that of two concurrent writes of the same rows the other one was
first.
"""

STAGING_LIFETIME = timedelta(days=7)
"""How long a staging table outlives its batch, for the person who wants to see why an audit failed."""


def connect(settings: Settings) -> bigquery.Client:
    """The official client, for the emulator of the local environment or for Google Cloud."""
    if not settings.is_local:
        return bigquery.Client(project=settings.google.project, location=settings.google.location)
    endpoint = f"http://127.0.0.1:{settings.local.ports.bigquery}"
    return bigquery.Client(
        project=settings.google.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=ClientOptions(api_endpoint=endpoint),
    )


@dataclass(frozen=True)
class StagingTables:
    """The staging tables of one batch.

    Attributes:
        suffix: part of every name, derived from the batch.
    """

    settings: Settings
    batch_id: str

    @property
    def suffix(self) -> str:
        """The batch id in the alphabet of table names; a category may hold a ``_`` of its own, and must not collide
        with its ``-`` twin.
        """
        plain = "".join(character if character.isalnum() else "_" for character in self.batch_id)
        return f"{plain}_{digest(self.batch_id)}" if "_" in self.batch_id else plain

    def name(self, contract: Contract) -> str:
        """``dataset.table`` of the staging table of a contract."""
        return f"{self.settings.warehouse.staging_dataset}.{contract.name}__{self.suffix}"


class Warehouse:
    """Reads and writes the warehouse of one environment.

    Args:
        settings: names, limits and location.
        client: the BigQuery client; made from the settings when left out.
        clock: source of "now" for the expiration of staging tables.
    """

    def __init__(self, settings: Settings, client: bigquery.Client | None = None, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.client = client or connect(settings)
        self._clock = clock
        self._timeout = settings.warehouse.query_timeout_seconds
        # The client would repeat a refused connection for ten minutes. The emulator answers at once or not at all.
        retry, job_retry = (None, None) if settings.is_local else (DEFAULT_RETRY, DEFAULT_JOB_RETRY)
        self._bounds: dict[str, Any] = {"retry": retry and retry.with_timeout(self._timeout), "timeout": self._timeout}
        self._upload_retries = 0 if settings.is_local else 6
        self._job_retry = job_retry and job_retry.with_timeout(self._timeout)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn the errors of Google's client into ours, for the calls made within.

        Raises:
            TerminalError: BigQuery refused or failed the work, or the credentials.
            WriteConflictError: another statement changed the same rows meanwhile; nothing was written.
            TransientError: BigQuery does not answer, not in time, or with a fault of its own.
        """
        try:
            yield
        except (ServerError, TooManyRequests, RetryError) as error:
            raise TransientError(
                f"The warehouse could not do the work: {error.message}", self._unreachable_remedy()
            ) from error
        except GoogleAPICallError as error:
            if _CONFLICT.search(str(error.message)):
                raise WriteConflictError(f"Another statement was first: {error.message}", "Try again.") from error
            raise TerminalError(
                f"The query failed: {error.message}", "Mend the SQL, or look at `coinbeam status`."
            ) from error
        except GoogleAuthError as error:
            raise TerminalError(
                f"The warehouse's credentials do not work: {type(error).__name__}.", self._unreachable_remedy()
            ) from error
        except TimeoutError as error:
            raise TransientError(
                f"The query did not end within {self._timeout:g} s.",
                "Make it smaller, or raise COINBEAM_WAREHOUSE__QUERY_TIMEOUT_SECONDS.",
            ) from error
        except OSError as error:
            raise TransientError(
                f"The warehouse does not answer: {type(error).__name__}.", self._unreachable_remedy()
            ) from error

    def dataset(self, logical: str) -> str:
        """The real name of a logical dataset.

        Raises:
            ContractError: there is no such dataset.
        """
        warehouse = self.settings.warehouse
        names = {
            "crypto_data": warehouse.data_dataset,
            "crypto_marts": warehouse.marts_dataset,
            "crypto_ops": warehouse.ops_dataset,
            "crypto_staging": warehouse.staging_dataset,
        }
        try:
            return names[logical]
        except KeyError:
            raise ContractError(f"There is no dataset {logical!r}.", f"Known datasets: {', '.join(names)}.") from None

    def table(self, contract: Contract) -> str:
        """``dataset.table`` of a contract, as readers know it."""
        return f"{self.dataset(contract.dataset)}.{contract.name}"

    def query(self, sql: str, parameters: Sequence[bigquery.ScalarQueryParameter] = ()) -> bigquery.table.RowIterator:
        """Run a query and wait for its rows, within the configured time and bytes.

        Raises:
            TerminalError: BigQuery refused or failed the query.
            TransientError: BigQuery does not answer, or not in time.
        """
        limits = self.settings.warehouse
        config = bigquery.QueryJobConfig(
            query_parameters=list(parameters), maximum_bytes_billed=limits.maximum_bytes_billed
        )
        with self.answering():
            job = self.client.query(sql, job_config=config, job_retry=self._job_retry, **self._bounds)
            return job.result(job_retry=self._job_retry, **self._bounds)

    def rows(self, sql: str, parameters: Sequence[bigquery.ScalarQueryParameter] = ()) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        with self.answering():
            return [dict(row.items()) for row in self.query(sql, parameters)]

    def append(self, table: str, ndjson: bytes) -> None:
        """Append rows to ``dataset.table`` by a load job: one job, all or nothing, and readable at once by DML, unlike
        a streaming insert.

        Raises:
            TerminalError: BigQuery refused the rows; none was appended.
        """
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        )
        with self.answering():
            name = f"{self.settings.google.project}.{table}"
            self.client.load_table_from_file(
                io.BytesIO(ndjson), name, job_config=config, num_retries=self._upload_retries, timeout=self._timeout
            ).result(**self._bounds)

    def merge_rows(self, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows of an ops table, or replace those with the same key; all of them or none.

        Args:
            contract: the table.
            rows: JSON-ready values by column; columns that a row leaves out become null.
        """
        if not rows:
            return
        columns = [column.name for column in contract.columns]
        body = "\n".join(
            json.dumps({name: row.get(name) for name in columns}, ensure_ascii=False) for row in rows
        ).encode()
        name = f"{self.dataset('crypto_staging')}.{contract.name}__{digest(uuid.uuid4().hex)}"
        staged = bigquery.Table(f"{self.settings.google.project}.{name}", schema=staging_schema(contract.columns))
        staged.expires = self._clock() + STAGING_LIFETIME
        with self.answering():
            self.client.create_table(staged, **self._bounds)
        try:
            self.append(name, body)
            self.query(
                _merge(
                    contract,
                    self.table(contract),
                    name,
                    [str(row.get(contract.partition_column or "")) for row in rows],
                )
            )
        finally:
            with self.answering():
                self.client.delete_table(staged, not_found_ok=True, **self._bounds)

    def _unreachable_remedy(self) -> str:
        return (
            "Start the local cloud with `coinbeam local up`."
            if self.settings.is_local
            else "Check the network and the credentials."
        )

    def exists(self, name: str) -> bool:
        """Whether there is a table of this name, given as ``dataset.table``."""
        return self.columns(name) is not None

    def columns_for(self, contract: Contract) -> dict[str, tuple[str, bool]] | None:
        """As `columns`, of the table of a contract, without what a newer release added to it."""
        with self.answering():
            try:
                name = f"{self.settings.google.project}.{self.table(contract)}"
                return _columns_for(contract, self.client.get_table(name, **self._bounds))
            except NotFound:
                return None

    def columns(self, name: str) -> dict[str, tuple[str, bool]] | None:
        """The type of each column of ``dataset.table`` and whether it is required; None when there is no such table."""
        with self.answering():
            try:
                return _columns(self.client.get_table(f"{self.settings.google.project}.{name}", **self._bounds))
            except NotFound:
                return None

    def ensure_schema(self) -> list[str]:
        """Create what is missing, add new nullable columns, and renew descriptions and labels; the only changes made
        without a person.

        Returns:
            One line for each change made.

        Raises:
            ContractError: a table differs from its contract in any other way.
        """
        changes: list[str] = []
        with self.answering():
            for logical in DATASETS:
                changes += self._ensure_dataset(self.dataset(logical))
            contracts = load_all().values()
            for contract in (c for c in contracts if not c.is_view):
                changes += self._ensure_table(contract)
            for contract in (c for c in contracts if c.is_view):  # after the tables that they read
                changes += self._ensure_view(contract)
        return changes

    def _ensure_dataset(self, name: str) -> list[str]:
        dataset = bigquery.Dataset(f"{self.settings.google.project}.{name}")
        dataset.location = self.settings.google.location
        try:
            self.client.get_dataset(dataset.reference, **self._bounds)
        except NotFound:
            self.client.create_dataset(dataset, exists_ok=True, **self._bounds)
            return [f"created dataset {name}"]
        return []

    def _ensure_table(self, contract: Contract) -> list[str]:
        name = f"{self.settings.google.project}.{self.table(contract)}"
        try:
            present = self.client.get_table(name, **self._bounds)
        except NotFound:
            self.client.create_table(
                table(contract, name, constraints=not self.settings.is_local), exists_ok=True, **self._bounds
            )
            return [f"created table {self.table(contract)}"]
        added = additive_columns(contract, _columns_for(contract, present))
        if _is_newer(present, contract):
            return []
        for column in added:
            self.query(add_column_ddl(contract, self.dataset(contract.dataset), column))
        if added or not _is_described(present, contract):
            self._describe(contract, name)
            return [f"added column {self.table(contract)}.{column.name}" for column in added] or [
                f"described table {self.table(contract)}"
            ]
        return []

    def _describe(self, contract: Contract, name: str) -> None:
        """Bring the words of a table up to its contract: descriptions and labels.

        The table is read again, since an ALTER gives it another etag, and an update of its former state would be
        refused. Its own order of columns stays; those that the emulator's ALTER left out of the API's schema come last.
        """
        present = self.client.get_table(name, **self._bounds)
        known = _columns(present)
        columns = [contract.by_name[column] for column in known] + [c for c in contract.columns if c.name not in known]
        present.description, present.labels = contract.description, {**present.labels, **labels(contract)}
        present.schema = schema(columns)
        self.client.update_table(present, ["description", "labels", "schema"], **self._bounds)

    def _ensure_view(self, contract: Contract) -> list[str]:
        """Create the view, or replace one that shows something else.

        It names its tables with their project: without it BigQuery refuses whoever asks from another one, as readers
        do.
        """
        name = self.table(contract)
        query = render(contract.folder / "view.sql", **self.names(f"{self.settings.google.project}."))
        statement = view_ddl(contract, self.dataset(contract.dataset), query)
        wanted = {"statement": digest(statement)}  # a warehouse may store the query in a form of its own
        try:
            present = self.client.get_table(f"{self.settings.google.project}.{name}", **self._bounds)
        except NotFound:
            present = None
        if present is not None and wanted.items() <= dict(present.labels or {}).items():
            return []
        self.query(statement)
        made = self.client.get_table(f"{self.settings.google.project}.{name}", **self._bounds)
        made.labels = {**labels(contract), **wanted}
        self.client.update_table(made, ["labels"], **self._bounds)
        return [f"{'created' if present is None else 'replaced'} view {name}"]

    def names(self, project: str = "") -> dict[str, str]:
        """The quoted name of every table and view by its contract, for SQL templates.

        Args:
            project: what comes before the dataset, with its dot; the project of the client when left out.
        """
        return {contract.name: f"`{project}{self.table(contract)}`" for contract in load_all().values()}

    def create_staging(self, staging: StagingTables, contracts: Iterable[Contract]) -> None:
        """Create the staging tables of a batch, empty; what an earlier try left in them is gone."""
        for contract in contracts:
            empty = bigquery.Table(
                f"{self.settings.google.project}.{staging.name(contract)}", schema=staging_schema(contract.file_columns)
            )
            empty.expires = self._clock() + STAGING_LIFETIME
            with self.answering():
                self.client.delete_table(empty, not_found_ok=True, **self._bounds)
                self.client.create_table(empty, **self._bounds)

    def drop_staging(self, staging: StagingTables, contracts: Iterable[Contract]) -> None:
        """Drop the staging tables of a published batch."""
        for contract in contracts:
            with self.answering():
                self.client.delete_table(
                    f"{self.settings.google.project}.{staging.name(contract)}", not_found_ok=True, **self._bounds
                )


def _columns(table: bigquery.Table) -> dict[str, tuple[str, bool]]:
    return {field.name: (standard_type(field.field_type), field.mode == "REQUIRED") for field in table.schema}


def _columns_for(contract: Contract, table: bigquery.Table) -> dict[str, tuple[str, bool]]:
    """The columns of a table that concern a contract.

    After a roll back a table is newer than the code. The nullable columns that the newer release added are left null by
    the older one; were they a fault, no release that added a column could ever be rolled back.
    """
    columns, newer = _columns(table), _is_newer(table, contract)
    return {
        name: (kind, required)
        for name, (kind, required) in columns.items()
        if not newer or required or name in contract.by_name
    }


def _is_newer(table: bigquery.Table, contract: Contract) -> bool:
    """Whether a newer version of the contract has been applied to a table, by its label."""
    applied, own = (
        version.split("-")
        for version in (table.labels.get("contract_version", ""), labels(contract)["contract_version"])
    )
    return all(map(str.isdigit, applied + own)) and [int(part) for part in applied] > [int(part) for part in own]


def _is_described(table: bigquery.Table, contract: Contract) -> bool:
    """Whether descriptions and labels of a table are those of its contract; others may have given it labels of their
    own.
    """
    told = {field.name: field.description for field in table.schema}
    wanted = {column.name: described(column) for column in contract.columns}
    return (
        table.description == contract.description
        and labels(contract).items() <= dict(table.labels).items()
        and told == wanted
    )


def additive_columns(contract: Contract, present: Mapping[str, tuple[str, bool]]) -> list[Column]:
    """The nullable columns that the table still lacks.

    Args:
        contract: what the table should be.
        present: what it is: the type of each column, and whether it is required.

    Raises:
        ContractError: a column has another type or mode, is no longer in the contract, or is new and required.
    """
    new = [column for column in contract.columns if column.name not in present]
    known = [(column, *present[column.name]) for column in contract.columns if column.name in present]
    faults = [
        f"{c.name} is {kind} in the warehouse, {c.type} in the contract" for c, kind, _ in known if kind != c.type
    ]
    faults += [
        f"{c.name} is {_mode(required)} in the warehouse, {_mode(c.required)} in the contract"
        for c, _, required in known
        if required != c.required
    ]
    faults += [
        f"{name} is in the warehouse and not in the contract" for name in present if name not in contract.by_name
    ]
    faults += [
        f"{column.name} is new and required, but old rows have no value for it" for column in new if column.required
    ]
    if faults:
        raise ContractError(
            f"{contract.name} cannot be migrated: {'; '.join(faults)}.",
            "Only nullable columns are added automatically. Make the new column nullable, or migrate the table by "
            "hand.",
        )
    return new


def _merge(contract: Contract, target: str, source: str, days: Sequence[str]) -> str:
    """The MERGE of rows into a table, pruned to the days of a partitioned one."""
    columns = [column.name for column in contract.columns]
    match = [f"t.{name} = s.{name}" for name in contract.primary_key]
    if contract.partition_column:
        match.append(f"t.{contract.partition_column} BETWEEN DATE '{min(days)}' AND DATE '{max(days)}'")
    assignments = ", ".join(f"{name} = s.{name}" for name in columns if name not in contract.primary_key)
    return (
        f"MERGE `{target}` AS t USING `{source}` AS s ON {' AND '.join(match)} WHEN MATCHED THEN UPDATE SET "
        f"{assignments} "
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(f's.{name}' for name in columns)})"
    )


def _mode(required: bool) -> str:
    return "REQUIRED" if required else "NULLABLE"
