"""The environment in which stock Google clients, Beam's ``gs://`` and Airflow talk to the emulators on this machine."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from coinbeam.errors import SettingsError
from coinbeam.settings import ROOT, Settings

HOST = "127.0.0.1"
"""Every local service listens on loopback only."""

_SHARED_SECTIONS = {"google", "storage", "warehouse", "local"}
"""Sections that a child process must see as its parent does. None of them can hold a secret."""

_CREDENTIALS = {
    "type": "authorized_user",
    "client_id": "local",
    "client_secret": "local",
    "refresh_token": "local",
    "token": "local",
    "expiry": "9999-01-01T00:00:00Z",
}
"""Application default credentials that ask nobody for anything.

Without credentials, Beam searches for them for half a minute. A service account would ask its token endpoint and, off
the machine, Google's regional access boundary. A user's token that never expires is sent as it is, and the emulators
ignore it.
"""


_MEANS_MORE = re.compile(r"[%?#*\[\]{}'\"`$\\:;|<>&!\x00-\x1f\x7f]")


def cloud_dir(settings: Settings) -> Path:
    """The folder of the local cloud: data, logs and state of its services."""
    return settings.local.state_dir.resolve() / "cloud"


def bigquery_url(settings: Settings) -> str:
    """Base URL of the BigQuery emulator."""
    return f"http://{HOST}:{settings.local.ports.bigquery}"


def storage_url(settings: Settings) -> str:
    """Base URL of the Cloud Storage emulator."""
    return f"http://{HOST}:{settings.local.ports.storage}"


def environment(settings: Settings) -> dict[str, str]:
    """The variables to add to a process's environment so that it works on the local cloud; writes the credentials file.

    Raises:
        SettingsError: the warehouse of these settings is not local.
    """
    if not settings.is_local:
        raise SettingsError(
            f"The environment is {settings.environment}, but only the local one has emulators.",
            "Set COINBEAM_ENV=local.",
        )
    for folder in (ROOT, settings.local.state_dir.resolve()):
        refuse_folder(folder)
    return {**_google(settings), **_coinbeam(settings)}


def refuse_folder(folder: Path) -> None:
    """Refuse a folder whose name means something else in a database URL, a glob or a shell, before anything starts.

    Raises:
        SettingsError: it has such a character; the message names it.
    """
    found = _MEANS_MORE.search(str(folder))
    if found:
        raise SettingsError(
            f"The folder {folder} has the character {found[0]!r} in its name, which addresses of local services cannot "
            "hold.",
            "Move the checkout, or set COINBEAM_LOCAL__STATE_DIR, to a folder without it.",
        )


def _google(settings: Settings) -> dict[str, str]:
    project = settings.google.project
    connection = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": project}}
    return {
        "BIGQUERY_EMULATOR_HOST": bigquery_url(settings),
        "STORAGE_EMULATOR_HOST": storage_url(settings),
        "GOOGLE_APPLICATION_CREDENTIALS": str(_write_credentials(cloud_dir(settings))),
        "GOOGLE_CLOUD_PROJECT": project,
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
    }


def _write_credentials(folder: Path) -> Path:
    """Write the credentials file by a rename, since another process may be reading it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "credentials.json"
    text = json.dumps(_CREDENTIALS)
    if not (path.is_file() and path.read_text() == text):
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(text)
        draft.replace(path)
    return path


def _coinbeam(settings: Settings) -> dict[str, str]:
    dumped = settings.model_dump(mode="json", include=_SHARED_SECTIONS, exclude_none=True)
    dumped["local"]["state_dir"] = str(settings.local.state_dir.resolve())
    return {"COINBEAM_ENV": settings.environment.value, **_flatten("COINBEAM", dumped, separator="_")}


def _flatten(prefix: str, tree: Mapping[str, object], separator: str = "__") -> dict[str, str]:
    """Nested settings as the flat names that pydantic-settings reads."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        key = f"{prefix}{separator}{name.upper()}"
        flat |= _flatten(key, value) if isinstance(value, Mapping) else {key: str(value)}
    return flat
