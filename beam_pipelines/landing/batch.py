"""A landed batch, as fetch and replay hand it to the builder of its files. Free of Beam, as the builder is."""

import pickle
import zlib
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from coinbeam.batch.manifest import BatchManifest

Body = TypeVar("Body")


@dataclass(frozen=True)
class LandedBatch(Generic[Body]):
    """A batch with its landed bodies, in order, in the form that its builder takes; ``missing`` ones do not exist."""

    batch: BatchManifest
    bodies: tuple[Body, ...]
    missing: int = field(default=0, kw_only=True)

    def __getstate__(self) -> dict[str, Any]:
        """The batch as it travels: thousands of bodies share most of their words, and a job graph has a limit."""
        return {**vars(self), "bodies": zlib.compress(pickle.dumps(self.bodies), 1)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The batch as it came."""
        vars(self).update({**state, "bodies": pickle.loads(zlib.decompress(state["bodies"]))})
