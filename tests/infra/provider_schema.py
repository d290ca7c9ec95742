"""The schemas of the Google providers, as far as our Terraform uses them, each in the form of ``terraform providers
schema -json``.

A provider is a Go binary from a registry that a closed machine does not reach. CDK for Terraform publishes the
same schema on
PyPI: its wheel holds a jsii assembly, in which every resource is an interface whose properties say whether they are
optional, and scripts that say which of them are blocks and which collections are sets. Both are generated from the
schema of one exact provider version.

``python -m tests.infra.provider_schema`` writes ``provider_schema.json``, only the resources and data sources that
``infra/`` uses, by the provider that it takes them from.
"""

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinbeam.settings import STATE
from tests.infra.configuration import kinds_in_use

PACKAGES = {
    "google": "cdktf-cdktf-provider-google==16.12.1",
    "google-beta": "cdktf-cdktf-provider-google-beta==16.12.1",
}
"""By provider. The folders of the second package begin with ``google-``, those of the first one do not."""
VERSION = "6.50.0"
"""Of both providers."""
FILE = Path(__file__).with_name("provider_schema.json")
CACHE = STATE / "infra"

_ANCHOR = re.compile(rf"hashicorp/google(?:-beta)?/{re.escape(VERSION)}/docs/(?:resources|data-sources)/\w+#(\w+) ")
_ATTRIBUTE = re.compile(r"(\w+): \{\n\s+value: [^\n]*\n\s+isBlock: (true|false),\n\s+type: \"(\w+)\"")
_FUNCTION = re.compile(r"function (\w+)ToHclTerraform\(struct\) \{(.*?)\n\}", re.DOTALL)
_TOP = re.compile(r"\n    synthesizeHclAttributes\(\) \{(.*?)\n    \}", re.DOTALL)
_PRIMITIVES = {"string": "string", "number": "number", "boolean": "bool"}

Shape = dict[str, tuple[bool, str]]
"""For each attribute whether it is a block, and the kind of its value."""


def download(provider: str, folder: Path = CACHE) -> Path:
    """The wheel of a provider, fetched once with pip.

    Raises:
        subprocess.CalledProcessError: no package index answers.
    """
    wheels = f"{PACKAGES[provider].replace('==', '+').replace('-', '_').replace('+', '-')}-*.whl"
    found = sorted(folder.glob(wheels))
    if not found:
        folder.mkdir(parents=True, exist_ok=True)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
            "--dest",
            str(folder),
            PACKAGES[provider],
        ]
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=180)
        found = sorted(folder.glob(wheels))
    return found[0]


@dataclass(frozen=True)
class Assembly:
    """The parts of the wheel that describe some resources.

    Attributes:
        provider: whose they are.
        types: jsii types by name.
        scripts: JavaScript by the folder of a resource, such as ``storage-bucket``.
    """

    provider: str
    types: Mapping[str, Any]
    scripts: Mapping[str, str]

    @classmethod
    def read(cls, provider: str, wheel: Path, folders: Iterable[str]) -> "Assembly":
        """Read the jsii assembly of a wheel, and the scripts of some resources.

        Args:
            provider: whose wheel it is.
            wheel: the wheel.
            folders: of the resources.
        """
        wanted = {f"package/lib/{folder}/index.js": folder for folder in folders}
        types, scripts = {}, {}
        with zipfile.ZipFile(wheel) as outer:
            name = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            with outer.open(name) as packed, tarfile.open(fileobj=packed, mode="r|gz") as inner:
                for member in inner:
                    if member.name == "package/.jsii":
                        types = json.load(_content(inner, member))["types"]
                    elif member.name in wanted:
                        scripts[wanted[member.name]] = _content(inner, member).read().decode()
        return cls(provider, types, scripts)

    def resource(self, kind: str) -> dict[str, Any]:
        """The schema of ``google_storage_bucket``, or of the data source ``data.google_project``.

        Raises:
            KeyError: the provider has no such resource.
        """
        folder = folder_of(kind, self.provider)
        module = re.sub("-(.)", lambda found: found[1].upper(), folder)
        name = module[0].upper() + module[1:]
        script = self.scripts[folder]
        own = _TOP.search(script)
        shapes = {function[0].lower(): _shape(function[1]) for function in _FUNCTION.findall(script)}
        shapes[f"{name}config".lower()] = _shape(own[1] if own else "")
        return {
            "version": 0,
            "block": self._block(f"@cdktf/provider-{self.provider}.{module}.{name}", "Config", "", shapes),
        }

    def _block(self, name: str, config: str, output: str, shapes: Mapping[str, Shape]) -> dict[str, Any]:
        """A block: what may be written in it, and what can only be read from it.

        Args:
            name: jsii name without its ends.
            config: end of the name of what is written.
            output: end of the name of what is read.
            shapes: of all blocks of the resource, by the name of the interface in lower case.
        """
        shape = shapes[f"{name}{config}".rpartition(".")[2].lower()]
        block: dict[str, Any] = {"attributes": {}, "block_types": {}}
        written = set()
        for prop in self.types[f"{name}{config}"].get("properties", ()):
            attribute = _terraform_name(prop)
            written.add(attribute)
            inner, many = _interface(prop["type"])
            if shape[attribute][0]:
                block["block_types"][attribute] = self._nested(prop, inner, many, shape[attribute][1], shapes)
            else:
                mode = "optional" if prop.get("optional") else "required"
                block["attributes"][attribute] = {"type": _written_type(prop["type"], shape[attribute][1]), mode: True}
        if config and "id" in block["attributes"]:
            block["attributes"]["id"]["computed"] = True  # every resource has one, given by Google
        read = self.types.get(f"{name}{output}", {}).get("properties", ())
        block["attributes"] |= {
            _snake(prop["name"]): {"type": self._read_type(prop["type"]), "computed": True}
            for prop in read
            if not _belongs_to_cdk(prop, {p["name"] for p in read})
            and _snake(prop["name"]).removesuffix("_attribute") not in written
        }
        return {part: dict(sorted(members.items())) for part, members in block.items() if members}

    def _nested(
        self, prop: Mapping[str, Any], inner: str, many: bool, kind: str, shapes: Mapping[str, Shape]
    ) -> dict[str, Any]:
        if _terraform_name(prop) == "timeouts":
            return {"nesting_mode": "single", "block": self._block(inner, "", "OutputReference", shapes)}
        bounds = ({} if prop.get("optional") else {"min_items": 1}) | ({} if many else {"max_items": 1})
        mode = "set" if kind == "set" else "list"
        return {"nesting_mode": mode, "block": self._block(inner, "", "OutputReference", shapes)} | bounds

    def _read_type(self, kind: Mapping[str, Any]) -> Any:
        """Type of a value that can only be read."""
        if "collection" in kind:
            return [
                {"array": "list"}.get(kind["collection"]["kind"], "map"),
                self._read_type(kind["collection"]["elementtype"]),
            ]
        if "primitive" in kind:
            return _PRIMITIVES[kind["primitive"]]
        name = kind["fqn"]
        if name.endswith("List") and f"{name.removesuffix('List')}OutputReference" in self.types:
            read = self.types[f"{name.removesuffix('List')}OutputReference"].get("properties", ())
            names = {prop["name"] for prop in read}
            return [
                "list",
                [
                    "object",
                    {_snake(p["name"]): self._read_type(p["type"]) for p in read if not _belongs_to_cdk(p, names)},
                ],
            ]
        known = {
            "cdktf.IResolvable": "bool",
            "cdktf.StringMap": ["map", "string"],
            "cdktf.NumberMap": ["map", "number"],
        }
        return known.get(name, ["map", "bool"] if name == "cdktf.BooleanMap" else "dynamic")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    return archive.extractfile(member)


def _shape(script: str) -> Shape:
    return {name: (block == "true", kind) for name, block, kind in _ATTRIBUTE.findall(script)}


def _terraform_name(prop: Mapping[str, Any]) -> str:
    """The anchor of its documentation is its name in Terraform; only ``id`` has none."""
    anchor = _ANCHOR.search(prop["docs"].get("remarks", ""))
    return anchor[1] if anchor else _snake(prop["name"])


def _snake(name: str) -> str:
    return re.sub("(?=[A-Z])", "_", name).lower()


def _belongs_to_cdk(prop: Mapping[str, Any], names: set[str]) -> bool:
    """Whether a property is none of the provider's: the class also holds what was given to it, and its own
    machinery.
    """
    name = prop["name"]
    return (
        bool(prop.get("static"))
        or name in {"fqn", "internalValue"}
        or (name.endswith("Input") and name.removesuffix("Input") in names)
    )


def _interface(kind: Mapping[str, Any]) -> tuple[str, bool]:
    """Name of the interface of a block, and whether there may be many."""
    options = kind["union"]["types"] if "union" in kind else [kind]
    for option in options:
        if "collection" in option:
            return option["collection"]["elementtype"].get("fqn", ""), True
    return next((o["fqn"] for o in options if "fqn" in o and not o["fqn"].startswith("cdktf.")), ""), False


def _written_type(kind: Mapping[str, Any], collection: str) -> Any:
    """Type of a value that may be written."""
    options = kind["union"]["types"] if "union" in kind else [kind]
    option = next(o for o in options if o.get("fqn") != "cdktf.IResolvable")
    if "collection" in option:
        element = _written_type(option["collection"]["elementtype"], "simple")
        return ["map" if option["collection"]["kind"] == "map" else "set" if collection == "set" else "list", element]
    return _PRIMITIVES[option["primitive"]] if "primitive" in option else "dynamic"


def folder_of(kind: str, provider: str) -> str:
    """The folder of a resource in the package of a provider."""
    source, plain = ("data-", kind.removeprefix("data.")) if kind.startswith("data.") else ("", kind)
    prefix = "google-" if source or provider == "google-beta" else ""
    return f"{source}{plain}".replace("google_", prefix, 1).replace("_", "-")


def schema(provider: str, wheel: Path, kinds: Iterable[str]) -> dict[str, Any]:
    """The schema of some resources and data sources of a provider.

    Args:
        provider: whose they are.
        wheel: from :func:`download`.
        kinds: such as ``google_storage_bucket`` and ``data.google_project``.
    """
    chosen = sorted(set(kinds))
    assembly = Assembly.read(provider, wheel, (folder_of(kind, provider) for kind in chosen))
    return {
        "resource_schemas": {kind: assembly.resource(kind) for kind in chosen if not kind.startswith("data.")},
        "data_source_schemas": {
            kind.removeprefix("data."): assembly.resource(kind) for kind in chosen if kind.startswith("data.")
        },
    }


def load() -> dict[str, Any]:
    """The schemas as they are kept in the tree, by provider."""
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def text(made: Mapping[str, Mapping[str, Any]]) -> str:
    """The file: one line for each resource, so that a difference can be read.

    Args:
        made: schemas by provider.
    """
    providers = []
    for provider, schemas in made.items():
        parts = [f'"package": {json.dumps(PACKAGES[provider])}', f'"version": {json.dumps(VERSION)}']
        for part in ("resource_schemas", "data_source_schemas"):
            kinds = schemas[part]
            lines = [f"{json.dumps(kind)}: {json.dumps(kinds[kind], sort_keys=True)}" for kind in sorted(kinds)]
            parts.append("\n".join([f'"{part}": {{', ",\n".join(lines), "}"]))
        providers.append(f"{json.dumps(provider)}: {{\n" + ",\n".join(parts) + "\n}")
    return "{\n" + ",\n".join(providers) + "\n}\n"


def in_use() -> dict[str, dict[str, Any]]:
    """The schemas of what ``infra/`` uses, made anew from the packages.

    Raises:
        subprocess.CalledProcessError: no package index answers.
    """
    return {provider: schema(provider, download(provider), kinds_in_use(provider)) for provider in PACKAGES}


if __name__ == "__main__":
    FILE.write_text(text(in_use()), encoding="utf-8")
