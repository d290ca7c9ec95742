"""Our Terraform as python-hcl2 reads it: the blocks of every module, without evaluating anything."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import hcl2

from coinbeam.settings import ROOT

INFRA = ROOT / "infra"


@dataclass(frozen=True)
class Module:
    """One folder of Terraform files.

    Attributes:
        folder: where it is.
        files: parsed, by name.
    """

    folder: Path
    files: Mapping[str, Mapping[str, Any]]

    def blocks(self, kind: str) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
        """The top-level blocks of a kind with their labels, such as ``("google_storage_bucket", "data")``."""
        for content in self.files.values():
            for block in content.get(kind, ()):
                labels, body = unfold(block, LABELS[kind])
                yield labels, body


LABELS = {"resource": 2, "data": 2, "module": 1, "variable": 1, "output": 1, "provider": 1, "locals": 0, "terraform": 0}
"""How many labels each kind of top-level block has."""


def unfold(block: Mapping[str, Any], count: int) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    """Take the labels off a block: python-hcl2 nests what it labels."""
    labels: tuple[str, ...] = ()
    for _ in range(count):
        (label,) = (key for key in block if not key.startswith("__"))
        labels, block = (*labels, label.strip('"')), block[label]
    return labels, block


def parse(path: Path) -> dict[str, Any]:
    """One file.

    Raises:
        Exception: it is not HCL; python-hcl2 says where.
    """
    return _parsed(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=256)
def _parsed(text: str) -> dict[str, Any]:
    """Kept by content: a copy with one mistake costs one file, not all."""
    return dict(hcl2.loads(text))


def modules(root: Path = INFRA) -> dict[str, Module]:
    """Every module, the root one as ``.``."""
    folders = sorted({path.parent for path in root.rglob("*.tf") if ".terraform" not in path.parts})
    return {
        str(folder.relative_to(root)): Module(folder, {path.name: parse(path) for path in sorted(folder.glob("*.tf"))})
        for folder in folders
    }


def provider_of(body: Mapping[str, Any]) -> str:
    """The provider of a resource: the one that it names, or that of its type."""
    return str(body.get("provider", "google")).strip("${}")


def kinds_in_use(provider: str, root: Path = INFRA) -> set[str]:
    """Resource types that are taken from a provider, and data sources as ``data.<type>``."""
    return {
        f"{prefix}{labels[0]}"
        for module in modules(root).values()
        for block, prefix in (("resource", ""), ("data", "data."))
        for labels, body in module.blocks(block)
        if provider_of(body) == provider
    }
