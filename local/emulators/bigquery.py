"""The local BigQuery: bqemulator 1.4.0, started with twelve corrections and without internet.

``python -m local.emulators.bigquery --port 9050 --grpc-port 9060 --data-dir DIR --gcs-root DIR/.cloudstorage``

- No time travel. bqemulator copies the whole table after every write, at any retention, so that time and disk
  grow with the table and not with the change. Here nothing is copied, and ``FOR SYSTEM_TIME AS OF`` is refused instead
  of answered with the present rows.
- A transaction is DuckDB's own. bqemulator copies every table that a transaction changes, to put it back should it
  fail, so that time grows with the table here too. Scripts run one after the other on one connection; nothing else
  comes between. An error that a script catches (``EXCEPTION``) takes back what its transaction did, which BigQuery
  leaves in place.
- Query parameters work in scripts (see :mod:`local.emulators.script_parameters`).
- ``RAISE`` in a script is a failed query, not an internal error that breaks the connection.
- A CSV file is read by BigQuery's defaults, comma and double quote. bqemulator ignores the dialect of the load job and
  guesses it from the first rows; a name such as ``"Comma, Inc., the 'Coin'"`` misleads it.
- DuckDB keeps at most ``MEMORY_LIMIT`` of tables and intermediate results and spills the rest to disk; by itself it
  would take four fifths of the machine's memory.
- A text is parsed once. bqemulator asks some twenty questions of each statement, and parses it anew for every one; and
  each of sqlglot's compiled writers of DuckDB's SQL parses its seventeen templates. That was half of all that the
  process did.
- A translation is made once. It depends on a statement, the schemas of its tables and the caller alone, and a third of
  the statements were there before.
- A finished job is remembered for as long as the process lives. bqemulator writes each into its file, twice: that took
  as long as many a statement, and the file grew with the queries and not with the data.
- Requests are not counted, timed and logged: nobody reads it, and three layers of middleware were a third of a request.
- The result of a query can be read by the Storage Read API, ten times as fast as by REST, and a session ends when its
  rows are read (see :mod:`local.emulators.read_sessions`).

The corrections reach into bqemulator's modules, so its version is pinned here and their effect is tested.
"""

import argparse
import gc
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import duckdb_extensions
import sqlglot
from bqemulator.api import app
from bqemulator.catalog.duckdb_repository import DuckDBCatalogRepository
from bqemulator.config import LogLevel, PersistenceMode, Settings
from bqemulator.domain.errors import UnsupportedFeatureError
from bqemulator.domain.result import Ok
from bqemulator.jobs import executor
from bqemulator.scripting.exceptions import ScriptRaise
from bqemulator.scripting.interpreter import ScriptInterpreter
from bqemulator.server import run_forever
from bqemulator.sql.translator import SQLTranslator
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.versioning.snapshots import SnapshotManager
from sqlglot import exp

from coinbeam.errors import TerminalError
from local.emulators.read_sessions import correct_read_sessions
from local.emulators.script_parameters import inline_parameters

PINNED_VERSION = "1.4.0"
"""The only version whose inner workings the corrections below know."""

MEMORY_LIMIT = "512MB"
"""What DuckDB may hold; the process comes on top with about 250 MB."""


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM; data are kept in ``--data-dir``.

    Raises:
        TerminalError: another version of bqemulator is installed.
    """
    args = _arguments(argv)
    check_version(version("bqemulator"))
    install_spatial()
    correct_emulator()
    collect_rarely()
    run_forever(emulator_settings(args.port, args.grpc_port, args.data_dir, args.gcs_root))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.emulators.bigquery", description="BigQuery on DuckDB, on loopback."
    )
    parser.add_argument("--port", type=int, required=True, help="REST port")
    parser.add_argument("--grpc-port", type=int, required=True, help="Storage API port")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the DuckDB file")
    parser.add_argument("--gcs-root", type=Path, required=True, help="folder that holds one folder per bucket")
    return parser.parse_args(argv)


def collect_rarely() -> None:
    """Look for garbage less often: a statement leaves thousands of objects, and looking takes 1/7 of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def check_version(installed: str) -> None:
    """Refuse any bqemulator but the pinned one.

    Raises:
        TerminalError: the version differs.
    """
    if installed != PINNED_VERSION:
        raise TerminalError(
            f"bqemulator {installed} is installed, but local/emulators/bigquery.py corrects the inner workings of "
            f"{PINNED_VERSION}.",
            f"Install bqemulator=={PINNED_VERSION}, or re-check the corrections and raise PINNED_VERSION.",
        )


def install_spatial() -> None:
    """Install DuckDB's ``spatial`` extension from the wheel instead of the internet; once per machine."""
    with duckdb.connect() as connection:
        query = "SELECT installed FROM duckdb_extensions() WHERE extension_name = 'spatial'"
        row = connection.execute(query).fetchone()
    if not (row and row[0]):
        duckdb_extensions.import_extension("spatial")


def emulator_settings(port: int, grpc_port: int, data_dir: Path, gcs_root: Path) -> Settings:
    """bqemulator's settings: loopback, persistent, quiet, nothing fetched from the internet."""
    return Settings(
        rest_host="127.0.0.1",
        rest_port=port,
        grpc_host="127.0.0.1",
        grpc_port=grpc_port,
        persistence_mode=PersistenceMode.PERSISTENT,
        data_dir=data_dir,
        gcs_local_root=gcs_root,
        enable_format_extensions=False,
        log_level=LogLevel.ERROR,
    )


def correct_emulator() -> None:
    """Apply the twelve corrections to bqemulator in this process; idempotent."""
    SnapshotManager.capture = _capture_nothing  # type: ignore[method-assign]  # this is the correction
    SnapshotManager.resolve_time_travel = _refuse_time_travel  # type: ignore[method-assign]
    ScriptInterpreter._handle_txn_statement = _handle_transaction  # type: ignore[method-assign, assignment]
    ScriptInterpreter._snapshot_dml_targets = _copy_nothing  # type: ignore[method-assign, assignment]
    ScriptInterpreter._drop_txn_snapshots = _commit  # type: ignore[method-assign, assignment]
    ScriptInterpreter._restore_txn_snapshots = _roll_back  # type: ignore[method-assign, assignment]
    executor._run_query_body = _run_query_body
    executor._LOAD_FORMAT_HANDLERS["CSV"] = _load_csv
    DuckDBEngine._apply_session_pragmas = _apply_session_pragmas  # type: ignore[method-assign, assignment]
    sqlglot.parse_one = _parse_once  # type: ignore[assignment]
    SQLTranslator.translate = _translate  # type: ignore[method-assign, assignment]
    DuckDBCatalogRepository._write_job = _forget  # type: ignore[method-assign, assignment]
    for watcher in ("MetricsMiddleware", "AccessLogMiddleware", "CorrelationIdMiddleware"):
        setattr(app, watcher, _unwatched)
    correct_read_sessions()


def _capture_nothing(*_: object, **__: object) -> None:
    """Stands in for ``SnapshotManager.capture``, which may find nothing to copy."""


def _refuse_time_travel(*_: object, **__: object) -> NoReturn:
    reason = "local tables have no time travel, since no copies of them are kept"
    raise UnsupportedFeatureError(f"FOR SYSTEM_TIME AS OF: {reason}")


async def _copy_nothing(*_: object) -> None:
    """Stands in for ``ScriptInterpreter._snapshot_dml_targets``: DuckDB knows how to go back."""


async def _handle_transaction(script: ScriptInterpreter, operation: str) -> None:
    """Stands in for ``ScriptInterpreter._handle_txn_statement``; a BEGIN within a transaction is absorbed, as there."""
    if operation == "BEGIN" and script._active_txn is None:
        script._ctx.engine.execute("BEGIN TRANSACTION")
        script._active_txn = {}
    elif operation == "COMMIT":
        await _commit(script)
    elif operation == "ROLLBACK":
        await _roll_back(script)


async def _commit(script: ScriptInterpreter) -> None:
    """Replaces ``ScriptInterpreter._drop_txn_snapshots``: after a COMMIT, a script's end, and a caught error."""
    if script._active_txn is not None:
        script._active_txn = None
        try:
            script._ctx.engine.execute("COMMIT")
        except duckdb.TransactionException:  # DuckDB gave the transaction up after an error; it must be told to end
            script._ctx.engine.execute("ROLLBACK")


async def _roll_back(script: ScriptInterpreter) -> None:
    """Stands in for ``ScriptInterpreter._restore_txn_snapshots``."""
    if script._active_txn is not None:
        script._active_txn = None
        script._ctx.engine.execute("ROLLBACK")


def _load_csv(path: str, target_ref: str, ctx: Any) -> None:
    """Stands in for ``executor._load_csv``: nothing about the dialect is guessed."""
    dialect = "FORMAT CSV, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"', NULLSTR '', AUTO_DETECT false"
    ctx.engine.execute(f"COPY {target_ref} FROM ? ({dialect})", [path])


_original_apply_session_pragmas = DuckDBEngine._apply_session_pragmas


def _apply_session_pragmas(engine: DuckDBEngine) -> None:
    """Stands in for ``DuckDBEngine._apply_session_pragmas``: also bounds the memory."""
    _original_apply_session_pragmas(engine)
    engine.connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")


_original_parse_one = sqlglot.parse_one
_TREES: dict[tuple[str, Any], exp.Expr] = {}
_MOST_TREES = 256


def _parse_once(sql: str, read: Any = None, **options: Any) -> exp.Expr:
    """Stands in for ``sqlglot.parse_one``: the same text is the same tree, for as long as nobody has changed it.

    A tree knows its hash until one of its nodes is set, replaced or removed, which is how the emulator's rewrites work.
    None of them waits between its question and its change.
    """
    if any(options.values()):
        return _original_parse_one(sql, read=read, **options)  # type: ignore[no-any-return]
    tree = _TREES.pop((sql, read), None)
    if tree is None or tree._hash is None:
        tree = _original_parse_one(sql, read=read)
        hash(tree)
    if len(_TREES) >= _MOST_TREES:
        del _TREES[next(iter(_TREES))]
    _TREES[sql, read] = tree
    return tree


_original_translate = SQLTranslator.translate
_TRANSLATIONS: dict[tuple[str, str, object], Any] = {}
_MOST_TRANSLATIONS = 1_024


def _translate(translator: SQLTranslator, bq_sql: str, *, schema: Any = None, caller: Any = None) -> Any:
    """Stands in for ``SQLTranslator.translate``: the same statement over the same tables is the same translation."""
    key = (bq_sql, repr(schema), caller)
    found = _TRANSLATIONS.pop(key, None) or _original_translate(translator, bq_sql, schema=schema, caller=caller)
    if isinstance(found, Ok):
        if len(_TRANSLATIONS) >= _MOST_TRANSLATIONS:
            del _TRANSLATIONS[next(iter(_TRANSLATIONS))]
        _TRANSLATIONS[key] = found
    return found


def _forget(*_: object) -> None:
    """Stands in for ``DuckDBCatalogRepository._write_job``: the job is in the catalog's memory already."""


def _unwatched(inner: Any, **_: object) -> Any:
    """Stands in for each middleware that only watches requests."""
    return inner


_original_run_query_body = executor._run_query_body


async def _run_query_body(**query: Any) -> Any:
    """Replaces ``executor._run_query_body``: inlines a script's parameters; its RAISE is a failed query."""
    if query["is_scripted"] and query["query_params"]:
        query["bq_sql"] = inline_parameters(query["bq_sql"], query["query_params"])
    try:
        return await _original_run_query_body(**query)
    except ScriptRaise as error:
        raise error.error from error


if __name__ == "__main__":
    main()
