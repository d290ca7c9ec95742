"""The versions of the contracts, ``sql/versions.json``: for each table the digest of what each of its versions
promises, kept for ever. What ``coinbeam contracts lock`` writes.

A version is in the labels of a table and in every rejected record, and a roll back goes by it. So a change of what
writers and readers rely on needs another one: columns in their order with type, unit and bounds, key, partition,
clustering. Descriptions, rules and promises of freshness may change within a version.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from coinbeam.contracts.model import SQL_ROOT, Column, Contract, load_all
from coinbeam.errors import ContractError

VERSIONS = SQL_ROOT / "versions.json"

Locked = dict[str, dict[str, str]]
"""By ``dataset.table`` the digests by version."""


def digest(contract: Contract) -> str:
    """What a version of a contract promises, as 16 hexadecimal digits."""
    promised = {
        "columns": [_promised(column) for column in contract.columns],
        "key": contract.primary_key,
        "partition": [contract.partition_column, contract.partition_granularity],
        "clustering": contract.clustering,
        "is_view": contract.is_view,
    }
    return sha256(json.dumps(promised, sort_keys=True).encode()).hexdigest()[:16]


def _promised(column: Column) -> dict[str, object]:
    bounds = (column.minimum, column.exclusive_minimum, column.maximum, column.max_length)
    return {
        "name": column.name,
        "type": column.type,
        "unit": column.unit,
        "required": column.required,
        "bounds": [None if bound is None else float(bound) for bound in bounds],
        "accepted": column.accepted,
        "references": column.references,
    }


def locked(file: Path = VERSIONS) -> Locked:
    """The digests as they are kept in the tree."""
    return dict(json.loads(file.read_text(encoding="utf-8")))


def extended(known: Locked, contracts: Mapping[str, Contract]) -> Locked:
    """The digests with those of new tables and new versions.

    Args:
        known: digests that are kept already.
        contracts: today's contracts.

    Raises:
        ContractError: a contract is no longer what its version promised, or an older version than a known one.
    """
    faults = [fault for fault in version_faults(known, contracts) if not fault.endswith(UNKNOWN)]
    if faults:
        raise ContractError("; ".join(faults) + ".", "Raise the version in contract.yaml, or take the change back.")
    made = {
        _name(contract): known.get(_name(contract), {}) | {contract.version: digest(contract)}
        for contract in contracts.values()
    }
    # A table that is gone keeps what it promised: rows of it are still read, and its name may come back.
    return dict(sorted({**known, **made}.items()))


UNKNOWN = "is not in sql/versions.json"
"""How a fault ends that ``coinbeam contracts lock`` mends."""


def version_faults(known: Locked, contracts: Mapping[str, Contract]) -> Iterator[str]:
    """Contracts that changed within a version, went back to an older one, or are not known in their version.

    Args:
        known: digests that are kept.
        contracts: today's contracts.
    """
    for contract in contracts.values():
        versions = known.get(_name(contract), {})
        newest = max(versions, key=_order, default=None)
        if contract.version in versions and versions[contract.version] != digest(contract):
            yield f"{_name(contract)} is not what its version {contract.version} promised"
        if newest is not None and _order(contract.version) < _order(newest):
            yield f"{_name(contract)} has version {contract.version}, after {newest}"
        elif contract.version not in versions:
            yield f"{_name(contract)} {contract.version} {UNKNOWN}"


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def check_versions() -> None:
    """Hold the contracts of the tree to what their versions promised.

    Raises:
        ContractError: they differ; the message names each table.
    """
    faults = list(version_faults(locked(), load_all()))
    if faults:
        remedy = "Raise the version in contract.yaml where it changed, then run coinbeam contracts lock."
        raise ContractError("; ".join(faults) + ".", remedy)


def text(versions: Locked) -> str:
    """The file."""
    return json.dumps(versions, indent=2) + "\n"


def _name(contract: Contract) -> str:
    return f"{contract.dataset}.{contract.name}"
