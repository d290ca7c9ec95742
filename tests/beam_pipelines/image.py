"""The image of the Beam jobs without Docker: an environment of the packages that the Dockerfile installs, a tree of
what it copies.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from coinbeam.settings import ROOT, STATE

DOCKERFILE = ROOT / "Dockerfile"
_INSTALL = re.compile(r"pip install .*-r (\S+)")


@dataclass(frozen=True)
class Image:
    """What a container of the image holds.

    Attributes:
        python: the interpreter of its environment.
        tree: its ``/app``.
        variables: what its ENV lines set, with ``/app`` replaced.
    """

    python: Path
    tree: Path
    variables: dict[str, str]

    def command(self, *arguments: str) -> str:
        """A shell command inside it: nothing of the test's own interpreter is on the path."""
        cleared = [f"-u{name}" for name in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")]
        given = [f"{name}={value}" for name, value in self.variables.items()]
        return f"cd {shlex.quote(str(self.tree))} && exec " + shlex.join(
            ["env", *cleared, *given, str(self.python), *arguments]
        )


def stage(name: str, base: str = "") -> list[str]:
    """The instructions of a stage of the Dockerfile, continued lines joined.

    Args:
        name: of the stage.
        base: what it has to begin with, where that matters.
    """
    lines = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    start = next(
        number for number, line in enumerate(lines) if line.startswith(f"FROM {base}") and line.endswith(f" AS {name}")
    )
    rest = lines[start + 1 :]
    end = next((number for number, line in enumerate(rest) if line.startswith("FROM ")), len(rest))
    return [line.strip() for line in rest[:end] if line.strip() and not line.startswith("#")]


def build(folder: Path) -> Image:
    """Build the stage ``pipelines`` below a folder; the packages are installed once for each set of pins."""
    instructions = stage("pipelines")
    tree = folder / "app"
    for line in instructions:
        if line.startswith("COPY "):
            source, target = line.split()[1:]
            _copy(ROOT / source, tree / target)
    variables = dict(
        word.split("=", 1) for line in instructions if line.startswith("ENV ") for word in line.split()[1:]
    )
    [requirements] = {found[1] for line in instructions if (found := _INSTALL.search(line))}
    return Image(
        _environment(ROOT / requirements),
        tree,
        {name: value.replace("/app", str(tree)) for name, value in variables.items()},
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)


def _environment(requirements: Path) -> Path:
    """An environment that holds exactly these packages, kept for the next time."""
    name = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    folder = STATE / "environments" / f"beam-{name}"
    python, uv = folder / "bin" / "python", [sys.executable, "-m", "uv"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock", timeout=250):
        if not (folder / "ready").is_file():
            subprocess.run(
                [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True, timeout=60
            )
            install = [*uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
            install += ["--python", str(python), "-r", str(requirements)]
            subprocess.run(install, check=True, timeout=240, env=os.environ)
            (folder / "ready").touch()
    return python
