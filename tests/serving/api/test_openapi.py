"""The API held to descriptions by Schemathesis: to its own by every check, to CoinGecko's by those that can hold.

CoinGecko's describes good answers alone and says of most parameters only that they are texts, so that neither the
status of an error nor which values are refused can be held to it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coinbeam.settings import ROOT
from serving.api.coingecko import ROUTES

OFFICIAL = ROOT.parent / "shared" / "captures" / "openapi" / "coingecko-demo-api.json"
"""CoinGecko's description of its API, which is not ours to copy."""

OF_THE_OFFICIAL = (
    "not_a_server_error,response_schema_conformance,content_type_conformance,response_headers_conformance,"
    "unsupported_method,ignored_auth"
)
SEED = "20261120"

_CONFIG = """
[auth.openapi.{scheme}]
api_key = "${{SCHEMATHESIS_KEY}}"
[phases.coverage]
unexpected-methods = ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]
"""
"""HEAD is answered by every route, and described in words."""

Hold = Callable[..., dict[str, Any]]


@pytest.fixture
def hold(tmp_path: Path, api_key: str) -> Hold:
    """Holds the API to a description; returns the report."""

    def run(scheme: str, *arguments: str) -> dict[str, Any]:
        config, report = tmp_path / "schemathesis.toml", tmp_path / "report.json"
        config.write_text(_CONFIG.format(scheme=scheme))
        command = [Path(sys.executable).parent / "schemathesis", "--config-file", config, "run", *arguments]
        options = ["--phases", "examples,coverage,fuzzing", "--seed", SEED, "--continue-on-failure", "--no-color"]
        done = subprocess.run(
            [*command, *options, "--report", "json", "--report-json-path", report],
            cwd=tmp_path,
            env=os.environ
            | {
                "SCHEMATHESIS_KEY": api_key,
                "SCHEMATHESIS_HOOKS": "openapi_hooks",
                "PYTHONPATH": str(Path(__file__).parent),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
        found: dict[str, Any] = json.loads(report.read_text())
        return found

    return run


LONG = pytest.param(150, id="long", marks=pytest.mark.clients)


@pytest.mark.slow
@pytest.mark.parametrize("examples", [pytest.param(2, id="short"), LONG])
def test_every_answer_is_as_our_description_has_it(hold: Hold, keyed_api_url: str, examples: int) -> None:
    report = hold("demo_header", f"{keyed_api_url}/openapi.json", "--max-examples", str(examples))
    assert report["failures"] == report["errors"] == []
    assert report["operations"]["tested"] == report["operations"]["selected"] > len(ROUTES)
    assert report["test_cases"]["generated"] > 1_500


@pytest.mark.slow
@pytest.mark.skipif(not OFFICIAL.is_file(), reason="CoinGecko's description is not on this machine")
@pytest.mark.parametrize("examples", [pytest.param(5, id="short"), LONG])
def test_every_answer_is_as_coingecko_describes_it(
    hold: Hold, keyed_api_url: str, tmp_path: Path, examples: int
) -> None:
    described = json.loads(OFFICIAL.read_text())
    ours = {route.path for route in ROUTES if route.shape is not None} & described["paths"].keys()
    described["paths"] = {path: described["paths"][path] for path in sorted(ours)}
    (tmp_path / "official.json").write_text(json.dumps(described))
    report = hold(
        "headerAuth",
        "official.json",
        *("--url", f"{keyed_api_url}/api/v3", "--checks", OF_THE_OFFICIAL, "--max-examples", str(examples)),
    )
    assert report["failures"] == report["errors"] == []
    assert report["operations"]["tested"] == len(ours) == 11
