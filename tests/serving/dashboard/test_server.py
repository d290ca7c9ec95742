"""The server is told everything on its command line, and only asks this machine."""

from pathlib import Path

import pytest
from streamlit import config

from coinbeam.settings import ServingSettings
from serving.dashboard.server import command


def flags(words: list[str]) -> dict[str, str]:
    """The options of a command line; one that is given often has its last value."""
    return dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--"))


def test_every_flag_is_an_option_of_streamlit() -> None:
    config.get_config_options(force_reparse=True)
    words = command(ServingSettings(secrets_file=Path("secrets.toml")), "127.0.0.1", 8501, here_alone=True)
    assert set(flags(words)) <= set(config.get_config_options())


def test_nobody_is_told_of_a_start_and_no_file_is_watched() -> None:
    given = flags(command(ServingSettings(), "127.0.0.1", 8502, here_alone=True))
    assert given["browser.gatherUsageStats"] == "false"
    assert given["server.fileWatcherType"] == "none"
    assert given["server.headless"] == "true"
    assert given["client.showErrorDetails"] == "none"
    assert (given["server.address"], given["server.port"]) == ("127.0.0.1", "8502")


@pytest.mark.parametrize("here_alone", [True, False])
def test_other_names_of_this_machine_are_refused_where_nobody_else_reaches_it(here_alone: bool) -> None:
    words = command(ServingSettings(), "127.0.0.1", 8501, here_alone=here_alone)
    allowed = [word for word in words if word.startswith("--server.allowedHosts=")]
    assert len(allowed) == (3 if here_alone else 0)


def test_secrets_are_named_by_their_file_and_never_by_what_they_are(tmp_path: Path) -> None:
    file = tmp_path / "secrets.toml"
    file.write_text('cookie_secret = "of nobody"')
    words = command(ServingSettings(secrets_file=file), "127.0.0.1", 8501, here_alone=True)
    assert f"--secrets.files={file}" in words
    assert "of nobody" not in " ".join(words)
    assert "secrets.files" not in flags(command(ServingSettings(), "127.0.0.1", 8501, here_alone=True))
