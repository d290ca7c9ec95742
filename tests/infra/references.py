"""Names that our Terraform uses against the names that it declares, without Terraform: for machines that do not have
it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.infra.configuration import Module, modules, parse, provider_of

_NAMES = re.compile(
    r"(?<![\w.\"/-])(var|local|module|data|google_\w+)\.(\w+)(?:\[[^]]*\])*(?:\.(\w+))?(?:\[[^]]*\])*(?:\.(\w+))?"
)


def faults(root: Path, schema: Mapping[str, Any]) -> list[str]:
    """References to what is not declared, and declared variables that nobody uses.

    Args:
        root: folder of the root module.
        schema: content of ``provider_schema.json``, which says what can be read from a resource.
    """
    all_modules = modules(root)
    found: list[str] = []
    for name, module in all_modules.items():
        declared = Declared(module, all_modules, schema)
        used = set(expressions(module.files.values()))
        found += [f"{name}: {fault}" for reference in sorted(used) if (fault := declared.fault(reference))]
        found += [
            f"{name}: var.{variable} is declared and not used"
            for variable in sorted(declared.variables - variables(used))
        ]
    return found + list(test_faults(root, all_modules))


def test_faults(root: Path, all_modules: Mapping[str, Module]) -> Iterator[str]:
    """The same for the tests of Terraform: the runs of a file see one module, by default the root one, and the outputs
    of that one.
    """
    outputs = {labels[0] for labels, _ in all_modules["."].blocks("output")}
    for path in sorted((root / "tests").glob("*.tftest.hcl")):
        content = parse(path)
        runs = [body for run in content["run"] for body in run.values() if isinstance(body, Mapping)]
        (module,) = {str(one["source"]).strip('"') for run in runs for one in run.get("module", ({"source": "."},))}
        given = {labels[0] for labels, _ in all_modules[module.removeprefix("./")].blocks("variable")}
        for block in (content, *runs):
            set_here = {name for one in block.get("variables", ()) for name in one if not name.startswith("__")}
            read_here = set(re.findall(r"\boutput\.(\w+)", " ".join(strings(block.get("assert", ())))))
            yield from (f"{path.name}: var.{name} is not declared" for name in sorted(set_here - given))
            yield from (f"{path.name}: output.{name} is not declared" for name in sorted(read_here - outputs))


test_faults.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


class Declared:
    """What one module declares."""

    def __init__(self, module: Module, all_modules: Mapping[str, Module], schema: Mapping[str, Any]) -> None:
        self.variables = {labels[0] for labels, _ in module.blocks("variable")}
        self._locals = {name for _, body in module.blocks("locals") for name in body}
        self._resources = {".".join(labels): provider_of(body) for labels, body in module.blocks("resource")}
        self._data = {".".join(labels): provider_of(body) for labels, body in module.blocks("data")}
        self._schema = schema
        self._outputs = {
            labels[0]: {
                out[0] for out, _ in all_modules[str(body["source"]).strip('"').removeprefix("./")].blocks("output")
            }
            for labels, body in module.blocks("module")
        }

    def fault(self, reference: tuple[str, str, str, str]) -> str:
        """What is wrong with a reference, or nothing."""
        kind, first, second, third = reference
        if kind == "var":
            return "" if first in self.variables else f"var.{first} is not declared"
        if kind == "local":
            return "" if first in self._locals else f"local.{first} is not declared"
        if kind == "module":
            known = first in self._outputs and (not second or second in self._outputs[first])
            return "" if known else f"module.{first}.{second} is not declared"
        if kind == "data":
            return self._resource_fault(first, second, third, self._data, "data_source_schemas")
        return self._resource_fault(kind, first, second, self._resources, "resource_schemas")

    def _resource_fault(self, kind: str, name: str, attribute: str, declared: Mapping[str, str], part: str) -> str:
        provider = declared.get(f"{kind}.{name}")
        if provider is None:
            return f"{kind}.{name} is not declared"
        block = self._schema[provider][part].get(kind, {"block": {}})["block"]
        known = {*block.get("attributes", {}), *block.get("block_types", {}), ""}
        return "" if attribute in known else f"{kind}.{name} has no {attribute}"


def variables(used: set[tuple[str, str, str, str]]) -> set[str]:
    """Names of the variables among some references."""
    return {name for kind, name, *_ in used if kind == "var"}


def expressions(values: Any) -> Iterator[tuple[str, str, str, str]]:
    """The references in some parsed values."""
    for text in strings(values):
        for found in _NAMES.finditer(text):
            yield found[1], found[2], found[3] or "", found[4] or ""


def strings(value: Any) -> Iterator[str]:
    """Every text within a parsed value, but for comments; expressions are texts."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            if not name.startswith("__"):
                yield from strings(name)
                yield from strings(one)
    elif hasattr(value, "__iter__"):
        for one in value:
            yield from strings(one)
