"""The releases of both profiles as Cloud Build reads them: strictly parsed, substituted, and held to what its parser
misses.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from google.cloud.devtools.cloudbuild_v1.types import Build

from coinbeam.settings import ROOT
from deploy.submission import FILES

FILE = ROOT / FILES["composer"]
SMALL = ROOT / FILES["small"]

BUILT_IN = {
    "PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION", "TRIGGER_NAME", "COMMIT_SHA", "REVISION_ID", "SHORT_SHA", "REPO_NAME",
    "REPO_FULL_NAME", "BRANCH_NAME", "TAG_NAME", "REF_NAME", "TRIGGER_BUILD_CONFIG_PATH", "SERVICE_ACCOUNT_EMAIL", "SERVICE_ACCOUNT",
}  # fmt: skip
"""Source: https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values"""

_DOLLAR = re.compile(r"\$\$|\$\{(\w+)\}|\$(\w+)|\$")
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|:[\w.-]*\d[\w.-]*$")
_START = "set -euo pipefail"


class _Strict(yaml.SafeLoader):
    """YAML in which a key may be said once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def read(text: str) -> tuple[dict[str, Any], Build]:
    """The file as it is written, and as the API takes it.

    Raises:
        YAMLError: it is not YAML, or says a key twice.
        ParseError: a field that the API does not know, or a value that it does not take.
    """
    body: dict[str, Any] = yaml.load(text, _Strict)
    return body, Build.from_json(json.dumps(body), ignore_unknown_fields=False)


def substitute(text: str, values: Mapping[str, str]) -> str:
    """What Cloud Build makes of a text.

    Raises:
        KeyError: a substitution that nobody declared.
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name = found[1] or found[2]
        if name is None:
            raise KeyError(found[0])
        return values[name]

    return _DOLLAR.sub(value, text)


def values(build: Build, **given: str) -> dict[str, str]:
    """All substitutions of a build, those that name others resolved.

    Args:
        build: declares them.
        **given: what the submitter gives, built-in ones included; what is not given of these is empty.

    Raises:
        KeyError: one is given that the build does not declare, which ``MUST_MATCH`` refuses.
    """
    unknown = {name for name in given if name.startswith("_")} - set(build.substitutions)
    if unknown:
        raise KeyError(*sorted(unknown))
    known = dict.fromkeys(BUILT_IN, "") | {name: text for name, text in given.items() if not name.startswith("_")}
    return known | {
        name: substitute(text, known) for name, text in {**build.substitutions, **given}.items() if name.startswith("_")
    }


def script(step: Any) -> str | None:
    """The script of a step that runs bash."""
    return step.args[1] if step.entrypoint == "bash" and list(step.args[:1]) == ["-c"] else None


def faults(text: str) -> list[str]:
    """Everything that is wrong with a file that the API would take."""
    body, build = read(text)
    return [
        *_graph(build),
        *_substitutions(body, build),
        *_builders(build),
        *_times(build),
        *_scripts(build),
        *_account(build),
    ]


def _graph(build: Build) -> Iterator[str]:
    earlier: set[str] = set()
    for step in build.steps:
        if not step.id or step.id in earlier:
            yield f"a step has no id of its own: {step.id!r}"
        if not step.wait_for:
            yield f"{step.id} says nothing of what it waits for, so it waits for everything"
        for name in step.wait_for:
            if name not in earlier | {"-"}:
                yield f"{step.id} waits for {name!r}, which is no earlier step"
        earlier.add(step.id)


def _texts(body: Any) -> Iterator[str]:
    match body:
        case str():
            yield body
        case dict():
            for value in body.values():
                yield from _texts(value)
        case list():
            for value in body:
                yield from _texts(value)


def _substitutions(body: dict[str, Any], build: Build) -> Iterator[str]:
    used = [found for text in _texts(body) for found in _DOLLAR.finditer(text) if found[0] != "$$"]
    names = {found[1] or found[2] for found in used}
    for name in sorted(build.substitutions):
        if name not in names:
            yield f"{name} is declared and not used"
    for found in used:
        name = found[1] or found[2]
        if name is None or (name not in build.substitutions and name not in BUILT_IN):
            yield f"{found[0]} is not declared; a variable of the shell is written with $$"


def _builders(build: Build) -> Iterator[str]:
    known = values(build)
    for step in build.steps:
        try:
            name = substitute(step.name, known)
        except KeyError:
            continue  # told above
        if not _PINNED.search(name) or name.endswith(":latest"):
            yield f"{step.id} runs in {name!r}, which is not pinned to a version"


def _times(build: Build) -> Iterator[str]:
    if not build.timeout:
        yield "the build has no timeout"
    for step in build.steps:
        if not step.timeout or step.timeout > build.timeout:
            yield f"{step.id} has no timeout within that of the build"


def _scripts(build: Build) -> Iterator[str]:
    for step in build.steps:
        text = script(step)
        if text is None:
            yield f"{step.id} is no bash script"
            continue
        if not text.startswith(f"{_START}\n"):
            yield f"{step.id} does not begin with {_START!r}"
        if "gsutil" in text:
            yield f"{step.id} uses gsutil"
        done = subprocess.run(
            ["bash", "-n"], input=text.replace("$$", "$"), capture_output=True, text=True, check=False
        )
        if done.returncode:
            yield f"{step.id} is no bash: {done.stderr.strip()}"


def _account(build: Build) -> Iterator[str]:
    if not build.service_account.endswith("coinbeam-build@${PROJECT_ID}.iam.gserviceaccount.com"):
        yield "the build does not run as its own service account"
    if build.options.logging.name not in {"CLOUD_LOGGING_ONLY", "GCS_ONLY", "NONE"}:
        yield "a build of an own service account needs options.logging"


def text(file: Path = FILE) -> str:
    """The file of the repository."""
    return file.read_text(encoding="utf-8")
