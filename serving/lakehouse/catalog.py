"""The catalog of the open tables, by setting: a database on one machine, an Iceberg REST catalog in the cloud."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from google.api_core.exceptions import GoogleAPICallError, RetryError, ServerError, TooManyRequests
from google.auth.exceptions import GoogleAuthError
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchTableError,
    RESTError,
    ValidationException,
)
from pyiceberg.table import Table
from sqlalchemy.exc import SQLAlchemyError

from coinbeam.contracts import Contract
from coinbeam.errors import SettingsError, TerminalError, TransientError, WriteConflictError, disk_full
from coinbeam.settings import Settings
from serving.lakehouse.objects import file_properties
from serving.lakehouse.schema import evolve, iceberg_schema, partition_spec, table_properties

BIGLAKE = "https://biglake.googleapis.com/iceberg/v1/restcatalog"
"""Google's Iceberg REST catalog. Source: https://cloud.google.com/biglake/docs/blms-rest-catalog"""


class Lakehouse:
    """The open tables of one environment."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def location(self) -> str:
        """Where the files are, without a slash at the end."""
        return (self.settings.lakehouse.warehouse or f"{self.settings.bucket_uri}/lakehouse").rstrip("/")

    def table_location(self, contract: Contract) -> str:
        """The folder of a table; ``data/`` and ``metadata/`` lie below it."""
        return f"{self.location}/{self.settings.lakehouse.namespace}/{contract.name}"

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, with its namespace.

        Raises:
            SettingsError: outside of the local environment nothing says where the catalog is.
        """
        properties = catalog_properties(self.settings, self.location)
        with self.answering():
            found = load_catalog("coinbeam", **properties)
            found.create_namespace_if_not_exists(self.settings.lakehouse.namespace)
        return found

    def find(self, contract: Contract) -> Table | None:
        """The table of a contract, as it is now, or None before its first export."""
        with self.answering():
            try:
                return self.catalog.load_table((self.settings.lakehouse.namespace, contract.name))
            except NoSuchTableError:
                return None

    def ensure(self, contract: Contract) -> Table:
        """The table of a contract, made where there is none, with all columns of the contract and a first snapshot
        without a row: only then can another one wait on a branch.

        Raises:
            ContractError: it differs from the contract in a way that cannot be added.
        """
        table = self.find(contract)
        with self.answering():
            if table is None:
                table = self.catalog.create_table(
                    (self.settings.lakehouse.namespace, contract.name),
                    iceberg_schema(contract),
                    location=self.table_location(contract),
                    partition_spec=partition_spec(contract),
                    properties=table_properties(contract),
                )
            if table.current_snapshot() is None:
                with table.transaction() as transaction, transaction.update_snapshot().fast_append():
                    pass
            evolve(table, contract)
        return table

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn the errors of the catalog and of the files into ours, for the calls made within.

        Raises:
            DiskFullError: the disk of the catalog or of the emulator is full.
            WriteConflictError: another export or a maintenance was first.
            TerminalError: bucket or catalog refuse.
            TransientError: bucket or catalog do not answer.
        """
        start, check = "Start the local cloud with `coinbeam local up`.", "Check the network and the credentials."
        remedy = start if self.settings.is_local else check
        try:
            yield
        except (CommitFailedException, CommitStateUnknownException, ValidationException) as error:
            problem = f"Another writer changed an open table at the same moment: {error}."
            raise WriteConflictError(problem, "Readers see what they saw before. Run it again.") from error
        except FileNotFoundError as error:
            raise TerminalError(
                f"A file of an open table is gone: {error}",
                "Were files deleted by hand, or by a lifecycle rule of the bucket? Restore them, or drop the table.",
            ) from error
        except (ServerError, TooManyRequests, RetryError, OSError) as error:
            if full := disk_full(error):
                raise full from error
            problem = f"The files of the open tables cannot be reached: {type(error).__name__}: {error}."
            raise TransientError(problem, remedy) from error
        except (GoogleAPICallError, GoogleAuthError) as error:
            raise TerminalError(f"The bucket of the open tables refuses: {error}.", remedy) from error
        except (SQLAlchemyError, RESTError) as error:
            if full := disk_full(error):
                raise full from error
            # Only its kind: the text of a database error can hold the address with its password.
            problem = f"The catalog of the open tables cannot be used: {type(error).__name__}."
            raise TerminalError(problem, "Look at the setting lakehouse.uri, and at the catalog itself.") from error


def catalog_properties(settings: Settings, location: str) -> dict[str, Any]:
    """The properties of the catalog, as pyiceberg takes them.

    Raises:
        SettingsError: outside of the local environment nothing says where the catalog is.
    """
    chosen, files = settings.lakehouse, file_properties(settings)
    if chosen.catalog == "rest":
        return {
            "type": "rest",
            "uri": chosen.uri or BIGLAKE,
            "warehouse": "/".join(location.split("/")[:3]),  # BigLake's is a bucket; tables have locations of their own
            "auth": {"type": "google"},
            "header.x-goog-user-project": settings.google.project,
            **files,
        }
    if chosen.uri is None and not settings.is_local:
        raise SettingsError(
            "lakehouse.catalog is sql without lakehouse.uri, which only one machine can use.",
            "Set COINBEAM_LAKEHOUSE__CATALOG=rest, or the address of a database that all machines reach.",
        )
    folder = settings.local.state_dir / "lakehouse"
    if chosen.uri is None:
        folder.mkdir(parents=True, exist_ok=True)
    return {"type": "sql", "uri": chosen.uri or f"sqlite:///{folder / 'catalog.db'}", "warehouse": location, **files}
