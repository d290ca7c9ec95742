"""Every resource and data block of ours against the schema of the provider, without Terraform: for machines that do not
have it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.infra.configuration import modules, provider_of

META = frozenset({"count", "for_each", "depends_on", "provider"})
META_BLOCKS = frozenset({"lifecycle", "provisioner", "connection"})


def faults(root: Path, schema: Mapping[str, Any]) -> list[str]:
    """What the provider would refuse, one line each.

    Args:
        root: folder of the root module.
        schema: content of ``provider_schema.json``, by provider.
    """
    found: list[str] = []
    for module in modules(root).values():
        for kind, part in (("resource", "resource_schemas"), ("data", "data_source_schemas")):
            for (resource, name), body in module.blocks(kind):
                where = f"{resource}.{name}"
                known = schema[provider_of(body)][part].get(resource)
                found += (
                    block_faults(where, body, known["block"], top=True)
                    if known
                    else [f"{where}: the provider has no such {kind}"]
                )
    return found


def block_faults(where: str, body: Mapping[str, Any], schema: Mapping[str, Any], *, top: bool = False) -> Iterator[str]:
    """The faults of one block and those within it."""
    attributes, blocks = schema.get("attributes", {}), schema.get("block_types", {})
    written = {name for name in body if not name.startswith("__") and name != "dynamic"} - (
        META | META_BLOCKS if top else frozenset()
    )
    inner = [(name, one) for name in sorted(written) if is_block(body[name]) for one in body[name]] + dynamic_blocks(
        body
    )
    for name in sorted(written):
        if is_block(body[name]) or name not in attributes:
            continue
        if attributes[name].get("computed") and not attributes[name].get("optional"):
            yield f"{where}: {name} can only be read"
    for name in sorted(written):
        if not is_block(body[name]) and name not in attributes:
            yield f"{where}: {name} is {'a block, not an argument' if name in blocks else 'unknown'}"
    for name, one in inner:
        if name in blocks:
            yield from block_faults(f"{where}.{name}", one, blocks[name]["block"])
        else:
            yield f"{where}: {name} is {'an argument, not a block' if name in attributes else 'unknown'}"
    yield from (
        f"{where}: {name} is required"
        for name in attributes
        if attributes[name].get("required") and name not in written
    )
    yield from count_faults(where, [name for name, _ in inner], {name for name, _ in dynamic_blocks(body)}, blocks)


def count_faults(where: str, names: list[str], dynamic: set[str], blocks: Mapping[str, Any]) -> Iterator[str]:
    """Blocks that are missing, or that are too many; how many a dynamic one makes is not known."""
    for name, one in blocks.items():
        count = names.count(name)
        if count < one.get("min_items", 0):
            yield f"{where}: {name} is required"
        if name not in dynamic and count > one.get("max_items", count):
            yield f"{where}: {name} may occur {one['max_items']} times, not {count}"


def is_block(value: Any) -> bool:
    """Whether python-hcl2 read blocks; an argument may be a list of objects, too."""
    return isinstance(value, list) and any(isinstance(one, Mapping) and "__is_block__" in one for one in value)


def dynamic_blocks(body: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The contents of dynamic blocks by the name of the block that they make."""
    found = []
    for one in body.get("dynamic", ()):
        (label,) = (key for key in one if not key.startswith("__"))
        found += [(label.strip('"'), content) for content in one[label]["content"]]
    return found
