"""The image of the small profile without Docker, and the environment that its Cloud Run job has, with emulators in the
place of Google's services.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from coinbeam.settings import ROOT
from local.environment import HOST
from tests.build import emulated, serving
from tests.build.serving import Image, pins
from tests.temporary import LocalCloud
from tests.warehouse import wiretap

DOCKERFILE = ROOT / "batch.Dockerfile"
REQUIREMENTS = ROOT / "config" / "batch-requirements.txt"
_ENTRYPOINT = re.compile(r"^ENTRYPOINT (\[.*\])$", re.MULTILINE)
_TABLE = re.compile(r"/datasets/(\w+)/tables(?:/(\w+))?$")
_LAYOUT = ("clustering", "tableConstraints", "timePartitioning", "requirePartitionFilter")


class Remembering(wiretap.Wiretap):
    """BigQuery's emulator with a memory for the layout of tables.

    BigQuery tells clustering, keys and partition filters of a table; its emulator takes them and forgets them, and a
    deployment refuses a table without them.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.RequestHandlerClass = _Telling
        self.layouts: dict[tuple[str, str], dict[str, Any]] = {}


class _Telling(wiretap._Handler):
    server: Remembering

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        request = self.server.requests.pop()
        found = _TABLE.search(request.path)
        if found and request.method == "POST" and not found[2]:
            name = request.json["tableReference"]["tableId"]
            self.server.layouts[found[1], name] = {key: request.json[key] for key in _LAYOUT if key in request.json}
        layout = self.server.layouts.get((found[1], found[2])) if found and found[2] else None
        super()._answer(_with(answer, layout) if layout and answer.status == 200 else answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = wiretap._Handler._forward


def _with(answer: http.client.HTTPResponse, layout: Mapping[str, Any]) -> Any:
    """An answer that describes a table, with its layout."""
    content = json.dumps(json.loads(answer.read()) | dict(layout)).encode()
    return _Changed(answer.status, answer.getheaders(), content)


@dataclass(frozen=True)
class _Changed:
    status: int
    headers: list[tuple[str, str]]
    content: bytes

    def read(self) -> bytes:
        return self.content

    def getheaders(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.headers if name.lower() not in {"content-encoding", "etag"}]


def build(folder: Path) -> Image:
    """The image below an empty folder: what is copied, and links to the packages that are installed, no others."""
    image = serving.build(folder, set(pins(REQUIREMENTS)), DOCKERFILE)
    packages = next((folder / "environment" / "lib").glob("python*/site-packages"))
    shutil.copy2(emulated.__file__, packages / "sitecustomize.py")
    return image


@dataclass(frozen=True)
class Job:
    """The Cloud Run job, each execution a process without the container.

    Attributes:
        image: what it holds.
        state: the folder that the process may write.
        variables: its environment.
        executions: the number of those before, for their names.
    """

    image: Image
    state: Path
    variables: Mapping[str, str]
    executions: list[str] = field(default_factory=list)

    def command(self, *arguments: str) -> list[str]:
        """What a container runs: the entry point of the image with the arguments of the job."""
        [entrypoint] = _ENTRYPOINT.findall(DOCKERFILE.read_text())
        program, *rest = json.loads(entrypoint)
        assert program == "python"
        return [str(self.image.python), *rest, *arguments]

    def start(self, *arguments: str, attempt: int = 0, **variables: str) -> "subprocess.Popen[str]":
        """Start an attempt of an execution, a new one unless it is a later attempt."""
        if attempt == 0:
            self.executions.append(f"coinbeam-daily-{len(self.executions)}")
        own = {"CLOUD_RUN_EXECUTION": self.executions[-1], "CLOUD_RUN_TASK_ATTEMPT": str(attempt)}
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.image.tree,
            env={**self.variables, **own, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, attempt: int = 0, seconds: float = 250, **variables: str) -> tuple[int, str]:
        """Run an attempt to its end; exit code and log."""
        process = self.start(*arguments, attempt=attempt, **variables)
        said, _ = process.communicate(timeout=seconds)
        return process.returncode, said


@contextmanager
def deployed(image: Image, cloud: LocalCloud, state: Path, given: Mapping[str, str]) -> Iterator[Job]:
    """The job with the emulators of a cloud, and a market that is the simulator at the address of the real one.

    Args:
        image: from `build`.
        cloud: with a bucket and datasets of its own.
        state: the folder that stands for ``/var/lib/coinbeam``.
        given: the variables that Terraform gives the job, and others of a test.
    """
    ports, names = cloud.settings.local.ports, cloud.settings.warehouse
    market = f"http://{HOST}:{ports.simulator}"
    with Remembering(ports.bigquery) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        google = {name: value for name, value in cloud.env.items() if not name.startswith(("COINBEAM_", "AIRFLOW_"))}
        plan = {"base_url": f"{market}/api/v3", "calls_per_minute": 6_000, "calls_per_month": 1_000_000}
        emulators = {
            "BIGQUERY_EMULATOR_HOST": f"http://{HOST}:{proxy.port}",
            emulated.ADDRESS: f"{HOST}:{ports.bigquery_grpc}",
            "COINBEAM_STORAGE__BUCKET": cloud.settings.storage.bucket,
            "COINBEAM_COINGECKO__PLAN": "keyless",
            "COINBEAM_COINGECKO__PLANS": json.dumps({"keyless": {**plan, "history_days": 365}}),
            "COINBEAM_HISTORY__FEAR_GREED_URL": f"{market}/fng/",
            **{
                f"COINBEAM_WAREHOUSE__{name.upper()}": value
                for name, value in names.model_dump().items()
                if "dataset" in name
            },
        }
        own = {"PYTHONPATH": str(image.tree), "COINBEAM_LOCAL__STATE_DIR": str(state), "HOME": str(state)}
        base = {"PATH": os.defpath, "TMPDIR": str(state)}
        yield Job(image, state, {**base, **google, **serving.variables(DOCKERFILE), **given, **emulators, **own})
        proxy.shutdown()
        thread.join()
