"""What an additive migration would change: the migration itself, on a client that reads and writes nothing."""

from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse, connect
from coinbeam.warehouse.schema import ensure_schema


class ReadingClient:
    """A BigQuery client for ``ensure_schema`` that reads by another, and answers as if its writes had been made."""

    def __init__(self, client: bigquery.Client) -> None:
        self._client = client
        self._statements: list[str] = []

    def get_dataset(self, reference: Any, **bounds: Any) -> bigquery.Dataset:
        """The dataset as it is."""
        return self._client.get_dataset(reference, **bounds)

    def get_table(self, name: str, **bounds: Any) -> bigquery.Table:
        """The table as it is, or an empty one where a statement would have made it."""
        try:
            return self._client.get_table(name, **bounds)
        except NotFound:
            made = f"`{'.'.join(name.split('.')[-2:])}`"
            if any(made in statement for statement in self._statements):
                return bigquery.Table(name)
            raise

    def create_table(self, made: Any, *_: Any, **__: Any) -> Any:
        """Nothing is created, nor updated."""
        return made

    create_dataset = update_table = create_table

    def query(self, sql: str, **_: Any) -> "_Unrun":
        """Nothing is run."""
        self._statements.append(sql)
        return _Unrun()


class _Unrun:
    """A statement that was not run, and has no rows."""

    def result(self, **_: Any) -> list[Any]:
        return []


def pending_changes(settings: Settings) -> list[str]:
    """One line for each change that ``ensure_schema`` would make.

    Raises:
        ContractError: a table differs from its contract in a way that no additive migration mends.
    """
    return ensure_schema(Warehouse(settings, client=ReadingClient(connect(settings))))  # type: ignore[arg-type]
