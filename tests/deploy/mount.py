"""Airflow's view of the bucket: a folder into which a synchronisation copies objects late and in any order."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deploy import loader
from deploy.store import DAGS
from tests.deploy.emulator import Emulator

AS_AIRFLOW = "import json, runpy, sys; found = runpy.run_path(sys.argv[1]); print(json.dumps(sorted(n for n in found if n.startswith('one-'))))"


class Mount:
    """A synchronised folder.

    Args:
        emulator: whose objects arrive.
        bucket: name of the bucket.
        folder: where they arrive.
        seed: of the order; None: nothing arrives by itself, and then the newest object first.
    """

    def __init__(self, emulator: Emulator, bucket: str, folder: Path, seed: int | None = 0) -> None:
        self.folder = folder / DAGS
        self._emulator, self._bucket, self._root = emulator, bucket, folder
        self._waiting: list[str] = []
        self._random = None if seed is None else random.Random(seed)
        self.after_each: Callable[[], None] = lambda: None

    def written(self, name: str) -> None:
        """An object was written: it waits, and any number of those that wait arrive."""
        self._waiting.append(name)
        if self._random:
            self._arrive(self._random.randint(0, 2))

    def settle(self) -> None:
        """All that waits arrives."""
        self._arrive(len(self._waiting))

    def _arrive(self, count: int) -> None:
        for _ in range(min(count, len(self._waiting))):
            name = self._waiting.pop(self._random.randrange(len(self._waiting)) if self._random else -1)
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{path.name}.{os.getpid()}")
            draft.write_bytes(self._emulator.content(self._bucket, name))
            draft.replace(path)
            self.after_each()

    def chosen(self) -> tuple[str, dict[str, bytes]]:
        """What a reader takes by the rule of the loader: the name of a release, and the bytes of all files in its
        tree.
        """
        tree, _ = loader.choose(self.folder)
        files = {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
        return tree.name, {path: body for path, body in files.items() if path != loader.MANIFEST}

    def dags(self) -> list[str]:
        """The DAGs that the loader gives in a fresh interpreter, which reads the file as Airflow does."""
        done = self.load()
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def load(self) -> "subprocess.CompletedProcess[str]":
        """Let a fresh interpreter read the loader's file."""
        command = [sys.executable, "-I", "-S", "-c", AS_AIRFLOW, str(self.folder / "coinbeam_dags.py")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
