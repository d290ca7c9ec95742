"""The warehouse: one BigQuery client, real names of tables, queries and load jobs."""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import Any

from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError, ServerError, TooManyRequests
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY, DEFAULT_RETRY

from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import Contract, load_all
from coinbeam.errors import ContractError, PublishBlockedError, TerminalError, TransientError, WriteConflictError
from coinbeam.settings import Settings

DATASETS = {
    "crypto_data": "data_dataset",
    "crypto_marts": "marts_dataset",
    "crypto_ops": "ops_dataset",
    "crypto_staging": "staging_dataset",
}
"""The logical datasets, and the setting that names each."""

REFUSES = "coinbeam refuses:"
"""How the error of a transaction begins that ended at one of our checks: it wrote nothing, and a retry cannot help."""

_MISSING = re.compile(r"Not found: (?P<kind>Table|Dataset) (?:[\w-]+[:.])?(?P<name>[\w.$]*\w)")
_APPENDED = re.compile(r"; reason: |\n\s*Location: |\n\s*Job ID: ")
"""What Google's client puts after the words of an error."""

_REFUSED = re.compile(rf"{REFUSES} (?P<what>[^;\n]+)")

_CONFLICT = re.compile("could not serialize access|due to concurrent update|transaction conflict", re.IGNORECASE)
"""How BigQuery, and DuckDB below the emulator, say of two concurrent writes of the same rows that one was too late."""

Parameter = str | int | date | datetime | list[str] | None
"""The value of a query parameter; its type in SQL follows from it, None is a text that is null."""

_TYPES: dict[type, str] = {str: "STRING", int: "INT64", datetime: "TIMESTAMP", date: "DATE", type(None): "STRING"}


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


def _parameter(name: str, value: Parameter) -> bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter:
    if isinstance(value, list):
        return bigquery.ArrayQueryParameter(name, "STRING", value)
    return bigquery.ScalarQueryParameter(name, next(_TYPES[kind] for kind in _TYPES if isinstance(value, kind)), value)


class Warehouse:
    """Reads and writes the warehouse of one environment.

    The client is made from the settings when left out; the clock says when staging tables expire.
    """

    def __init__(self, settings: Settings, client: bigquery.Client | None = None, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.client = client or connect(settings)
        self.clock = clock
        self._timeout = settings.warehouse.query_timeout_seconds
        # The client would repeat a refused connection for ten minutes. The emulator answers at once or not at all.
        retry, job_retry = (None, None) if settings.is_local else (DEFAULT_RETRY, DEFAULT_JOB_RETRY)
        self.bounds: dict[str, Any] = {"retry": retry and retry.with_timeout(self._timeout), "timeout": self._timeout}
        self._upload_retries = 0 if settings.is_local else 6
        self._job_retry = job_retry and job_retry.with_timeout(self._timeout)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn the errors of Google's client into ours, for the calls made within.

        Raises:
            TerminalError: BigQuery refused or failed the work, or the credentials.
            PublishBlockedError: a check within a transaction refused what it was about to publish.
            WriteConflictError: another statement changed the same rows meanwhile; nothing was written.
            TransientError: BigQuery does not answer, not in time, or with a fault of its own.
        """
        start, check = "Start the local cloud with `coinbeam local up`.", "Check the network and the credentials."
        unreachable = start if self.settings.is_local else check
        try:
            yield
        except (ServerError, TooManyRequests, RetryError) as error:
            raise TransientError(f"The warehouse could not do the work: {error.message}", unreachable) from error
        except GoogleAPICallError as error:
            if _CONFLICT.search(str(error.message)):
                raise WriteConflictError(f"Another statement was first: {error.message}", "Try again.") from error
            if refused := _REFUSED.search(str(error.message)):
                remedy = "Readers see what they saw before. Mend the cause, and run it again; see `coinbeam quality`."
                raise PublishBlockedError(refused["what"], remedy) from error
            said = _APPENDED.split(str(error.message))[0].strip().removesuffix(".")
            if missing := _MISSING.search(said):
                remedy = "`coinbeam run` makes the tables: run it first, or correct the name."
                raise TerminalError(f"There is no {missing['kind'].lower()} {missing['name']}.", remedy) from error
            raise TerminalError(f"The query failed: {said}.", "Mend the SQL, or look at `coinbeam status`.") from error
        except GoogleAuthError as error:
            raise TerminalError(
                f"The warehouse's credentials do not work: {type(error).__name__}.", unreachable
            ) from error
        except TimeoutError as error:
            raise TransientError(
                f"The query did not end within {self._timeout:g} s.",
                "Make it smaller, or raise COINBEAM_WAREHOUSE__QUERY_TIMEOUT_SECONDS.",
            ) from error
        except OSError as error:
            raise TransientError(f"The warehouse does not answer: {type(error).__name__}.", unreachable) from error

    def dataset(self, logical: str) -> str:
        """The real name of a logical dataset.

        Raises:
            ContractError: there is no such dataset.
        """
        if logical not in DATASETS:
            raise ContractError(f"There is no dataset {logical!r}.", f"Known datasets: {', '.join(DATASETS)}.")
        return str(getattr(self.settings.warehouse, DATASETS[logical]))

    def table(self, contract: Contract) -> str:
        """``dataset.table`` of a contract, as readers know it."""
        return f"{self.dataset(contract.dataset)}.{contract.name}"

    def query(self, sql: str, **parameters: Parameter) -> bigquery.table.RowIterator:
        """Run a query with its parameters by name, and wait for its rows, within the configured time and bytes.

        Raises:
            TerminalError: BigQuery refused or failed the query.
            TransientError: BigQuery does not answer, or not in time.
        """
        with self.answering():
            return self._job(sql, parameters).result(job_retry=self._job_retry, **self.bounds)

    def run(self, sql: str, **parameters: Parameter) -> bigquery.QueryJob:
        """Run a query like :meth:`query`, and wait for its end, but not for its rows: they stay in its destination.

        Raises:
            TerminalError: BigQuery refused or failed the query.
            TransientError: BigQuery does not answer, or not in time.
        """
        with self.answering():
            job = self._job(sql, parameters)
            job.result(page_size=1, job_retry=self._job_retry, **self.bounds)
        return job

    def _job(self, sql: str, parameters: Mapping[str, Parameter]) -> bigquery.QueryJob:
        limit = self.settings.warehouse.maximum_bytes_billed
        typed = [_parameter(name, value) for name, value in parameters.items()]
        config = bigquery.QueryJobConfig(query_parameters=typed, maximum_bytes_billed=limit)
        return self.client.query(sql, job_config=config, job_retry=self._job_retry, **self.bounds)

    def rows(self, sql: str, **parameters: Parameter) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        with self.answering():
            return [dict(row.items()) for row in self.query(sql, **parameters)]

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
            name = self.full_name(table)
            self.client.load_table_from_file(
                io.BytesIO(ndjson), name, job_config=config, num_retries=self._upload_retries, timeout=self._timeout
            ).result(**self.bounds)

    def exists(self, name: str) -> bool:
        """Whether there is a table of this name, given as ``dataset.table``."""
        return self.get_table(name) is not None

    def get_table(self, name: str) -> bigquery.Table | None:
        """``dataset.table`` as the API describes it, or None when there is no such table."""
        with self.answering(), suppress(NotFound):
            return self.client.get_table(self.full_name(name), **self.bounds)
        return None

    def full_name(self, name: str) -> str:
        """A name with the project of this environment before it."""
        return f"{self.settings.google.project}.{name}"

    def names(self, project: str = "") -> dict[str, str]:
        """The quoted name of every table and view by its contract, for SQL templates.

        Args:
            project: what comes before the dataset, with its dot; the project of the client when left out.
        """
        return {contract.name: f"`{project}{self.table(contract)}`" for contract in load_all().values()}
