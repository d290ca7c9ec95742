"""The command line of the server: everything that Streamlit would otherwise decide by files or by asking around."""

import sys
from pathlib import Path

from coinbeam.settings import ServingSettings
from serving.dashboard.palette import DARK, LIGHT

APP = Path(__file__).with_name("app.py")

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")

_FIXED = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",  # an exception goes to the log, not to the page
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "global.developmentMode": "false",
    "logger.hideWelcomeMessage": "true",
    "runner.magicEnabled": "false",
    "server.enableStaticServing": "false",
    "server.fileWatcherType": "none",
    "server.headless": "true",
    "server.maxUploadSize": "1",
    "server.showEmailPrompt": "false",
}


def command(settings: ServingSettings, host: str, port: int, *, here_alone: bool) -> list[str]:
    """The program and its arguments.

    Args:
        here_alone: whether only this machine reaches the address; other names of it are then refused, behind which a
            page of somebody else could hide.
    """
    flags = _FIXED | {"server.address": host, "server.port": str(port)} | _theme()
    words = [sys.executable, "-m", "streamlit", "run", str(APP)]
    words += [f"--{name}={value}" for name, value in sorted(flags.items())]
    if here_alone:
        words += [f"--server.allowedHosts={name}" for name in _LOOPBACK]
    if settings.secrets_file:
        words.append(f"--secrets.files={settings.secrets_file.resolve()}")
    return words


def _theme() -> dict[str, str]:
    """Colours of both modes; which of them is shown is the choice of the browser."""
    flags: dict[str, str] = {}
    for mode, colours in (("light", LIGHT), ("dark", DARK)):
        flags |= {
            f"theme.{mode}.primaryColor": colours.line,
            f"theme.{mode}.linkColor": colours.line,
            f"theme.{mode}.greenColor": colours.up,
            f"theme.{mode}.greenTextColor": colours.up,
            f"theme.{mode}.redColor": colours.down,
            f"theme.{mode}.redTextColor": colours.down,
        }
    return flags
