"""The Storage Read API of the local BigQuery: results of queries can be read, and what was read is not kept.

BigQuery keeps the result of a query as a table without a name, and clients read it by the Storage Read API, far faster
than by REST. bqemulator 1.4.0 names such a table and holds its rows, but reads only tables that it has made; it sends
65,536 rows in one message, and refuses to send one of more than 11 MB; and it keeps every session, with a copy of all
rows, for as long as it lives.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pyarrow as pa
from bqemulator.grpc_api import read_servicer
from bqemulator.grpc_api.read_servicer import BigQueryReadHandler
from bqemulator.jobs import executor
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.streaming import read_session
from google.cloud.bigquery_storage_v1 import types

_RESULT = f'{executor._ANONYMOUS_RESULTS_DATASET}"."anon'
"""What stands in the emulator's query of such a table before the id of the job."""

MESSAGE_BYTES = 4 << 20
"""Size of a message of rows, unless a single row is larger."""

_original_fetch_arrow = DuckDBEngine.fetch_arrow
_original_stream_data = read_session.get_stream_data
_original_read_rows = BigQueryReadHandler._handle_read_rows


def correct_read_sessions() -> None:
    """Apply the corrections to bqemulator in this process; idempotent."""
    DuckDBEngine.fetch_arrow = _fetch_arrow  # type: ignore[method-assign, assignment]  # this is the correction
    read_servicer.get_stream_data = _stream_data  # type: ignore[attr-defined, assignment]
    BigQueryReadHandler._handle_read_rows = _handle_read_rows  # type: ignore[method-assign, assignment]


def _fetch_arrow(engine: DuckDBEngine, sql: str, parameters: list[Any] | None = None) -> pa.Table:
    """Stands in for ``DuckDBEngine.fetch_arrow``: knows the results of queries too.

    A result goes to the session that reads it: the emulator would keep it for as long as it lives.
    """
    _, found, rest = sql.partition(_RESULT)
    if not found:
        return _original_fetch_arrow(engine, sql, parameters)
    return executor.JOB_RESULTS.pop(str(UUID(rest.partition('"')[0])))


def _stream_data(session: str, stream: str) -> pa.Table | None:
    """Stands in for ``get_stream_data``: in chunks that fit a message each."""
    rows = _original_stream_data(session, stream)
    if rows is None or rows.num_rows == 0:
        return rows
    fitting = max(1, MESSAGE_BYTES * rows.num_rows // max(1, rows.nbytes))
    return pa.Table.from_batches(rows.to_batches(max_chunksize=fitting), rows.schema)


def _handle_read_rows(handler: BigQueryReadHandler, request: bytes, context: Any) -> Iterator[bytes]:
    """Stands in for ``BigQueryReadHandler._handle_read_rows``: forgets a stream that was read to its end."""
    yield from _original_read_rows(handler, request, context)
    name = types.ReadRowsRequest.deserialize(request).read_stream
    session = read_session.get_session(name.rpartition("/streams/")[0])
    if session is not None:
        session.streams = [stream for stream in session.streams if stream.name != name]
        if not session.streams:
            del read_session._SESSIONS[session.session_name]
