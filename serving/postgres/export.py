"""The export: what was published since the last one, by COPY into a temporary table and upserts, in one transaction."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict

from coinbeam.contracts import Contract, load_contract
from coinbeam.contracts.arrow import csv_block
from coinbeam.errors import SettingsError, TerminalError, TransientError, disk_full
from coinbeam.marts.plan import Range, joined
from coinbeam.warehouse.arrow import contract_rows, in_portions, rows_by_date
from coinbeam.warehouse.client import Warehouse
from serving.postgres.core import RECORD, TYPES, CoreTable, core_tables
from serving.postgres.ddl import ensure, names, qualified

LOCK = 0x636F696E
"""The advisory lock of an export: two at once would wait for each other's rows in another order."""

MOST_ROWS = 500_000
"""Rows that are in memory at once, unless one date has more."""

_DAY = timedelta(days=1)
_STAGE = "coinbeam_stage"
_PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class Loaded:
    """What an export did to one table: rows that it read, rows that it wrote or changed, rows that are gone."""

    table: str
    rows: int
    changed: int
    deleted: int


@dataclass(frozen=True)
class PostgresExport:
    """What an export did: publishes that it took, the tables, and how long it took."""

    publications: int
    tables: list[Loaded]
    seconds: float


class PostgresExporter:
    """Brings the core in PostgreSQL in step with BigQuery."""

    def __init__(self, warehouse: Warehouse, schema: str = "coinbeam") -> None:
        self._warehouse, self._schema = warehouse, schema
        self._tables = core_tables()

    def export(self, dsn: str | None, since: date | None = None) -> PostgresExport:
        """Export what was published since the last export; the same again changes nothing.

        Args:
            dsn: how to reach PostgreSQL; None for libpq's own variables.
            since: export all dates from here on, whatever was exported before.

        Raises:
            SettingsError: the connection string cannot be read; it is never shown.
            TerminalError: PostgreSQL or BigQuery refuses; nothing was changed.
            TransientError: one of them does not answer, or another export is under way; nothing was changed.
        """
        started = time.monotonic()
        with answering(dsn), psycopg.connect(dsn or "", connect_timeout=_PATIENCE_SECONDS) as connection:
            _lock(connection)
            ensure(connection, self._schema, self._tables)
            queue = contract_rows(self._warehouse, load_contract(RECORD))
            waiting = self._waiting(connection, queue)
            done = []
            if waiting.num_rows or since:
                for contract in dict.fromkeys(table.contract.name for table in self._tables):
                    done += self._load_contract(connection, load_contract(contract), waiting, since)
        return PostgresExport(waiting.num_rows, done, time.monotonic() - started)

    def _waiting(self, connection: Connection, queue: pa.Table) -> pa.Table:
        """The publishes that are not in yet; a batch that was published again is another publish."""
        query = sql.SQL("SELECT batch_id, table_name, published_at FROM {}").format(qualified(self._schema, RECORD))
        known = set(connection.execute(query).fetchall())
        rows = queue.select(["batch_id", "table_name", "published_at"]).to_pylist()
        return queue.filter(pa.array([tuple(row.values()) not in known for row in rows], pa.bool_()))

    def _load_contract(
        self, connection: Connection, contract: Contract, waiting: pa.Table, since: date | None
    ) -> list[Loaded]:
        """Load the rows of a contract into its tables: all of them, or portion by portion those of some dates."""
        tables = [table for table in self._tables if table.contract.name == contract.name]
        with _staged(connection, contract):
            if tables[0].when is None:
                found = contract_rows(self._warehouse, contract)
                return self._load(connection, tables, _present(contract, found), None)
            totals = [Loaded(table.name, 0, 0, 0) for table in tables]
            for dates in self._ranges(contract, waiting, since):
                for portion in self._portions(connection, tables[0], dates):
                    rows = contract_rows(self._warehouse, contract, *portion)
                    loaded = self._load(connection, tables, rows, portion)
                    totals = [_sum(one, other) for one, other in zip(totals, loaded, strict=True)]
            return totals

    def _ranges(self, contract: Contract, waiting: pa.Table, since: date | None) -> list[Range]:
        """The dates of a fact that publishes may have changed."""
        if since:
            return [(since, date.max)]
        own = waiting.filter(pc.equal(waiting["table_name"], contract.name))
        return list(joined(zip(own["first_date"].to_pylist(), own["last_date"].to_pylist(), strict=True)))

    def _portions(self, connection: Connection, table: CoreTable, dates: Range) -> list[Range]:
        """The dates in portions, as far as BigQuery or PostgreSQL has rows."""
        rows = rows_by_date(self._warehouse, table.contract, *dates)
        first, last = connection.execute(
            sql.SQL("SELECT min({when}), max({when}) FROM {target}").format(
                when=sql.Identifier(table.when or ""), target=qualified(self._schema, table.name)
            )
        ).fetchone() or (None, None)
        known = [*rows, *(_day(one) for one in (first, last) if one is not None)]
        if not known or max(known) < dates[0] or dates[1] < min(known):
            return []
        return in_portions(max(dates[0], min(known)), min(dates[1], max(known)), rows, MOST_ROWS)

    def _load(
        self, connection: Connection, tables: Sequence[CoreTable], rows: pa.Table, dates: Range | None
    ) -> list[Loaded]:
        """Copy rows into the staging table, and from there into each table; rows of the dates that are gone go."""
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(_STAGE)))
        with connection.cursor().copy(
            sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(sql.Identifier(_STAGE))
        ) as copy:
            copy.write(csv_block(rows))
        deleted = [self._delete(connection, table, dates) if dates else 0 for table in tables[:1]]
        done = []
        for table in tables:
            self._name_parents(connection, table)
            changed = connection.execute(upsert(self._schema, table)).rowcount
            done.append(Loaded(table.name, rows.num_rows, changed, deleted[0]))
        return done

    def _name_parents(self, connection: Connection, table: CoreTable) -> None:
        """Rows with a key alone for what rows refer to and nobody described yet, such as an asset of old prices."""
        alone = {parent.name for parent in self._tables if parent.keyed_alone}
        for reference in table.references:
            if reference.table in alone:
                [column] = reference.columns
                connection.execute(
                    sql.SQL(
                        "INSERT INTO {parent} ({column}) SELECT DISTINCT {column} FROM {stage} "
                        "WHERE {column} IS NOT NULL ON CONFLICT DO NOTHING"
                    ).format(
                        parent=qualified(self._schema, reference.table),
                        column=sql.Identifier(column),
                        stage=sql.Identifier(_STAGE),
                    )
                )

    def _delete(self, connection: Connection, table: CoreTable, dates: Range) -> int:
        """Delete the rows of dates that BigQuery has no more."""
        same = sql.SQL(" AND ").join(sql.SQL("s.{0} = t.{0}").format(sql.Identifier(name)) for name in table.key)
        first, after = (datetime.combine(day, datetime.min.time(), UTC) for day in (dates[0], dates[1] + _DAY))
        bounds = (first, after) if table.when != "date" else (first.date(), after.date())
        return connection.execute(
            sql.SQL(
                "DELETE FROM {target} AS t WHERE t.{when} >= %s AND t.{when} < %s "
                "AND NOT EXISTS (SELECT FROM {stage} AS s WHERE {same})"
            ).format(
                target=qualified(self._schema, table.name),
                when=sql.Identifier(table.when or ""),
                stage=sql.Identifier(_STAGE),
                same=same,
            ),
            bounds,
        ).rowcount


def upsert(schema: str, table: CoreTable) -> sql.Composed:
    """Insert the staged rows, or change those that differ; a row that is the same already is left alone."""
    others = tuple(name for name in table.names if name not in table.key)
    columns = names(table.names)
    return sql.SQL(
        "INSERT INTO {target} AS t ({columns}) SELECT {columns} FROM {stage} "
        "ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE ({old}) IS DISTINCT FROM ({new})"
    ).format(
        target=qualified(schema, table.name),
        columns=columns,
        stage=sql.Identifier(_STAGE),
        key=names(table.key),
        changes=sql.SQL(", ").join(sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in others),
        old=sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in others),
        new=sql.SQL(", ").join(sql.SQL("EXCLUDED.{}").format(sql.Identifier(name)) for name in others),
    )


@contextmanager
def answering(dsn: str | None) -> Iterator[None]:
    """Turn the errors of PostgreSQL into ours, for the calls made within; the connection string is in none of them.

    Raises:
        SettingsError: the connection string cannot be read.
        DiskFullError: the disk of PostgreSQL is full.
        TerminalError: PostgreSQL refuses.
        TransientError: PostgreSQL does not answer.
    """
    secrets = _passwords(dsn or "")
    if secrets is None:
        raise SettingsError(
            "The connection string of PostgreSQL cannot be read.",
            "COINBEAM_POSTGRES__DSN is postgresql://user@host/database or host=... dbname=...; unset: PGHOST etc.",
        )
    try:
        yield
    except psycopg.Error as error:
        said = str(error).strip().partition("\n")[0]
        for secret in secrets:
            said = said.replace(secret, "***")
        if full := disk_full(error):
            raise full from None
        if isinstance(error, psycopg.OperationalError) and "FATAL" not in said:
            remedy = "Check that it runs, and COINBEAM_POSTGRES__DSN or the variables PGHOST, PGPORT, PGUSER."
            raise TransientError(f"PostgreSQL does not answer: {said}.", remedy) from None
        raise TerminalError(f"PostgreSQL refuses: {said}.", "Nothing was changed. Mend it, and run it again.") from None


def _passwords(dsn: str) -> list[str] | None:
    """The passwords in a connection string, or None when it is none: the error that says so shows it."""
    try:
        return [str(value) for name, value in conninfo_to_dict(dsn).items() if name.endswith("password")]
    except psycopg.ProgrammingError:
        return None


def _lock(connection: Connection) -> None:
    [taken] = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK]).fetchone() or (False,)
    if not taken:
        raise TransientError("Another export into this database is under way.", "Wait for its end, and run it again.")


@contextmanager
def _staged(connection: Connection, contract: Contract) -> Iterator[None]:
    """A temporary table with the columns of a contract, for the time of its load."""
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(TYPES[column.type])) for column in contract.columns
    ]
    stage = sql.Identifier(_STAGE)
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(stage, sql.SQL(", ").join(columns))
    )
    yield
    connection.execute(sql.SQL("DROP TABLE {}").format(stage))


def _present(contract: Contract, rows: pa.Table) -> pa.Table:
    """Of a dimension with versions the present one of each key."""
    return rows.filter(rows["is_current"]) if "is_current" in contract.by_name else rows


def _sum(one: Loaded, other: Loaded) -> Loaded:
    return Loaded(one.table, one.rows + other.rows, one.changed + other.changed, one.deleted + other.deleted)


def _day(moment: date) -> date:
    """The UTC date of an instant, or a date as it is."""
    return moment.astimezone(UTC).date() if isinstance(moment, datetime) else moment
