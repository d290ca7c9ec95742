"""A critical vulnerability that has a fix stops a release, unless it is accepted by name, with a reason, for a time."""

import json
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google.auth
import pytest
import requests
from pydantic import ValidationError
from typer.testing import CliRunner

from coinbeam.errors import TerminalError, TransientError
from coinbeam.settings import ROOT
from console.app import app
from deploy.vulnerabilities import Policy, Scans, Vulnerability, read_images, read_policy, stopping
from local.environment import HOST

IMAGE = f"us-central1-docker.pkg.dev/acme/coinbeam/serving@sha256:{'1' * 64}"
TODAY = date(2026, 11, 29)


def occurrence(severity: str, name: str = "CVE-2026-1", fixed: str = "2.0") -> dict[str, Any]:
    """A vulnerability as the API tells it."""
    version = {"kind": "NORMAL", "fullName": fixed} if fixed else {"kind": "MAXIMUM"}
    issue = {"affectedPackage": "libexample1", "fixedVersion": version}
    found = {"effectiveSeverity": severity, "packageIssue": [issue]}
    return {"noteName": f"projects/goog-vulnz/notes/{name}", "kind": "VULNERABILITY", "vulnerability": found}


class Analysis(ThreadingHTTPServer):
    """Artifact Analysis on loopback, which has no emulator: its answers have the documented form.

    Attributes:
        states: of the scan, one for each time that somebody asks; the last one stays.
        found: what the scan found.
        status: how it answers.
        asked: the filters.
    """

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.states: list[str | None] = ["FINISHED_SUCCESS"]
        self.found: list[dict[str, Any]] = []
        self.status = 200
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Analysis

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        assert parts.path == "/v1/projects/acme/occurrences"
        self.server.asked.append(query["filter"][0])
        if 'kind="DISCOVERY"' in query["filter"][0]:
            state = self.server.states.pop(0) if len(self.server.states) > 1 else self.server.states[0]
            page: dict[str, Any] = {"occurrences": [{"discovery": {"analysisStatus": state}}]} if state else {}
        else:  # one a page
            at = int(query.get("pageToken", ["0"])[0])
            page = {"occurrences": self.server.found[at : at + 1]}
            if at + 1 < len(self.server.found):
                page["nextPageToken"] = str(at + 1)
        body = json.dumps(page).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Analysis]:
    """The service on loopback, which no proxy is asked for."""
    monkeypatch.setenv("no_proxy", HOST)
    with Analysis() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def waits() -> list[float]:
    """How long somebody waited."""
    return []


@pytest.fixture
def scans(analysis: Analysis, waits: list[float]) -> Scans:
    """Reads the results of that service, and only counts the seconds."""
    return Scans(requests.Session(), waits.append, analysis.url)


def test_critical_ones_of_every_page_are_read_once_the_scan_has_ended(
    analysis: Analysis, scans: Scans, waits: list[float]
) -> None:
    analysis.states = [None, "PENDING", "SCANNING", "FINISHED_SUCCESS"]
    analysis.found = [occurrence("HIGH"), occurrence("CRITICAL"), occurrence("CRITICAL", "CVE-2026-2", "")]
    assert scans.critical(IMAGE) == [
        Vulnerability(IMAGE, "CVE-2026-1", "libexample1", "2.0"),
        Vulnerability(IMAGE, "CVE-2026-2", "libexample1", ""),
    ]
    assert len(waits) == 3
    assert analysis.asked[-1] == f'kind="VULNERABILITY" AND resourceUrl="https://{IMAGE}"'


@pytest.mark.parametrize("state", [None, "PENDING"])
def test_a_scan_that_never_ends_is_an_error_and_no_clean_image(
    state: str | None, analysis: Analysis, scans: Scans, waits: list[float]
) -> None:
    analysis.states = [state]
    with pytest.raises(TerminalError, match=r"containerscanning\.googleapis\.com"):
        scans.critical(IMAGE)
    assert sum(waits) == 900


@pytest.mark.parametrize("state", ["FINISHED_FAILED", "FINISHED_UNSUPPORTED"])
def test_an_image_that_cannot_be_scanned_is_an_error(state: str, analysis: Analysis, scans: Scans) -> None:
    analysis.states = [state]
    with pytest.raises(TerminalError, match="could not scan"):
        scans.critical(IMAGE)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [(403, TerminalError, "occurrences.viewer"), (503, TransientError, "503"), (429, TransientError, "429")],
)
def test_an_answer_that_is_none_is_an_error(
    status: int, error: type[Exception], said: str, analysis: Analysis, scans: Scans
) -> None:
    analysis.status = status
    with pytest.raises(error, match=said):
        scans.critical(IMAGE)


def accepting(**changed: str) -> Policy:
    """A policy that accepts one vulnerability."""
    one = {"id": "CVE-2026-1", "package": "libexample1", "reason": "Nothing of ours calls it.", "until": "2026-12-01"}
    return Policy.model_validate({"accepted": [one | changed]})


FIXED = Vulnerability(IMAGE, "CVE-2026-1", "libexample1", "2.0")


@pytest.mark.parametrize(
    ("found", "policy", "stops"),
    [
        pytest.param(FIXED, Policy(), True, id="one that has a fix"),
        pytest.param(Vulnerability(IMAGE, "CVE-2026-1", "libexample1", ""), Policy(), False, id="one without a fix"),
        pytest.param(FIXED, accepting(), False, id="one that is accepted"),
        pytest.param(FIXED, accepting(until="2026-11-29"), True, id="one whose time is over"),
        pytest.param(FIXED, accepting(package="libother1"), True, id="accepted in another package"),
        pytest.param(FIXED, accepting(id="CVE-2026-2"), True, id="another one is accepted"),
    ],
)
def test_what_stops_a_release(found: Vulnerability, policy: Policy, stops: bool) -> None:
    assert stopping([found], policy, TODAY) == ([found] if stops else [])


@pytest.mark.parametrize(
    "wrong", [{"reason": "no"}, {"until": "soon"}, {"id": "all"}, {"package": ""}, {"severity": "CRITICAL"}], ids=str
)
def test_an_exception_without_name_reason_or_end_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        accepting(**wrong)


def test_the_policy_of_the_repository_is_read() -> None:
    assert isinstance(read_policy(ROOT / "deploy" / "vulnerabilities.yaml"), Policy)


def test_without_an_image_nothing_counts_as_clean(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="names no image"):
        read_images(tmp_path)


def test_the_command_tells_all_and_fails_for_what_has_a_fix(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "serving.digest").write_text(f"{IMAGE}\n")
    monkeypatch.setattr("deploy.vulnerabilities.API", analysis.url)
    monkeypatch.setattr(google.auth, "default", lambda **_: (None, "acme"))
    monkeypatch.setattr("google.auth.transport.requests.AuthorizedSession", lambda _: requests.Session())
    analysis.found = [occurrence("CRITICAL", "CVE-2026-2", "")]
    clean = CliRunner().invoke(app, ["release", "scan", "--images", str(tmp_path)], catch_exceptions=False)
    assert clean.exit_code == 0
    assert "CVE-2026-2 in libexample1 of serving@sha256:1" in clean.stdout
    analysis.found = [occurrence("CRITICAL")]
    with pytest.raises(TerminalError, match=r"have a fix: CVE-2026-1"):
        CliRunner().invoke(app, ["release", "scan", "--images", str(tmp_path)], catch_exceptions=False)
