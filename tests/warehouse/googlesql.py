"""Google's own analyser of GoogleSQL, the library below BigQuery, compiled to WebAssembly.

The emulator runs SQL on another engine and takes much that BigQuery refuses: a function that does not exist, a type
that does not coerce, an aggregate among columns that are not grouped. This reads a script as BigQuery would: it
resolves every name against the tables of the contracts, and every function, operator and assignment by type. It also
evaluates an expression with GoogleSQL's arithmetic, in which an overflow is an error and not ``inf``.
"""

import ctypes
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlglot.tokens import Tokenizer, TokenType
from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig
from zetasql.core.exceptions import ServerError
from zetasql.core.wasm_client import WasmClient, get_tzinfo_dir
from zetasql.wasi import get_wasm_path
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import function_pb2, type_pb2, value_pb2
from zetasql.wasi._pb2.zetasql.public import options_pb2 as public

Columns = Mapping[str, str]
"""Types by the names of columns, in order."""

Parameters = Mapping[str, "type_pb2.TypeProto"]
"""Types of the parameters of a query, by name."""

KINDS = {
    "STRING": type_pb2.TYPE_STRING,
    "INT64": type_pb2.TYPE_INT64,
    "FLOAT64": type_pb2.TYPE_DOUBLE,
    "BOOL": type_pb2.TYPE_BOOL,
    "TIMESTAMP": type_pb2.TYPE_TIMESTAMP,
    "DATE": type_pb2.TYPE_DATE,
    "INTEGER": type_pb2.TYPE_INT64,
    "FLOAT": type_pb2.TYPE_DOUBLE,
    "BOOLEAN": type_pb2.TYPE_BOOL,
}

NOT_IN_BIGQUERY = frozenset({"FEATURE_TIMESTAMP_NANOS", "FEATURE_TIMESTAMP_PICOS", "FEATURE_FIRST_AND_LAST_N"})
"""Features of the language that BigQuery does not have; the others of the library are on."""

OPTIONS = {"description": "STRING", "require_partition_filter": "BOOL", "labels": None}
"""What stands in the OPTIONS of our DDL, with its type; that of labels is an array of pairs."""


class _Client(WasmClient):
    """The library in this process.

    The class of the package compiles it anew in each process, for half a minute of two cores, and copies requests byte
    by byte.

    Args:
        cache: folder of the compiled library.
    """

    def __init__(self, cache: Path) -> None:
        config = Config()
        config.shared_memory = True
        engine = Engine(config)
        self.store = Store(engine)
        system = WasiConfig()
        system.preopen_dir(get_tzinfo_dir(), "/usr/share/zoneinfo")
        self.store.set_wasi(system)
        linker = Linker(engine)
        linker.define_wasi()
        self.exports = linker.instantiate(self.store, _compiled(engine, cache)).exports(self.store)
        self.exports["_initialize"](self.store)
        self.memory = self.exports["memory"]

    def _address(self, pointer: int) -> int:
        return ctypes.addressof(self.memory.data_ptr().contents) + pointer

    def write_bytes(self, ptr: int, data: bytes) -> None:
        """Copy bytes into the memory of the library."""
        ctypes.memmove(self._address(ptr), data, len(data))

    def read_bytes(self, ptr: int, size: int) -> bytes:
        """Copy bytes out of it."""
        return ctypes.string_at(self._address(ptr), size)


def _compiled(engine: Engine, cache: Path) -> Module:
    """The library as machine code: compiled by the first process that needs it, and kept for all others."""
    versions = "-".join(importlib.metadata.version(name) for name in ("zetasql", "wasmtime"))
    path = cache / f"googlesql-{versions}.bin"
    with FileLock(path.with_suffix(".lock"), timeout=250):
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_bytes(Module.from_file(engine, get_wasm_path()).serialize())
            part.rename(path)
    return Module.deserialize_file(engine, str(path))


@dataclass(frozen=True)
class Analysed:
    """A statement as the analyser understands it.

    Attributes:
        kind: of its resolved tree, such as ``create_table_as_select_stmt``.
        node: its resolved tree.
    """

    kind: str
    node: Any


class Refused(Exception):
    """What BigQuery would say of a statement instead of running it."""


class GoogleSql:
    """The analyser with a catalog.

    Args:
        cache: folder of the compiled library.
        tables: columns by the name of the table, ``dataset.table``.
    """

    def __init__(self, cache: Path, tables: Mapping[str, Columns]) -> None:
        self._client = _Client(cache)
        self._language = self._call(
            "GetLanguageOptions",
            service.LanguageOptionsRequest(maximum_features=True),
            options_pb2.LanguageOptionsProto,
        )
        del self._language.supported_statement_kinds[:]  # none named is all
        self._language.product_mode = public.PRODUCT_EXTERNAL
        features = self._language.enabled_language_features
        for feature in NOT_IN_BIGQUERY:
            features.remove(public.LanguageFeature.Value(feature))
        self._functions = [_extreme_by(name) for name in ("max_by", "min_by")]
        self._tables = [_table(name, columns) for name, columns in tables.items()]
        self._registered: dict[bytes, int] = {}
        self._known: dict[tuple[str, bytes, int], Analysed] = {}

    def _call(self, name: str, request: Any, answer: type[Any]) -> Any:
        try:
            return self._client.call_grpc_func(f"ZetaSqlLocalService_{name}", request, answer)
        except ServerError as error:
            raise Refused(error.message) from None

    def _catalog(self, made: list[Any]) -> int:
        """The number of the catalog with the tables that a script made so far."""
        key = b"".join(table.SerializeToString() for table in made)
        if key not in self._registered:
            catalog = simple_catalog_pb2.SimpleCatalogProto(
                name="warehouse", table=[*self._tables, *made], custom_function=self._functions
            )
            catalog.builtin_function_options.language_options.CopyFrom(self._language)
            request = service.RegisterCatalogRequest(simple_catalog=catalog)
            self._registered[key] = self._call("RegisterCatalog", request, service.RegisterResponse).registered_id
        return self._registered[key]

    def analyse(self, script: str, parameters: Parameters | None = None) -> list[Analysed]:
        """The statements of a script, each with the temporary tables of those before it.

        Args:
            script: one statement or several.
            parameters: types of the parameters by name.

        Raises:
            Refused: BigQuery would not run it.
        """
        options = self._options(parameters or {})
        found: list[Analysed] = []
        made: list[Any] = []
        for text in split(script):
            found.append(self._statement(text, options, self._catalog(made)))
            made += _made(found[-1])
        return found

    def _statement(self, text: str, options: Any, catalog: int) -> Analysed:
        """A statement; one that several scripts share is analysed once."""
        key = (text, options.SerializeToString(deterministic=True), catalog)
        if key not in self._known:
            request = service.AnalyzeRequest(sql_statement=text, options=options, registered_catalog_id=catalog)
            answer = self._call("Analyze", request, service.AnalyzeResponse)
            self._known[key] = _concrete(answer.resolved_statement)
        return self._known[key]

    def evaluate(self, expression: str, **numbers: float) -> float | None:
        """The value of an expression of FLOAT64 columns.

        Raises:
            Refused: BigQuery would fail instead of giving one: an overflow, a division by zero.
        """
        request = service.EvaluateRequest(sql=expression, options=self._options({}))
        for name, number in numbers.items():
            request.options.expression_columns.add(name=name, type=simple_type("FLOAT64"))
            request.columns.add(name=name).value.double_value = number
        value = self._call("Evaluate", request, service.EvaluateResponse).value
        return float(value.double_value) if value.HasField("double_value") else None

    def run(self, script: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Any]]:
        """Run what a script computes, on Google's reference implementation: each table that it makes or fills.

        What it deletes and updates is left out: the tables that it fills start empty.

        Args:
            script: its statements.
            rows: of the tables that have some, by the column.

        Returns:
            The rows of every table, cell by cell.

        Raises:
            Refused: a statement fails on these rows.
        """
        catalog = simple_catalog_pb2.SimpleCatalogProto(name="warehouse", custom_function=self._functions)
        catalog.builtin_function_options.language_options.CopyFrom(self._language)
        catalog.table.extend(self._tables)
        columns = {table.name: {c.name: c.type.type_kind for c in table.column} for table in self._tables}
        contents = {
            name: [[_cell(row.get(column), kind) for column, kind in columns[name].items()] for row in found]
            for name, found in rows.items()
        }
        for text, statement in zip(split(script), self.analyse(script), strict=True):
            catalog.table.extend(_made(statement))
            if filled := _FILLED.fullmatch(text.strip()):
                answer = self._evaluated(filled["query"], catalog, contents)
                order = [name.strip() for name in filled["columns"].split(",")]
                [table] = [table for table in catalog.table if table.name == filled["table"]]
                given = [dict(zip(order, row.cell, strict=True)) for row in answer.content.table_data.row]
                new = [[row.get(column.name, value_pb2.ValueProto()) for column in table.column] for row in given]
                contents[table.name] = [*contents.get(table.name, []), *new]
            elif statement.kind == "query_stmt":
                self._evaluated(text, catalog, contents)
        return contents

    def _evaluated(self, query: str, catalog: Any, contents: Mapping[str, Sequence[Any]]) -> Any:
        """The answer to a query of a catalog whose tables have these rows."""
        request = service.EvaluateQueryRequest(sql=query, options=self._options({}), simple_catalog=catalog)
        for table in catalog.table:
            content = request.table_content[table.name].table_data
            content.SetInParent()
            for cells in contents.get(table.name, []):
                content.row.add().cell.extend(cells)
        return self._call("EvaluateQuery", request, service.EvaluateQueryResponse)

    def _options(self, parameters: Parameters) -> Any:
        options = options_pb2.AnalyzerOptionsProto(
            language_options=self._language,
            default_timezone="UTC",
            error_message_mode=public.ERROR_MESSAGE_MULTI_LINE_WITH_CARET,
        )
        for name, kind in parameters.items():
            options.query_parameters.add(name=name, type=kind)
        options.allowed_hints_and_options.disallow_unknown_options = True
        for name, kind in OPTIONS.items():
            options.allowed_hints_and_options.option.add(name=name, type=kind and simple_type(kind))
        return options


_FILLED = re.compile(
    r"(?:--[^\n]*\s+)*INSERT INTO `?(?P<table>[\w.]+)`? \((?P<columns>[^)]*)\)\s+(?P<query>.*)", re.DOTALL
)
"""A statement that adds the rows of a query to a table."""


def _cell(value: Any, kind: int) -> Any:
    """A value in the form of the library; dates and aware instants as Python's."""
    made = value_pb2.ValueProto()
    if value is None:
        return made
    if kind == type_pb2.TYPE_DATE:
        made.date_value = (value - date(1970, 1, 1)).days
    elif kind == type_pb2.TYPE_TIMESTAMP:
        made.timestamp_value.FromDatetime(value)
    else:
        fields = {
            type_pb2.TYPE_STRING: "string_value",
            type_pb2.TYPE_INT64: "int64_value",
            type_pb2.TYPE_DOUBLE: "double_value",
            type_pb2.TYPE_BOOL: "bool_value",
        }
        setattr(made, fields[kind], value)
    return made


def _concrete(statement: Any) -> Analysed:
    """A statement below the abstract kinds of its own."""
    kind = statement.WhichOneof("node")
    node = getattr(statement, kind)
    if "node" in node.DESCRIPTOR.oneofs_by_name:
        return _concrete(node)
    return Analysed(kind.removeprefix("resolved_").removesuffix("_node"), node)


def split(script: str) -> list[str]:
    """The texts of the statements of a script."""
    texts, start = [], 0
    for token in Tokenizer(dialect="bigquery").tokenize(script):
        if token.token_type is TokenType.SEMICOLON:
            texts.append(script[start : token.start])
            start = token.end + 1
    return [text for text in (*texts, script[start:]) if Tokenizer(dialect="bigquery").tokenize(text)]


def simple_type(name: str) -> type_pb2.TypeProto:
    """A scalar type by its name."""
    return type_pb2.TypeProto(type_kind=KINDS[name])


def parameter_type(described: Mapping[str, Any]) -> type_pb2.TypeProto:
    """The type of a parameter as a request describes it: a scalar, or an array of one."""
    if described["type"] != "ARRAY":
        return simple_type(described["type"])
    made = type_pb2.TypeProto(type_kind=type_pb2.TYPE_ARRAY)
    made.array_type.element_type.CopyFrom(simple_type(described["arrayType"]["type"]))
    return made


def type_name(described: type_pb2.TypeProto) -> str:
    """The name of a type; that of a scalar is the one in the contracts."""
    return next((name for name, kind in KINDS.items() if kind == described.type_kind), str(described))


def _table(name: str, columns: Columns) -> Any:
    made = simple_catalog_pb2.SimpleCatalogProto().table.add(name=name)
    for column, kind in columns.items():
        made.column.add(name=column, type=simple_type(kind))
    return made


def _made(statement: Analysed) -> list[Any]:
    """The table that a statement makes, for those after it."""
    if statement.kind not in {"create_table_as_select_stmt", "create_table_stmt"}:
        return []
    made = simple_catalog_pb2.SimpleCatalogProto().table.add()
    base = statement.node.parent
    made.name = ".".join(base.parent.name_path)
    for column in base.column_definition_list:
        made.column.add(name=column.name, type=column.type)
    return [made]


def _extreme_by(name: str) -> Any:
    """``MAX_BY`` and ``MIN_BY``, which BigQuery has and the open library writes as ``ANY_VALUE(x HAVING MAX y)``."""
    made = simple_catalog_pb2.SimpleCatalogProto().custom_function.add(
        name_path=[name], group="BigQuery", mode=function_pb2.FunctionEnums.AGGREGATE
    )
    signature = made.signature.add()
    kinds = (function_pb2.ARG_TYPE_ANY_1, function_pb2.ARG_TYPE_ANY_2)
    for kind in kinds:
        signature.argument.add(kind=kind, num_occurrences=1).options.cardinality = function_pb2.FunctionEnums.REQUIRED
    signature.return_type.kind = kinds[0]
    signature.return_type.num_occurrences = 1
    return made
