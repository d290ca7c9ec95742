"""Composer's environment on this machine: the packages of its image that our DAGs stand on, and our requirements on
top, without Beam.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from coinbeam.settings import ROOT, STATE

IMAGE = ROOT / "config" / "composer-image.txt"
IMAGE_INPUT = ROOT / "config" / "composer-image.in"
REQUIREMENTS = ROOT / "config" / "composer-requirements.txt"
UV = [sys.executable, "-m", "uv"]


def environment() -> Path:
    """The interpreter of that environment, made once for each set of pins and kept for the next time."""
    name = hashlib.sha256(IMAGE.read_bytes() + REQUIREMENTS.read_bytes()).hexdigest()[:16]
    folder = STATE / "environments" / f"composer-{name}"
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock", timeout=280):
        if not (folder / "ready").is_file():
            subprocess.run(
                [*UV, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True, timeout=60
            )
            install = [
                *UV,
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--python",
                str(python),
                "-r",
                str(IMAGE),
                "-r",
                str(REQUIREMENTS),
            ]
            subprocess.run(install, check=True, timeout=270, env=os.environ)
            (folder / "ready").touch()
    return python
