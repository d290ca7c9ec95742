"""``config/deployment.json``: what a deployment says of its tree, validated as the settings of that tree."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr

from coinbeam.errors import CoinbeamError, SettingsError
from coinbeam.settings import ROOT, Settings, load_settings

_VALIDATION_SECONDS = 60.0


def write_deployment(values: Mapping[str, Any], environment: str, root: Path = ROOT) -> Path:
    """Write the file, unless the settings that it makes are wrong.

    Args:
        values: settings by dotted name, e.g. ``google.project``; those that are None are left out.
        environment: its YAML file gives the other settings.
        root: the tree.

    Raises:
        SettingsError: a setting is wrong or missing, or is a secret; the file is as it was.
    """
    for name in values:
        if _is_secret(name):
            raise SettingsError(f"{name} is a secret, and the file is uploaded.", "Set it by its COINBEAM_* variable.")
    path = root / "config" / "deployment.json"
    before = path.read_bytes() if path.is_file() else None
    path.write_text(json.dumps(nested({"environment": environment, **values}), indent=2) + "\n", encoding="utf-8")
    fault = _fault(environment, root)
    if fault:
        path.unlink() if before is None else path.write_bytes(before)
        raise SettingsError(fault)
    return path


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name as the sections that the file holds."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        *sections, leaf = name.split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        section[leaf] = value
    return tree


def _is_secret(name: str) -> bool:
    """Whether the setting of a dotted name is one that is never shown."""
    model: Any = Settings
    for part in name.split("."):
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return False
        model = field.annotation
    return SecretStr in (model, *get_args(model))


def _fault(environment: str, root: Path) -> str:
    """The fault in the settings of a tree, read by a new process: our own variables must not fill a gap."""
    variables = {name: value for name, value in os.environ.items() if not name.upper().startswith("COINBEAM_")}
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        cwd=root,
        env={**variables, "COINBEAM_ENV": environment, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=_VALIDATION_SECONDS,
        check=False,
    )
    return done.stderr.strip()[-2000:] if done.returncode else ""


def main() -> int:
    """Load the settings of the tree in which this runs; says what is wrong with them."""
    try:
        load_settings()
    except CoinbeamError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
