"""The Google providers for Terraform with a cloud that is a folder: what is planned is made there, found again, and
refused when it is there already.

Beside the schema (see ``tests.infra.provider``) nothing of the real providers is in it: what only the server knows is
invented, the same each time. It proves how we drive Terraform, its state and its lock, not what Google accepts.
``python -m tests.deploy.project.provider google`` with the folder in ``CLOUD_FOLDER``.
"""

import hashlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import msgpack

from tests.infra import provider
from tests.infra.provider import field

FOLDER = "CLOUD_FOLDER"
SLOW = "CLOUD_SECONDS"
SLOW_TYPE = "CLOUD_SLOW_TYPE"
"""What takes seconds to make, Composer unless another type is named, and how many."""

STORAGE = "CLOUD_STORAGE"
"""Where Cloud Storage answers, which says in whose project a bucket is."""

_UNKNOWN = msgpack.ExtType(0, b"\0")
_NAMES = ("secret_id", "workload_identity_pool_provider_id", "workload_identity_pool_id", "repository_id", "role_id")
_OWN_NAME = frozenset(
    {
        "artifact_registry_repository", "bigquery_dataset", "bigquery_table", "composer_environment", "compute_address",
        "compute_firewall", "compute_network", "compute_router", "compute_router_nat", "compute_subnetwork",
        "iam_workload_identity_pool", "iam_workload_identity_pool_provider", "logging_metric", "logging_project_sink",
        "project_iam_custom_role", "secret_manager_secret", "service_account", "storage_bucket", "cloud_run_v2_job",
        "cloud_scheduler_job", "pubsub_topic", "pubsub_subscription",
    }
)  # fmt: skip
"""The types of which there is one by a name, so that a second one is refused."""


def fields(message: bytes) -> dict[int, list[bytes]]:
    """The fields of a protobuf message; numbers are left out, since no request needs one."""
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        if tag & 7 == 0:
            _, at = _number(message, at)
            continue
        size, at = _number(message, at)
        found.setdefault(tag >> 3, []).append(message[at : at + size])
        at += size
    return found


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def value_of(message: bytes) -> Any:
    """A ``DynamicValue``."""
    parts = fields(message)
    if 1 in parts:
        return msgpack.unpackb(parts[1][0], strict_map_key=False, ext_hook=lambda *_: _UNKNOWN)
    return json.loads(parts[2][0])


def dynamic(value: Any) -> bytes:
    """A value as ``DynamicValue``."""
    return field(1, msgpack.packb(value))


class Cloud:
    """The folder: a file per resource.

    Args:
        folder: may not exist yet.
        seconds: that the making of what is slow takes.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds

    def file(self, kind: str, key: str) -> Path:
        """Where a resource lies."""
        return self._folder / kind / (hashlib.sha256(key.encode()).hexdigest()[:24] + ".json")

    def find(self, kind: str, key: str) -> dict[str, Any] | None:
        """A resource, or None."""
        path = self.file(kind, key)
        return dict(json.loads(path.read_text())["value"]) if path.is_file() else None

    def keep(self, kind: str, key: str, value: Mapping[str, Any]) -> None:
        """Make or change a resource."""
        path = self.file(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        changes = json.loads(path.read_text())["writes"] if path.is_file() else 0
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps({"key": key, "writes": changes + 1, "value": value}))
        new.rename(path)

    def wait(self, kind: str) -> None:
        """Some things take long."""
        if kind == os.environ.get(SLOW_TYPE, "google_composer_environment"):
            time.sleep(self._seconds)


class Making(provider.Calls):
    """A provider that makes resources.

    Args:
        schema: that of the provider.
        stop: set when Terraform is done.
        cloud: where they are made.
    """

    def __init__(self, schema: Mapping[str, Any], stop: Event, cloud: Cloud) -> None:
        super().__init__(schema, stop)
        self._schema, self._cloud = schema, cloud
        for name in ("UpgradeResourceState", "ReadResource", "PlanResourceChange", "ApplyResourceChange"):
            self._answers[f"/tfplugin5.Provider/{name}"] = self._guarded(getattr(self, f"_{name}"))
        self._answers["/tfplugin5.Provider/ReadDataSource"] = self._guarded(self._ReadDataSource)
        self._answers["/tfplugin5.Provider/ImportResourceState"] = self._guarded(self._ImportResourceState)

    def _guarded(self, answer: Callable[[dict[int, list[bytes]]], bytes]) -> Callable[[bytes], bytes]:
        return lambda request: answer(fields(request))

    def _block(self, kind: str) -> Mapping[str, Any]:
        return dict(self._schema["resource_schemas"][kind]["block"])

    def _UpgradeResourceState(self, request: dict[int, list[bytes]]) -> bytes:
        raw = json.loads(fields(request[3][0])[1][0])
        return field(1, dynamic(raw))

    def _ReadResource(self, request: dict[int, list[bytes]]) -> bytes:
        kind, state = request[1][0].decode(), value_of(request[2][0])
        return field(1, dynamic(self._cloud.find(kind, state["id"]) if state else None))

    def _ReadDataSource(self, request: dict[int, list[bytes]]) -> bytes:
        kind, config = request[1][0].decode(), value_of(request[2][0])
        if kind == "google_storage_bucket":
            with urllib.request.urlopen(f"{os.environ[STORAGE]}/storage/v1/b/{config['name']}", timeout=30) as answer:
                number = int(json.load(answer)["projectNumber"])
            return field(1, dynamic({**config, "id": config["name"], "project_number": number}))
        return field(1, dynamic({**config, "id": config.get("project_id"), "number": "123456789012"}))

    def _PlanResourceChange(self, request: dict[int, list[bytes]]) -> bytes:
        kind, prior, proposed = request[1][0].decode(), value_of(request[2][0]), value_of(request[3][0])
        if prior is None and proposed is not None:
            proposed = left_open(self._block(kind), proposed)
        return field(1, dynamic(proposed)) + field(5, True)

    def _ApplyResourceChange(self, request: dict[int, list[bytes]]) -> bytes:
        kind, prior, planned = request[1][0].decode(), value_of(request[2][0]), value_of(request[3][0])
        if planned is None:
            self._cloud.file(kind, prior["id"]).unlink()
            return field(1, dynamic(None))
        if prior is not None:
            self._cloud.keep(kind, prior["id"], planned)
            return field(1, dynamic(planned)) + field(4, True)
        key = key_of(kind, planned)
        if kind.removeprefix("google_") in _OWN_NAME and self._cloud.find(kind, key) is not None:
            problem = f"Error creating {kind}: googleapi: Error 409: {key} already exists., alreadyExists"
            return field(3, field(1, b"") + _numbered(1, 1) + field(2, problem)) + field(1, dynamic(None))
        self._cloud.wait(kind)
        made = filled(self._block(kind), planned, kind, key)
        self._cloud.keep(kind, key, made)
        return field(1, dynamic(made)) + field(4, True)

    def _ImportResourceState(self, request: dict[int, list[bytes]]) -> bytes:
        kind, given = request[1][0].decode(), request[2][0].decode()
        for path in (self._cloud.file(kind, "").parent).glob("*.json"):
            found = json.loads(path.read_text())
            if given.replace(" ", "/").endswith(found["key"]):
                return field(1, field(1, kind) + field(2, dynamic(found["value"])))
        return field(2, _numbered(1, 1) + field(2, f"Cannot import non-existent remote object {given}"))


def _numbered(number: int, value: int) -> bytes:
    return field(number, value)


def left_open(block: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """A new resource with what only the server knows left open."""
    out = dict(value)
    for name, one in block.get("attributes", {}).items():
        if one.get("computed") and out.get(name) is None:
            out[name] = _UNKNOWN
    for name, one in block.get("block_types", {}).items():
        if isinstance(out.get(name), list):
            out[name] = [left_open(one["block"], item) for item in out[name]]
        elif isinstance(out.get(name), dict):
            out[name] = left_open(one["block"], out[name])
    return out


def key_of(kind: str, value: Mapping[str, Any]) -> str:
    """By which a resource is found again: its name, or a digest of what it is."""
    if kind == "google_service_account":
        return f"{value['account_id']}@{value['project']}.iam.gserviceaccount.com"
    if kind == "google_bigquery_table":
        return f"{value['dataset_id']}/tables/{value['table_id']}"
    if kind.removeprefix("google_") in _OWN_NAME:
        names = (*_NAMES, "dataset_id", "name")
        return str(next(value[name] for name in names if isinstance(value.get(name), str)))
    known = {name: one for name, one in value.items() if one is not None and one != _UNKNOWN}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:16]


def filled(block: Mapping[str, Any], value: Any, kind: str, key: str) -> Any:
    """A resource with what the server knows, which is invented: texts by its key, nothing else."""
    out = dict(value)
    for name, one in block.get("attributes", {}).items():
        if out.get(name) == _UNKNOWN:
            is_text = one["type"] == "string" and not one.get("optional")
            out[name] = SERVER.get((kind, name), f"{key}" if is_text or name == "id" else None)
    if kind == "google_service_account" and "account_id" in out:
        path = f"projects/{out['project']}/serviceAccounts/{key}"
        out |= {"email": key, "member": f"serviceAccount:{key}", "name": path}
    for name, one in block.get("block_types", {}).items():
        if isinstance(out.get(name), list):
            out[name] = [filled(one["block"], item, kind, key) for item in out[name]]
        elif isinstance(out.get(name), dict):
            out[name] = filled(one["block"], out[name], kind, key)
    return out


SERVER: dict[tuple[str, str], str] = {
    (
        "google_composer_environment",
        "dag_gcs_prefix",
    ): f"gs://{os.environ.get('CLOUD_COMPOSER_BUCKET', 'composer')}/dags",
    ("google_composer_environment", "airflow_uri"): os.environ.get("CLOUD_AIRFLOW", "https://airflow.example.com"),
    ("google_bigquery_data_transfer_config", "name"): "projects/1/locations/us/transferConfigs/freshness-check",
    ("google_project_service_identity", "member"): "serviceAccount:service-1@gcp-sa-iap.iam.gserviceaccount.com",
}
"""What the server decides and something else of ours reads."""


def main(name: str) -> None:
    """Answer until Terraform is done."""
    stop = Event()
    schema = json.loads(Path(provider.__file__).with_name("provider_schema.json").read_text(encoding="utf-8"))[name]
    cloud = Cloud(Path(os.environ[FOLDER]), float(os.environ.get(SLOW, "0")))
    server = grpc.server(provider.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((Making(schema, stop, cloud),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"1|{provider.PROTOCOL}|tcp|127.0.0.1:{port}|grpc", flush=True)
    stop.wait(timeout=300)
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main(sys.argv[1])
