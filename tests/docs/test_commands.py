"""Every command that a page tells a person to type exists, with the options that it names."""

import re
import runpy
import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from coinbeam.settings import ROOT
from console.app import app
from tests.docs.commands import Command, commands, simple_commands

RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
PAGES = [
    *RUNBOOKS,
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("looker_studio.md", "cloud.md", "questions.md")),
]
FOUND = [
    command
    for page in PAGES
    for command in commands(page)
    if not any("|" in word or word in {"...", "--install-completion"} for word in command.words)  # a choice, not a line
]


def of(program: str) -> Any:
    """One test for each different command of a program."""
    chosen = {command.words: command for command in FOUND if command.program == program}
    return pytest.mark.parametrize("command", chosen.values(), ids=str)


def fault_of_coinbeam(arguments: list[str]) -> str | None:
    """Why our command line does not take the arguments; None when it does. Nothing is run."""
    command: Any = typer.main.get_command(app)
    name = "coinbeam"
    context = None
    try:
        while True:
            context = command.make_context(name, list(arguments), parent=context)
            rest = [*context._protected_args, *context.args]
            if not hasattr(command, "resolve_command") or not rest:
                return (
                    None
                    if not hasattr(command, "resolve_command") or command.invoke_without_command
                    else "a command is missing"
                )
            name, command, arguments = command.resolve_command(context, rest)
    except Exception as error:  # of whichever parser typer is built on
        return getattr(error, "message", "") or str(error) or type(error).__name__


@of("coinbeam")
def test_a_command_of_ours_parses(command: Command) -> None:
    assert fault_of_coinbeam(command.arguments) is None


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("coinbeam stat", "No such command"),
        ("coinbeam status --formt json", "No such option"),
        ("coinbeam backfill --top-n many", "valid integer"),
        ("coinbeam run --mode clowd", "is not one of"),
        ("coinbeam replay", "Missing"),
        ("coinbeam contracts", "NoArgs"),
        ("coinbeam quality check extra", "unexpected extra argument"),
    ],
)
def test_a_mistake_in_a_command_of_ours_would_be_found(line: str, named: str) -> None:
    [words] = simple_commands(line)
    assert named in str(fault_of_coinbeam(list(words[1:])))


@cache
def gcloud() -> dict[str, Any]:
    """gcloud's own list of its commands and flags."""
    program = shutil.which("gcloud")
    listed = Path(program).resolve().parents[1] / "data" / "cli" / "gcloud_completions.py" if program else None
    if listed is None or not listed.is_file():
        pytest.skip("gcloud, whose list of commands this reads, is not on this machine")
    return dict(runpy.run_path(str(listed))["STATIC_COMPLETION_CLI_TREE"])


UNLISTED_FLAGS = {"--filter", "--limit", "--page-size", "--sort-by", "--uri"}
"""Flags of every command that lists, which gcloud adds by itself."""


def fault_of_gcloud(arguments: list[str]) -> str | None:
    """Which word gcloud does not know, or None."""
    at, flags, depth = gcloud(), set(gcloud()["flags"]), 0
    for word in arguments:
        if word.startswith("--"):
            break
        if word not in at["commands"]:
            if at["commands"]:
                return f"gcloud has no {' '.join(arguments[: depth + 1])}"
            break
        at, depth = at["commands"][word], depth + 1
        flags |= set(at["flags"])
    if at["commands"]:
        return f"{' '.join(arguments)} is no whole command"
    given = {word.partition("=")[0] for word in arguments if word.startswith("--") and word != "--"}
    unknown = sorted(flag for flag in given if flag not in flags | UNLISTED_FLAGS)
    return f"no flag {unknown[0]}" if unknown else None


@of("gcloud")
def test_a_command_of_gcloud_exists(command: Command) -> None:
    assert fault_of_gcloud(command.arguments) is None


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("gcloud dataflow job list", "no dataflow job"),
        ("gcloud dataflow jobs list --regions x", "no flag --regions"),
        ("gcloud secrets versions", "no whole command"),
    ],
)
def test_a_mistake_in_a_command_of_gcloud_would_be_found(line: str, named: str) -> None:
    [words] = simple_commands(line)
    assert named in str(fault_of_gcloud(list(words[1:])))


@of("make")
def test_a_target_exists(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets, variables = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE), re.findall(r"\$\(([A-Z_]+)\)", makefile)
    assert {word for word in command.arguments if "=" not in word} <= set(targets)
    assert {word.partition("=")[0] for word in command.arguments if "=" in word} <= set(variables)


@of("python")
def test_a_module_exists(command: Command) -> None:
    assert command.arguments[0] == "-m"
    assert find_spec(command.arguments[1]) is not None


@of("terraform")
def test_a_command_of_terraform_exists(command: Command) -> None:
    """Terraform's main commands: https://developer.hashicorp.com/terraform/cli/commands."""
    folder, name = command.arguments[:2]
    assert folder == "-chdir=infra"
    assert name in {"init", "validate", "plan", "apply", "output", "fmt", "test", "import", "force-unlock"}


def test_the_pages_have_commands() -> None:
    assert {command.program for command in FOUND} == {"coinbeam", "gcloud", "terraform", "make", "python"}
    assert len({command.words for command in FOUND}) > 50


def test_commands_are_found_wherever_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.commands.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "Type `coinbeam status` or `not this`.\n\n   ```sh\n   A=1 .venv/bin/coinbeam gaps \\\n     --fill\n"
        "   read -rs KEY && printf x | gcloud secrets versions add s --data-file=-\n   export B=$(gcloud config get "
        "project)\n   ```\n"
        "```text\ncoinbeam is quoted here\n```\n"
    )
    assert [command.words for command in commands(page)] == [
        ("coinbeam", "gaps", "--fill"),
        ("gcloud", "secrets", "versions", "add", "s", "--data-file=-"),
        ("gcloud", "config", "get", "project"),
        ("coinbeam", "status"),
    ]
