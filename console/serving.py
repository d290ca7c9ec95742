"""The commands of serving: the bundle, the API and its keys, the dashboard."""

import ipaddress
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from coinbeam.errors import SettingsError, TerminalError
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import ROOT, Settings, SignIn, load_settings
from console.output import Format, say, show

KEY_COLUMNS = ("key_id", "name", "calls_per_minute", "created_at", "revoked_at")


def build_bundle(*, rebuild: bool) -> None:
    """Bring the serving bundle in step with the marts, and say what was written."""
    from coinbeam.bundle.builder import Builder
    from coinbeam.warehouse.client import Warehouse

    settings = load_settings()
    built = Builder(Warehouse(settings), Bucket(settings)).build(rebuild=rebuild)
    if built is None:
        say("The bundle is as new as the marts.")
        return
    say(
        f"Version {built.version} of batch {built.batch_id}: {built.written} files written, "
        f"{built.size / 1e6:.1f} of {built.total / 1e6:.1f} MB, {built.seconds:.1f} s"
    )


def serve_api(host: str | None, port: int | None) -> None:
    """Serve the API until Ctrl-C.

    Raises:
        SettingsError: keys are switched off for others than this machine.
    """
    import uvicorn

    from serving.api.app import create_app

    settings = load_settings()
    host, port = host or "127.0.0.1", port or settings.serving.api_port
    needs_key = keys_needed(settings, host)
    prepare_here(settings)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    app = create_app(settings, needs_key=needs_key)
    say(f"The API answers at http://{host}:{port}/api/v3 and /v1, with its documentation at /docs. Ctrl-C stops it.")
    if not needs_key:
        say("Calls need no key here: only this machine reaches it.")
    uvicorn.run(app, host=host, port=port, log_config=None, access_log=False, server_header=False)


def open_dashboard(host: str | None, port: int | None) -> None:
    """Serve the dashboard until Ctrl-C; the server takes the place of this process.

    Raises:
        SettingsError: others than this machine reach it, and nobody would be asked who they are.
    """
    from serving.dashboard.server import command

    settings = load_settings()
    host, port = host or "127.0.0.1", port or settings.serving.dashboard_port
    here_alone = is_loopback(host)
    if not here_alone and settings.serving.sign_in is SignIn.NONE:
        raise SettingsError(
            f"serving.sign_in is none, but {host} is reached by other machines.",
            "Set it to oidc or iap, or serve on 127.0.0.1.",
        )
    prepare_here(settings)
    say(f"The dashboard is at http://{host}:{port}. Ctrl-C stops it.")
    sys.stdout.flush()
    os.chdir(ROOT)  # where Streamlit looks for its secrets
    words = command(settings.serving, host, port, here_alone=here_alone)
    os.execv(words[0], words)


def keys_needed(settings: Settings, host: str) -> bool:
    """Whether calls to a server on this address need a key.

    Raises:
        SettingsError: they would not, though others than this machine reach it.
    """
    wanted = settings.serving.keys_required
    if is_loopback(host):
        return bool(wanted)
    if wanted is False:
        raise SettingsError(
            f"serving.keys_required is false, but {host} is reached by other machines.",
            "Leave the setting out, or serve on 127.0.0.1.",
        )
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def prepare_here(settings: Settings) -> None:
    """On one machine, start the emulators and bring the bundle in step; a deployment's is made by its DAG.

    Both in processes of their own: the clients of the warehouse are half as large as the server.

    Raises:
        TerminalError: there is no bundle, and none could be made.
    """
    if not settings.is_local:
        return
    for step in (("local", "up"), ("bundle",)):
        if subprocess.run(
            [sys.executable, "-m", "console", *step], cwd=ROOT, stdout=subprocess.DEVNULL, check=False
        ).returncode:
            raise TerminalError("There is nothing to serve.", "See the message above; `coinbeam run` comes first.")


def create_key(name: str, calls_per_minute: int | None) -> None:
    """Make a key and show it, once."""
    from serving.api.keys import Keys

    text, made = Keys(Bucket(load_settings())).create(name, calls_per_minute)
    say(text)
    say(f"This is the only time that the key is shown. Revoke it by `coinbeam keys revoke {made.key_id}`.")


def list_keys(form: Format) -> None:
    """Show the keys that were made, without what they are."""
    from serving.api.keys import Keys

    rows: list[Mapping[str, Any]] = [key.model_dump() for key in Keys(Bucket(load_settings())).all()]
    show(KEY_COLUMNS, [{name: row[name] for name in KEY_COLUMNS} for row in rows], form)


def revoke_key(key_id: str) -> None:
    """Revoke a key."""
    from serving.api.keys import Keys

    settings = load_settings()
    revoked = Keys(Bucket(settings)).revoke(key_id)
    say(f"{revoked.name}: the key is refused from now on, by every server within {settings.serving.poll_seconds:g} s.")
