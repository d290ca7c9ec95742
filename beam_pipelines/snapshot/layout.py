"""How the rows of one page are laid out: which fields it has, and the values of its rows as tuples in one order."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from operator import contains, itemgetter
from typing import Any

import simdjson

from beam_pipelines.snapshot.bodies import Row
from beam_pipelines.snapshot.rules import SPARKLINE_FIELD, MarketRules

Record = tuple[Any, ...]
"""The values of one row, in the order of ``Layout.read``."""


@dataclass(frozen=True)
class Layout:
    """The fields of a page.

    Attributes:
        fields: source fields that some row has or that no row may lack, in the order of the contract.
        required: those of them that at least half of the rows have or that no row may lack; a row without one is
            damaged. A field that fewer have is the oddity of those rows, and null in the others, as decorations are.
        has_sparkline: some row has a sparkline.
        objects: fields of objects that some row has.
        unknown: fields that the contract does not know.
    """

    fields: tuple[str, ...]
    required: frozenset[str]
    has_sparkline: bool
    objects: tuple[str, ...]
    unknown: frozenset[str]

    @classmethod
    def of(cls, rows: int, keys: Mapping[str, int], rules: MarketRules) -> "Layout":
        """The layout of a page of so many rows, given how many of them have each field."""
        fields = tuple(field for field in rules.column_of_field if field in keys or field in rules.never_absent)
        usual = {field for field in fields if keys.get(field, 0) * 2 >= rows}
        required = rules.never_absent | (usual - rules.decorations)
        objects = tuple(field for field in rules.members if field in keys)
        unknown = frozenset(key for key in keys if not rules.is_known(key))
        return cls(fields, required, SPARKLINE_FIELD in keys, objects, unknown)

    @cached_property
    def read(self) -> tuple[str, ...]:
        """What a record holds: the fields, then the objects."""
        return self.fields + self.objects

    @cached_property
    def getter(self) -> Callable[[Row], Record]:
        """Reads the record of a row at the speed of C."""
        return itemgetter(*self.read)


def lay_out(rows: Sequence[Row], rules: MarketRules) -> tuple[Layout, list[Record | None]]:
    """The layout of a page and each row's record; None for no object, a repeated or a lacking required field."""
    return _lay_out_uniform(rows, rules) or _lay_out_mixed(rows, rules)


def _lay_out_uniform(rows: Sequence[Row], rules: MarketRules) -> tuple[Layout, list[Record | None]] | None:
    """The same when all rows have exactly the fields of the first one, which proves itself without listing their keys.

    As many fields as the first row has, each of the first row's fields among them: then there is no other field, and
    none twice.
    """
    if not rows or set(map(type, rows)) not in ({simdjson.Object}, {dict}):
        return None
    keys = list(rows[0].keys())
    distinct = set(keys)
    if len(distinct) < len(keys) or not rules.never_absent <= distinct or set(map(len, rows)) != {len(keys)}:
        return None
    layout = Layout.of(len(rows), dict.fromkeys(distinct, len(rows)), rules)
    try:
        records: list[Record | None] = list(map(layout.getter, rows))
    except KeyError:
        return None
    unread = distinct.difference(layout.read)
    return (layout, records) if all(all(map(contains, rows, repeat(field))) for field in unread) else None


def _lay_out_mixed(rows: Sequence[Row], rules: MarketRules) -> tuple[Layout, list[Record | None]]:
    """The same for a page whose rows differ: each row's keys are listed."""
    keys = [list(row.keys()) if isinstance(row, (dict, simdjson.Object)) else None for row in rows]
    objects = [names for names in keys if names is not None]
    layout = Layout.of(len(objects), Counter(key for names in objects for key in set(names)), rules)
    return layout, [_record(row, names, layout) for row, names in zip(rows, keys, strict=True)]


def _record(row: Row, keys: list[str] | None, layout: Layout) -> Record | None:
    present = set(keys or ())
    if keys is None or len(present) < len(keys) or not layout.required <= present:
        return None
    return tuple(row[field] if field in present else None for field in layout.read)
