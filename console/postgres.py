"""The command that fills PostgreSQL."""

from datetime import date

import psycopg
from psycopg.conninfo import conninfo_to_dict

from coinbeam.errors import SettingsError
from coinbeam.settings import PostgresSettings, load_settings
from coinbeam.warehouse.client import Warehouse
from console.output import say, show_summary_table
from serving.postgres.export import PostgresExporter


def export_core(dsn: str | None, schema: str | None, since: date | None) -> None:
    """Export what waits, and say what changed.

    Raises:
        SettingsError: a connection string with a password, or a schema that is no plain name.
    """
    settings = load_settings()
    configured = settings.postgres.dsn.get_secret_value() if settings.postgres.dsn else None
    namespace = _plain(schema) if schema else settings.postgres.namespace
    exporter = PostgresExporter(Warehouse(settings), namespace)
    done = exporter.export(_without_password(dsn) if dsn else configured, since)
    if not done.tables:
        say(f"Nothing waits: schema {namespace} holds every publish.")
        return
    rows = [
        {"table": one.table, "rows": one.rows, "changed": one.changed, "deleted": one.deleted} for one in done.tables
    ]
    show_summary_table(["table", "rows", "changed", "deleted"], rows)
    say(f"{done.publications} publishes are in schema {namespace}, in one transaction of {done.seconds:.1f} s.")


def _without_password(dsn: str) -> str:
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        given = {}  # the export says so, without the text
    if given.get("password"):
        raise SettingsError(
            "Other users of the machine see a password on a command line.",
            "Put it into COINBEAM_POSTGRES__DSN, PGPASSWORD or ~/.pgpass, and change it if it was typed.",
        )
    return dsn


def _plain(schema: str) -> str:
    try:
        return PostgresSettings(namespace=schema).namespace
    except ValueError:
        raise SettingsError(
            f"{schema!r} is no name of a schema.", "It has lower-case letters, digits and _, and at most 63 of them."
        ) from None
