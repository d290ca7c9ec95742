"""The metadata of the Flex Templates are those of the options, and what Dataflow's own message type reads."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from pydantic import Field

from beam_pipelines.job.flex_template import FOLDER, main, metadata, text
from coinbeam.batch.jobs import JOBS
from coinbeam.batch.kinds import FEEDS
from coinbeam.batch.options import JobOptions
from tests.beam_pipelines import image
from tests.dataflow import Refused, strictly

api = pytest.importorskip("google.cloud.dataflow_v1beta3")
every_job = pytest.mark.parametrize("job", JOBS)


def test_every_job_of_a_dag_has_a_template() -> None:
    assert {feed.job.name for feed in FEEDS} <= set(JOBS)
    assert {path.stem for path in FOLDER.iterdir()} == set(JOBS)


@every_job
def test_the_file_is_what_the_options_say(job: str) -> None:
    assert (FOLDER / f"{job}.json").read_text(encoding="utf-8") == text(job), "run `make templates`"


@every_job
def test_dataflow_reads_it_strictly(job: str) -> None:
    read = strictly(api.TemplateMetadata, metadata(job))
    assert read.name == job
    assert [one.name for one in read.parameters if not one.is_optional] == ["output"]
    assert all(one.label and one.help_text for one in read.parameters)
    assert len({one.name for one in read.parameters}) == len(read.parameters)


def test_the_template_that_reads_a_subscription_may_stream_and_no_other() -> None:
    read = {job: strictly(api.TemplateMetadata, metadata(job)) for job in JOBS}
    assert [job for job, one in read.items() if one.streaming] == ["trade_windows"]


@pytest.mark.parametrize("wrong", [{"lable": "x"}, {"isOptional": "maybe"}, {"paramType": "LETTERS"}], ids=str)
def test_a_parameter_of_another_form_is_refused(wrong: dict[str, Any]) -> None:
    made = metadata("populate_date_dim")
    made["parameters"][0] |= wrong
    with pytest.raises(Refused, match="Invalid JSON payload"):
        strictly(api.TemplateMetadata, made)


def test_an_option_more_is_a_parameter_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class MoreOptions(JobOptions):
        more_of_it: str | None = Field(None, description="More.")

    job = JOBS["populate_date_dim"]
    monkeypatch.setitem(JOBS, job.name, replace(job, options=MoreOptions))
    assert metadata(job.name)["parameters"][-1] == (
        {"name": "more_of_it", "label": "More of it", "helpText": "More.", "isOptional": True, "paramType": "TEXT"}
    )


def test_without_write_the_files_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.count('"description"') == len(JOBS)
    assert json.loads(text("fetch_crypto_data"))["name"] == "fetch_crypto_data"


def test_the_image_of_a_launcher_begins_with_that_of_the_workers() -> None:
    launcher = "\n".join(image.stage("launcher", base="pipelines"))
    assert "FLEX_TEMPLATE_PYTHON_PY_FILE=/app/beam_pipelines/${JOB}.py" in launcher
    assert "python_template_launcher" in launcher


def test_the_image_has_the_version_of_beam_that_the_pins_have() -> None:
    pins = (image.DOCKERFILE.parent / "config" / "beam-requirements.txt").read_text()
    [version] = [
        line.partition("==")[2].removesuffix(" \\") for line in pins.splitlines() if line.startswith("apache-beam==")
    ]
    assert re.search(rf"^FROM apache/beam_python3\.11_sdk:{re.escape(version)}[@ ]", image.DOCKERFILE.read_text(), re.M)
