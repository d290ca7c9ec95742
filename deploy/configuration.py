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
from coinbeam.secrets import check_key
from coinbeam.settings import ROOT, Runner, Settings, deployment_file, load_settings

_VALIDATION_SECONDS = 60.0
_KEY = "COINGECKO_API_KEY"

ITS_OWN = ("google.region", "google.location", "market.period", "coingecko.plan")
"""What each deployment says of itself: a default would be that of another one, and nobody would see it."""

_REMEDY = (
    "Take it from `terraform -chdir=infra output -json substitutions`; `coinbeam release submit` gives all of them."
)


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
    variables = {name: value for name, value in os.environ.items() if not name.upper().startswith(("COINBEAM_", _KEY))}
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


def check_deployment(settings: Settings, given: Mapping[str, Any]) -> None:
    """Hold settings against what a deployment needs beyond being valid: the first run, at night, would find it.

    Args:
        settings: of the tree.
        given: ``config/deployment.json``, from which a part of them comes.

    Raises:
        SettingsError: something is not said, or contradicts another setting.
    """
    if settings.is_local:
        return
    missing = [name for name in ITS_OWN if not _given(given, name)]
    if missing:
        raise SettingsError(f"A deployment has to say {', '.join(missing)}.", _REMEDY)
    check_key(settings.coingecko)
    if settings.coingecko.limits.key_header is None and settings.coingecko.api_key_secret:
        raise SettingsError(
            f"coingecko.plan is {settings.coingecko.plan!r}, which sends no key, but coingecko.api_key_secret is set.",
            "Name the plan of the key, or no secret.",
        )
    if settings.runner is Runner.DATAFLOW:
        _check_workers(settings)


def _given(tree: Any, name: str) -> bool:
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree is not None


def _check_workers(settings: Settings) -> None:
    """Whether workers on Dataflow would reach anything, as an account that may."""
    if not settings.google.dataflow_service_account:
        raise SettingsError(
            "google.dataflow_service_account is not set: workers would be the project's editor.", _REMEDY
        )
    if not (settings.dataflow.use_public_ips or settings.dataflow.subnetwork):
        raise SettingsError(
            "dataflow.use_public_ips is false and dataflow.subnetwork is not set: the default network has neither NAT "
            "nor Private Google Access, so that private workers reach nothing.",
            _REMEDY,
        )


def main() -> int:
    """Load the settings of the tree in which this runs; says what is wrong with them."""
    try:
        check_deployment(load_settings(), json.loads(deployment_file().read_text(encoding="utf-8")))
    except CoinbeamError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
