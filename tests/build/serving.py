"""The image of the API and the dashboard without Docker: what ``serving.Dockerfile`` copies, and an environment of links
to the packages that it installs.
"""

import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path, PurePath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coinbeam.settings import ROOT

DOCKERFILE = ROOT / "serving.Dockerfile"
PYTHON = "3.11.13"
REQUIREMENTS = ROOT / "config" / "serving-requirements.txt"
_COPY = re.compile(r"^COPY (\S+) \S+$", re.MULTILINE)
_ENV = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True)
class Image:
    """What a container of the image holds.

    Attributes:
        python: the interpreter of its environment.
        tree: its ``/app``.
    """

    python: Path
    tree: Path


def copied(dockerfile: Path = DOCKERFILE) -> set[str]:
    """What a Dockerfile takes from the checkout."""
    return set(_COPY.findall(dockerfile.read_text()))


def variables(dockerfile: Path = DOCKERFILE) -> dict[str, str]:
    """What its ENV lines set."""
    lines = (line for line in dockerfile.read_text().splitlines() if line.startswith("ENV "))
    return dict(pair for line in lines for pair in _ENV.findall(line))


def pins(file: Path) -> dict[str, str]:
    """Versions by canonical name, for the interpreter of the image."""
    lines = (line for line in file.read_text().splitlines() if re.match(r"\w", line))
    parsed = (Requirement(line.removesuffix(" \\")) for line in lines)
    chosen = [one for one in parsed if one.marker is None or one.marker.evaluate({"python_full_version": PYTHON})]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in chosen}


def build(folder: Path, names: set[str], dockerfile: Path = DOCKERFILE) -> Image:
    """The image below a folder, with some distributions of the environment that runs this.

    Args:
        folder: empty.
        names: canonical names of the distributions.
        dockerfile: says what is copied.
    """
    for source in copied(dockerfile):
        target = folder / "app" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        ignored = shutil.ignore_patterns("__pycache__", "deployment.json")
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy2(ROOT / source, target)
    return Image(_environment(folder / "environment", names), folder / "app")


def _environment(folder: Path, names: set[str]) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    _link(names, packages)
    (folder / "pyvenv.cfg").write_text((Path(sys.prefix) / "pyvenv.cfg").read_text())
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    return folder / "bin" / "python"


def _link(names: set[str], packages: Path) -> None:
    """Link the files of some distributions, a whole folder where all of it is theirs: it brings its bytecode. Folders
    may be shared by several, such as ``google``.
    """
    ours: dict[PurePath, Path] = {}
    foreign: set[PurePath] = set()
    for distribution in distributions():
        is_ours = canonicalize_name(distribution.metadata["Name"]) in names
        for file in distribution.files or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            if is_ours:
                ours[PurePath(file)] = Path(str(distribution.locate_file(file)))
            else:
                foreign.update(PurePath(file).parents)
    for file, source in ours.items():
        parents = [parent for parent in [*file.parents][-2::-1] if parent not in foreign]
        whole = next(iter(parents), file)
        target = packages / whole
        if not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source if whole == file else Path(str(source).removesuffix(str(file))) / whole)
