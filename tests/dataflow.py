"""A Dataflow service on loopback: REST as in Google's discovery document, ``GetJob`` over gRPC; bodies parsed strictly,
jobs really run.

There is no emulator of Dataflow. This one refuses what the real one would refuse for its form: unknown fields and enum
values, parameters that the template does not declare, a second active job of a name. A launched job runs as a process
of this machine; its machines, network and accounts are looked at by the tests.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
from google.cloud import dataflow_v1beta3 as api
from google.protobuf import json_format

from coinbeam.settings import ROOT

ACTIVE = {f"JOB_STATE_{name}" for name in ("QUEUED", "PENDING", "RUNNING", "CANCELLING", "DRAINING")}
_VIEWS = {"JOB_VIEW_SUMMARY", "JOB_VIEW_DESCRIPTION", "JOB_VIEW_ALL"}
_JOBS = re.compile(
    r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/(?P<rest>jobs(?:/(?P<id>[^/]+))?(?P<messages>/messages)?|flexTemplates:launch)$"
)

Command = Callable[[str, Mapping[str, str]], list[str]]
"""Gives the command that runs a template's job with its parameters."""


@dataclass
class Job:
    """A job that was launched or submitted.

    Attributes:
        id: of the service.
        body: what was asked for: a launch parameter, or a whole job.
        process: what runs it; None for a submitted job, which the test runs itself.
    """

    id: str
    name: str
    body: dict[str, Any]
    process: "subprocess.Popen[str] | None" = None
    created_at: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}")
    state: str = "JOB_STATE_RUNNING"
    errors: str = ""

    @property
    def is_streaming(self) -> bool:
        """Whether it reads a subscription."""
        return "subscription" in self.body.get("parameters", {})

    def as_json(self, project: str, location: str, view: str = "JOB_VIEW_SUMMARY") -> dict[str, Any]:
        """The job as the API shows it; a summary has no labels."""
        kind = "JOB_TYPE_STREAMING" if self.is_streaming else "JOB_TYPE_BATCH"
        shown = {"id": self.id, "name": self.name, "projectId": project, "location": location, "type": kind}
        labels = {} if view == "JOB_VIEW_SUMMARY" else {"labels": self.body["environment"]["additionalUserLabels"]}
        return shown | labels | {"currentState": self.state, "createTime": self.created_at}


class Refused(Exception):
    """A request that the service answers with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def strictly(kind: Any, body: Mapping[str, Any]) -> Any:
    """A message of the API from JSON; unknown fields and enum values are refused.

    Raises:
        Refused: the body has another form.
    """
    try:
        return kind.wrap(json_format.ParseDict(dict(body), kind.pb(kind()), ignore_unknown_fields=False))
    except json_format.ParseError as error:
        raise Refused(400, f"Invalid JSON payload received. {error}") from error


class Dataflow:
    """The service.

    Args:
        template: gives the container spec of a template by its URI.
        command: gives what runs a job.
        variables: environment of the jobs.

    Attributes:
        jobs: everything launched or submitted, the oldest first.
        requests: method, path and body of every REST request; GetJob and the id for one over gRPC.
        lose_answers: launches that begin but whose answer is an error of the server.
        queued_seconds: how long a launched job waits for its machines; it may fail in the meantime.
    """

    def __init__(
        self, template: Callable[[str], dict[str, Any]], command: Command, variables: Mapping[str, str]
    ) -> None:
        self._template, self._command, self._variables = template, command, dict(variables)
        self.jobs: list[Job] = []
        self.requests: list[tuple[str, str, dict[str, Any]]] = []
        self.lose_answers = 0
        self.queued_seconds = 0.0
        self._lock = threading.Lock()

    def launch(self, body: dict[str, Any]) -> Job:
        """``flexTemplates.launch``."""
        request = strictly(api.LaunchFlexTemplateRequest, body)
        parameter = request.launch_parameter
        spec = self._template(parameter.container_spec_gcs_path)
        known = {declared["name"]: declared for declared in spec["metadata"]["parameters"]}
        if unknown := sorted(set(parameter.parameters) - set(known)):
            raise Refused(400, f"The template parameters are invalid. Unrecognized parameter {unknown[0]}")
        if missing := sorted(
            name for name, one in known.items() if not one["isOptional"] and name not in parameter.parameters
        ):
            raise Refused(400, f"The template parameters are invalid. Missing required parameter {missing[0]}")
        with self._lock:
            self._refuse_twin(parameter.job_name)
            job = self._add(parameter.job_name, body["launchParameter"])
            job.process = self._start(spec["metadata"]["name"], dict(parameter.parameters))
            if self.queued_seconds:
                job.state = "JOB_STATE_QUEUED"
        threading.Thread(target=self._watch, args=(job,), daemon=True).start()
        return job

    def submit(self, body: dict[str, Any]) -> Job:
        """``jobs.create``."""
        job = strictly(api.Job, body)
        with self._lock:
            self._refuse_twin(job.name)
            return self._add(job.name, body)

    def listed(self, name: str, state: str) -> list[Job]:
        """``jobs.list``, the oldest first."""
        return [job for job in self.jobs if name in {"", job.name} and (state != "ACTIVE" or job.state in ACTIVE)]

    def find(self, job_id: str) -> Job:
        """``jobs.get``."""
        found = next((job for job in self.jobs if job.id == job_id), None)
        if found is None:
            raise Refused(404, f"Information about job {job_id} could not be found in our system.")
        return found

    def update(self, job_id: str, body: dict[str, Any]) -> Job:
        """``jobs.update``: cancels, and drains a job that streams."""
        job, wanted = self.find(job_id), strictly(api.Job, body).requested_state
        if wanted is api.JobState.JOB_STATE_DRAINED and job.is_streaming:
            if job.state in ACTIVE and job.process:
                job.state = "JOB_STATE_DRAINING"
                job.process.terminate()
            return job
        if wanted is not api.JobState.JOB_STATE_CANCELLED:
            raise Refused(400, f"A batch job cannot become {wanted.name}.")
        if job.state in ACTIVE:
            job.state = "JOB_STATE_CANCELLED"
            if job.process:
                job.process.kill()
        return job

    def stop(self) -> None:
        """Kill what still runs."""
        for job in self.jobs:
            if job.process:
                job.process.kill()
                job.process.wait(10)

    def _refuse_twin(self, name: str) -> None:
        twin = next(iter(self.listed(name, "ACTIVE")), None)
        if twin:
            raise Refused(
                409,
                f"({twin.id}): The workflow could not be created, since it has the same name as an active job: {name}",
            )

    def _add(self, name: str, body: dict[str, Any]) -> Job:
        job = Job(f"2026-01-02_00_00_00-{len(self.jobs) + 1}", name, body)
        self.jobs.append(job)
        return job

    def _start(self, job: str, parameters: Mapping[str, str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self._command(job, parameters),
            cwd=ROOT,
            env=self._variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _watch(self, job: Job) -> None:
        assert job.process is not None
        with suppress(subprocess.TimeoutExpired):
            job.process.wait(self.queued_seconds)
        if job.state == "JOB_STATE_QUEUED" and job.process.returncode is None:
            job.state = "JOB_STATE_RUNNING"
        _, said = job.process.communicate()
        if job.state == "JOB_STATE_DRAINING":
            job.state = "JOB_STATE_DRAINED"
        elif job.state in ACTIVE:
            job.errors = said if job.process.returncode else ""
            job.state = "JOB_STATE_FAILED" if job.process.returncode else "JOB_STATE_DONE"


def in_this_environment(job: str, parameters: Mapping[str, str]) -> list[str]:
    """Run a job with the interpreter of the tests, in one process."""
    return [
        sys.executable,
        "-m",
        f"beam_pipelines.{job}",
        "--runner=FnApiRunner",
        *(f"--{k}={v}" for k, v in parameters.items()),
    ]


@dataclass(frozen=True)
class Endpoint:
    """Where the service listens.

    Attributes:
        service: behind it.
        rest: base URL.
        grpc: host and port.
    """

    service: Dataflow
    rest: str
    grpc: str


@contextmanager
def serve(service: Dataflow) -> Iterator[Endpoint]:
    """Listen on loopback for as long as the block lasts, and kill the jobs at its end."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": service}))
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    rpc = grpc.server(ThreadPoolExecutor(2))
    rpc.add_generic_rpc_handlers((_get_job(service),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    try:
        yield Endpoint(service, f"http://localhost:{web.server_port}", f"127.0.0.1:{port}")
    finally:
        service.stop()
        rpc.stop(0).wait(5)
        web.shutdown()
        web.server_close()
        thread.join(5)


def _get_job(service: Dataflow) -> Any:
    """``google.dataflow.v1beta3.JobsV1Beta3/GetJob``, which the deferred task asks."""

    def answer(request: Any, _: Any) -> Any:
        service.requests.append(("GetJob", request.job_id, {}))
        job = service.find(request.job_id)
        return api.Job(id=job.id, name=job.name, current_state=api.JobState[job.state])

    handler = grpc.unary_unary_rpc_method_handler(answer, api.GetJobRequest.deserialize, api.Job.serialize)
    return grpc.method_handlers_generic_handler("google.dataflow.v1beta3.JobsV1Beta3", {"GetJob": handler})


class _Handler(BaseHTTPRequestHandler):
    service: Dataflow

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        self.service.requests.append((self.command, self.path, body))
        try:
            code, content = 200, self._result(body)
        except Refused as error:
            code, content = error.code, {"error": {"code": error.code, "message": str(error), "status": "FAILED"}}
        raw = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PUT = _answer

    def _result(self, body: dict[str, Any]) -> dict[str, Any]:
        url = urlsplit(self.path)
        asked = _JOBS.fullmatch(url.path)
        if asked is None:
            raise Refused(404, f"The requested URL {url.path} was not found on this server.")
        project, location = asked["project"], asked["location"]
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if asked["rest"] == "flexTemplates:launch":
            job = self.service.launch(body)
            if self.service.lose_answers:
                self.service.lose_answers -= 1
                raise Refused(503, "The service is currently unavailable.")
            return {"job": job.as_json(project, location)}
        if asked["messages"]:
            job = self.service.find(asked["id"])
            return {
                "jobMessages": [{"messageText": job.errors, "messageImportance": "JOB_MESSAGE_ERROR"}]
                if job.errors
                else []
            }
        if asked["id"]:
            job = self.service.update(asked["id"], body) if self.command == "PUT" else self.service.find(asked["id"])
            view = query.get("view", "JOB_VIEW_SUMMARY")
            if view not in _VIEWS:
                raise Refused(400, f"Invalid value at 'view': {view}")
            return job.as_json(project, location, view)
        if self.command == "POST":
            return self.service.submit(body).as_json(project, location)
        jobs = self.service.listed(query.get("name", ""), query.get("filter", "ALL"))
        return {"jobs": [job.as_json(project, location) for job in jobs]} if jobs else {}

    def log_message(self, *_: Any) -> None:
        """Say nothing: the tests read the requests."""
