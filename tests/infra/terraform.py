"""Terraform on a copy of our files, with the providers of this folder from a mirror on disk: no registry, no account, no
state.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinbeam.settings import ROOT
from tests.infra import provider
from tests.infra.provider_schema import PACKAGES, VERSION

TIMEOUT_SECONDS = 240
COPIED = ("infra", "sql", "config")


def executable() -> str | None:
    """Terraform on this machine, or None."""
    return shutil.which("terraform")


@dataclass(frozen=True)
class Workspace:
    """A copy of the tree that Terraform may write into.

    Attributes:
        root: the copy; ``infra/`` lies in it beside what it reads.
    """

    root: Path

    @property
    def infra(self) -> Path:
        """The root module."""
        return self.root / "infra"

    @classmethod
    def create(cls, root: Path) -> "Workspace":
        """Copy the tree, and install the providers and the modules.

        Args:
            root: a new folder.
        """
        ignored = shutil.ignore_patterns(
            ".terraform*", "*.tfstate", "terraform.tfvars", "deployment.json", "__pycache__"
        )
        for folder in COPIED:
            shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
        made = cls(root)
        made._mirror()
        made.run("init", "-backend=false", "-input=false").check_returncode()
        return made

    def copy(self, root: Path) -> "Workspace":
        """Another copy, ready to be spoilt."""
        shutil.copytree(self.root, root, symlinks=True)
        return Workspace(root)

    def replace(self, path: str, old: str, new: str) -> None:
        """Make a deliberate mistake.

        Args:
            path: file below ``infra/``.
            old: text that occurs in it.
            new: what to put in its place.
        """
        file = self.infra / path
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{path} does not hold {old!r}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def keep_run(self, path: str, name: str) -> None:
        """Take the other runs out of a test of Terraform, since each of them takes a second.

        Args:
            path: file below ``infra/``.
            name: of the run.
        """
        file = self.infra / path
        head, *runs = re.split(r"^(?=run )", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (kept,) = (run for run in runs if run.startswith(f'run "{name}"'))
        file.write_text(head + kept, encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command of Terraform in the root module, without colours and questions."""
        command = [executable() or "terraform", *arguments]
        return subprocess.run(
            command,
            cwd=self.infra,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    def says(self, *arguments: str) -> str:
        """All that a command says, on one line, so that a wrapped sentence can be found."""
        done = self.run(*arguments, "-no-color")
        return " ".join((done.stdout + done.stderr).replace("│", " ").split())

    def events(self, *arguments: str) -> Iterator[dict[str, Any]]:
        """What a command tells with ``-json``, one event a line."""
        done = self.run(*arguments, "-json")
        for line in done.stdout.splitlines():
            yield json.loads(line)

    def contracts(self) -> dict[str, Any]:
        """The tables as the module of the contracts reads them; it makes nothing, so Terraform needs no provider for
        it.
        """
        command = [executable() or "terraform", "-chdir=modules/contracts", "console", "-var=folder=../../../sql"]
        done = subprocess.run(
            command,
            cwd=self.infra,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            input="jsonencode(local.described)\n",
        )
        return dict(json.loads(json.loads(done.stdout)))

    def _mirror(self) -> None:
        for name in PACKAGES:
            folder = self.root / "mirror" / "registry.terraform.io" / "hashicorp" / name / VERSION / _platform()
            folder.mkdir(parents=True)
            launcher = folder / f"terraform-provider-{name}_v{VERSION}_x{provider.PROTOCOL}"
            launcher.write_text("\n".join(provider.lines(name)) + "\n", encoding="utf-8")
            launcher.chmod(0o755)
        self._take_providers_from(self.root / "mirror")

    def _take_providers_from(self, mirror: Path) -> None:
        (self.root / "terraform.rc").write_text(
            f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n',
            encoding="utf-8",
        )

    def pack_providers(self) -> None:
        """Take the providers from archives, whose hashes are those of a lock file; a folder has hashes of its own."""
        for folder in (self.root / "mirror").glob(f"*/*/*/{VERSION}/*"):
            name = folder.parent.parent.name
            archive = f"terraform-provider-{name}_{VERSION}_{folder.name}"
            packed = self.root / "packed" / "registry.terraform.io" / "hashicorp" / name / archive
            shutil.make_archive(str(packed), "zip", folder)
        self._take_providers_from(self.root / "packed")

    def _environment(self) -> dict[str, str]:
        """Nothing of this machine's Terraform settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        own = {
            "TF_CLI_CONFIG_FILE": str(self.root / "terraform.rc"),
            "TF_DISABLE_PLUGIN_TLS": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        return kept | own | {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}


def _platform() -> str:
    system = os.uname()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(system.machine, system.machine)
    return f"{system.sysname.lower()}_{machine}"
