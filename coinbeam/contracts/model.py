"""Read ``sql/<dataset>/<table>/contract.yaml`` (Open Data Contract Standard v3) into typed, immutable values.

What each standard field means here:

- ``physicalType``: the BigQuery type. ``required``: never null. ``primaryKey``: part of the key, not enforced by
  BigQuery.
- ``logicalTypeOptions``: bounds that a single value must keep (``minimum``, ``exclusiveMinimum``, ``maximum``,
  ``maxLength``); a row that breaks one is rejected. ``enum``: the accepted values.
- ``transformSourceObjects``: the field of the API body that fills the column, ``object.member`` for one inside of an
  object; none for a column that the pipeline adds.
- ``quality``: rules on the whole table. ``severity: error`` stops the publish, ``warning`` is recorded. Names in braces
  stand for tables and literals, see ``PLACEHOLDERS``.
- ``slaProperties``: ``freshness`` in hours; older is a warning, older than ``valueExt`` an error. Its ``element`` is
  ``table.column``, the instant or date whose newest value is judged; without a column it is the partition.
- ``physicalType: view`` (on tables): a view; its query is ``view.sql`` beside the contract, and its partition column
  the one to filter by.
- ``customProperties``: ``unit`` (on columns); ``clustering``, ``ignoredSourceFields``, ``partitionGranularity`` (on
  tables); ``filledOnPublish`` marks a column that batch files do not carry; ``reports`` names the jobs that count a
  column in their reports; ``bandOf`` names the number that a column classes, with ``upTo`` and ``score`` at each value
  of its ``enum``, and ``{band}`` in a rule is the class of that number; ``versioned`` marks a column whose change makes
  a new version; ``sample`` and ``stage`` (on rules).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject, SchemaProperty
from pydantic import ValidationError

from coinbeam.errors import ContractError
from coinbeam.settings import ROOT

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times faster; every job reads the contracts

SQL_ROOT = ROOT / "sql"
"""One folder per dataset, one folder per table below it."""

COLUMN_TYPES = frozenset({"STRING", "INT64", "FLOAT64", "BOOL", "TIMESTAMP", "DATE"})
"""BigQuery types in use: those that CSV, Arrow and both warehouses agree on."""

PLACEHOLDERS = frozenset({"table", "batch_id", "batch_date", "first_date", "last_date", "now"})
"""What a rule may write in braces beside the name of any contract, which stands for that published table.

``table`` is the table under audit: staging, or the published rows in question. The others are literals: the batch, the
date it stands for, the first and the last date of its rows (partitions are pruned only by literals), and the instant of
the check.
"""

_NAME = re.compile("[a-z][a-z0-9_]*")  # needs no quotes in SQL
_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")  # a{2} of a regular expression is none


class Granularity(StrEnum):
    """Width of a partition. A table of one row a day and asset has months: a job changes at most 4,000 partitions."""

    DAY = "day"
    MONTH = "month"


class Stage(StrEnum):
    """When a rule runs: on ``STAGING`` before the publish, on ``PUBLISHED`` tables after it, or on ``BOTH``."""

    STAGING = "staging"
    PUBLISHED = "published"
    BOTH = "both"


class Severity(StrEnum):
    """What a failed rule does: ``ERROR`` stops the publish, ``WARNING`` is recorded."""

    ERROR = "error"
    WARNING = "warning"


class Band(NamedTuple):
    """A class of numbers: its name, the largest number in it, and its score."""

    name: str
    up_to: float
    score: int


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        type: BigQuery type, one of ``COLUMN_TYPES``.
        source: field of the API body, ``object.member`` for one inside of an object, or None.
        in_files: False when the publish statement fills it.
        minimum: smallest accepted value; ``exclusive_minimum`` refuses the bound itself.
        max_length: longest accepted text, in characters.
        accepted: accepted values, empty when any.
        band_of: the column whose value decides this one, by ``bands``.
        bands: of each accepted value the largest number that it stands for, and its score; ascending.
        versioned: what makes a new version of a slowly changing dimension: ``listed``, a value that the list of assets
            has, or ``detail``, one that only details have; None for a column that makes none.
        reports: the jobs whose reports count the column, as ``job`` or ``job.count``; their sum is its value.
    """

    name: str
    type: str
    description: str
    unit: str
    required: bool = False
    source: str | None = None
    in_files: bool = True
    minimum: float | None = None
    exclusive_minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    accepted: tuple[str, ...] = ()
    references: str | None = None
    band_of: str | None = None
    bands: tuple[Band, ...] = ()
    versioned: Literal["listed", "detail"] | None = None
    reports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule on a whole table.

    Attributes:
        name: unique within the table.
        query: a SELECT of one number; ``{table}`` stands for the table under audit, see also ``PLACEHOLDERS``.
        operator: how the number is compared with ``threshold``: ``=``, ``>``, ``>=``, ``<`` or ``<=``.
        sample: a SELECT of one text column that names failing keys, or empty.
    """

    name: str
    query: str
    operator: str = "="
    threshold: float = 0
    severity: Severity = Severity.ERROR
    description: str = ""
    column: str | None = None
    sample: str = ""
    stage: Stage = Stage.STAGING

    @property
    def placeholders(self) -> frozenset[str]:
        """The names in braces in query and sample."""
        return frozenset(_PLACEHOLDER.findall(self.query) + _PLACEHOLDER.findall(self.sample))

    def runs_on(self, stage: Stage) -> bool:
        """Whether the rule belongs to the audit of a stage."""
        return self.stage in {stage, Stage.BOTH}


def fill(sql: str, values: Mapping[str, str]) -> str:
    """The SQL of a rule with its placeholders replaced; braces without a value, as in regular expressions, stay."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), sql)


@dataclass(frozen=True)
class Contract:
    """One table.

    Attributes:
        dataset: logical dataset: ``crypto_data``, ``crypto_marts`` or ``crypto_ops``; settings give its real name.
        version: version of the contract, written into every rejected record.
        rules: rules of the ``quality`` section; ``coinbeam.quality`` adds those that follow from columns and key.
        ignored_source_fields: fields of the API body that are known and deliberately not stored.
        freshness_hours: age of the newest row from which the table is stale, a warning; None when nothing is promised.
        freshness_limit_hours: age from which staleness is an error, or None.
        freshness_column: the instant or date by which the age is judged, or None.
    """

    dataset: str
    name: str
    version: str
    description: str
    owner: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    partition_column: str | None
    clustering: tuple[str, ...]
    rules: tuple[Rule, ...]
    ignored_source_fields: frozenset[str]
    freshness_hours: float | None
    folder: Path
    partition_granularity: Granularity = Granularity.DAY
    is_view: bool = False
    freshness_limit_hours: float | None = None
    freshness_column: str | None = None

    def freshness_at(self, hours: float) -> Literal["fresh", "stale", "too old"]:
        """What it means that the newest row is so many hours old."""
        if self.freshness_limit_hours is not None and hours > self.freshness_limit_hours:
            return "too old"
        return "stale" if self.freshness_hours is not None and hours > self.freshness_hours else "fresh"

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def file_columns(self) -> tuple[Column, ...]:
        """The columns that batch files carry, in order: the CSV header and the staging table."""
        return tuple(column for column in self.columns if column.in_files)

    @cached_property
    def source_columns(self) -> tuple[Column, ...]:
        """The columns that a field of the API body fills."""
        return tuple(column for column in self.columns if column.source)


@lru_cache(maxsize=1)
def load_all() -> dict[str, Contract]:
    """Every contract under ``sql/`` by table name.

    Raises:
        ContractError: a contract is not valid, or two tables share a name.
    """
    contracts: dict[str, Contract] = {}
    for path in sorted(SQL_ROOT.glob("*/*/contract.yaml")):
        contract = read_contract(path)
        if contract.name in contracts:
            remedy = "Table names are unique over all datasets; rename one."
            raise ContractError(f"Two contracts describe a table {contract.name}.", remedy)
        contracts[contract.name] = contract
    return contracts


def load_contract(table: str) -> Contract:
    """The contract of one table.

    Raises:
        ContractError: there is no such table.
    """
    try:
        return load_all()[table]
    except KeyError:
        raise ContractError(f"There is no contract for {table!r}.", f"Known tables: {', '.join(load_all())}.") from None


def read_contract(path: Path) -> Contract:
    """Read and check one contract file.

    Raises:
        ContractError: it is no ODCS v3 document, or it lacks what Coinbeam needs; the message names file and column.
    """
    try:
        document = OpenDataContractStandard.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER))
    except (ValidationError, yaml.YAMLError) as error:
        problem = f"{_label(path)} is not a valid ODCS v3 contract: {error}"
        raise ContractError(problem, "Mend the field it names.") from error
    tables = document.schema_ or []
    if len(tables) != 1:
        raise ContractError(f"{_label(path)} describes {len(tables)} tables.", "Describe exactly one: the folder's.")
    contract = _contract(document, tables[0], path)
    _check(contract, path)
    return contract


def _contract(document: OpenDataContractStandard, table: SchemaObject, path: Path) -> Contract:
    properties = table.properties or []
    custom = _custom(table)
    keys = sorted((p for p in properties if p.primaryKey), key=lambda p: p.primaryKeyPosition or 0)
    partition = next((p.name for p in properties if p.partitioned), None)
    hours, limit, column = _freshness(document, partition)
    columns = tuple(_column(p, path) for p in properties)
    return Contract(
        dataset=path.parent.parent.name,
        name=table.name or "",
        version=document.version or "",
        description=(table.description or "").strip(),
        owner=getattr(document.team, "name", None) or "",
        columns=columns,
        primary_key=tuple(p.name or "" for p in keys),
        partition_column=partition,
        clustering=tuple(custom.get("clustering", ())),
        rules=tuple(_rule(q, path, _band(columns)) for q in table.quality or []),
        ignored_source_fields=frozenset(custom.get("ignoredSourceFields", ())),
        freshness_hours=hours,
        folder=path.parent,
        partition_granularity=Granularity(custom.get("partitionGranularity", Granularity.DAY)),
        is_view=table.physicalType == "view",
        freshness_limit_hours=limit,
        freshness_column=column,
    )


def _freshness(
    document: OpenDataContractStandard, partition: str | None
) -> tuple[float | None, float | None, str | None]:
    """Hours until stale, hours until too stale, and the column that is judged; nothing when nothing is promised."""
    promised = next((s for s in document.slaProperties or [] if s.property == "freshness"), None)
    if promised is None or promised.value is None:
        return None, None, None
    limit = float(promised.valueExt) if promised.valueExt is not None else None
    return float(promised.value), limit, (promised.element or "").partition(".")[2] or partition


def _column(prop: SchemaProperty, path: Path) -> Column:
    custom, options = _custom(prop), prop.logicalTypeOptions or {}
    unknown = set(options) - {"minimum", "exclusiveMinimum", "maximum", "maxLength"}
    if unknown:
        raise ContractError(
            f"{_label(path)}: column {prop.name} has unsupported options {sorted(unknown)}.",
            "Write them as a quality rule.",
        )
    return Column(
        name=prop.name or "",
        type=prop.physicalType or "",
        description=(prop.description or "").strip(),
        unit=str(custom.get("unit", "")),
        required=bool(prop.required),
        source=next(iter(prop.transformSourceObjects or []), None),
        in_files=not custom.get("filledOnPublish", False),
        minimum=options.get("minimum"),
        exclusive_minimum=options.get("exclusiveMinimum"),
        maximum=options.get("maximum"),
        max_length=options.get("maxLength"),
        accepted=tuple(str(entry.value) for entry in prop.enum or []),
        references=next((str(r.to) for r in prop.relationships or []), None),
        band_of=custom.get("bandOf"),
        bands=tuple(
            Band(str(entry.value), _custom(entry)["upTo"], _custom(entry)["score"])
            for entry in prop.enum or []
            if entry.customProperties
        ),
        versioned=custom.get("versioned"),
        reports=tuple(custom.get("reports", ())),
    )


_COMPARISONS = {
    "mustBe": "=",
    "mustBeGreaterThan": ">",
    "mustBeGreaterOrEqualTo": ">=",
    "mustBeLessThan": "<",
    "mustBeLessOrEqualTo": "<=",
}


def _band(columns: Iterable[Column]) -> str:
    """SQL of the class of a number, by the bounds of the column that classes it; empty where none does."""
    for column in columns:
        if column.bands:
            *below, highest = column.bands
            cases = " ".join(f"WHEN {column.band_of} <= {band.up_to} THEN '{band.name}'" for band in below)
            return f"CASE {cases} ELSE '{highest.name}' END"
    return ""


def _rule(quality: Any, path: Path, band: str) -> Rule:
    given = [(field, sign) for field, sign in _COMPARISONS.items() if getattr(quality, field) is not None]
    if quality.type != "sql" or not quality.query or len(given) != 1 or quality.severity not in set(Severity):
        raise ContractError(
            f"{_label(path)}: quality rule {quality.name!r} is incomplete.",
            "It needs type sql, a query, one comparison (mustBe...) and a severity (error or warning).",
        )
    field, sign = given[0]
    custom = _custom(quality)
    stage = custom.get("stage", Stage.STAGING)
    if stage not in set(Stage):
        raise ContractError(
            f"{_label(path)}: quality rule {quality.name!r} has stage {stage!r}.", f"Known stages: {', '.join(Stage)}."
        )
    return Rule(
        name=quality.name,
        query=quality.query.strip().replace("{band}", band),
        operator=sign,
        threshold=float(getattr(quality, field)),
        severity=Severity(quality.severity),
        description=(quality.description or "").strip(),
        sample=str(custom.get("sample", "")).strip().replace("{band}", band),
        stage=Stage(stage),
    )


def _custom(item: Any) -> dict[str, Any]:
    """The custom properties of a contract element as a dictionary."""
    return {entry.property: entry.value for entry in item.customProperties or []}


def _check(contract: Contract, path: Path) -> None:
    """Refuse what the standard allows but a table here must not lack."""
    folder, columns, rules, by_name = path.parent, contract.columns, contract.rules, contract.by_name
    partition = by_name.get(contract.partition_column or "")
    faults = []
    if contract.name != folder.name:
        faults.append(f"the table is named {contract.name!r}, its folder {folder.name!r}")
    faults += [f"column {c.name} has no {w}" for c in columns for w in ("description", "unit") if not getattr(c, w)]
    types = sorted(COLUMN_TYPES)
    faults += [f"column {c.name} has type {c.type!r}, not one of {types}" for c in columns if c.type not in types]
    form = "of lower-case letters, digits and _"
    faults += [f"column name {c.name!r} is not {form}" for c in columns if not _NAME.fullmatch(c.name)]
    faults += [f"column {name} is described twice" for name in _repeated(c.name for c in columns)]
    faults += [f"key column {key} is not required" for key in contract.primary_key if not by_name[key].required]
    stored = {c.source.partition(".")[0] for c in columns if c.source}
    faults += [f"source field {f} is both stored and ignored" for f in sorted(stored & contract.ignored_source_fields)]
    targets = [(c.name, c.references) for c in columns if c.references]
    faults += [f"column {name} refers to {target!r}, not table.column" for name, target in targets if "." not in target]
    faults += [f"rule {name} is described twice" for name in _repeated(rule.name for rule in rules)]
    faults += [f"rule {rule.name} does not read {{table}}" for rule in rules if "{table}" not in rule.query]
    faults += _placeholder_faults(contract, path)
    faults += _freshness_faults(contract)
    if partition and partition.type != "DATE":
        faults.append(f"partition column {partition.name} is {partition.type}, not DATE")
    if contract.is_view and not (folder / "view.sql").is_file():
        faults.append("it is a view without view.sql")
    faults += [f"clustering column {name} does not exist" for name in contract.clustering if name not in by_name]
    needed = ("primary_key", "description", "owner", "version")
    faults += [f"there is no {what}" for what in needed if not getattr(contract, what)]
    if faults:
        raise ContractError(f"{_label(path)}: {'; '.join(faults)}.", "Complete the contract.")


def _placeholder_faults(contract: Contract, path: Path) -> list[str]:
    named = [(rule, name) for rule in contract.rules for name in sorted(rule.placeholders - PLACEHOLDERS)]
    tables = {folder.parent.name for folder in path.parents[2].glob("*/*/contract.yaml")} if named else set()
    faults = [
        f"rule {rule.name} names {{{name}}}, which is neither a table nor a placeholder"
        for rule, name in named
        if name not in tables
    ]
    return faults + [
        f"rule {rule.name} names {{batch_id}}, but published tables are also checked without a batch"
        for rule in contract.rules
        if rule.stage is not Stage.STAGING and "batch_id" in rule.placeholders
    ]


def _freshness_faults(contract: Contract) -> list[str]:
    hours, limit, name = contract.freshness_hours, contract.freshness_limit_hours, contract.freshness_column
    if hours is None or name is None:
        return []
    faults = []
    if limit is not None and limit < hours:
        faults.append(f"freshness warns after {hours:g} hours and fails after {limit:g}")
    if name not in contract.by_name or contract.by_name[name].type not in {"TIMESTAMP", "DATE"}:
        faults.append(f"freshness is judged by {name!r}, which is no instant or date of the table")
    return faults


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _label(path: Path) -> str:
    return "/".join(path.parts[-4:])
