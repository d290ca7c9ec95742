"""No secret lies in the history or the checkout, and one of each kind would be found."""

from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from deploy.leaks import KINDS, in_checkout, in_files, in_history, leaks, main
from tests.deploy.test_submission import git

LETTERS = "aB3dE5gH7jK9mN1pQ2sT4vW6xY8z" * 4
PLANTED = {
    "key of CoinGecko": f"CG-{LETTERS[:24]}",
    "API key of Google": f"AIza{LETTERS[:35]}",
    "client secret of Google": f"GOCSPX-{LETTERS[:28]}",
    "access token of Google": f"ya29.{LETTERS}",
    "refresh token of Google": f"1//0{LETTERS[:60]}",
    "key of a service account": f'{{"private_key_id": "{"0123456789" * 4}"}}',
    "private key": f"-----BEGIN RSA PRIVATE {'KEY'}-----\\n{LETTERS}",
    "token of GitHub": f"ghp_{LETTERS[:36]}",
    "token of PyPI": f"pypi-AgEIcHlwaS{LETTERS}",
    "token of npm": f"npm_{LETTERS[:36]}",
    "token of Slack": f"xoxb-{LETTERS[:40]}",
    "webhook of Slack": f"https://hooks.slack.com/services/T{'0' * 8}/B{'0' * 8}/{LETTERS[:24]}",
    "key of Amazon": f"AKIA{'ABCD2345' * 2}",
    "signed token": f"eyJ{LETTERS[:30]}.eyJ{LETTERS[:30]}.{LETTERS[:30]}",
    "password in an address": f"postgresql://coinbeam:{LETTERS[:12]}@db.example.com/prices",
}


def test_nothing_of_this_repository_looks_like_a_credential(capsys: pytest.CaptureFixture[str]) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    assert main() == 0, capsys.readouterr().err


def test_every_kind_has_an_example() -> None:
    assert set(PLANTED) == set(KINDS)


@pytest.mark.parametrize(("kind", "value"), PLANTED.items(), ids=PLANTED)
def test_a_credential_is_found_by_its_line_and_never_shown(kind: str, value: str) -> None:
    [leak] = leaks("notes.txt", f"one\nkey = {value}\n".encode())
    assert str(leak) == f"notes.txt:2: {kind}"


@pytest.mark.parametrize(
    "harmless",
    [
        "CG-sentinelSENTINEL1234567890",
        "CG-...",
        "AIza and so on",
        f"-----BEGIN PUBLIC {'KEY'}-----\n{LETTERS}",
        "https://user@example.com:8080/path@sha256",
        "postgresql://coinbeam:$PASSWORD@db/prices",
        "sha256:" + "0123456789abcdef" * 4,
    ],
)
def test_what_is_no_credential_or_says_that_it_is_made_up_is_left_alone(harmless: str) -> None:
    assert list(leaks("notes.txt", harmless.encode())) == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout whose key was taken away in the second of three commits, and which has a file without a commit."""
    git(tmp_path, "init", "--quiet")
    for text in (PLANTED["key of CoinGecko"], "nothing", "nothing more"):
        (tmp_path / "notes with blanks.txt").write_text(text)
        git(tmp_path, "add", "--all")
        git(
            tmp_path,
            "commit",
            "--quiet",
            "--message",
            f"as token {PLANTED['token of GitHub']}" if "more" in text else "x",
        )
    (tmp_path / ".gitignore").write_text("ignored.txt\n")
    for name in ("ignored.txt", "new.bin"):
        (tmp_path / name).write_bytes(b"\0" + PLANTED["API key of Google"].encode())
    return tmp_path


def test_a_key_that_a_later_commit_took_away_is_found_and_one_in_a_message(repository: Path) -> None:
    found = in_history(repository)
    assert sorted(leak.kind for leak in found) == ["key of CoinGecko", "token of GitHub"]
    assert {leak.place.partition(" ")[2] for leak in found} == {"notes with blanks.txt", "message"}


def test_a_key_that_waits_for_a_commit_is_found_and_what_git_ignores_is_not_read(repository: Path) -> None:
    assert [leak.place for leak in in_checkout(repository)] == ["new.bin"]


def test_the_command_fails_and_names_each_place(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(repository) == 1
    said = capsys.readouterr().err
    assert "new.bin:1: API key of Google" in said
    assert LETTERS[:20] not in said


def test_a_tree_without_git_has_no_history(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(PLANTED["key of Amazon"])
    assert main(tmp_path) == 0
    assert len(in_files(tmp_path, ["one"])) == 1
