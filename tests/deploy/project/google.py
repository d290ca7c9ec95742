"""The parts of Google Cloud that ``coinbeam deploy`` asks, on loopback: one project, empty at first.

There are no emulators of Resource Manager, Cloud Billing, Service Usage, Secret Manager, Cloud Build, Artifact Registry
and Monitoring: what is answered here has the shape that gcloud reads. Cloud Storage is the emulator of the local cloud,
with what it lacks: a write may demand a generation, and a new bucket keeps what it was made with. Composer's Airflow is
its REST API, whose bodies are held to Airflow's own models. Resources that Terraform made are read from the folder of
``tests.deploy.project.provider``.
"""

import json
import re
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
from airflow.api_fastapi.core_api.datamodels.dags import DAGPatchBody
from google.cloud.devtools.cloudbuild_v1.types import Build

from local.environment import HOST

NUMBER = "123456789012"
PARENT = {"type": "folder", "id": "4242"}
"""Of the project, and so of the one that is made for the state."""

BILLING = "0A1B2C-3D4E5F-678901"
DAGS = (
    "crypto_backfill_dag", "crypto_etl_dag", "crypto_marts_dag", "crypto_stream_dag", "fear_greed_dag",
    "price_witness_dag",
)  # fmt: skip
OVERRIDES = {
    "CLOUDRESOURCEMANAGER": "crm",
    "CLOUDBILLING": "billing",
    "SERVICEUSAGE": "usage",
    "SECRETMANAGER": "secrets",
    "CLOUDBUILD": "build",
    "ARTIFACTREGISTRY": "registry",
    "MONITORING": "monitoring",
}
REGION = "us-central1"
RUN = "run.loopback.example"
"""Cloud Run has an address per region, which gcloud makes of the one that it is told; it is asked through a proxy."""


Executor = Callable[[Build], str]
"""Executes a submitted build; returns its final status."""

Runner = Callable[[str, dict[str, Any]], str]
"""Runs a DAG with a form; returns the final state."""


Execution = Callable[[dict[str, str]], str]
"""Executes the job of the small profile with some variables; returns whether it went well: True or False."""


@dataclass
class Other:
    """A project that is made beside it.

    Attributes:
        paid: whether a billing account is linked.
        apis: that are on.
    """

    paid: bool = False
    apis: set[str] = field(default_factory=set)


@dataclass
class Project:
    """The state of the project.

    Attributes:
        id: of the project.
        folder: where Terraform's resources lie.
        storage: base URL of the emulator.
        execute: builds.
        run_dag: runs.
        execute_job: executes the job of the small profile.
        calls: method and path of every request, in order.
        others: the projects beside it, by their ids.
        homes: the project of each bucket that was made by a client.
        image: of the job of the small profile, once a release changed it.
        executions: of that job.
        refusals: an error by the beginning of a path: status and body.
    """

    id: str
    folder: Path
    storage: str
    execute: Executor = lambda _: "SUCCESS"
    run_dag: Runner = lambda *_: "success"
    execute_job: Execution = lambda _: "True"
    billing: bool = True
    apis: set[str] = field(default_factory=set)
    versions: list[str] = field(default_factory=list)
    builds: list[dict[str, Any]] = field(default_factory=list)
    paused: dict[str, bool] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    others: dict[str, "Other"] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    image: str = ""
    executions: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    refusals: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    watchers: list[Callable[[str, str], None]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    threads: list[threading.Thread] = field(default_factory=list)

    def made(self, kind: str) -> list[dict[str, Any]]:
        """The resources of a type that Terraform made."""
        files = sorted((self.folder / f"google_{kind}").glob("*.json"))
        return [json.loads(file.read_text())["value"] for file in files]

    def number(self, project: str) -> str:
        """The number of a project."""
        return NUMBER if project == self.id else str(210987654321 + list(self.others).index(project))

    @property
    def composer_bucket(self) -> str:
        """The bucket that Composer makes for itself."""
        return f"{self.id}-composer"

    def make_buckets(self) -> None:
        """The buckets that Terraform and Composer made exist for clients, too."""
        names = [one["name"] for one in self.made("storage_bucket")]
        if self.made("composer_environment"):
            names.append(self.composer_bucket)
        for name in names:
            with suppress(urllib.error.HTTPError):
                body = json.dumps({"name": name}).encode()
                urllib.request.urlopen(
                    urllib.request.Request(
                        f"{self.storage}/storage/v1/b?project={self.id}", body, {"Content-Type": "application/json"}
                    ),
                    timeout=30,
                ).close()

    def background(self, work: Callable[[], None]) -> None:
        """Go on whether or not the client lives."""
        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()


class Refused(Exception):
    """An error of an API."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def error(status: int, reason: str, message: str, details: list[dict[str, Any]] | None = None) -> Refused:
    """An error in Google's form."""
    return Refused(status, {"error": {"code": status, "message": message, "status": reason, "details": details or []}})


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: "Google"

    def _handle(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size) if size else b""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._chunks()
        address = urlsplit(self.path)
        if address.netloc:  # asked as a proxy: gcloud puts the region before the address of Cloud Run
            self.path = f"/{address.netloc.partition('.')[0].removeprefix(f'{REGION}-')}{address.path}?{address.query}"
            address = urlsplit(self.path)
        project = self.server.project
        project.calls.append((self.command, address.path))
        for watcher in list(project.watchers):
            watcher(self.command, address.path)
        for start, (status, refusal) in project.refusals.items():
            if address.path.startswith(start):
                return self._answer(status, json.dumps(refusal).encode())
        part = address.path.split("/")[1]
        try:
            if part in {"storage", "upload", "download", "batch"} or part not in {
                *OVERRIDES.values(),
                "airflow",
                "run",
            }:
                return self._storage(body)
            rest = address.path.removeprefix(f"/{part}")
            told = getattr(self.server, f"on_{part}")(
                self.command, rest, parse_qs(address.query), json.loads(body or b"null")
            )
        except Refused as refused:
            return self._answer(refused.status, json.dumps(refused.body).encode())
        return self._answer(200, json.dumps(told).encode())

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, content: bytes, kind: str = "application/json", more: Any = ()) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked was killed
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in more:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def _storage(self, body: bytes) -> None:
        """Pass a request on to the emulator, if the generation that it demands is the one that lies there."""
        with self.server.project.lock:
            self.server.project.make_buckets()
            if not self.server.holds(self.path, body):
                told = error(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
                return self._answer(412, json.dumps(told.body).encode())
            status, headers, content = self._forward(self.command, self.path, body)
            if self.command == "POST" and re.fullmatch(r"/storage/v1/b", urlsplit(self.path).path) and status == 200:
                name = json.loads(body)["name"]
                self.server.project.homes[name] = parse_qs(urlsplit(self.path).query)["project"][0]
                status, headers, content = self._forward("PATCH", f"/storage/v1/b/{name}", body)
        if found := re.fullmatch(r"/storage/v1/b/([^/]+)", urlsplit(self.path).path) if status == 200 else None:
            content = self.server.with_home(found[1], content)
        kept = [(name, value) for name, value in headers if name.lower() in _PASSED]
        kind = next((value for name, value in headers if name.lower() == "content-type"), "application/json")
        return self._answer(status, content, kind, kept)

    def _forward(self, method: str, path: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        for name in [name for name in headers if name.lower() == "content-type"]:
            headers["Content-Type"] = headers.pop(name).replace("'", '"')  # gcloud quotes a boundary in single quotes
        own = self.server.url.rstrip("/")
        request = urllib.request.Request(f"{self.server.project.storage}{path}", body or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, found, content = answer.status, answer.getheaders(), answer.read()
        except urllib.error.HTTPError as refused:
            status, found, content = refused.code, list(refused.headers.items()), refused.read()
        there = self.server.project.storage
        found = [(name, value.replace(there, own)) for name, value in found]
        if b'"kind"' in content[:200]:
            content = content.replace(there.encode(), own.encode())
        return status, found, content

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


_HOP = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}
_PASSED = {"location", "x-goog-generation", "x-goog-hash", "x-goog-metageneration", "last-modified", "etag", "range",
           "x-goog-stored-content-length", "content-range"}  # fmt: skip
_NAME = re.compile(rb'"name": ?"([^"]+)"')
_OBJECTS = re.compile(r"/b/([^/]+)/o(?:/([^?]+))?$")


class Google(ThreadingHTTPServer):
    """All APIs behind one port, each below a path of its own."""

    daemon_threads = True

    def __init__(self, project: Project) -> None:
        super().__init__((HOST, 0), Handler)
        self.project = project

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def variables(self) -> dict[str, str]:
        """What makes gcloud ask here."""
        names = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": f"{self.url}{path}/" for name, path in OVERRIDES.items()}
        return {
            **names,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{self.url}storage/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"http://{RUN}/",
            "http_proxy": self.url,
            "no_proxy": f"{HOST},localhost",
        }

    def with_home(self, bucket: str, content: bytes) -> bytes:
        """A bucket with the number of the project that it lies in, which the emulator does not know."""
        home = self.project.homes.get(bucket, self.project.id)
        return json.dumps({**json.loads(content), "projectNumber": self.project.number(home)}).encode()

    def generation(self, bucket: str, name: str) -> int:
        """Generation of an object, 0 when there is none."""
        path = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
        try:
            with urllib.request.urlopen(f"{self.project.storage}{path}", timeout=30) as answer:
                return int(json.load(answer)["generation"])
        except urllib.error.HTTPError:
            return 0

    def holds(self, path: str, body: bytes) -> bool:
        """Whether the generation that a write demands is the one that lies there."""
        address = urlsplit(path)
        query, found = parse_qs(address.query), _OBJECTS.search(address.path)
        if "ifGenerationMatch" not in query or found is None:
            return True
        named = _NAME.search(body)
        name = query["name"][0] if "name" in query else unquote(found[2] or "") or (named[1].decode() if named else "")
        return int(query["ifGenerationMatch"][0]) == self.generation(found[1], name)

    def on_crm(self, method: str, path: str, _query: Any, body: Any) -> dict[str, Any]:
        """Resource Manager: a project that is not there is refused as one that nobody may see."""
        name = path.rpartition("/")[2]
        if "/operations/" in path:
            return {"name": f"operations/{name}", "done": True, "response": {}}
        if method == "POST":
            assert body["parent"] == PARENT
            if body["projectId"] in self.project.others:
                raise error(409, "ALREADY_EXISTS", "Requested entity already exists")
            self.project.others[body["projectId"]] = Other()
            return {"name": "operations/cp.1", "done": True, "response": self._told(body["projectId"])}
        if name not in {self.project.id, *self.project.others}:
            raise error(403, "PERMISSION_DENIED", "The caller does not have permission")
        return self._told(name)

    def _told(self, project: str) -> dict[str, Any]:
        number = self.project.number(project)
        return {"projectId": project, "projectNumber": number, "lifecycleState": "ACTIVE", "parent": PARENT}

    def on_billing(self, method: str, path: str, _query: Any, body: Any) -> dict[str, Any]:
        """Cloud Billing."""
        name = path.removesuffix("/billingInfo").rpartition("/")[2]
        other = self.project.others.get(name)
        if method == "PUT":
            assert other is not None
            assert body["billingAccountName"] == f"billingAccounts/{BILLING}"
            other.paid = True
        if not (other.paid if other else self.project.billing):
            return {"projectId": name, "billingEnabled": False}
        return {"projectId": name, "billingEnabled": True, "billingAccountName": f"billingAccounts/{BILLING}"}

    def on_usage(self, method: str, path: str, _query: Any, body: Any) -> dict[str, Any]:
        """Service Usage."""
        other = self.project.others.get(path.split("/")[3]) if path.startswith("/v1/projects/") else None
        on = other.apis if other else self.project.apis
        if method == "POST":
            wanted = body.get("serviceIds") or [path.rpartition("/")[2].partition(":")[0]]
            on |= set(wanted)
            return {"name": "operations/noop.DONE_OPERATION", "done": True, "response": {}}
        if other is None:
            on = on | {one["service"] for one in self.project.made("project_service")}
        return {
            "services": [
                {"name": f"projects/{NUMBER}/services/{name}", "config": {"name": name}, "state": "ENABLED"}
                for name in sorted(on)
            ]
        }

    def on_secrets(self, method: str, path: str, _query: Any, body: Any) -> dict[str, Any]:
        """Secret Manager: versions of a secret that Terraform made."""
        if not self.project.made("secret_manager_secret"):
            raise error(404, "NOT_FOUND", f"Secret [{path}] not found.")
        name = re.sub(r"^/v1/|/versions$|:addVersion$", "", path)
        if method == "POST":
            self.project.versions.append(body["payload"]["data"])
            number = len(self.project.versions)
            return {"name": f"{name}/versions/{number}", "state": "ENABLED", "clientSpecifiedPayloadChecksum": True}
        return {
            "versions": [
                {"name": f"{name}/versions/{number}", "state": "ENABLED", "createTime": "2026-11-01T00:00:00Z"}
                for number in range(1, len(self.project.versions) + 1)
            ]
        }

    def on_build(self, method: str, path: str, query: Any, body: Any) -> dict[str, Any]:
        """Cloud Build: a build goes on whether or not somebody waits for it."""
        with self.project.lock:
            if method == "POST":
                return self._submit(path, body)
            if path.endswith("/builds"):
                wanted = query.get("filter", [""])[0]
                found = [one for one in self.project.builds if _asked(one, wanted)]
                return {"builds": found[::-1]}
            return next(one for one in self.project.builds if one["id"] == path.rpartition("/")[2])

    def _submit(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        sent = Build.from_json(json.dumps(body), ignore_unknown_fields=False)
        number = len(self.project.builds) + 1
        identifier = f"11111111-2222-3333-4444-{number:012d}"
        build = {
            **body, "id": identifier, "name": f"{path.removeprefix('/v1/')}/{identifier}", "status": "WORKING",
            "projectId": self.project.id, "createTime": f"2026-11-01T00:00:0{number}Z",
        }  # fmt: skip
        self.project.builds.append(build)
        self.project.background(lambda: build.update(status=_ended(lambda: self.project.execute(sent), "FAILURE")))
        kind = "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata"
        return {"name": f"operations/build/{self.project.id}/{identifier}", "metadata": {"@type": kind, "build": build}}

    def on_registry(self, _method: str, path: str, *_: Any) -> dict[str, Any]:
        """Artifact Registry: the images of every build that succeeded."""
        name = path.removeprefix("/v1/").removesuffix("/dockerImages")
        if not path.endswith("/dockerImages"):
            return {"name": name, "format": "DOCKER"}
        prefix = f"us-central1-docker.pkg.dev/{self.project.id}/coinbeam/pipelines@sha256:"
        done = [one for one in self.project.builds if one["status"] == "SUCCESS"]
        return {
            "dockerImages": [
                {
                    "name": f"{name}/dockerImages/pipelines@sha256:{number:064d}",
                    "uri": f"{prefix}{number:064d}",
                    "tags": [one["substitutions"]["_RELEASE"]],
                    "uploadTime": "2026-11-01T00:00:00Z",
                    "updateTime": "2026-11-01T00:00:00Z",
                }
                for number, one in enumerate(done)
            ]
        }

    def on_run(self, method: str, path: str, _query: Any, body: Any) -> dict[str, Any]:
        """Cloud Run: the job that Terraform made, its image of the last release, its executions."""
        jobs = self.project.made("cloud_run_v2_job")
        kind, _, name = path.rpartition("/namespaces/")[2].partition("/")[2].partition("/")
        with self.project.lock:
            if kind == "executions" and not name:
                return {"kind": "ExecutionList", "metadata": {"continue": ""}, "items": self.project.executions}
            if kind == "executions":
                return next(one for one in self.project.executions if one["metadata"]["name"] == name)
            if name.partition(":")[0] not in {one["name"] for one in jobs}:
                raise error(404, "NOT_FOUND", f"Resource {name!r} of kind JOB does not exist")
            if method == "PUT":
                self.project.image = _container(body)["image"]
            if method == "POST":
                return self._execute(body["overrides"]["containerOverrides"][0])
            [container] = jobs[0]["template"][0]["template"][0]["containers"]
            return self._job(self.project.image or container["image"])

    def _job(self, image: str) -> dict[str, Any]:
        container = {"image": image, "name": "batch", "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}
        made = {"annotations": {"run.googleapis.com/client-name": "terraform"}}
        task = {"containers": [container], "maxRetries": 1, "timeoutSeconds": "3600"}
        return {
            "apiVersion": "run.googleapis.com/v1", "kind": "Job", "metadata": self._metadata("coinbeam-daily"),
            "spec": {"template": {"metadata": made, "spec": {"taskCount": 1, "template": {"metadata": made, "spec": task}}}},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]},
        }  # fmt: skip

    def _execute(self, overrides: dict[str, Any]) -> dict[str, Any]:
        number = len(self.project.executions) + 1
        execution: dict[str, Any] = {
            "apiVersion": "run.googleapis.com/v1", "kind": "Execution",
            "metadata": self._metadata(f"coinbeam-daily-{number}"),
            "spec": {"taskCount": 1, "template": {"spec": {}}},
            "status": {"observedGeneration": 1, "conditions": [{"type": "Completed", "status": "Unknown"}]},
        }  # fmt: skip
        self.project.executions.append(execution)
        variables = {one["name"]: one["value"] for one in overrides["env"]}

        def end() -> None:
            state = _ended(lambda: self.project.execute_job(variables), "False")
            execution["status"]["conditions"] = [{"type": "Completed", "status": state, "message": "It ended."}]

        self.project.background(end)
        return execution

    def _metadata(self, name: str) -> dict[str, Any]:
        labels = {"cloud.googleapis.com/location": REGION, "run.googleapis.com/job": "coinbeam-daily"}
        return {"name": name, "namespace": NUMBER, "labels": labels, "annotations": {}, "generation": 1,
                "resourceVersion": "1", "creationTimestamp": "2026-11-01T00:00:00Z"}  # fmt: skip

    def on_monitoring(self, *_: Any) -> dict[str, Any]:
        """Cloud Monitoring: Terraform's channels."""
        found = self.project.made("monitoring_notification_channel")
        return {
            "notificationChannels": [
                {"name": f"projects/p/notificationChannels/{number}", "type": one["type"], "labels": one["labels"],
                 "displayName": one["display_name"], "enabled": True}
                for number, one in enumerate(found)
            ]
        }  # fmt: skip

    def on_airflow(self, method: str, path: str, query: Any, body: Any) -> dict[str, Any]:
        """Airflow's REST API, v2. It knows the DAGs once a release is current, and they are paused."""
        dag = path.removeprefix("/api/v2/dags").strip("/").split("/")
        with self.project.lock:
            if self.generation(self.project.composer_bucket, "dags/coinbeam_release.json"):
                self.project.paused = dict.fromkeys(DAGS, True) | self.project.paused
            if dag == [""]:
                return {
                    "dags": [{"dag_id": name, "is_paused": one} for name, one in self.project.paused.items()],
                    "total_entries": len(self.project.paused),
                }
            if dag[0] not in self.project.paused:
                raise Refused(404, {"detail": f"The Dag with ID: `{dag[0]}` was not found"})
            if len(dag) == 1:
                if method == "PATCH":
                    assert query["update_mask"] == ["is_paused"]
                    self.project.paused[dag[0]] = DAGPatchBody.model_validate(body).is_paused
                return {"dag_id": dag[0], "is_paused": self.project.paused[dag[0]]}
            return self._runs(method, dag, query, body)

    def _runs(self, method: str, dag: list[str], query: Any, body: Any) -> dict[str, Any]:
        if method == "POST":
            form = TriggerDAGRunPostBody.model_validate(body).conf or {}
            run = {"dag_run_id": f"manual__{len(self.project.runs) + 1}", "dag_id": dag[0], "state": "running"}
            if self.project.paused[dag[0]]:
                run["state"] = "queued"  # for ever, as Airflow does
            else:
                self.project.background(
                    lambda: run.update(state=_ended(lambda: self.project.run_dag(dag[0], form), "failed"))
                )
            self.project.runs.append(run)
            return run
        if len(dag) == 2:
            found = [one for one in self.project.runs if one["dag_id"] == dag[0] and one["state"] in query["state"]]
            return {"dag_runs": found, "total_entries": len(found)}
        return next(one for one in self.project.runs if one["dag_run_id"] == dag[2])


def _ended(work: Callable[[], str], failed: str) -> str:
    """How a piece of work ended; a fault of the test itself is printed, and nobody waits for it for ever."""
    try:
        return work()
    except Exception:
        traceback.print_exc()
        return failed


def _container(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job["spec"]["template"]["spec"]["template"]["spec"]["containers"][0])


def _asked(build: dict[str, Any], wanted: str) -> bool:
    """The two filters that gcloud sends for us."""
    if "status=SUCCESS" in wanted or 'status="SUCCESS"' in wanted:
        return bool(build["status"] == "SUCCESS")
    if "WORKING" in wanted:
        return build["status"] in {"WORKING", "QUEUED"}
    return True


@contextmanager
def serving(project: Project) -> Iterator[Google]:
    """Serve a project on a free port of loopback."""
    server = Google(project)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for work in project.threads:
            work.join(60)
