"""Objects inside of the rows of a page, such as ``roi``, as columns: one for each member that the contract names.

Few rows have such an object, so that each is judged alone, on the columnar path as in the specification. A malformed
one costs all its columns, and never its row: it is neither null nor an object, lacks a member, or has a value that
breaks a rule of its column.
"""

from collections.abc import Mapping
from typing import Any

from beam_pipelines.batch_files.json_bodies import OBJECTS
from coinbeam.contracts import Column
from coinbeam.contracts.values import Fault, Value, convert

Member = Any
"""What a row says of such a field: an object, lazy or not, None where there is none, or anything malformed."""


def values_of(given: Member, columns: Mapping[str, Column]) -> dict[str, Value] | None:
    """The values of one object by column; None for a malformed one.

    Args:
        given: what a row says; null has no values.
        columns: by member.
    """
    if given is None:
        return dict.fromkeys(column.name for column in columns.values())
    if not isinstance(given, OBJECTS):
        return None
    try:
        return {column.name: convert(given[member], column) for member, column in columns.items()}
    except (Fault, KeyError):
        return None
