"""The coin list as listed assets: a bad element costs only itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beam_pipelines.assets.bodies import list_elements
from beam_pipelines.assets.canonical import WrongTypeError, mapping_json
from beam_pipelines.batch_files.rejects import Refused, Reject, RejectMaker
from coinbeam.contracts.values import fault_of, is_unicode
from coinbeam.landing.layout import LandedBody

_TEXTS = ("asset_id", "symbol", "name")
LISTED = (*_TEXTS, "platforms")
"""The columns of the dimension that the list fills."""


@dataclass
class Listing:
    """The assets of one or more list bodies, each id once: the first one counts.

    Attributes:
        rejects_of: makes the rejects.
        assets: accepted assets by id, in the order of the list; empty texts are None.
        rejects: refused elements and bodies.
        rows_read: elements read.
    """

    rejects_of: RejectMaker
    assets: dict[str, dict[str, str | None]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    rows_read: int = 0

    def add(self, landed: LandedBody) -> None:
        """Take in one landed list; never raises for what is in it."""
        elements = list_elements(landed.body)
        if elements is None:
            self.rejects.append(self.rejects_of.body(landed, "not_a_list"))
            return
        self.rows_read += len(elements)
        for number, element in enumerate(elements):
            refused = self._take(element)
            if refused:
                known = element.get("id") if isinstance(element, Mapping) else None
                asset_id = known if isinstance(known, str) and is_unicode(known) else None
                self.rejects.append(self.rejects_of.row(landed, number, element, refused, asset_id))

    def _take(self, element: Any) -> Refused | None:
        """Take an element in, or say what breaks a rule of the contract, texts first."""
        if not isinstance(element, Mapping):
            return Refused("wrong_type", None, element)
        values: dict[str, str | None] = {}
        for name in _TEXTS:
            column = self.rejects_of.contract.by_name[name]
            if column.source not in element:
                return Refused("missing_field", name, None)
            value = element[column.source]
            reason = fault_of(value, column)
            if reason:
                return Refused(reason, name, value)
            values[name] = value or None
        try:
            values["platforms"] = mapping_json(element.get("platforms"))
        except WrongTypeError:
            return Refused("wrong_type", "platforms", element.get("platforms"))
        if element["id"] in self.assets:
            return Refused("duplicate", "asset_id", element["id"])
        self.assets[element["id"]] = values
        return None
