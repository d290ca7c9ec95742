"""The one DAG file in Airflow's folder: it imports the DAGs of the current release. Airflow never parses the releases
themselves.

``coinbeam_release.json`` names the current and the previous release. Files arrive in Composer in any order, so the
first of the two that is complete by its manifest is used, and all of its modules come from its own tree. Uploaded as
``coinbeam_dags.py``: it stands alone, and of ours it imports nothing but what it has chosen.
"""

import base64
import hashlib
import importlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

POINTER = "coinbeam_release.json"
RELEASES = "coinbeam_releases"
MANIFEST = "MANIFEST.json"
PACKAGES = ("coinbeam", "dags")
DAG_FILE = "_dag.py"

ATTEMPTS = 5
"""How often the pointer is read before it counts as broken: a copy in progress may be empty for a moment."""
PAUSE_SECONDS = 0.2

logger = logging.getLogger("coinbeam.loader")


class NoCompleteReleaseError(RuntimeError):
    """Neither the current release nor the previous one has arrived whole; the message names what is missing."""


def load(folder: Path) -> dict[str, Any]:
    """The DAGs of the release that is to be used, by their ids, from Airflow's folder.

    Raises:
        NoCompleteReleaseError: there is nothing whole to import.
    """
    tree, manifest = choose(folder)
    os.environ.setdefault("COINBEAM_ENV", manifest["environment"])
    activate(tree)
    files = [file["path"] for file in manifest["files"]]
    found = [path for path in files if path.startswith("dags/") and path.endswith(DAG_FILE)]
    names = [path.removesuffix(".py").replace("/", ".") for path in found]
    dags = [importlib.import_module(name).dag for name in names]  # each of our DAG files calls its DAG `dag`
    return {dag.dag_id: dag for dag in dags}


def choose(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The tree and the manifest of the first release that is complete, the current one before the previous one.

    Raises:
        NoCompleteReleaseError: there is none.
    """
    pointer = read_pointer(folder)
    faults: list[str] = []
    for release in filter(None, (pointer.get("current"), pointer.get("previous"))):
        tree = folder / RELEASES / release
        fault, manifest = inspect(tree)
        if not fault:
            if faults:
                logger.warning("Release %s is used, since %s.", release, "; ".join(faults))
            return tree, manifest
        faults.append(f"release {release} {fault}")
    raise NoCompleteReleaseError(
        f"No complete release in {folder}: {'; '.join(faults)}. Run `coinbeam release upload` again."
    )


def read_pointer(folder: Path) -> dict[str, Any]:
    """Which release is current, and which was before it.

    Raises:
        NoCompleteReleaseError: the pointer is not there, or is not readable after several attempts.
    """
    fault = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            pointer = json.loads((folder / POINTER).read_text(encoding="utf-8"))
            if isinstance(pointer, dict) and pointer.get("current"):
                return pointer
            fault = "it names no current release"
        except (OSError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
    raise NoCompleteReleaseError(f"{folder / POINTER} cannot be used: {fault}. Run `coinbeam release switch`.")


def inspect(tree: Path) -> tuple[str, dict[str, Any]]:
    """What keeps a release from being used (nothing: an empty text), and its manifest."""
    try:
        manifest: dict[str, Any] = json.loads((tree / MANIFEST).read_text(encoding="utf-8"))
        wrong = [file["path"] for file in manifest["files"] if not arrived(tree / file["path"], file["md5"])]
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"has no readable {MANIFEST} ({type(error).__name__})", {}
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return (f"lacks {', '.join(wrong[:3])}{more}" if wrong else ""), manifest


def arrived(path: Path, md5: str) -> bool:
    """Whether a file is there with the bytes of the manifest."""
    try:
        return md5_digest(path.read_bytes()) == md5
    except OSError:
        return False


def md5_digest(content: bytes) -> str:
    """The MD5 digest of bytes, in base64 as Cloud Storage writes it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def activate(tree: Path) -> None:
    """Let every module of ours come from one tree: what an earlier parse imported from another tree is forgotten."""
    own = f"{tree}{os.sep}"
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES and not str(getattr(module, "__file__", None) or "").startswith(own):
            del sys.modules[name]
    releases = tree.parent
    sys.path[:] = [str(tree), *(entry for entry in sys.path if Path(entry).parent != releases)]
    importlib.invalidate_caches()


if not __package__:  # as Airflow reads it; a module of the package is only imported for its names
    globals().update(load(Path(__file__).resolve().parent))
