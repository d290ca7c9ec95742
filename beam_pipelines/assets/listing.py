"""The coin list as listed assets: a bad element costs only itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beam_pipelines.assets.bodies import list_elements
from beam_pipelines.assets.canonical import WrongTypeError, mapping_json
from beam_pipelines.batch_files.rejects import Reject, body_payload, payload_json, value_json
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import Contract
from coinbeam.contracts.values import fault_of, is_unicode
from coinbeam.landing.layout import LandedBody

_TEXTS = ("asset_id", "symbol", "name")


@dataclass(frozen=True)
class ListedAsset:
    """One accepted element of the list; empty texts are None."""

    asset_id: str
    symbol: str | None
    name: str | None
    platforms: str | None


@dataclass(frozen=True)
class RejectMaker:
    """Makes the rejects of one batch.

    Attributes:
        batch: the batch.
        contract: the table that the records were meant for.
    """

    batch: BatchManifest
    contract: Contract

    def row(self, landed: LandedBody, number: int, element: Any, fault: "Fault") -> Reject:
        """A refused element of a body."""
        known = element.get("id") if isinstance(element, Mapping) else None
        return Reject(
            self.batch,
            landed,
            self.contract.name,
            self.contract.version,
            fault.reason,
            number,
            known if isinstance(known, str) and is_unicode(known) else None,
            fault.column,
            value_json(fault.value),
            payload_json(element),
        )

    def page(self, landed: LandedBody, reason: str) -> Reject:
        """A refused body."""
        return Reject(
            self.batch, landed, self.contract.name, self.contract.version, reason, payload=body_payload(landed.body)
        )


@dataclass(frozen=True)
class Fault:
    """Why an element is refused: class of the fault, column and offending value."""

    reason: str
    column: str | None
    value: Any


@dataclass
class Listing:
    """The assets of one or more list bodies, each id once: the first one counts.

    Attributes:
        rejects_of: makes the rejects.
        assets: accepted assets by id, in the order of the list.
        rejects: refused elements and bodies.
        rows_read: elements read.
    """

    rejects_of: RejectMaker
    assets: dict[str, ListedAsset] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    rows_read: int = 0

    def add(self, landed: LandedBody) -> None:
        """Take in one landed list; never raises for what is in it."""
        elements = list_elements(landed.body)
        if elements is None:
            self.rejects.append(self.rejects_of.page(landed, "not_a_list"))
            return
        self.rows_read += len(elements)
        for number, element in enumerate(elements):
            fault = self._fault(element) or self._take(element)
            if fault:
                self.rejects.append(self.rejects_of.row(landed, number, element, fault))

    def _fault(self, element: Any) -> Fault | None:
        """What breaks a rule of the contract, texts first."""
        if not isinstance(element, Mapping):
            return Fault("wrong_type", None, element)
        for name in _TEXTS:
            column = self.rejects_of.contract.by_name[name]
            if column.source not in element:
                return Fault("missing_field", name, None)
            value = element[column.source]
            reason = fault_of(value, column)
            if reason:
                return Fault(reason, name, value)
        return None

    def _take(self, element: Mapping[str, Any]) -> Fault | None:
        try:
            platforms = mapping_json(element.get("platforms"))
        except WrongTypeError:
            return Fault("wrong_type", "platforms", element.get("platforms"))
        if element["id"] in self.assets:
            return Fault("duplicate", "asset_id", element["id"])
        self.assets[element["id"]] = ListedAsset(
            element["id"], element["symbol"] or None, element["name"] or None, platforms
        )
        return None
